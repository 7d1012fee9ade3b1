#!/usr/bin/env bash
# How fast the services are, beside what a user would reach for instead, on this machine.
#
#   tests/bench.sh [--quick] [--events FILE] [SUBJECT...]
#
#   SUBJECT          what to measure, such as export; without any, everything there is
#   --quick          three minutes instead of half an hour: fewer repetitions, smaller numbers
#   --events FILE    audit events to use, NDJSON, plain or gzipped (default: made-up ones)
#
# It installs what this machine lacks and the tools that the services are compared with
# (tests/bench/peers.txt), builds for release, starts a PostgreSQL with fsync on, a RabbitMQ and S3
# servers in a temporary directory, and runs the benchmark (tests/bench). That prints a table with a
# row for each figure, and leaves it as bench/report.json in the target directory. The exit code is 0
# only if every goal is met. At the end, also after Ctrl-C, it stops what it has started and says
# whether any process was left. Whatever else the machine does meanwhile spoils the figures.

set -euo pipefail
# shellcheck source=tests/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

arguments=()

read_arguments() {
  while (($#)); do
    case $1 in
      -h | --help)
        print_help "${BASH_SOURCE[0]}"
        exit
        ;;
      --events)
        [[ -n ${2:-} ]] || die "--events needs a file (see --help)"
        add_events "$2"
        shift
        ;;
      --events=?*) add_events "${1#--events=}" ;;
      --quick) arguments+=("$1") ;;
      -*) die "unknown argument '$1' (see --help)" ;;
      *)
        grep -qs '^pub async fn measure(' "$project_root/tests/bench/$1.rs" || die "no subject '$1' (see --help)"
        arguments+=("$1")
        ;;
    esac
    shift
  done
}

# The benchmark runs elsewhere than the caller stands.
add_events() { # FILE
  [[ -f $1 && -r $1 ]] || die "there is no file $1 that can be read"
  arguments+=(--events "$(realpath -- "$1")")
}

build() {
  local packages=(audit-export-api audit-export-exporter audit-export-tests local-aws)
  headline "release build"
  build_programs "$work/build.json" --release "${packages[@]/#/--package=}" --bins || die "the build failed"
}

# What the figures depend on besides the code.
show_machine() {
  headline "machine"
  local files
  files=$(stat -f -c %T -- "$work")
  say "$(nproc) x $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)" \
    "$(awk '/^MemTotal/ { printf "%.1f GiB of memory", $2 / 1024 / 1024 }' /proc/meminfo), load $(cut -d ' ' -f 1-3 /proc/loadavg)" \
    "$("$(postgres_bin_dir)/postgres" --version), fsync on, files on $files"
  [[ $files != tmpfs ]] || complain "on tmpfs fsync costs nothing: TMPDIR can name a directory on a disk"
}

run_benchmark() { # REPORT
  local status=0
  headline "benchmark"
  export AUDIT_EXPORT_TEST_TOOLS=$tools_dir AUDIT_EXPORT_TEST_BIN_DIR=$program_dir
  # psql and pgbench of the server's version, and not Debian's wrapper, which would be measured, too.
  PATH=$(postgres_bin_dir):$PATH
  attend env --chdir="$project_root" "$program_dir/bench" --report "$1" "${arguments[@]}" || status=$?
  end_its_remains "the benchmark has"
  return "$status"
}

main() {
  heed_interrupts "$@"
  local target status=0
  read_arguments "$@"

  clean_up_at_the_end
  "$project_root/deploy/local/install.sh"
  work=$(make_work_dir bench)
  target=$(target_dir)
  mkdir -p -- "$target/bench"
  install_tools "$target" "$project_root/tests/bench/peers.txt" bench-peers "tools to compare with"
  build
  headline "servers"
  start_stack on
  show_machine
  run_benchmark "$target/bench/report.json" || status=$?
  exit "$status" # here, so that nothing is read of a file that was changed while it ran
}

main "$@"
