//! The system as a whole, seen from outside: through HTTP, the queues and the buckets.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it expects"
)]

mod abuse;
mod append;
mod auth;
mod broker;
mod clock;
mod confused_deputy;
mod crash;
mod crash_points;
mod dependencies;
mod destination;
mod drain;
mod export;
mod foreign_peer;
mod gate;
mod ingest;
mod isolation;
mod jobs;
mod limits;
mod matrix;
mod plans;
mod routes;
mod schema;
mod secrets;
mod security;
mod settings;
mod setup;
mod status;
mod stories;
mod system_events;
mod test_connection;
mod tls;
