-- What is exported where, and how far it has come.

-- One per organisation at most. The destination's version rises with every change of bucket,
-- region, role or prefix; a passed test counts only for the version that it tested.
create table export_configs (
    id               uuid primary key,
    org_id           text not null unique references orgs,
    bucket           text not null,
    region           text not null,
    role_arn         text not null,
    prefix           text not null,
    enabled          boolean not null,
    version          bigint not null,
    tested_version   bigint,
    last_tested_at   timestamptz,
    last_test_ok     boolean,
    last_error       text,
    last_exported_at timestamptz,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now()
);

-- One per organisation, made with it; it outlives the config, so that a config that is deleted and
-- made again goes on where the last one stopped.
create table export_state (
    org_id        text primary key references orgs,
    -- The last sequence number that is delivered.
    cursor_seq    bigint not null default 0,
    -- The last version that was given to a destination: versions are never used twice.
    last_version  bigint not null default 0,
    -- False until the first config: only then may a start other than the beginning be chosen.
    started       boolean not null default false,
    -- When the scheduler looks next whether a run is due; null while delivery is not active.
    next_check_at timestamptz,
    -- Set while delivery is paused because of the customer's side.
    paused_at     timestamptz,
    pause_class   text,
    pause_error   text,
    next_probe_at timestamptz,
    probe_failures int not null default 0,
    -- Runs in a row that ended without a result because of our side.
    internal_failures int not null default 0,
    check ((paused_at is null) = (next_probe_at is null))
);
create index export_state_next_check on export_state (next_check_at)
    where next_check_at is not null;
create index export_state_next_probe on export_state (next_probe_at)
    where next_probe_at is not null;

-- The state of an organisation's delivery, decided in this one place.
create function delivery_state(c export_configs, s export_state) returns text
language sql immutable as $$
    select case
        when c.id is null then 'not_configured'
        when not c.enabled then 'disabled'
        when s.paused_at is not null then 'paused'
        when c.tested_version is distinct from c.version then 'awaiting_test'
        else 'active'
    end;
$$;

-- Tests of a destination: one asked for by an admin, one that a save queues, a probe of a paused
-- destination, or one submitted by another program.
create table connection_tests (
    id               uuid primary key,
    org_id           text not null references orgs,
    trigger          text not null check (trigger in ('manual', 'automatic', 'probe', 'submitted')),
    -- The version of the stored config that is tested; null for settings that are not stored.
    version          bigint,
    bucket           text not null,
    region           text not null,
    role_arn         text not null,
    prefix           text not null,
    state            text not null default 'queued'
                     check (state in ('queued', 'running', 'succeeded', 'failed', 'superseded')),
    lease_token      uuid,
    lease_expires_at timestamptz,
    attempts         int not null default 0,
    stages           jsonb not null default '[]',
    error_class      text,
    error            text,
    warning          text,
    reply_to         text,
    correlation_id   text,
    created_at       timestamptz not null default now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    published_at     timestamptz
);
-- The system's own tests of one organisation never pile up.
create unique index connection_tests_one_own on connection_tests (org_id)
    where state in ('queued', 'running') and trigger in ('automatic', 'probe');
create index connection_tests_queued on connection_tests (published_at nulls first)
    where state = 'queued';
create index connection_tests_leases on connection_tests (lease_expires_at)
    where state = 'running';

create table export_runs (
    id                  uuid primary key,
    org_id              text not null references orgs,
    trigger             text not null
                        check (trigger in ('schedule', 'manual', 'continuation', 'submitted')),
    state               text not null default 'queued'
                        check (state in ('queued', 'running', 'succeeded', 'failed')),
    -- Not claimed before this time: a run that was given back waits.
    not_before          timestamptz not null default now(),
    lease_token         uuid,
    lease_expires_at    timestamptz,
    -- Claims so far, and how many of them ended with an expired lease in a row.
    attempts            int not null default 0,
    lost_leases         int not null default 0,
    destination_version bigint,
    -- What was delivered.
    first_seq           bigint,
    last_seq            bigint,
    events              bigint not null default 0,
    bytes               bigint not null default 0,
    objects             int not null default 0,
    -- The failure, or while queued the reason why the run was given back.
    error_class         text,
    error_code          text,
    error               text,
    warning             text,
    reply_to            text,
    correlation_id      text,
    created_at          timestamptz not null default now(),
    started_at          timestamptz,
    finished_at         timestamptz,
    published_at        timestamptz
);
create unique index export_runs_one_active on export_runs (org_id)
    where state in ('queued', 'running');
