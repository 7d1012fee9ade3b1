//! The system under faults of the servers themselves: these tests kill and restart what all tests
//! share, so they are a program of their own.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it expects"
)]

mod alarm;
mod consumer_timeout;
mod fairness;
mod isolation_cost;
mod setting;
mod soak;
