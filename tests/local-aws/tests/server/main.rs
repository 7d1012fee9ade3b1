//! The server against the real SDK: what it allows and, above all, what it refuses and how.

mod clock;
mod identity;
mod objects;
mod world;
mod writes;
