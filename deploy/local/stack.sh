#!/usr/bin/env bash
# The private PostgreSQL, RabbitMQ and S3/STS server of the demo, the tests, and of your own trials.
#
#   deploy/local/stack.sh up   [--dir DIR]    start what is not running (installs and builds it if need be)
#   deploy/local/stack.sh env  [--dir DIR]    print the "export ..." lines for the two binaries
#   deploy/local/stack.sh down [--dir DIR]    stop it and remove the directory with all its data
#
#   eval "$(deploy/local/stack.sh env)"       then: audit-export-api migrate, and so on
#
# For one server of a stack that is up, postgres or rabbitmq:
#
#   deploy/local/stack.sh kill    SERVICE [--dir DIR]    kill -9, or PostgreSQL's immediate shutdown
#   deploy/local/stack.sh start   SERVICE [--dir DIR]    start it again, on the same ports
#   deploy/local/stack.sh restart SERVICE [--dir DIR]    stop it in good order and start it again
#   deploy/local/stack.sh [--dir DIR] ctl ARGUMENTS...   rabbitmqctl ARGUMENTS...
#
# Everything lies in one directory: DIR, else $AUDIT_EXPORT_STACK_DIR, else one of yours in
# $XDG_STATE_HOME, $TMPDIR or /tmp. Stacks in different directories do not disturb one another. All
# servers listen on 127.0.0.1 only, on free ports chosen at the start, and anybody on this machine
# may log in to them: it is for development. Servers that run already are neither used nor touched.
# After a crash, "up" starts again what is missing, on the same ports where they are still free.
#
#   AUDIT_EXPORT_STACK_FSYNC=off    a faster PostgreSQL, whose commits survive a crash of its own
#                                   but not one of the machine (default: on)
#   AUDIT_EXPORT_LOCAL_AWS_BIN      a built local-aws program (default: built with cargo)

# shellcheck disable=SC2329 # some functions are called by traps or by composed names
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# The database, the role that the services log in as, and the one that owns the tables.
database=audit_export
service_role=audit_export
owner_role=audit_export_owner
region=eu-central-1
principal_arn=arn:aws:iam::111111111111:user/audit-export
port_attempts=5
cancelled=cancelled
umask 077

# ---- The directory ------------------------------------------------------------------------------
#
#   kept/       what was chosen once and stays: ports, secrets
#   run/        one file for each process: its number and start time
#   log/  conf/  postgres/  rabbitmq/  aws/
#   env         what `env` prints; written last, when all is up

default_dir() {
  local base
  [[ -z ${XDG_STATE_HOME:-} ]] || mkdir -p -- "$XDG_STATE_HOME" || true
  base=$(usable_base "${XDG_STATE_HOME:-}" "${TMPDIR:-}" /tmp) || die "no directory to write to; use --dir"
  printf '%s\n' "$base/audit-export-stack-$EUID"
}

marker=.audit-export-stack

# Takes the lock on the directory, which ends with this process. Whoever waited for it may find that
# the directory has been removed, or made anew, meanwhile.
lock_dir() {
  exec 8<"$dir" || return
  flock 8
  [[ /proc/self/fd/8 -ef $dir ]]
}

open_dir() {
  if [[ -e $dir || -L $dir ]]; then
    [[ -d $dir && -O $dir ]] || die "$dir is not a directory of yours"
    if [[ ! -e $dir/$marker ]]; then
      [[ -z $(ls -A -- "$dir") ]] || die "$dir is neither empty nor a stack's; choose another with --dir"
      made_dir=yes
    fi
  else
    mkdir -p -- "$(dirname -- "$dir")"
    made_dir=yes
    mkdir -- "$dir"
  fi
  dir=$(cd -- "$dir" && pwd -P)
  lock_dir || die "$dir was removed by another stack.sh at this moment; try again"

  chmod 700 -- "$dir"
  : >"$dir/$marker"
  mkdir -p -- "$dir"/{kept,run,log,conf,postgres,rabbitmq,aws/data}
  rm -f -- "$dir/run/$cancelled"
  ((EUID != 0)) || give_postgres_its_part
}

