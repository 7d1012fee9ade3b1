-- Which objects may have left a multipart upload behind that has to be ended.

-- True from before the first request that may begin an upload until it is known that none is open:
-- a worker may end, or an answer get lost, before the upload's id is known here.
alter table export_objects add column unfinished_uploads boolean not null default false;

-- Those that the worker who delivered the object, or gave it up, could not end.
create index export_objects_unfinished on export_objects (org_id)
    where unfinished_uploads and state <> 'planned';
