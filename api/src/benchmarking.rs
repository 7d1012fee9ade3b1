//! Parts of the API on their own, for whoever measures them.

pub use crate::scheduler::Scheduler;