give_postgres_its_part() {
  id -- "$postgres_user" >/dev/null 2>&1 || die "there is no user $postgres_user to run PostgreSQL as"
  # Others may pass through, and read only what is theirs.
  chmod 711 -- "$dir"
  chmod 700 -- "$dir"/{kept,run,log,conf,rabbitmq,aws}
  chown -- "$postgres_user:" "$dir/postgres"
  as_postgres_user test -x "$dir/postgres" ||
    die "user $postgres_user cannot reach $dir: choose a directory with --dir whose parents all may enter"
}

# What was chosen before, or the output of the command, kept for the next time.
kept() { # NAME COMMAND...
  local file=$dir/kept/$1
  shift
  [[ -s $file ]] || "$@" >"$file"
  cat -- "$file"
}

# A port that stays the same unless somebody else has taken it meanwhile.
choose_port() { # NAME
  local file=$dir/kept/$1-port port
  port=$(cat -- "$file" 2>/dev/null) || port=
  if [[ -z $port ]] || is_listened_on "$port"; then
    port=$(free_port)
    printf '%s\n' "$port" >"$file"
  fi
  printf '%s\n' "$port"
}

port_of() { cat -- "$dir/kept/$1-port"; } # NAME

# For when a port turned out to be taken, though it did not look so.
forget_ports() { # SERVICE
  rm -f -- "$dir/kept/$1"{,-dist,-management}-port
  running epmd || rm -f -- "$dir/kept/epmd-port"
}

# ---- Starting -----------------------------------------------------------------------------------

services=(postgres epmd rabbitmq local-aws)

pidfile() { printf '%s\n' "$dir/run/$1"; }
logfile() { printf '%s\n' "$dir/log/$1.log"; }
running() { is_running "$(pidfile "$1")"; }

# Settings of the caller's own servers must not leak into ours.
forget_foreign_settings() {
  local variable
  for variable in "${!PG@}" "${!RABBITMQ_@}" "${!ERL_@}" NOTIFY_SOCKET; do unset "$variable"; done
  # An unlimited number of open files makes Erlang reserve gigabytes for them.
  local files
  files=$(ulimit -Sn)
  if [[ $files == unlimited ]] || ((files > 65536)); then ulimit -Sn 65536; fi
}

# Waits until the server answers; fails when it ends, when time is up, or when `up` is given up.
await_answer() { # SERVICE SECONDS COMMAND...
  local service=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [[ -e $dir/run/$cancelled ]] || ! running "$service" || ((SECONDS >= deadline)); then return 1; fi
    sleep 0.1
  done
  running "$service"
}

# Starts a service by calling start_SERVICE, and again on other ports where another process was
# quicker to take one. Reports a failure here, where the log still is.
start_service() { # SERVICE
  local service=$1 log began=$SECONDS
  log=$(logfile "$service")
  for ((attempt = 1; attempt <= port_attempts; attempt++)); do
    : >"$log"
    if "start_${service//-/_}" "$log"; then
      say "  $service is up ($((SECONDS - began)) s)"
      return 0
    fi
    # A signal to all of `up` may have reached this part of it first.
    sleep 0.2
    [[ ! -e $dir/run/$cancelled ]] || return 1
    says_port_taken "$log" || break
    stop_service "$service"
    forget_ports "$service"
    say "  $service: a port was taken by somebody else, trying another"
  done
  if running "$service"; then
    complain "$service does not answer"
  else
    complain "$service did not start"
  fi
  show_log_tail "$log"
  : >"$dir/run/$cancelled"
  return 1
}

postgres_url() { # ROLE DATABASE
  printf 'postgres://%s@127.0.0.1:%s/%s' "$1" "$(port_of postgres)" "$2"
}

