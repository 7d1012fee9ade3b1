-- What the system itself does for an organisation stands in that organisation's audit log, too. The
-- event is written down in the transaction of the change, and appended by the scheduler soon after:
-- so no change waits for the organisation's sequence, which an append may hold for long.

create table system_events (
    id          bigint generated always as identity primary key,
    org_id      text not null references orgs,
    event_id    uuid not null default gen_random_uuid(),
    occurred_at timestamptz not null default now(),
    action      text not null check (starts_with(action, 'audit_export.')),
    -- As they will be exported, but for insignificant white space.
    actor       json not null,
    targets     json not null,
    context     json,
    metadata    json not null
);
create index system_events_by_org on system_events (org_id, id);
alter table system_events enable row level security;
create policy one_organisation on system_events
    using (org_id = current_setting('audit_export.org', true));

-- Appends what has been written down, of p_limit organisations at most, or drops it where the operator
-- wants none of it. An organisation whose sequence is held by an append is left for the next time. Gives
-- the number of events.
create function append_system_events(p_limit bigint, p_wanted boolean) returns bigint
language plpgsql security definer set search_path from current as $$
declare
    v_org_id text;
    v_ids    text[];
    v_times  timestamptz[];
    v_heads  text[];
    v_tails  text[];
    v_count  bigint := 0;
begin
    for v_org_id in
        select distinct e.org_id from system_events e order by e.org_id limit p_limit
    loop
        perform from org_sequences s where s.org_id = v_org_id for no key update skip locked;
        continue when not found;
        with taken as (
            delete from system_events e where e.org_id = v_org_id returning e.*
        )
        select array_agg(t.event_id::text order by t.id),
               array_agg(t.occurred_at order by t.id),
               array_agg('"id":"' || t.event_id || '","orgId":' || to_json(t.org_id)
                   || ',"occurredAt":"'
                   || to_char(t.occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                   || '"' order by t.id),
               array_agg(',"action":' || to_json(t.action) || ',"actor":' || t.actor
                   || ',"targets":' || t.targets || coalesce(',"context":' || t.context, '')
                   || ',"metadata":' || t.metadata || '}' order by t.id)
          into v_ids, v_times, v_heads, v_tails
          from taken t;
        -- Another replica may have been quicker.
        continue when v_ids is null;
        v_count := v_count + cardinality(v_ids);
        if p_wanted then
            perform append_prepared_audit_events(v_org_id, v_ids, v_times, v_heads, v_tails);
        end if;
    end loop;
    return v_count;
end;
$$;
revoke all on function append_system_events(bigint, boolean) from public;

-- When delivery was last resumed. A failure soon after is of the same trouble, so the pauses between
-- probes go on growing from where they were: a test may pass where a delivery does not.
alter table export_state add column resumed_at timestamptz;
