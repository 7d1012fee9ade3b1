#!/usr/bin/env bash
# The main job from end to end, against servers of its own on this machine: a customer's audit log
# is taken in and delivered to the customer's S3 bucket, and what lies there is compared with what
# was sent.
#
#   deploy/demo.sh [--once] [--events FILE]
#
#   --once           stop everything at the end, instead of leaving it up to play with until Ctrl-C
#   --events FILE    audit events to use, NDJSON, plain or gzipped (default: 2000 made-up ones)
#
# The exit code is the verdict: 0 if every event was delivered exactly once and in order. What is
# missing on this machine is installed first, and the programs are built. Everything the demo writes
# lies in one temporary directory, which it removes, as it stops what it has started: also after
# failures and Ctrl-C. Several demos can run at once.

# shellcheck disable=SC2329 # some functions are called by traps or by composed names
set -euo pipefail
# shellcheck source=deploy/local/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/local/lib.sh"

stack="$project_root/deploy/local/stack.sh"
org=acme
bucket=acme-audit-logs
prefix=audit
region=eu-central-1
customer_account=222222222222
role_arn=arn:aws:iam::$customer_account:role/audit-export-acme
batch_lines=500
batch_bytes=8000000
stall_seconds=120

# ---- Telling ------------------------------------------------------------------------------------

step_number=0
step() {
  step_number=$((step_number + 1))
  say "" "[$step_number] $*"
}

show_json() { jq . "$response" | sed 's/^/    /'; }

width() {
  local columns=120
  [[ ! -t 1 ]] || columns=$(tput cols 2>/dev/null) || columns=120
  printf '%s\n' "$((columns > 44 ? columns - 4 : 40))"
}

# ---- Starting and stopping ----------------------------------------------------------------------

work=
service_names=()

clean_up() {
  local status=$? name
  trap '' INT TERM HUP PIPE
  set +e
  end_attended 20
  [[ -n $work ]] || exit "$status"
  # Above 128 somebody has interrupted the demo; then no log explains anything.
  if ((status != 0 && status < 128)); then explain_failure; fi
  say "" "stopping what the demo has started"
  for name in "${service_names[@]}"; do signal_process "$work/$name.pid" TERM; done
  for name in "${service_names[@]}"; do stop_process "$work/$name.pid" TERM 15; done
  if "$stack" down --dir "$work/stack" >/dev/null; then
    rm -rf -- "$work"
  else
    complain "the servers in $work/stack could not be stopped"
  fi
  exit "$status"
}

# The log of the service that has ended by itself; of all of them if none has.
explain_failure() {
  local name ended=()
  for name in "${service_names[@]}"; do
    is_running "$work/$name.pid" || ended+=("$name")
  done
  for name in "${ended[@]:-${service_names[@]}}"; do
    [[ -z $name ]] || show_log_tail "$work/$name.log" 20
  done
}

# A service is ready when its admin listener says so. Its ports may be taken by somebody else between
# choosing and using them; then it gets others.
start_service() { # NAME COMMAND...
  local name=$1 admin deadline
  shift
  for _ in 1 2 3; do
    listen=127.0.0.1:$(free_port)
    admin=127.0.0.1:$(free_port)
    : >"$work/$name.log"
    AUDIT_EXPORT_LISTEN=$listen AUDIT_EXPORT_ADMIN_LISTEN=$admin \
      launch "$work/$name.pid" "$work/$name.log" "$@"
    [[ " ${service_names[*]} " == *" $name "* ]] || service_names+=("$name")
    deadline=$((SECONDS + 60))
    while is_running "$work/$name.pid" && ((SECONDS < deadline)); do
      if curl --noproxy '*' -fs --max-time 5 -o "$work/readiness" "http://$admin/readyz"; then
        say "    $name is ready"
        return
      fi
      sleep 0.2
    done
    says_port_taken "$work/$name.log" || break
    stop_process "$work/$name.pid" TERM 15
  done
  die "$name did not become ready"
}

services_run() {
  local name
  for name in "${service_names[@]}"; do
    is_running "$work/$name.pid" || die "$name has ended"
  done
}

# ---- Asking the API -----------------------------------------------------------------------------