psql_of_stack() { # DATABASE SQL
  "$(postgres_bin_dir)/psql" -X -q -A -t -v ON_ERROR_STOP=1 -c "$2" \
    "$(postgres_url postgres "$1")?connect_timeout=5"
}

# That the server on this port is this one, and not one that was quicker to take it.
postgres_answers() {
  [[ $(psql_of_stack postgres "select current_setting('data_directory')") == "$dir/postgres/data" ]]
}

start_postgres() { # LOG
  local bin data=$dir/postgres/data fsync port sync_options=() pid
  bin=$(postgres_bin_dir) || return
  # "start" and "restart" go by what "up" was told.
  fsync=${AUDIT_EXPORT_STACK_FSYNC:-$(kept fsync echo on)}
  printf '%s\n' "$fsync" >"$dir/kept/fsync"
  [[ $fsync == on ]] || sync_options=(--no-sync)

  if [[ ! -e $dir/kept/postgres-created ]]; then
    as_postgres_user rm -rf -- "$data"
    (cd / && as_postgres_user "$bin/initdb" -D "$data" -U postgres -A trust --encoding=UTF8 \
      --locale=C "${sync_options[@]}") >>"$1" 2>&1 || return
    as_postgres_user tee -a "$data/postgresql.conf" >/dev/null <<<"include 'stack.conf'"
  fi

  # After a crash it does not start while the number in its lock file is still in use, were it only
  # by its own remains, waiting to be reaped.
  pid=$(head -n 1 -- "$data/postmaster.pid" 2>/dev/null) || pid=0
  for _ in {1..100}; do
    is_zombie "$pid" || break
    sleep 0.1
  done

  port=$(choose_port postgres) || return
  # No socket file: its path would have to be short.
  as_postgres_user tee "$data/stack.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
max_connections = 400
fsync = $fsync
timezone = 'UTC'
log_timezone = 'UTC'
CONF

  # Not through as_postgres_user: what is launched has to become PostgreSQL, not wait for it.
  local as_user=()
  ((EUID != 0)) || as_user=(setpriv "--reuid=$postgres_user" "--regid=$postgres_user" --init-groups --)
  (cd / && launch "$(pidfile postgres)" "$1" "${as_user[@]}" "$bin/postgres" -D "$data")
  await_answer postgres 60 postgres_answers || return

  if [[ ! -e $dir/kept/postgres-created ]]; then
    create_database >>"$1" 2>&1 || return
    : >"$dir/kept/postgres-created"
  fi
}

# The owner may do more than an operator's needs to: tests make databases of their own.
create_database() {
  psql_of_stack postgres "create role $service_role login" &&
    psql_of_stack postgres "create role $owner_role login createdb in role pg_signal_backend" &&
    psql_of_stack postgres "create database $database owner $owner_role"
}

# A test may have restarted PostgreSQL with its own tools: its file then names the process.
adopt_postgres() {
  local pid data=$dir/postgres/data
  ! running postgres || return 0
  pid=$(head -n 1 -- "$data/postmaster.pid" 2>/dev/null) && [[ $pid =~ ^[0-9]+$ ]] || return 0
  if [[ $(as_postgres_user readlink "/proc/$pid/cwd" 2>/dev/null) == "$data" ]]; then
    identify "$pid" >"$(pidfile postgres)" || true
  fi
}

# Erlang's port mapper, started here and not by Erlang, which would leave it behind as a daemon.
start_epmd() { # LOG
  local port
  port=$(choose_port epmd) || return
  ERL_EPMD_PORT=$port ERL_EPMD_ADDRESS=127.0.0.1 \
    launch "$(pidfile epmd)" "$1" epmd
  await_answer epmd 10 is_listened_on "$port" && return
  # It ends without a word when another process has its port.
  running epmd || echo "epmd has ended: address already in use?" >>"$1"
  return 1
}

