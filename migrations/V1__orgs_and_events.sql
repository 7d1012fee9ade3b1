-- Organisations and their audit events.
--
-- An event gets a sequence number without gaps, per organisation, under a lock that is held until
-- commit. So commit order is sequence order: a reader that has seen number N has seen all before it.

create table orgs (
    -- The vendor's own id: it appears in URLs, object keys and role session names.
    id          text primary key
                check (id ~ '^[A-Za-z0-9_.-]{1,64}$' and id !~ '^\.+$'),
    name        text not null,
    -- What the customer's trust policy asks for (sts:ExternalId). Made once, never changed.
    external_id text not null unique,
    created_at  timestamptz not null default now()
);

-- The one row per organisation that an append locks. Scheduler and exporter never wait on it.
create table org_sequences (
    org_id           text primary key references orgs,
    next_seq         bigint not null default 1,
    -- The newest recorded_at given out: days must never run backwards along the sequence.
    last_recorded_at timestamptz not null default 'epoch',
    -- Size of all lines ever appended, in bytes, line feeds included.
    total_bytes      bigint not null default 0
);

create table audit_events (
    org_id      text not null,
    seq         bigint not null,
    event_id    text not null,
    occurred_at timestamptz not null,
    recorded_at timestamptz not null,
    -- Size of all lines of this organisation up to and including this one, in bytes, line feeds
    -- included. It rises with seq, so a range of a given size is found by bisection, and what is
    -- pending is one subtraction.
    end_bytes   bigint not null,
    -- The exported line, without its line feed. Stored as it will be written, byte for byte.
    line        text not null,
    primary key (org_id, seq)
);

-- Which event ids were seen, for idempotent appends. Apart from the events, so that these can be
-- partitioned and dropped by age without losing de-duplication.
create table audit_event_ids (
    org_id      text not null,
    event_id    text not null,
    recorded_at timestamptz not null,
    primary key (org_id, event_id)
);
