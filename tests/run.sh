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
# shellcheck source=deploy/local/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../deploy/local/lib.sh"

stack="$project_root/deploy/local/stack.sh"
# Places at which tests end a worker (exporter/src/crash.rs); no other build has them.
features=(--features audit-export-exporter/failpoints)

work=
failures=()
run_id=$$-$(random_hex 8)

headline() { say "" "=== $*"; }

# ---- Ending -------------------------------------------------------------------------------------

clean_up() {
  local status=$?
  trap '' INT TERM HUP PIPE
  set +e
  end_attended 10
  unset AUDIT_EXPORT_TEST_RUN
  if [[ -n $work ]]; then
    "$stack" down --dir "$work/stack" >/dev/null || status=1
    end_left_over || status=1
    rm -rf -- "$work"
  fi
  exit "$status"
}

# The processes that have this run's id in their environment, wherever they have moved to.
marked_processes() {
  local environment pid
  for environment in /proc/[0-9]*/environ; do
    pid=${environment//[!0-9]/}
    if grep -qzxF "AUDIT_EXPORT_TEST_RUN=$run_id" "$environment" 2>/dev/null && identify "$pid" >/dev/null; then
      printf '%s\n' "$pid"
    fi
  done
}

end_left_over() {
  local pids pid deadline=$((SECONDS + 5))
  # What has just been told to end may need a moment.
  while mapfile -t pids < <(marked_processes) && ((${#pids[@]} && SECONDS < deadline)); do sleep 0.2; done
  if ((${#pids[@]} == 0)); then
    say "no process was left behind"
    return 0 # said, since in a trap a bare return means the status from before it
  fi
  complain "left behind, and ended now:"
  for pid in "${pids[@]}"; do
    complain "  $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c 1-200)"
    kill -KILL "$pid" 2>/dev/null
  done
  return 1
}

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

# ---- Tools --------------------------------------------------------------------------------------

# Leaves in tools_dir where the programs of tests/tools.txt are: in the target directory, once for
# each version of that list, and made anew if that was not finished.
install_tools() { # TARGET-DIRECTORY
  local list="$project_root/tests/tools.txt" venv python
  venv=$1/test-tools-$(sha256sum <"$list" | cut -c 1-12)
  tools_dir=$venv/bin
  # Of several runs with one target directory only one makes the environment.
  exec 9<"$1"
  flock 9
  if [[ ! -e $venv/complete ]] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    headline "tools for the tests"
    python=$(python_with_venv) || die "no Python that can make virtual environments"
    rm -rf -- "$venv"
    attend "$python" -m venv "$venv"
    attend "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$list"
    : >"$venv/complete"
  fi
  exec 9<&-
}

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

start_stack() {
  local settings
  headline "servers for the tests"
  # Inherited by the servers and the tests, and not by builds, which may talk to helpers of the
  # user's, such as a compiler cache, that are to stay.
  export AUDIT_EXPORT_TEST_RUN=$run_id
  AUDIT_EXPORT_STACK_FSYNC=off AUDIT_EXPORT_LOCAL_AWS_BIN=$program_dir/local-aws \
    attend "$stack" up --dir "$work/stack"
  settings=$("$stack" env --dir "$work/stack")
  eval "$settings"
}

run_tests() { # CARGO-TEST-ARGUMENTS...
  local status=0 deadline
  headline "tests"
  export AUDIT_EXPORT_TEST_REPORT_DIR=$work/figures
  mkdir -- "$AUDIT_EXPORT_TEST_REPORT_DIR"
  export AUDIT_EXPORT_TEST_TOOLS=$tools_dir AUDIT_EXPORT_TEST_BIN_DIR=$program_dir
  attend env --chdir="$project_root" cargo test --workspace "${features[@]}" --no-fail-fast "$@" || status=$?
  # Servers that live as long as a suite are not stopped by it.
  deadline=$((SECONDS + 3))
  while group_exists "$last_attended" && ((SECONDS < deadline)); do sleep 0.2; done
  if group_exists "$last_attended"; then
    say "ending the processes that the tests have left"
    end_group "$last_attended" 10
  fi
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

  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  trap 'exec >/dev/null; exit 141' PIPE
  "$project_root/deploy/local/install.sh"
  work=$(make_work_dir tests)
  target=$(target_dir)
  mkdir -p -- "$target"
  install_tools "$target"

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

  start_stack
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
