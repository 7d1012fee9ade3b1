-- The two ways into audit_events. Both lock the organisation's sequence row until the end of the
-- calling transaction. Callers inside a larger transaction therefore call them last, take
-- organisations in sorted order, and are ready to repeat on 40P01 and 40001.
--
-- Their own SQLSTATEs: AE001 unknown organisation, AE002 an event is refused.

-- Appends events whose lines were prepared by the API. The exported line is
--     {"seq":N,  head  ,"recordedAt":"…"  tail
-- so the caller's bytes are kept and nothing is parsed here.
create function append_prepared_audit_events(
    p_org_id      text,
    p_event_ids   text[],
    p_occurred_at timestamptz[],
    p_heads       text[],
    p_tails       text[],
    out accepted   bigint,
    out duplicates bigint,
    out last_seq   bigint
) language plpgsql as $$
declare
    v_last_seq    bigint;
    v_recorded_at timestamptz;
    v_bytes       bigint;
    v_middle      text;
begin
    select s.next_seq - 1, s.last_recorded_at, s.total_bytes
      into v_last_seq, v_recorded_at, v_bytes
      from org_sequences s
     where s.org_id = p_org_id
       for no key update;
    if not found then
        raise exception 'no organisation has the id %', p_org_id using errcode = 'AE001';
    end if;

    -- Read the clock only now: a time taken before the wait for the lock could lie before the
    -- times of events that were numbered meanwhile.
    v_recorded_at := greatest(clock_timestamp(), v_recorded_at);
    v_middle := ',"recordedAt":"'
        || to_char(v_recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"';

    with incoming as (
        select *
          from unnest(p_event_ids, p_occurred_at, p_heads, p_tails)
               with ordinality as e (event_id, occurred_at, head, tail, position)
    ), unseen as (
        insert into audit_event_ids (org_id, event_id, recorded_at)
        select p_org_id, i.event_id, v_recorded_at from incoming i
            on conflict do nothing
        returning event_id
    ), fresh as (
        -- Of an id that stands twice in one batch, the first stays.
        select distinct on (i.event_id) i.*
          from incoming i
          join unseen u on u.event_id = i.event_id
         order by i.event_id, i.position
    ), numbered as (
        select f.*, v_last_seq + row_number() over (order by f.position) as seq
          from fresh f
    ), lines as (
        select n.*, '{"seq":' || n.seq || ',' || n.head || v_middle || n.tail as line
          from numbered n
    ), appended as (
        insert into audit_events
               (org_id, seq, event_id, occurred_at, recorded_at, end_bytes, line)
        select p_org_id, l.seq, l.event_id, l.occurred_at, v_recorded_at,
               v_bytes + sum(octet_length(l.line) + 1) over (order by l.seq), l.line
          from lines l
         order by l.seq
        returning seq, end_bytes
    )
    select count(*), coalesce(max(a.seq), v_last_seq), coalesce(max(a.end_bytes), v_bytes)
      into accepted, last_seq, v_bytes
      from appended a;

    duplicates := cardinality(p_event_ids) - accepted;
    if accepted > 0 then
        update org_sequences s
           set next_seq = append_prepared_audit_events.last_seq + 1,
               last_recorded_at = v_recorded_at,
               total_bytes = v_bytes
         where s.org_id = p_org_id;
    end if;
end;
$$;

-- Appends events given as JSON texts, each one object of the form that the API takes: id,
-- occurredAt, action, actor, and optionally targets, context, metadata. For the vendor's own
-- transactions:
--
--     select * from append_audit_events('acme', array[
--         '{"id":"a1","occurredAt":"2026-01-31T09:00:00Z","action":"user.login",
--           "actor":{"type":"user","id":"u-17"}}']);
--
-- The values are exported byte for byte as given; only line breaks between tokens are removed.
create function append_audit_events(
    p_org_id text,
    p_events text[],
    out accepted   bigint,
    out duplicates bigint,
    out last_seq   bigint
) language plpgsql as $$
declare
    c_max_event_bytes constant int := 256 * 1024;
    v_event       text;
    v_index       bigint := -1;
    v_json        json;
    v_field       record;
    v_values      jsonb;
    v_org         text := to_json(p_org_id)::text;
    v_problem     text;
    v_event_ids   text[] := '{}';
    v_occurred_at timestamptz[] := '{}';
    v_heads       text[] := '{}';
    v_tails       text[] := '{}';
begin
    foreach v_event in array p_events loop
        v_index := v_index + 1;
        if v_event is null then
            raise exception 'event %: is null', v_index using errcode = 'AE002';
        end if;
        if octet_length(v_event) > c_max_event_bytes then
            raise exception 'event %: is larger than 256 KiB', v_index using errcode = 'AE002';
        end if;
        if v_event ~ '(^|[^\\])(\\\\)*\\u0000' then
            raise exception 'event %: contains a NUL character', v_index using errcode = 'AE002';
        end if;
        -- In valid JSON a raw line break stands only between tokens, from where it can go.
        perform v_event::json;
        v_json := translate(v_event, E'\n\r', '')::json;
        if json_typeof(v_json) <> 'object' then
            raise exception 'event %: is not a JSON object', v_index using errcode = 'AE002';
        end if;

        -- One parse gives every field as its own text, unchanged.
        v_values := '{}';
        for v_field in select key, value::text as value from json_each(v_json) loop
            if v_field.key not in
               ('id', 'occurredAt', 'action', 'actor', 'targets', 'context', 'metadata') then
                raise exception 'event %: the field % is not known', v_index, v_field.key
                    using errcode = 'AE002';
            end if;
            if v_values ? v_field.key then
                raise exception 'event %: the field % stands twice', v_index, v_field.key
                    using errcode = 'AE002';
            end if;
            v_values := v_values || jsonb_build_object(v_field.key, v_field.value);
        end loop;
        v_problem := audit_event_problem(v_json);
        if v_problem is not null then
            raise exception 'event %: %', v_index, v_problem using errcode = 'AE002';
        end if;

        v_event_ids := v_event_ids || (v_json ->> 'id');
        v_occurred_at := v_occurred_at || (v_json ->> 'occurredAt')::timestamptz;
        v_heads := v_heads || ('"id":' || (v_values ->> 'id') || ',"orgId":' || v_org
            || ',"occurredAt":' || (v_values ->> 'occurredAt'));
        v_tails := v_tails
            || (',"action":' || (v_values ->> 'action') || ',"actor":' || (v_values ->> 'actor')
            || coalesce(',"targets":' || (v_values ->> 'targets'), '')
            || coalesce(',"context":' || (v_values ->> 'context'), '')
            || coalesce(',"metadata":' || (v_values ->> 'metadata'), '') || '}');
    end loop;

    select p.accepted, p.duplicates, p.last_seq
      into accepted, duplicates, last_seq
      from append_prepared_audit_events(p_org_id, v_event_ids, v_occurred_at, v_heads, v_tails) p;
exception
    when invalid_text_representation or untranslatable_character then
        raise exception 'event %: is not valid JSON', v_index using errcode = 'AE002';
    when datetime_field_overflow or invalid_datetime_format then
        raise exception 'event %: occurredAt is not a time that exists', v_index
            using errcode = 'AE002';
end;
$$;

-- What is wrong with an event, or null: it must have the required fields in their types and keep off
-- the names that are the system's own.
create function audit_event_problem(p_event json) returns text
language sql immutable as $$
    select case
        when json_typeof(p_event -> 'id') is distinct from 'string'
             or octet_length(p_event ->> 'id') not between 1 and 256
            then 'id must be a string of 1 to 256 bytes'
        when json_typeof(p_event -> 'occurredAt') is distinct from 'string'
             or (p_event ->> 'occurredAt') !~*
                '^\d{4}-\d\d-\d\dt\d\d:\d\d:\d\d(\.\d+)?(z|[+-]\d\d:\d\d)$'
            then 'occurredAt must be an RFC 3339 time with an offset'
        when json_typeof(p_event -> 'action') is distinct from 'string'
             or octet_length(p_event ->> 'action') not between 1 and 256
            then 'action must be a string of 1 to 256 bytes'
        when starts_with(p_event ->> 'action', 'audit_export.')
            then 'actions that begin with audit_export. are reserved'
        when json_typeof(p_event -> 'actor') is distinct from 'object'
             or json_typeof(p_event #> '{actor,type}') is distinct from 'string'
             or json_typeof(p_event #> '{actor,id}') is distinct from 'string'
            then 'actor must be an object with the strings type and id'
        when json_typeof(p_event -> 'targets') not in ('array', 'null')
            then 'targets must be an array'
        when json_typeof(p_event -> 'context') not in ('object', 'null')
            then 'context must be an object'
        when json_typeof(p_event -> 'metadata') not in ('object', 'null')
            then 'metadata must be an object'
    end;
$$;