create index export_runs_newest on export_runs (org_id, created_at desc, id desc);
create index export_runs_queued on export_runs (not_before) where state = 'queued';
create index export_runs_leases on export_runs (lease_expires_at) where state = 'running';

-- Plans and what became of them. A plan belongs to the organisation, not to the run: whoever
-- claims next adopts it and never cuts its range anew.
create table export_objects (
    plan_id             uuid primary key,
    org_id              text not null references orgs,
    run_id              uuid not null references export_runs,
    destination_version bigint not null,
    bucket              text not null,
    region              text not null,
    prefix              text not null,
    key                 text not null,
    codec               text not null,
    encoder_version     int not null,
    first_seq           bigint not null,
    last_seq            bigint not null check (last_seq >= first_seq),
    state               text not null default 'planned'
                        check (state in ('planned', 'stored', 'abandoned')),
    -- SHA-256 of every attempt that may have become visible; one in all but the rarest cases.
    sha256_candidates   bytea[] not null default '{}',
    upload_id           text,
    events              bigint,
    bytes               bigint,
    sha256              bytea,
    etag                text,
    version_id          text,
    created_at          timestamptz not null default now(),
    stored_at           timestamptz
);
create unique index export_objects_one_planned on export_objects (org_id) where state = 'planned';
create unique index export_objects_stored on export_objects (org_id, first_seq)
    where state = 'stored';
create index export_objects_by_run on export_objects (run_id);

-- The next range to export after p_after: at most p_max_events events and p_max_bytes bytes of
-- lines (but at least one event), all recorded on one UTC day. No row when nothing is pending.
--
-- recorded_at and end_bytes rise with seq, so the end is found by bisection over the primary key,
-- whatever the number of pending events.
create function next_export_range(
    p_org_id     text,
    p_after      bigint,
    p_max_events bigint,
    p_max_bytes  bigint
) returns table (first_seq bigint, last_seq bigint, recorded_on date)
language plpgsql stable as $$
declare
    v_day_end   timestamptz;
    v_end_bytes bigint;
    v_good      bigint;
    v_bad       bigint;
    v_middle    bigint;
begin
    select e.seq, (e.recorded_at at time zone 'UTC')::date,
           e.end_bytes - octet_length(e.line) - 1 + p_max_bytes
      into first_seq, recorded_on, v_end_bytes
      from audit_events e
     where e.org_id = p_org_id and e.seq > p_after
     order by e.seq
     limit 1;
    if not found then
        return;
    end if;
    v_day_end := (recorded_on + 1)::timestamp at time zone 'UTC';

    select e.seq into v_bad
      from audit_events e
     where e.org_id = p_org_id and e.seq < first_seq + p_max_events
     order by e.seq desc
     limit 1;
    v_bad := v_bad + 1;
    v_good := first_seq;
    -- Everything up to v_good fits; nothing from v_bad on does. The last one is tried first, as
    -- most ranges end there.
    v_middle := v_bad - 1;
    while v_good + 1 < v_bad loop
        perform from audit_events e
          where e.org_id = p_org_id and e.seq = v_middle
            and e.recorded_at < v_day_end and e.end_bytes <= v_end_bytes;
        if found then
            v_good := v_middle;
        else
            v_bad := v_middle;
        end if;
        v_middle := (v_good + v_bad) / 2;
    end loop;
    last_seq := v_good;
    return next;
end;
$$;
