-- The account that must own a bucket, where it is not the role's; and the KMS key that objects are
-- encrypted with, where the bucket's own setting is not to decide. Both are parts of the destination.
alter table connection_tests add column bucket_owner text, add column kms_key_arn text;
alter table export_configs
    add column bucket_owner text,
    add column kms_key_arn  text,
    -- Rises with every save, and with nothing else: what an admin has read, and may ask not to be
    -- overwritten since.
    add column revision     bigint not null default 1;

-- As before, with the new parts.
create or replace function queue_own_tests(p_trigger text, p_org_ids text[])
returns table (org_id text, id uuid)
language sql as $$
    insert into connection_tests
           (id, org_id, trigger, version, bucket, region, role_arn, prefix, bucket_owner,
            kms_key_arn, published_at)
    select gen_random_uuid(), c.org_id, p_trigger, c.version, c.bucket, c.region, c.role_arn,
           c.prefix, c.bucket_owner, c.kms_key_arn, now()
      from export_configs c
     where c.org_id = any (p_org_ids)
        on conflict do nothing
    returning connection_tests.org_id, connection_tests.id;
$$;
