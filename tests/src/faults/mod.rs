//! Proxies that stand between the services and their servers, and do to connections what networks
//! and servers do on bad days.

pub mod http;
mod port;
pub mod tcp;
