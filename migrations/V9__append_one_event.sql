-- A single event, as many products send them, is appended without the statement that sorts out the
-- duplicates of a batch: that alone took a sixth of the time. What the function does is as before.
create or replace function append_prepared_audit_events(
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
    v_line        text;
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

    if cardinality(p_event_ids) = 1 and cardinality(p_occurred_at) = 1
       and cardinality(p_heads) = 1 and cardinality(p_tails) = 1 then
        insert into audit_event_ids (org_id, event_id, recorded_at)
        values (p_org_id, p_event_ids[1], v_recorded_at)
            on conflict do nothing;
        accepted := found::int;
        last_seq := v_last_seq + accepted;
        if found then
            v_line := '{"seq":' || last_seq || ',' || p_heads[1] || v_middle || p_tails[1];
            v_bytes := v_bytes + octet_length(v_line) + 1;
            insert into audit_events
                   (org_id, seq, event_id, occurred_at, recorded_at, end_bytes, line)
            values (p_org_id, append_prepared_audit_events.last_seq, p_event_ids[1],
                    p_occurred_at[1], v_recorded_at, v_bytes, v_line);
        end if;
    else
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
    end if;

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
