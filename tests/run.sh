#!/usr/bin/env bash
# Every check and every test of the project, against servers of its own on this machine.
#
#   tests/run.sh [ARGUMENTS FOR CARGO TEST...]
#
#   tests/run.sh                                  everything
#   tests/run.sh --test NAME                      one suite
#   tests/run.sh WORD                             the tests with this in their name
#   tests/run.sh WORD -- --nocapture              with what they print
#   tests/run.sh --soak MINUTES [--seed N]        only the long form of the crash run
#
# It installs what this machine lacks, checks the formatting, the lints and the dependencies, builds,
# starts a PostgreSQL, a RabbitMQ and two S3 servers (one in the tests' own hands) in a temporary
# directory, and runs the tests; then it shows what they have measured, and a table of the attacks and
# mistakes that they have tried. It goes on after a failed check, so that one run shows all that is
# wrong; the exit code is 0 only if nothing was. At the end, also after Ctrl-C, it stops what it has
# started and says whether any process was left. Several runs can go on at once.

# shellcheck disable=SC2329 # some functions are called by traps or by composed names
set -euo pipefail
# shellcheck source=tests/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# Places at which tests end a worker (exporter/src/crash.rs); no other build has them.
features=(--features audit-export-exporter/failpoints)

failures=()

# ---- Checks -------------------------------------------------------------------------------------

# Runs a check; a failure is kept for the end.
check() { # NAME COMMAND...
  local name=$1
  shift
  headline "$name"
  attend env --chdir="$project_root" "$@" || failures+=("$name")
}

check_with() { # COMPONENT NAME COMMAND...
  local component=$1
  shift
  if in_project_quietly cargo "$component" --version; then
    check "$@"
  else
    headline "$1"
    complain "SKIPPED: this toolchain has no cargo $component (rustup component add ${component/fmt/rustfmt})"
  fi
}

in_project_quietly() { (in_project "$@") >/dev/null 2>&1; }

# What we depend on, by deny.toml. Advisories are checked where their database can be had; that the
# exceptions among them are still needed and not overdue is a test of its own (e2e/dependencies.rs).
check_dependencies() {
  local deny=("$tools_dir/cargo-deny" --locked)
  check "licences, sources and banned crates" "${deny[@]}" --log-level error check bans licenses sources
  headline "advisories"
  if attend env --chdir="$project_root" timeout 60 "${deny[@]}" --log-level off fetch db >/dev/null 2>&1; then
    attend env --chdir="$project_root" "${deny[@]}" check --hide-inclusion-graph advisories || failures+=("advisories")
  else
    complain "NOT CHECKED: the advisory database cannot be fetched here (https://github.com/RustSec/advisory-db)"
  fi
}

# ---- The tests ----------------------------------------------------------------------------------

run_tests() { # CARGO-TEST-ARGUMENTS...
  local status=0
  headline "tests"
  export AUDIT_EXPORT_TEST_REPORT_DIR=$work/figures
  mkdir -- "$AUDIT_EXPORT_TEST_REPORT_DIR"
  export AUDIT_EXPORT_TEST_TOOLS=$tools_dir AUDIT_EXPORT_TEST_BIN_DIR=$program_dir
  attend env --chdir="$project_root" cargo test --workspace "${features[@]}" --no-fail-fast "$@" || status=$?
  # Servers that live as long as a suite are not stopped by it.
  end_its_remains "the tests have"
  ((status == 0)) || failures+=("tests")
}

show_figures() {
  local figures=("$work"/figures/*.txt)
  [[ -e ${figures[0]} ]] || return 0
  headline "figures"
  cat -- "${figures[@]}"
}

# What the tests have tried to do to the system, a row each (tests/src/attacks.rs), by kind.
show_attacks() {
  local rows=$work/figures/attacks.tsv
  [[ -e $rows ]] || return 0
  headline "attacks and mistakes"
  LC_ALL=C sort -u -- "$rows" | awk -F '\t' '
    function fill(cell, width) { return sprintf("%-" width "s", cell) }
    { for (i = 1; i <= 3; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
    END {
      cell[0, 1] = "attack or mistake"; cell[0, 2] = "tried"; cell[0, 3] = "refused"
      for (i = 1; i <= 2; i++) if (length(cell[0, i]) > width[i]) width[i] = length(cell[0, i])
      for (row = 0; row <= NR; row++)
        print fill(cell[row, 1], width[1]) " | " fill(cell[row, 2], width[2]) " | " cell[row, 3]
      print NR " tried and refused"
    }'
}

# What is tested: leaves cargo test's arguments in test_arguments, and in soak_minutes how long the
# crash run is to be, where that is all.
soak_minutes=
test_arguments=()
read_arguments() {
  if [[ ${1:-} != --soak ]]; then
    test_arguments=("$@")
    return
  fi
  [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "--soak needs a number of minutes (see --help)"
  soak_minutes=$2
  export AUDIT_EXPORT_SOAK_MINUTES=$2
  shift 2
  if [[ ${1:-} == --seed ]]; then
    [[ ${2:-} =~ ^[0-9]+$ ]] || die "--seed needs a number (see --help)"
    export AUDIT_EXPORT_SOAK_SEED=$2
    shift 2
  fi
  (($# == 0)) || die "unknown argument '$1' (see --help)"
  test_arguments=(--test faults -- --nocapture soak::)
}

main() {
  heed_interrupts "$@"
  local target
  case ${1:-} in
    -h | --help)
      print_help "${BASH_SOURCE[0]}"
      exit
      ;;
  esac
  read_arguments "$@"

  clean_up_at_the_end
  "$project_root/deploy/local/install.sh"
  work=$(make_work_dir tests)
  target=$(target_dir)
  mkdir -p -- "$target"
  install_tools "$target" "$project_root/tests/tools.txt" test-tools "tools for the tests"

  if [[ -z $soak_minutes ]]; then
    check_with fmt "formatting" cargo fmt --all --check
    check_with fmt "formatting of the fuzz targets" cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
    check_with clippy "lints" cargo clippy --workspace --all-targets "${features[@]}" -- -D warnings
    check_dependencies
  fi

  headline "build"
  build_programs "$work/build.json" --workspace --bins "${features[@]}" || die "the build failed"
  attend env --chdir="$project_root" cargo test --workspace "${features[@]}" --no-run "${test_arguments[@]}" ||
    die "the tests do not build"

  headline "servers for the tests"
  start_stack off
  run_tests "${test_arguments[@]}"
  show_figures
  show_attacks

  headline "result"
  if ((${#failures[@]})); then
    complain "FAILED: $(printf '%s; ' "${failures[@]}")"
    exit 1
  fi
  say "all good"
  exit # here, so that nothing is read of a file that was changed while it ran
}

main "$@"
