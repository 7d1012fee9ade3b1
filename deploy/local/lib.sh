# shellcheck shell=bash
# What the scripts here and in tests/ share: messages, processes, ports, and where programs are.
# Sourced by scripts that have set -euo pipefail. Linux only: it reads /proc.

project_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Each argument on a line of its own.
say() { printf '%s\n' "$@"; }
complain() { printf '%s\n' "$@" >&2; }

die() {
  complain "${0##*/}: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The comment at the head of a script is its help.
print_help() { # SCRIPT
  sed -n '2,${/^#/!q; s/^# \{0,1\}//p}' "$1"
}

[[ -r /proc/self/stat ]] || die "these scripts need Linux (they read /proc)"

# A relative CARGO_TARGET_DIR is meant from where the caller stands, but cargo runs in the project.
if [[ -n ${CARGO_TARGET_DIR:-} && $CARGO_TARGET_DIR != /* ]]; then
  export CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR
fi

# rustup's default place is on the PATH of login shells only.
if ! have cargo && [[ -x ${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo ]]; then
  PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
fi

random_hex() { # BYTES
  od -An -v -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}

show_log_tail() { # LOG [LINES]
  [[ -s $1 ]] || return 0
  complain "--- the end of $1:"
  tail -n "${2:-20}" -- "$1" | cut -c 1-400 >&2
  complain "---"
}

# ---- Where programs are -------------------------------------------------------------------------

postgres_minimum=14

# Debian keeps each version's programs off the PATH; other systems answer through pg_config.
postgres_bin_dir() {
  local dir version
  while read -r dir; do
    [[ -x $dir/initdb && -x $dir/postgres && -x $dir/psql ]] || continue
    version=$("$dir/postgres" --version) || continue
    [[ $version =~ ([0-9]+) ]] || continue
    ((BASH_REMATCH[1] >= postgres_minimum)) || continue
    printf '%s\n' "$dir"
    return 0
  done < <(
    printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV
    pg_config --bindir 2>/dev/null || true
  )
  return 1
}

# The rabbitmq-server on the PATH is often a wrapper that changes the user and writes to /var.
rabbitmq_bin_dir() {
  local dir
  for dir in /usr/lib/rabbitmq/bin /opt/rabbitmq/sbin; do
    if [[ -x $dir/rabbitmq-server ]]; then
      printf '%s\n' "$dir"
      return 0
    fi
  done
  return 1
}

# A Python that can make virtual environments: Debian's cannot without a package of its own.
python_with_venv() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
      printf '%s\n' "$python"
      return 0
    fi
  done
  return 1
}

# ---- Directories --------------------------------------------------------------------------------

# PostgreSQL refuses to run as root; then it runs as this user.
postgres_user=postgres

as_postgres_user() {
  if ((EUID == 0)); then
    setpriv --reuid="$postgres_user" --regid="$postgres_user" --init-groups -- "$@"
  else
    "$@"
  fi
}

# The first of the directories in which this user may write and PostgreSQL's user may walk.
usable_base() { # DIRECTORY...
  local base
  for base in "$@"; do
    [[ -n $base && -d $base && -w $base ]] || continue
    # A root that has yet to install PostgreSQL has no such user, and /tmp is open to all.
    if ((EUID != 0)) || as_postgres_user test -x "$base" 2>/dev/null || [[ $base == /tmp ]]; then
      (cd -- "$base" && pwd -P)
      return 0
    fi
  done
  return 1
}

# A fresh directory of ours for one run of a script; PostgreSQL's user may pass through, not read.
make_work_dir() { # NAME
  local base dir
  base=$(usable_base "${TMPDIR:-}" /tmp) || die "no temporary directory that can be written to"
  dir=$(mktemp -d -- "$base/audit-export-$1.XXXXXX")
  ((EUID != 0)) || chmod 711 -- "$dir"
  printf '%s\n' "$dir"
}

# ---- Processes ----------------------------------------------------------------------------------

# A process by more than its number: numbers are given out again, but not with the same start time
# within one boot. Prints nothing for a process that has ended, reaped or not. Only builtins: a child
# of this shell could be ended by the very signal that makes the answer important.
identify() { # PID
  local stat='' fields boot
  { read -r -d '' stat <"/proc/$1/stat"; } 2>/dev/null || [[ -n $stat ]] || return 1
  # The name in brackets may hold anything; the fields are counted from behind it.
  read -r -a fields <<<"${stat##*) }"
  [[ ${fields[0]} != [ZX] ]] || return 1
  read -r boot </proc/sys/kernel/random/boot_id
  printf '%s %s %s\n' "$1" "${fields[19]}" "$boot"
}

# Whether this number still belongs to a process that has ended but has not been reaped.
is_zombie() { # PID
  local stat=''
  { read -r -d '' stat <"/proc/$1/stat"; } 2>/dev/null || true
  [[ ${stat##*) } == [ZX]* ]]
}

# Starts a server in a session of its own, so that a Ctrl-C reaches the script and not the server.
# File descriptor 8 is stack.sh's lock, which a server must not hold on to.
launch() { # PIDFILE LOG COMMAND...
  local pidfile=$1 log=$2
  shift 2
  setsid "$@" </dev/null >>"$log" 2>&1 8<&- &
  identify "$!" >"$pidfile" || true
  # So that bash does not announce its end.
  disown "$!"
}

is_running() { # PIDFILE
  local recorded
  recorded=$(cat "$1" 2>/dev/null) || return 1
  [[ -n $recorded && $(identify "${recorded%% *}") == "$recorded" ]]
}

signal_process() { # PIDFILE SIGNAL
  local recorded
  is_running "$1" || return 0
  read -r recorded _ <"$1"
  kill "-$2" "$recorded" 2>/dev/null || true
}

# Asks a process to end, waits for it and the helpers in its group, and kills them when time is up.
stop_process() { # PIDFILE SIGNAL SECONDS
  local pid deadline=$((SECONDS + $3))
  if is_running "$1"; then
    read -r pid _ <"$1"
    kill "-$2" "$pid" 2>/dev/null || true
    while is_running "$1" || { group_exists "$pid" && ((SECONDS < deadline)); }; do
      if ((SECONDS >= deadline)); then
        complain "process $pid did not end within $3 s and is killed"
        break
      fi
      sleep 0.1
    done
    end_group "$pid"
  fi
  rm -f -- "$1"
}

# Whether a process group has members that still run. (kill -0 would also count the ended ones that
# nobody has reaped yet, which in containers can take seconds.)
group_exists() { # PGID
  # Some processes end between being listed and being read.
  { cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v group="$1" '
    { sub(/^.*\) /, "") }
    $1 !~ /[ZX]/ && $3 == group { found = 1 }
    END { exit !found }'
}

end_group() { # PGID [SECONDS]
  local deadline=$((SECONDS + ${2:-0}))
  kill -TERM -- "-$1" 2>/dev/null || return 0
  while ((SECONDS < deadline)) && group_exists "$1"; do sleep 0.1; done
  kill -KILL -- "-$1" 2>/dev/null || true
}

# A script that starts this one with & makes it deaf to SIGINT, which a shell cannot undo for itself.
heed_interrupts() { # THE-SCRIPT'S-ARGUMENTS...
  local ignored
  ignored=$(sed -n 's/^SigIgn:[[:space:]]*//p' "/proc/$$/status")
  if ((16#$ignored & 2)) && env --default-signal=INT true 2>/dev/null; then
    exec env --default-signal=INT "$BASH" "$0" "$@"
  fi
}

# Runs a long command so that a signal to this script is acted on at once: bash puts traps off while
# a command runs in the foreground, but not while it waits. The command has a group of its own, by
# which end_attended ends all of it.
attended=
last_attended=
attend() { # COMMAND...
  local status=0
  setsid "$@" </dev/null 8<&- 9<&- &
  attended=$!
  wait "$attended" || status=$?
  # shellcheck disable=SC2034 # for callers that look at what the command has left
  last_attended=$attended
  attended=
  return "$status"
}

end_attended() { # SECONDS
  [[ -n $attended ]] || return 0
  end_group "$attended" "$1"
  wait "$attended" 2>/dev/null || true
  attended=
}

# ---- Ports --------------------------------------------------------------------------------------

has_socket_on() { # PORT
  local hex
  printf -v hex '%04X' "$1"
  grep -Eq "^ *[0-9]+: [0-9A-F]+:$hex " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# Unlike has_socket_on not true of connections that a killed server has left to time out.
is_listened_on() { # PORT
  local hex
  printf -v hex '%04X' "$1"
  grep -Eq "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# A port below the range from which the kernel serves outgoing connections. Another process may
# still take it first: whoever starts a server on it must be ready to try again.
free_port() {
  local first=10240 last port
  read -r last _ </proc/sys/net/ipv4/ip_local_port_range
  ((last > first + 2000)) || last=65536
  for _ in {1..200}; do
    port=$((first + (RANDOM * 32768 + RANDOM) % (last - first)))
    if ! has_socket_on "$port"; then
      printf '%s\n' "$port"
      return 0
    fi
  done
  die "found no free port on 127.0.0.1"
}

# What servers write when they find their port taken: PostgreSQL and Rust, or Erlang.
says_port_taken() { # LOG
  [[ -r $1 ]] && grep -Eiq 'address already in use|eaddrinuse|dist_port_already_used' -- "$1"
}

# ---- Cargo --------------------------------------------------------------------------------------

in_project() { cd -- "$project_root" && exec "$@"; }

target_dir() {
  (in_project cargo metadata --format-version 1 --no-deps) | jq -r .target_directory
}

# Builds, and leaves in program_dir where cargo has put the programs: asking cargo is right also
# where another target or directory has been configured.
build_programs() { # MESSAGES-FILE CARGO-BUILD-ARGUMENTS...
  local messages=$1 program
  shift
  attend env --chdir="$project_root" cargo build --message-format=json-render-diagnostics "$@" \
    >"$messages" || return
  program=$(jq -r 'select(.reason == "compiler-artifact" and .executable != null) | .executable' \
    "$messages" | tail -n 1)
  [[ -n $program ]] || die "cargo build $* made no program"
  # shellcheck disable=SC2034 # for the caller
  program_dir=${program%/*}
}
