-- Row-level security: the role that the services log in as is not the owner of the tables, and sees
-- and changes the rows of one organisation only, the one that its transaction names:
--
--     set local audit_export.org = 'acme';
--
-- Without the setting it sees nothing. The owner is not held to it: migrations, and the functions
-- below that have to look across organisations. Each of them does one thing and takes no condition
-- from its caller. What the role is granted stands in grants.sql.

do $$
declare
    v_table text;
begin
    foreach v_table in array array[
        'org_sequences', 'audit_events', 'audit_event_ids', 'export_configs', 'export_state',
        'connection_tests', 'export_runs', 'export_objects'
    ] loop
        execute format('alter table %I enable row level security', v_table);
        -- It says both what is seen and what may be written.
        execute format(
            'create policy one_organisation on %I
                 using (org_id = current_setting(''audit_export.org'', true))', v_table);
    end loop;
end;
$$;
alter table orgs enable row level security;
create policy one_organisation on orgs using (id = current_setting('audit_export.org', true));

-- The vendor's own code may call this one, and needs no right on any table.
alter function append_audit_events(text, text[]) security definer set search_path from current;

-- Tests of the system's own, of the stored destinations of these organisations, as far as they have
-- one and none is under way.
create function queue_own_tests(p_trigger text, p_org_ids text[])
returns table (org_id text, id uuid)
language sql as $$
    insert into connection_tests
           (id, org_id, trigger, version, bucket, region, role_arn, prefix, published_at)
    select gen_random_uuid(), c.org_id, p_trigger, c.version, c.bucket, c.region, c.role_arn,
           c.prefix, now()
      from export_configs c
     where c.org_id = any (p_org_ids)
        on conflict do nothing
    returning connection_tests.org_id, connection_tests.id;
$$;

-- Looks at the organisations whose time has come and sets when each is looked at next. One that is
-- active and has something pending, be it an upload that was left open within the hour, gets a run;
-- one that waits for a test and has none under way gets a test. What is queued counts as published:
-- the caller publishes it now. Gives a row for each organisation that was looked at ('look'), and for
-- each run and test.
create function look_at_due_orgs(p_interval_seconds float8, p_limit bigint)
returns table (kind text, org_id text, id uuid)
language sql security definer set search_path from current as $$
    with due as (
        select s.org_id, s.cursor_seq, delivery_state(c, s) as state
          from export_state s
          left join export_configs c on c.org_id = s.org_id
         where s.next_check_at <= now()
         order by s.next_check_at
         limit p_limit
           for no key update of s skip locked
    ), looked_at as (
        update export_state s
           set next_check_at = case when d.state in ('active', 'awaiting_test')
               then now() + make_interval(secs => p_interval_seconds) end
          from due d
         where s.org_id = d.org_id
    ), runs as (
        insert into export_runs (id, org_id, trigger, published_at)
        select gen_random_uuid(), d.org_id, 'schedule', now()
          from due d
         where d.state = 'active'
           and (d.cursor_seq < (select q.next_seq - 1 from org_sequences q
                                 where q.org_id = d.org_id)
                or exists (select from export_objects o
                            where o.org_id = d.org_id
                              and (o.unfinished_uploads or o.upload_id is not null)
                              and o.state <> 'planned'
                              and coalesce(o.stored_at, o.created_at) > now() - interval '1 hour'))
            on conflict do nothing
        returning id, org_id
    )
    select 'look', d.org_id, null from due d
    union all
    select 'run', r.org_id, r.id from runs r
    union all
    select 'test', t.org_id, t.id
      from queue_own_tests('automatic', array(
               select d.org_id from due d where d.state = 'awaiting_test')) t;
$$;

-- Queues a probe, which is a test, for each paused organisation whose probe is due. The test's end
-- sets the real time of the next probe; a minute is for a test that never ends.
create function queue_due_probes(p_limit bigint) returns table (org_id text, id uuid)
language sql security definer set search_path from current as $$
    with due as (
        select s.org_id
          from export_state s
         where s.next_probe_at <= now()
         order by s.next_probe_at
         limit p_limit
           for no key update of s skip locked
    ), looked_at as (
        update export_state s set next_probe_at = now() + interval '1 minute'
          from due d
         where s.org_id = d.org_id
    )
    select t.org_id, t.id
      from queue_own_tests('probe', array(select d.org_id from due d)) t;
$$;

-- Puts tests whose worker has gone back into the queue; one that took down several workers fails.
-- Gives their number.
create function take_back_expired_tests(p_max_attempts int) returns bigint
language sql security definer set search_path from current as $$
    with expired as (
        select id from connection_tests
         where state = 'running' and lease_expires_at < now()
           for update skip locked
    ), taken_back as (
        update connection_tests t
           set state = case when t.attempts < p_max_attempts then 'queued' else 'failed' end,
               error_class = case when t.attempts < p_max_attempts then null else 'internal' end,
               error = case when t.attempts < p_max_attempts then null
                   else 'the test could not be carried out; it will be tried again' end,
               finished_at = case when t.attempts < p_max_attempts then null else now() end,
               lease_token = null, lease_expires_at = null, published_at = null
          from expired e
         where t.id = e.id
        returning t.id
    )
    select count(*) from taken_back;
$$;

-- Puts runs whose worker has gone back into the queue. One that took down several workers in turn
-- fails, and its organisation is looked at again after a pause that grows with every such failure.
-- Gives their number.
create function take_back_expired_runs(p_max_lost_leases int) returns bigint
language sql security definer set search_path from current as $$
    with expired as (
        select id, org_id, lost_leases + 1 >= p_max_lost_leases as given_up from export_runs
         where state = 'running' and lease_expires_at < now()
           for no key update skip locked
    ), checked as (
        -- Out of the agreed order of locks, so it must not wait.
        select s.org_id from export_state s
         where s.org_id in (select e.org_id from expired e where e.given_up)
           and s.next_check_at is not null
           for no key update skip locked
    ), later as (
        update export_state s
           set internal_failures = s.internal_failures + 1,
               next_check_at = now() + least(
                   interval '1 minute' * 2 ^ least(s.internal_failures, 30),
                   interval '1 hour')
          from checked c
         where s.org_id = c.org_id
    ), taken_back as (
        update export_runs r
           set state = case when e.given_up then 'failed' else 'queued' end,
               lost_leases = r.lost_leases + 1,
               error_class = case when e.given_up then 'internal' end,
               error_code = case when e.given_up then 'workers_lost' end,
               error = case when e.given_up
                   then 'several workers ended while they worked on this run; it will be tried again' end,
               finished_at = case when e.given_up then now() end,
               lease_token = null, lease_expires_at = null, published_at = null
          from expired e
         where r.id = e.id
        returning r.id
    )
    select count(*) from taken_back;
$$;

-- Queued tests that were not published, or so long ago that the message counts as lost. They count as
-- published: the caller publishes them now.
create function take_unpublished_tests(p_after_seconds float8, p_limit bigint)
returns table (org_id text, id uuid)
language sql security definer set search_path from current as $$
    with due as (
        select id from connection_tests
         where state = 'queued'
           and (published_at is null
                or published_at < now() - make_interval(secs => p_after_seconds))
         order by published_at nulls first
         limit p_limit
           for update skip locked
    )
    update connection_tests t set published_at = now()
      from due d
     where t.id = d.id
    returning t.org_id, t.id;
$$;

-- Likewise, runs that are due.
create function take_unpublished_runs(p_after_seconds float8, p_limit bigint)
returns table (org_id text, id uuid)
language sql security definer set search_path from current as $$
    with due as (
        select id from export_runs
         where state = 'queued' and not_before <= now()
           and (published_at is null
                or published_at < now() - make_interval(secs => p_after_seconds))
         order by not_before
         limit p_limit
           for no key update skip locked
    )
    update export_runs r set published_at = now()
      from due d
     where r.id = d.id
    returning r.org_id, r.id;
$$;

-- Whether runs have been due for a while and nobody has had a slot for them, those that were given
-- back because of a failure among them or not.
create function runs_wait(p_failed_too boolean) returns boolean
language sql stable security definer set search_path from current as $$
    select exists (select from export_runs
                    where state = 'queued'
                      and not_before < now() - interval '2 seconds'
                      and (error_class is null or p_failed_too));
$$;

-- Whether an id that a job message names is that of another organisation's run, or test.
create function is_run_of_another_org(p_org_id text, p_id uuid) returns boolean
language sql stable security definer set search_path from current as $$
    select exists (select from export_runs where id = p_id and org_id <> p_org_id);
$$;
create function is_test_of_another_org(p_org_id text, p_id uuid) returns boolean
language sql stable security definer set search_path from current as $$
    select exists (select from connection_tests where id = p_id and org_id <> p_org_id);
$$;

-- Nobody calls a function of the schema without having been allowed to.
revoke all on function
    append_audit_events(text, text[]),
    append_prepared_audit_events(text, text[], timestamptz[], text[], text[]),
    next_export_range(text, bigint, bigint, bigint),
    delivery_state(export_configs, export_state),
    queue_own_tests(text, text[]),
    look_at_due_orgs(float8, bigint),
    queue_due_probes(bigint),
    take_back_expired_tests(int),
    take_back_expired_runs(int),
    take_unpublished_tests(float8, bigint),
    take_unpublished_runs(float8, bigint),
    runs_wait(boolean),
    is_run_of_another_org(text, uuid),
    is_test_of_another_org(text, uuid)
from public;
