//! What the end-to-end tests share: a world of its own for each test, with a database, a RabbitMQ
//! vhost, an S3/STS server, the API and workers, and helpers that speak the users' language.
//!
//! The servers are those that `tests/run.sh` starts. A server that is missing makes a test fail.

#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a harness panics where something is not as a test needs it"
)]

pub mod api;
pub mod attacks;
pub mod broker;
pub mod bucket;
pub mod checker;
pub mod customer;
pub mod database;
mod env;
pub mod events;
pub mod faults;
mod manners;
pub mod ministack;
pub mod org;
pub mod process;
pub mod project;
pub mod properties;
pub mod report;
pub mod schema;
pub mod servers;
pub mod tls;
pub mod tokens;
pub mod wait;
pub mod world;

pub use bucket::Bucket;
pub use customer::Customer;
pub use env::{required, tool};
pub use events::Event;
pub use org::Org;
pub use wait::{eventually, within};
pub use world::World;
