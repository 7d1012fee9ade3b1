# shellcheck shell=bash
# What run.sh and other scripts here share: servers and programs for one run alone, and an end that leaves
# nothing of them. Sourced by scripts that have set -euo pipefail.

# shellcheck disable=SC2329 # some functions are called by traps
# shellcheck source=deploy/local/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../deploy/local/lib.sh"

stack="$project_root/deploy/local/stack.sh"

work=
run_id=$$-$(random_hex 8)

headline() { say "" "=== $*"; }

# ---- Ending -------------------------------------------------------------------------------------

# From here on whatever ends the script cleans up.
clean_up_at_the_end() {
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  trap 'exec >/dev/null; exit 141' PIPE
}

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

# Ends what the last command that was attended has left running in its group.
end_its_remains() { # WHO
  local deadline=$((SECONDS + 3))
  while group_exists "$last_attended" && ((SECONDS < deadline)); do sleep 0.2; done
  if group_exists "$last_attended"; then
    say "ending the processes that $1 left"
    end_group "$last_attended" 10
  fi
}

# ---- Tools and servers --------------------------------------------------------------------------

# Leaves in tools_dir where the programs of a list of Python packages are: in the target directory,
# once for each version of that list, and made anew if that was not finished.
install_tools() { # TARGET-DIRECTORY LIST NAME HEADLINE
  local list=$2 venv python
  venv=$1/$3-$(sha256sum <"$list" | cut -c 1-12)
  # shellcheck disable=SC2034 # for the caller
  tools_dir=$venv/bin
  # Of several runs with one target directory only one makes the environment.
  exec 9<"$1"
  flock 9
  if [[ ! -e $venv/complete ]] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    headline "$4"
    python=$(python_with_venv) || die "no Python that can make virtual environments"
    rm -rf -- "$venv"
    attend "$python" -m venv "$venv"
    attend "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$list"
    : >"$venv/complete"
  fi
  exec 9<&-
}

start_stack() { # FSYNC
  local settings
  # Inherited by the servers and what uses them, and not by builds, which may talk to helpers of the
  # user's, such as a compiler cache, that are to stay.
  export AUDIT_EXPORT_TEST_RUN=$run_id
  AUDIT_EXPORT_STACK_FSYNC=$1 AUDIT_EXPORT_LOCAL_AWS_BIN=$program_dir/local-aws \
    attend "$stack" up --dir "$work/stack"
  settings=$("$stack" env --dir "$work/stack")
  eval "$settings"
}
