#!/usr/bin/env bash
# Installs what the local stack, the demo and the tests need and this machine does not have.
#
#   deploy/local/install.sh [servers] [build] [tools] [python]     (default: all of them)
#
#   servers   PostgreSQL (14 or later) and RabbitMQ
#   build     a C compiler and pkg-config; Rust is looked for, not installed
#   tools     curl, jq
#   python    Python with venv, for one of the S3 servers that the tests use
#
# It uses apt-get, through sudo when not run by root; elsewhere it says what to install. What the
# packages would start by themselves is not started, and nothing that runs is restarted.
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

policy=/usr/sbin/policy-rc.d
policy_mark="# Temporary, by audit-export's install.sh: packages start no server."

missing_packages() { # GROUP...
  local group
  for group in "$@"; do
    case $group in
      servers)
        postgres_bin_dir >/dev/null || say postgresql
        rabbitmq_bin_dir >/dev/null || say rabbitmq-server
        ;;
      build)
        have cc || say build-essential
        have pkg-config || say pkg-config
        ;;
      tools)
        have curl || say curl
        have jq || say jq
        [[ -e /etc/ssl/certs/ca-certificates.crt ]] || [[ ! -e /etc/debian_version ]] || say ca-certificates
        ;;
      python) python_with_venv >/dev/null || say python3-venv ;;
      *) die "unknown group '$group' (see --help)" ;;
    esac
  done
}

check_rust() {
  local needed found
  needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$project_root/Cargo.toml" | head -n 1)
  have cargo || die "cargo was not found. Install Rust ${needed} or later: https://rustup.rs"
  found=$(in_project cargo --version) || die "cargo does not work here (see above)"
  read -r _ found _ <<<"$found"
  if [[ $(printf '%s\n' "$needed" "${found%%-*}" | sort -V | head -n 1) != "$needed" ]]; then
    die "cargo is $found, but $needed or later is needed: rustup update"
  fi
}

# Installing a server must start none: some packages would otherwise start theirs on the standard
# port. A policy that the machine already has is left as it is.
forbid_starts() {
  if [[ -e $policy ]] && ! grep -qF "$policy_mark" "$policy"; then return; fi
  trap allow_starts EXIT
  printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
  chmod 755 "$policy"
}

allow_starts() { rm -f -- "$policy"; }

# Another program's "apt-get update" makes ours fail at once, so it gets several chances. A third
# party's broken repository does, too, and need not matter: the installation itself decides.
update_lists() { # LOG
  local attempt
  for attempt in 1 2 3 4 5; do
    apt-get -q update >>"$1" 2>&1 && return
    grep -q 'Could not get lock' "$1" || return 0
    sleep "$attempt"
  done
}

# The part that runs as root.
install_as_root() { # GROUP...
  local log packages
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  # Two of these at once: the second waits, and looks again at what is missing. (Apt locks other files.)
  exec 9</etc/apt
  flock 9
  mapfile -t packages < <(missing_packages "$@")
  ((${#packages[@]})) || return 0
  log=$(mktemp)
  trap 'exit 130' INT
  trap 'exit 143' TERM
  forbid_starts
  update_lists "$log"
  if ! apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
    install --no-install-recommends --no-remove "${packages[@]}" >>"$log" 2>&1 9<&-; then
    show_log_tail "$log"
    rm -f -- "$log"
    die "apt-get could not install: ${packages[*]}"
  fi
  rm -f -- "$log"
}

become_root() { # COMMAND...
  if ((EUID == 0)); then
    "$@"
  elif [[ -t 0 ]]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

main() {
  local groups=("$@") packages wanted
  ((${#groups[@]})) || groups=(servers build tools python)

  wanted=$(missing_packages "${groups[@]}")
  mapfile -t packages < <(printf '%s' "$wanted")
  if ((${#packages[@]})); then
    have apt-get || die "please install (Debian's names): ${packages[*]}"
    ((EUID == 0)) || have sudo || die "please install as root: apt-get install ${packages[*]}"
    say "installing with apt-get: ${packages[*]} (half a minute or so)"
    become_root bash "${BASH_SOURCE[0]}" --as-root "${groups[@]}" ||
      die "not installed; please install as root: apt-get install ${packages[*]}"
    wanted=$(missing_packages "${groups[@]}")
    [[ -z $wanted ]] ||
      die "still missing after installing: ${wanted//$'\n'/ } (PostgreSQL must be $postgres_minimum or later)"
  fi

  case " ${groups[*]} " in *' build '*) check_rust ;; esac
}

case ${1:-} in
  -h | --help) print_help "${BASH_SOURCE[0]}" ;;
  --as-root)
    shift
    install_as_root "$@"
    ;;
  *) main "$@" ;;
esac