# Leaves the status in http_status and the body in $response.
ask() { # TOKEN METHOD PATH [CURL-ARGUMENT...]
  local token=$1 method=$2 path=$3
  shift 3
  http_status=$(curl --noproxy '*' -sS --max-time 120 -o "$response" -w '%{http_code}' \
    -X "$method" -H "Authorization: Bearer $token" "$@" "$api_url$path") ||
    die "$method $path: no answer from the API"
}

# Like ask with a body of JSON, shown, for a status that is expected.
ask_for() { # STATUS TOKEN METHOD PATH JSON
  say "    $3 $4  $(jq -c . <<<"$5")"
  ask "$2" "$3" "$4" -H 'Content-Type: application/json' --data-binary "$5"
  expect "$3 $4" "$1"
}

expect() { # REQUEST STATUS-PATTERN
  # shellcheck disable=SC2053 # a pattern
  [[ $http_status == $2 ]] ||
    die "$1: status $http_status instead of $2: $(head -c 1000 -- "$response")"
}

# ---- The events ---------------------------------------------------------------------------------

is_gzip() { [[ $(od -An -N 2 -tx1 -- "$1") == ' 1f 8b' ]]; }

# One event a line, whatever the end of the last line and however many lines are empty.
collect_events() {
  if [[ -z $events_file ]]; then
    "$program_dir/generate-events" --count 2000
  elif is_gzip "$events_file"; then
    gzip -dc -- "$events_file"
  else
    cat -- "$events_file"
  fi | LC_ALL=C awk '/[^ \t\r]/' >"$work/events.ndjson" || die "the events could not be read"
  [[ -s $work/events.ndjson ]] || die "${events_file:-generate-events}: no events"
}

split_into_batches() {
  mkdir -- "$work/batches"
  LC_ALL=C awk -v dir="$work/batches" -v most_lines="$batch_lines" -v most_bytes="$batch_bytes" '
    NR == 1 || lines == most_lines || bytes + length($0) >= most_bytes {
      if (file) close(file)
      file = sprintf("%s/%06d", dir, ++batch)
      lines = bytes = 0
    }
    { lines++; bytes += length($0) + 1; print > file }' "$work/events.ndjson"
}

sent=0
accepted=0
duplicates=0
last_seq=0

ingest() { # BATCH-FILE...
  local batch
  for batch in "$@"; do
    ask "$platform_token" POST "/orgs/$org/audit-events" \
      -H 'Content-Type: application/x-ndjson' --data-binary "@$batch"
    expect "POST /orgs/$org/audit-events, lines from $((sent + 1)) on" 200
    sent=$((sent + $(wc -l <"$batch")))
    accepted=$((accepted + $(jq .accepted "$response")))
    duplicates=$((duplicates + $(jq .duplicates "$response")))
    last_seq=$(jq .lastSeq "$response")
  done
  say "    events taken in so far: $accepted; duplicates ignored: $duplicates"
}

# ---- The customer's AWS account -----------------------------------------------------------------

# What the customer's administrator would do in AWS, by the policies of `setup`. The S3 server reads its
# state whenever the file changes, so the file is replaced in one go.
set_up_customer_account() { # EXTERNAL-ID
  local state=$AUDIT_EXPORT_LOCAL_AWS_STATE
  jq --arg bucket "$bucket" --arg region "$region" --arg account "$customer_account" \
    --arg role "$role_arn" --arg id "$1" --slurpfile setup "$work/setup.json" '
      .buckets = [{name: $bucket, region: $region, account: $account}]
      | .roles = [{arn: $role, trustPolicy: $setup[0].trustPolicy, policy: $setup[0].permissionsPolicy}]
      | .roles[0].trustPolicy.Statement[0].Condition.StringEquals["sts:ExternalId"] = $id
    ' "$state" >"$state.new"
  mv -- "$state.new" "$state"
}

destination() {
  jq -cn --arg bucket "$bucket" --arg region "$region" --arg role "$role_arn" --arg prefix "$prefix" \
    '{bucket: $bucket, region: $region, roleArn: $role, prefix: $prefix}'
}

# ---- Waiting for the delivery -------------------------------------------------------------------

await_active() {
  local state deadline=$((SECONDS + 60))
  while ask "$admin_token" GET "/orgs/$org/audit-export/config" && expect "GET config" 200; do
    state=$(jq -r .state "$response")
    [[ $state != active ]] || return 0
    services_run
    ((SECONDS < deadline)) || die "delivery is still '$state': $(jq -r .lastError "$response")"
    sleep 0.3
  done
}

