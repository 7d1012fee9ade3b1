-- How objects are compressed. It is a part of the destination. Exporters from before this version know
-- gzip only: zstd may be chosen once all of them are newer.
alter table connection_tests
    add column compression text not null default 'gzip' check (compression in ('gzip', 'zstd'));
alter table export_configs
    add column compression text not null default 'gzip' check (compression in ('gzip', 'zstd'));

-- As before, with the new part.
create or replace function queue_own_tests(p_trigger text, p_org_ids text[])
returns table (org_id text, id uuid)
language sql as $$
    insert into connection_tests
           (id, org_id, trigger, version, bucket, region, role_arn, prefix, bucket_owner,
            kms_key_arn, compression, published_at)
    select gen_random_uuid(), c.org_id, p_trigger, c.version, c.bucket, c.region, c.role_arn,
           c.prefix, c.bucket_owner, c.kms_key_arn, c.compression, now()
      from export_configs c
     where c.org_id = any (p_org_ids)
        on conflict do nothing
    returning connection_tests.org_id, connection_tests.id;
$$;