rabbitmq_node() { kept rabbitmq-node node_name; }
node_name() { printf 'audit-export-%s@localhost\n' "$(random_hex 4)"; }
rabbitmq_api() { printf 'http://guest:guest@127.0.0.1:%s/api\n' "$(port_of rabbitmq-management)"; }

rabbitmq_answers() {
  local node
  node=$(curl --noproxy '*' -fsS --max-time 5 "$(rabbitmq_api)/overview" | jq -r .node)
  [[ $node == "$(rabbitmq_node)" ]] && is_listened_on "$(port_of rabbitmq)"
}

start_rabbitmq() { # LOG
  local home=$dir/rabbitmq conf=$dir/conf port dist management
  if ! running epmd; then start_epmd "$1" || return; fi
  port=$(choose_port rabbitmq) || return
  dist=$(choose_port rabbitmq-dist) || return
  management=$(choose_port rabbitmq-management) || return

  cat >"$conf/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$port
management.tcp.ip = 127.0.0.1
management.tcp.port = $management
# Tests ask for the length of queues: no older than a second.
collect_statistics_interval = 1000
disk_free_limit.absolute = 50MB
log.console = false
log.file.level = info
CONF
  echo '[rabbitmq_management].' >"$conf/enabled_plugins"
  echo '[].' >"$conf/advanced.config"
  : >"$conf/rabbitmq-env.conf"

  # The program called directly, with every place it might write to set. RUNNING_UNDER_SYSTEMD makes
  # it become the server instead of waiting for it, so that its process number is the server's.
  HOME=$home \
    RUNNING_UNDER_SYSTEMD=1 \
    ERL_CRASH_DUMP_SECONDS=0 \
    RABBITMQ_NODENAME=$(rabbitmq_node) \
    RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
    RABBITMQ_NODE_PORT=$port \
    RABBITMQ_DIST_PORT=$dist \
    ERL_EPMD_PORT=$(port_of epmd) \
    ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_MNESIA_BASE=$home/data \
    RABBITMQ_LOG_BASE=$dir/log \
    RABBITMQ_LOGS=$1 \
    RABBITMQ_CONFIG_FILE=$conf/rabbitmq.conf \
    RABBITMQ_ADVANCED_CONFIG_FILE=$conf/advanced.config \
    RABBITMQ_CONF_ENV_FILE=$conf/rabbitmq-env.conf \
    RABBITMQ_ENABLED_PLUGINS_FILE=$conf/enabled_plugins \
    RABBITMQ_GENERATED_CONFIG_DIR=$conf/generated \
    RABBITMQ_PID_FILE=$home/pid \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}" \
    launch "$(pidfile rabbitmq)" "$1" "$(rabbitmq_bin_dir)/rabbitmq-server"
  await_answer rabbitmq 120 rabbitmq_answers
}

initial_aws_state() {
  jq -n --arg region "$region" --arg arn "$principal_arn" \
    --arg id "$(kept access-key-id new_access_key_id)" --arg secret "$(kept secret-access-key random_hex 20)" \
    '{region: $region, users: [{arn: $arn, accessKeyId: $id, secretAccessKey: $secret}], buckets: [], roles: []}'
}

new_access_key_id() { printf 'AKIA%s\n' "$(random_hex 8 | tr a-f G-L)"; }

start_local_aws() { # LOG
  local aws=$dir/aws
  if [[ ! -e $aws/state.json ]]; then
    initial_aws_state >"$aws/state.json.new"
    mv -- "$aws/state.json.new" "$aws/state.json"
  fi
  rm -f -- "$aws/address"
  launch "$(pidfile local-aws)" "$1" "$local_aws_bin" --listen 127.0.0.1:0 \
    --data "$aws/data" --state "$aws/state.json" --address-file "$aws/address"
  await_answer local-aws 20 test -s "$aws/address"
}

