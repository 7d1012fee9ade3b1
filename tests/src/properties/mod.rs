//! What must hold of everything that parses what others send, whatever they send.
//!
//! Each property takes any bytes, and panics where it does not hold. The tests here try some
//! thousands of inputs; `tests/fuzz` compiles the same files into fuzz targets, which try as many as
//! there is time for. The bytes are what comes in, as far as possible, so that a corpus can be read.

mod config;
mod destination;
mod events;
mod headers;
mod jobs;
mod json;
mod keys;
mod time;
mod tokens;
mod urls;

pub use config::config;
pub use destination::destination;
pub use events::events;
pub use headers::headers;
pub use jobs::jobs;
pub use keys::keys;
pub use tokens::tokens;
pub use urls::urls;

/// A property, by the name of its fuzz target and of its corpus.
pub type Property = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Property; 8] = [
    ("config", config),
    ("destination", destination),
    ("events", events),
    ("headers", headers),
    ("jobs", jobs),
    ("keys", keys),
    ("tokens", tokens),
    ("urls", urls),
];

#[cfg(test)]
mod tests;
