-- What the role may do that the services log in as; :service is its name. Run by the owner after the
-- migrations, each time. The role deletes no event, run or object, and whatever it
-- reads or writes is of the organisation that its transaction names (V5).

grant usage on schema :schema to :service;
grant select, insert, update (name) on orgs to :service;
grant select, insert, update on org_sequences, export_state to :service;
grant select, insert on audit_events, audit_event_ids to :service;
grant select, insert on system_events to :service;
grant select, insert, update, delete on export_configs to :service;
grant select, insert, update on connection_tests, export_runs, export_objects to :service;

grant execute on function
    append_prepared_audit_events(text, text[], timestamptz[], text[], text[]),
    next_export_range(text, bigint, bigint, bigint),
    delivery_state(export_configs, export_state),
    look_at_due_orgs(float8, bigint),
    queue_due_probes(bigint),
    take_back_expired_tests(int),
    take_back_expired_runs(int),
    take_unpublished_tests(float8, bigint),
    take_unpublished_runs(float8, bigint),
    append_system_events(bigint, boolean),
    runs_wait(boolean),
    is_run_of_another_org(text, uuid),
    is_test_of_another_org(text, uuid)
to :service;