find_local_aws() {
  local_aws_bin=${AUDIT_EXPORT_LOCAL_AWS_BIN:-}
  if [[ -z $local_aws_bin ]]; then
    say "building local-aws (the first time this takes a few minutes)"
    # All of the workspace, so that its crates are built with the same features as elsewhere.
    build_programs "$dir/run/build.json" --workspace --bin local-aws || die "local-aws could not be built (see above)"
    local_aws_bin=$program_dir/local-aws
  fi
  [[ -x $local_aws_bin ]] || die "$local_aws_bin is not a program"
}

write_env() {
  local endpoint
  endpoint=$(<"$dir/aws/address")
  {
    # Settings of the caller's own that would mix with the stack's, or lead to another database.
    echo "unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE AWS_ENDPOINT_URL"
    echo "unset AUDIT_EXPORT_JWT_JWKS_URL"
    export_lines \
      DATABASE_URL "$(postgres_url "$service_role" "$database")" \
      DATABASE_OWNER_URL "$(postgres_url "$owner_role" "$database")" \
      AMQP_URL "amqp://guest:guest@127.0.0.1:$(port_of rabbitmq)/%2f" \
      AWS_ACCESS_KEY_ID "$(kept access-key-id new_access_key_id)" \
      AWS_SECRET_ACCESS_KEY "$(kept secret-access-key random_hex 20)" \
      AWS_REGION "$region" \
      AWS_ENDPOINT_URL_S3 "$endpoint" \
      AWS_ENDPOINT_URL_STS "$endpoint" \
      AUDIT_EXPORT_S3_PATH_STYLE true \
      AUDIT_EXPORT_JWT_SECRET "$(kept jwt-secret random_hex 32)" \
      AUDIT_EXPORT_JWT_ISSUER https://issuer.example.com \
      AUDIT_EXPORT_JWT_AUDIENCE audit-export \
      AUDIT_EXPORT_PRINCIPAL_ARN "$principal_arn" \
      AUDIT_EXPORT_TEST_SUPERUSER_URL "$(postgres_url postgres postgres)" \
      AUDIT_EXPORT_TEST_RABBITMQ_API "$(rabbitmq_api)" \
      AUDIT_EXPORT_TEST_STACK_DIR "$dir" \
      AUDIT_EXPORT_LOCAL_AWS_STATE "$dir/aws/state.json" \
      AUDIT_EXPORT_LOCAL_AWS_DATA "$dir/aws/data"
  } >"$dir/env.new"
  mv -- "$dir/env.new" "$dir/env"
}

