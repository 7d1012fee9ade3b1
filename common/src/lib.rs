//! What the API and the exporter share: ids, the destination's parts, SQL (one file per table), job
//! messages, the queue's topology, and telemetry.

pub mod admin;
pub mod cli;
pub mod db;
pub mod destination;
pub mod ids;
pub mod jobs;
pub mod queue;
pub mod telemetry;