# Keys sort by sequence number within an organisation, since they hold it with leading zeros.
object_files() {
  local folder=$AUDIT_EXPORT_LOCAL_AWS_DATA/$bucket/$prefix/org_id=$org
  [[ ! -d $folder ]] || find "$folder" -type f -name '*.jsonl.gz' | LC_ALL=C sort
}

# The second number in the name of the last object.
delivered_seq() {
  object_files | awk -F / 'END { split($NF, part, "-"); printf "%d\n", part[2] }'
}

# Leaves the newest runs in $response; says why the last of them waits or has failed, if it does.
look_at_runs() {
  local trouble
  ask "$admin_token" GET "/orgs/$org/audit-export/runs?limit=100"
  expect "GET /orgs/$org/audit-export/runs" 200
  unfinished=$(jq '[.[] | select(.status == "queued" or .status == "running")] | length' "$response")
  trouble=$(jq -r '.[0] | select(.error != null) | "    the run is \(.status): \(.error)"' "$response")
  if [[ -n $trouble && $trouble != "$last_trouble" ]]; then say "$trouble"; fi
  last_trouble=$trouble
}

# Until the last event is in the bucket and no run is under way. Time is up when nothing moves.
await_delivery() {
  local seq before=-1 deadline=0 unfinished last_trouble=
  while :; do
    seq=$(delivered_seq)
    if ((seq != before)); then
      say "    $seq of $last_seq events are in the bucket"
      before=$seq
      deadline=$((SECONDS + stall_seconds))
    fi
    look_at_runs
    if ((seq >= last_seq && !unfinished)); then return; fi
    services_run
    ((SECONDS < deadline)) || die "nothing was delivered for $stall_seconds s"
    sleep 0.5
  done
}