export_lines() { # NAME VALUE...
  while (($#)); do
    printf 'export %s=%q\n' "$1" "$2"
    shift 2
  done
}

# ---- Stopping -----------------------------------------------------------------------------------

# How each service is told to end. RabbitMQ would take eight seconds to end politely, for data that
# are removed in the next moment.
declare -A stop_signal=([postgres]=INT [rabbitmq]=KILL [epmd]=TERM [local-aws]=TERM)

ask_to_stop() { signal_process "$(pidfile "$1")" "${stop_signal[$1]}"; } # SERVICE
stop_service() { stop_process "$(pidfile "$1")" "${stop_signal[$1]}" 30; } # SERVICE

# All at once, but for epmd, which RabbitMQ needs until it has ended.
stop_services() { # SERVICE...
  local service
  for service in "$@"; do [[ $service == epmd ]] || ask_to_stop "$service"; done
  for service in "$@"; do [[ $service == epmd ]] || stop_service "$service"; done
  for service in "$@"; do [[ $service != epmd ]] || stop_service "$service"; done
}

remove_dir() {
  local left
  # Only what is a stack's: the name may come from the command line.
  if [[ -e $dir/$marker ]]; then
    # A test that was killed may have left a file system mounted.
    for left in "$dir"/postgres/small-disk-*; do
      [[ ! -d $left ]] || umount -- "$left" 2>/dev/null || sudo -n umount -- "$left" 2>/dev/null || true
    done
    rm -rf -- "$dir"
  elif [[ -d $dir ]]; then
    rmdir --ignore-fail-on-non-empty -- "$dir"
  fi
}

# ---- Commands -----------------------------------------------------------------------------------

made_dir=
is_open=
up_finished=
started=()
jobs_of_up=()

# Whatever ends `up` early: what it started is stopped again, and a directory it made goes.
clean_up_after_up() {
  local status=$? job
  trap '' INT TERM HUP
  set +e
  end_attended 5
  [[ -z $up_finished ]] || return 0
  if [[ -n $is_open ]]; then
    # The starting functions are not killed but told to give up, so that no server is left unrecorded.
    : >"$dir/run/$cancelled"
    for job in "${jobs_of_up[@]}"; do wait "$job"; done
    stop_services "${started[@]}"
  fi
  if [[ -n $made_dir ]]; then remove_dir; fi
  complain "the stack is not up"
  exit "$((status ? status : 1))"
}

up() {
  local service job began=$SECONDS
  trap clean_up_after_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  "$project_root/deploy/local/install.sh" servers tools
  forget_foreign_settings
  open_dir
  is_open=yes

  adopt_postgres
  for service in "${services[@]}"; do
    running "$service" || started+=("$service")
  done
  if ((${#started[@]} == 0)) && [[ -e $dir/env ]]; then
    up_finished=yes
    say "the stack is already up in $dir"
    return
  fi
  if ! running local-aws; then find_local_aws; fi

  say "starting ${started[*]} in $dir"
  for service in "${started[@]}"; do
    # RabbitMQ starts epmd; on its own it is only needed where RabbitMQ is running without it.
    if [[ $service == epmd ]] && ! running rabbitmq; then continue; fi
    (
      # A signal to the whole group must not end these before they have recorded what they started.
      trap : INT TERM HUP
      start_service "$service"
    ) &
    jobs_of_up+=("$!")
  done
  for job in "${jobs_of_up[@]}"; do wait "$job" || exit 1; done

  write_env
  up_finished=yes
  say "the stack is up ($((SECONDS - began)) s)"
}

down() {
  if [[ ! -e $dir/$marker ]]; then
    say "there is no stack in $dir"
    return
  fi
  [[ -O $dir ]] || die "$dir is not yours"
  dir=$(cd -- "$dir" && pwd -P)
  lock_dir || return 0
  adopt_postgres
  stop_services "${services[@]}"
  remove_dir
  say "the stack in $dir is stopped and removed"
}

# Takes hold of a stack that is up, for what is done to one of its servers.
hold_stack() {
  [[ -e $dir/$marker && -e $dir/env ]] || die "no stack is up in $dir (stack.sh up starts one)"
  [[ -O $dir ]] || die "$dir is not yours"
  dir=$(cd -- "$dir" && pwd -P)
  lock_dir || die "$dir was removed by another stack.sh at this moment"
  rm -f -- "$dir/run/$cancelled"
  # What is launched has to be recorded, so a signal only makes the waiting for it end.
  trap ': >"$dir/run/$cancelled"' INT TERM HUP
  forget_foreign_settings
  adopt_postgres
}

# Without giving it a chance to put anything in order. It has ended when this returns.
kill_server() { # SERVICE
  local signal=KILL
  [[ $1 != postgres ]] || signal=QUIT
  hold_stack
  running "$1" || die "$1 is not running"
  stop_process "$(pidfile "$1")" "$signal" 30
  say "  $1 is killed"
}

start_server() { # SERVICE
  hold_stack
  if running "$1"; then
    say "  $1 is running"
  else
    start_on_same_ports "$1"
  fi
}

restart_server() { # SERVICE
  local signal=TERM
  [[ $1 != postgres ]] || signal=INT
  hold_stack
  running "$1" || die "$1 is not running"
  stop_process "$(pidfile "$1")" "$signal" 60
  start_on_same_ports "$1"
}

# Whoever uses the server knows its ports, and is not told of others.
start_on_same_ports() { # SERVICE
  local before
  before=$(cat -- "$dir/kept/$1"{,-dist,-management}-port 2>/dev/null || true)
  start_service "$1" || die "$1 is not up"
  [[ $(cat -- "$dir/kept/$1"{,-dist,-management}-port 2>/dev/null || true) == "$before" ]] ||
    die "$1 is up, but on another port: somebody else had taken the one it had"
}

run_rabbitmqctl() { # ARGUMENTS...
  local port
  [[ -e $dir/$marker ]] || die "no stack is up in $dir (stack.sh up starts one)"
  dir=$(cd -- "$dir" && pwd -P)
  forget_foreign_settings
  # Erlang's programs talk to one another as equals: this one listens, too.
  port=$(free_port)
  HOME=$dir/rabbitmq \
    ERL_CRASH_DUMP_SECONDS=0 \
    ERL_EPMD_PORT=$(port_of epmd) \
    ERL_EPMD_ADDRESS=127.0.0.1 \
    ERL_FLAGS="-kernel inet_dist_use_interface {127,0,0,1}" \
    RABBITMQ_NODENAME=$(rabbitmq_node) \
    RABBITMQ_CTL_DIST_PORT_MIN=$port \
    RABBITMQ_CTL_DIST_PORT_MAX=$port \
    RABBITMQ_CONF_ENV_FILE=$dir/conf/rabbitmq-env.conf \
    "$(rabbitmq_bin_dir)/rabbitmqctl" "$@" </dev/null
}

print_env() {
  local service
  [[ -e $dir/env ]] || die "no stack is up in $dir (stack.sh up starts one)"
  for service in "${services[@]}"; do
    running "$service" || complain "${0##*/}: $service is not running (stack.sh up starts it again)"
  done
  cat -- "$dir/env"
  if [[ -n ${HTTP_PROXY:-}${http_proxy:-}${ALL_PROXY:-}${all_proxy:-} ]]; then
    export_lines NO_PROXY "127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}" \
      no_proxy "127.0.0.1,localhost${no_proxy:+,$no_proxy}"
  fi
}

main() {
  heed_interrupts "$@"
  local command='' service='' arguments=()
  dir=${AUDIT_EXPORT_STACK_DIR:-}
  while (($#)); do
    case $1 in
      -h | --help)
        print_help "${BASH_SOURCE[0]}"
        exit
        ;;
      --dir)
        [[ -n ${2:-} ]] || die "--dir needs a directory"
        dir=$2
        shift
        ;;
      --dir=?*) dir=${1#--dir=} ;;
      up | down | env)
        [[ -z $command ]] || die "one command at a time (see --help)"
        command=$1
        ;;
      kill | start | restart)
        [[ -z $command ]] || die "one command at a time (see --help)"
        [[ ${2:-} == postgres || ${2:-} == rabbitmq ]] || die "$1 needs postgres or rabbitmq"
        command=$1 service=$2
        shift
        ;;
      ctl)
        [[ -z $command ]] || die "one command at a time (see --help)"
        command=$1 arguments=("${@:2}")
        break
        ;;
      *) die "unknown argument '$1' (see --help)" ;;
    esac
    shift
  done
  [[ -n $command ]] || die "say what to do: up, down, env, ... (see --help)"
  [[ -n $dir ]] || dir=$(default_dir)
  [[ $dir == /* ]] || dir=$PWD/$dir

  case $command in
    up) up ;;
    down) down ;;
    env) print_env ;;
    kill | start | restart) "${command}_server" "$service" ;;
    ctl) run_rabbitmqctl "${arguments[@]}" ;;
  esac
  exit # here, so that nothing is read of a file that was changed while it ran
}

main "$@"
