#!/usr/bin/env bash
# Fuzzing: what the tests try with some thousands of inputs, with as many as there is time for.
#
#   tests/fuzz.sh [TARGET...] [--seconds N] [--keep]
#
#   TARGET        one of tests/fuzz/targets, such as events; without any, all of them in turn
#   --seconds N   how long each of them runs, default 600
#   --keep        adds to tests/fuzz/corpus the inputs, 24 at most, that reach the most beside those there
#
# It installs cargo-fuzz if that is missing, and builds in the project's target directory, where all
# inputs that were found lie, too, and are begun with the next time. An input for which a property does
# not hold ends the run of its target; it is shown, and the exit code is 1. Put it into
# tests/fuzz/corpus/TARGET under a telling name: the ordinary tests try it from then on.

set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../deploy/local/lib.sh"

fuzz="$project_root/tests/fuzz"
# cargo-fuzz needs flags that the compiler takes on its nightly channel only, or when it is told to:
# sanitizers and what counts coverage. The toolchain is the one that everything else is built with.
export RUSTC_BOOTSTRAP=1
seconds=600
most_kept=24
keep=
targets=()

known_targets() { (cd -- "$fuzz/targets" && printf '%s\n' *.rs) | sed 's/\.rs$//'; }

read_arguments() {
  while (($#)); do
    case $1 in
      -h | --help)
        print_help "${BASH_SOURCE[0]}"
        exit
        ;;
      --seconds)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "--seconds needs a number (see --help)"
        seconds=$2
        shift
        ;;
      --keep) keep=yes ;;
      *)
        [[ -e $fuzz/targets/$1.rs ]] || die "no target '$1'; there are: $(known_targets | tr '\n' ' ')"
        targets+=("$1")
        ;;
    esac
    shift
  done
  ((${#targets[@]})) || mapfile -t targets < <(known_targets)
}

install_cargo_fuzz() {
  in_project_quietly cargo fuzz --version && return
  say "installing cargo-fuzz, which is not here"
  attend cargo install cargo-fuzz --locked
}

in_project_quietly() { (in_project "$@") >/dev/null 2>&1; }

# Leaves in programs where the targets are. The address sanitizer, which watches over the C in the
# dependencies, comes with some toolchains only.
build_targets() { # TARGET-DIRECTORY
  local sanitizer=address host runtime
  host=$(in_project rustc -vV | sed -n 's/^host: //p')
  runtime=$(in_project rustc --print target-libdir)/librustc-stable_rt.asan.a
  [[ -e $runtime || -e ${runtime/stable/nightly} ]] || sanitizer=none
  say "building, with sanitizer: $sanitizer"
  attend env --chdir="$project_root" cargo fuzz build --fuzz-dir "$fuzz" --target-dir "$1" \
    --sanitizer "$sanitizer"
  programs=$1/$host/release
}

# What libFuzzer says of a run, on one line. It counts edges of the code that were reached, and inputs
# kept for that.
summary() { # LOG
  awk '
    $2 == "INITED" { first = $4; inputs = $8 }
    /^#[0-9]+/ && $3 == "cov:" { last = $4; kept = $8 }
    /^stat::number_of_executed_units/ { executed = $2 }
    END { sub("/.*", "", inputs); sub("/.*", "", kept)
      printf "%d inputs tried; edges %d, then %d; kept inputs %d, then %d\n", executed, first, last, inputs, kept }
  ' "$1"
}

fuzz_one() { # TARGET DIRECTORY
  local target=$1 found=$2/corpus/$1 bad=$2/artifacts/$1/ log=$2/$1.log status=0
  mkdir -p -- "$found" "$bad"
  attend "$programs/$target" "$found" "$fuzz/corpus/$target" -dict="$fuzz/dictionary" \
    -artifact_prefix="$bad" -max_total_time="$seconds" -max_len=4096 -timeout=60 -rss_limit_mb=2048 \
    -print_final_stats=1 >"$log" 2>&1 || status=$?
  say "$target: $(summary "$log")"
  if ((status)); then
    grep -v '^#[0-9]' -- "$log" | tail -n 40 | cut -c 1-400 >&2
    complain "$target: found something; the input is in $bad"
    return 1
  fi
  [[ -z $keep ]] || keep_best "$target" "$2" >>"$log" 2>&1
}

# Adds to a corpus what reaches the most that is not reached from there; bounded, since every run of
# the tests goes through all of it.
keep_best() { # TARGET DIRECTORY
  local merged=$2/merged/$1 input
  rm -rf -- "$merged"
  mkdir -p -- "$merged"
  cp -- "$fuzz/corpus/$1"/* "$merged"
  attend "$programs/$1" -set_cover_merge=1 -use_counters=0 "$merged" "$2/corpus/$1"
  # The merge writes them in the order of what they add.
  find "$merged" -type f -printf '%T@ %p\n' | sort -n | cut -d ' ' -f 2- |
    while read -r input; do
      [[ -e $fuzz/corpus/$1/${input##*/} ]] || printf '%s\n' "$input"
    done | sed -n "1,${most_kept}p" | xargs -r cp -t "$fuzz/corpus/$1"
}

main() {
  heed_interrupts "$@"
  local directory target failed=0
  read_arguments "$@"
  trap 'end_attended 5' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  install_cargo_fuzz
  directory=$(target_dir)/fuzz
  build_targets "$directory"
  for target in "${targets[@]}"; do
    fuzz_one "$target" "$directory" || failed=1
  done
  ((failed == 0)) || exit 1
  say "nothing was found"
  exit # here, so that nothing is read of a file that was changed while it ran
}

main "$@"
