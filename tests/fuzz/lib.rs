//! The properties of tests/src/properties, compiled on their own: the rest of the tests' harness would
//! bring in all that it needs to start servers.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a property panics where it does not hold"
)]

#[path = "../src/properties/mod.rs"]
pub mod properties;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../src/tokens.rs"]
pub mod tokens;