show_runs() {
  {
    printf '%s\t' run started-by status objects events bytes first-seq last-seq
    printf 'finished\n'
    jq -r '.[] | [.id, .trigger, .status, .objectCount, .events, .bytes, .firstSeq, .lastSeq, .finishedAt]
      | map(. // "-") | @tsv' "$response"
  } | awk -F '\t' '{ printf "    %-36s  %-12s  %-9s  %7s  %7s  %9s  %9s  %9s  %s\n", $1, $2, $3, $4, $5, $6, $7, $8, $9 }'
}

show_bucket() {
  local files first
  mapfile -t files < <(object_files)
  ((${#files[@]})) || die "there are no objects in the bucket"
  say "    objects in s3://$bucket: ${#files[@]}"
  printf '      %s\n' "${files[@]:0:10}" | sed "s|$AUDIT_EXPORT_LOCAL_AWS_DATA/$bucket/||"
  ((${#files[@]} <= 10)) || say "      ..."
  first=${files[0]}
  say "    the first lines of the first one (zcat | head -n 3):"
  { gzip -dc -- "$first" || true; } | head -n 3 | cut -c "1-$(width)" | sed 's/^/    /'
}

# ---- The verdict --------------------------------------------------------------------------------
# Only with tools that are not ours: gzip, jq, awk, diff.

# The events as they were sent, less those whose id was there before, members in a fixed order.
expected_events() {
  paste <(jq -c .id "$work/events.ndjson") <(jq -cS . "$work/events.ndjson") |
    awk -F '\t' '!seen[$1]++ { print substr($0, length($1) + 2) }'
}

# The system's own entries in the log of the organisation are numbered and delivered like others.
own='(.action | startswith("audit_export."))'

check_object() { # FILE
  local name=${1##*/} day=${1%/*}
  day=${day##*/date=}
  gzip -dc -- "$1" | jq -r '"\(.seq) \(.recordedAt[0:10]) \(.orgId)"' |
    awk -v name="$name" -v day="$day" -v org="$org" '
      function fail(what) { print "    " name ": " what; failed = 1; exit 1 }
      NR == 1 && $1 + 0 != substr(name, 1, 20) + 0 { fail("begins with seq " $1) }
      $2 != day { fail("seq " $1 " was recorded on " $2) }
      $3 != org { fail("seq " $1 " belongs to " $3) }
      { last = $1 }
      END { if (!failed && last + 0 != substr(name, 22, 20) + 0) fail("ends with seq " last) }'
}

verify() {
  local file expected delivered own_events good=yes
  : >"$work/delivered.ndjson"
  while read -r file; do
    check_object "$file" || good=
    gzip -dc -- "$file" >>"$work/delivered.ndjson"
  done < <(object_files)

  jq .seq "$work/delivered.ndjson" | awk '
    $1 != NR { print "    event " NR " in the bucket has seq " $1; exit 1 }' || good=

  expected_events >"$work/expected"
  jq -cS "select($own | not) | del(.seq, .orgId, .recordedAt)" "$work/delivered.ndjson" >"$work/delivered"
  diff "$work/expected" "$work/delivered" >"$work/difference" || good=

  expected=$(wc -l <"$work/expected")
  delivered=$(wc -l <"$work/delivered")
  own_events=$(jq -c "select($own) | .seq" "$work/delivered.ndjson" | wc -l)
  say "    sent: $(wc -l <"$work/events.ndjson") events, $expected different ids; accepted: $accepted"
  say "    in the bucket: $((delivered + own_events)) events$(
    ((own_events == 0)) || echo ", $own_events of them the system's own"
  ), seq 1 to $(jq -s 'last.seq' <(tail -n 1 "$work/delivered.ndjson"))"
  if [[ -n $good ]] && ((accepted == expected && delivered == expected)); then
    say "" "$delivered of $expected events delivered, each exactly once, in order"
  else
    say "    the difference between what was sent (<) and delivered (>):"
    head -n 10 "$work/difference" | cut -c "1-$(width)" | sed 's/^/    /'
    say "" "WRONG: $delivered of $expected events delivered, and not each exactly once, in order"
    return 1
  fi
}

# ---- The story ----------------------------------------------------------------------------------

build() {
  # All of the workspace, so that its crates are built with the same features as for the tests.
  build_programs "$work/build.json" --workspace --bin audit-export-api --bin audit-export-exporter \
    --bin generate-events --bin local-aws ||
    die "the programs could not be built (see above)"
  export AUDIT_EXPORT_LOCAL_AWS_BIN=$program_dir/local-aws
}

start_system() {
  local settings
  attend "$stack" up --dir "$work/stack"
  settings=$("$stack" env --dir "$work/stack")
  eval "$settings"
  export AUDIT_EXPORT_INTERVAL_SECONDS=2 AUDIT_EXPORT_DRAIN_SECONDS=10
  # The logs go to files, where colours are only noise.
  export NO_COLOR=1
  attend "$program_dir/audit-export-api" migrate >"$work/migrate.log" 2>&1 || {
    show_log_tail "$work/migrate.log"
    die "the database could not be set up"
  }
  say "    the tables are there"
  start_service api "$program_dir/audit-export-api" serve
  api_url=http://$listen
  start_service exporter-1 "$program_dir/audit-export-exporter" run
  start_service exporter-2 "$program_dir/audit-export-exporter" run
  say "    the API listens at $api_url"
}

make_tokens() {
  platform_token=$("$program_dir/audit-export-api" token --scope "orgs:write audit-events:write")
  admin_token=$("$program_dir/audit-export-api" token --org "$org" --role admin)
}

show_test_result() {
  jq -r '
    (.stages[] | "\(if .success then "ok    " else "FAILED" end)  \(.name)  \(.durationMs) ms"),
    "success: \(.success)",
    (.error // empty),
    (.warning // empty | "warning: " + .)' "$response" | fold -s -w "$(width)" | sed 's/^/    /'
}

story() {
  step "Installing what is missing"
  "$project_root/deploy/local/install.sh"

  step "Building the API, the exporter and the local S3 server (the first time this takes minutes)"
  build

  step "Starting PostgreSQL, RabbitMQ, the S3 server, the API and two exporters"
  start_system

  step "The vendor registers its customer, Acme Corp"
  make_tokens
  ask_for "20[01]" "$platform_token" PUT "/orgs/$org" '{"name": "Acme Corp"}'
  show_json
  external_id=$(jq -er .externalId "$response") || die "the answer has no externalId"

  step "The vendor's product sends audit events of this customer"
  local batches half
  collect_events
  split_into_batches
  batches=("$work"/batches/*)
  half=$(((${#batches[@]} + 1) / 2))
  ingest "${batches[@]:0:half}"

  step "The customer asks what to set up in AWS; this is the script for the AWS CLI"
  local query="bucket=$bucket&region=$region&prefix=$prefix&roleName=${role_arn##*/}"
  say "    GET /orgs/$org/audit-export/setup?$query"
  ask "$admin_token" GET "/orgs/$org/audit-export/setup?$query"
  expect "GET /orgs/$org/audit-export/setup" 200
  cp -- "$response" "$work/setup.json"
  jq -r .awsCli "$response" | sed 's/^/    /'

  step "The customer makes a bucket and a role, but gets the external id wrong; a test says so"
  set_up_customer_account "not-the-external-id"
  ask_for 200 "$admin_token" POST "/orgs/$org/audit-export/test-connection" "$(destination)"
  show_test_result
  jq -e '.success == false' "$response" >/dev/null || die "the test should have failed"

  step "The customer puts $external_id into the role's trust policy and tests again"
  set_up_customer_account "$external_id"
  ask_for 200 "$admin_token" POST "/orgs/$org/audit-export/test-connection" "$(destination)"
  show_test_result
  jq -e '.success == true' "$response" >/dev/null || die "the test should have succeeded"

  step "The customer turns the export on; the saved destination is tested, then delivery begins"
  ask_for 201 "$admin_token" POST "/orgs/$org/audit-export/config" "$(destination)"
  show_json
  await_active
  say "    the export is active; a first run is asked for, later ones come by themselves"
  ask "$admin_token" POST "/orgs/$org/audit-export/runs"
  expect "POST /orgs/$org/audit-export/runs" "@(202|409)"

  step "More audit events, while the exporters deliver"
  if ((half < ${#batches[@]})); then ingest "${batches[@]:half}"; fi
  await_delivery
  show_runs

  step "What the customer finds in the bucket"
  show_bucket

  step "Is it what was sent?"
  verify
}

play() {
  local settings=$work/env.sh
  {
    "$stack" env --dir "$work/stack"
    export_line API "$api_url"
    export_line PLATFORM_TOKEN "$platform_token"
    export_line ADMIN_TOKEN "$admin_token"
    export_line BUCKET "$AUDIT_EXPORT_LOCAL_AWS_DATA/$bucket"
  } >"$settings"
  say "" "The system stays up until you press Ctrl-C. In another terminal:" "" \
    "  source $settings" ""
  sed 's/^/    /' "$settings"
  cat <<'HELP'

  curl -H "Authorization: Bearer $ADMIN_TOKEN" $API/orgs/acme/audit-export/config
  curl -H "Authorization: Bearer $ADMIN_TOKEN" $API/orgs/acme/audit-export/runs
  curl -H "Authorization: Bearer $ADMIN_TOKEN" $API/orgs/acme/audit-export/setup | jq -r .terraform
  curl -H "Authorization: Bearer $PLATFORM_TOKEN" -H 'Content-Type: application/x-ndjson' \
    $API/orgs/acme/audit-events --data-binary \
    '{"id":"my-1","occurredAt":"2026-01-01T00:00:00Z","action":"door.opened","actor":{"type":"user","id":"u1"}}'
  find $BUCKET -type f
HELP
  say "" "  Logs: $work/*.log"
  while :; do
    services_run
    attend sleep 1
  done
}

export_line() { printf 'export %s=%q\n' "$1" "$2"; }

main() {
  heed_interrupts "$@"
  local once=
  events_file=
  while (($#)); do
    case $1 in
      -h | --help)
        print_help "${BASH_SOURCE[0]}"
        exit
        ;;
      --once) once=yes ;;
      --events)
        [[ -n ${2:-} ]] || die "--events needs a file"
        events_file=$2
        shift
        ;;
      --events=?*) events_file=${1#--events=} ;;
      *) die "unknown argument '$1' (see --help)" ;;
    esac
    shift
  done
  [[ -z $events_file || (-f $events_file && -r $events_file) ]] || die "cannot read $events_file"

  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
  trap 'exec >/dev/null; exit 141' PIPE
  umask 077
  work=$(make_work_dir demo)
  response=$work/response

  story
  [[ -n $once ]] || play
  exit # here, so that nothing is read of a file that was changed while it ran
}

main "$@"
