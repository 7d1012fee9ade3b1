-- Which objects may have left multipart uploads behind that have to be ended. An upload whose id is
-- known stands in upload_id.

-- Whether there may be others: true from before the request that begins an upload until its id is
-- recorded, since a worker may end, or the answer get lost, in between.
alter table export_objects add column unfinished_uploads boolean not null default false;

-- Those that the worker who delivered the object, or gave it up, has not ended.
create index export_objects_left_open on export_objects (org_id)
    where (unfinished_uploads or upload_id is not null) and state <> 'planned';
