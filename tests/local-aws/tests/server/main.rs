//! The server against the real SDK: what it allows and, above all, what it refuses and how.

mod clock;
mod encryption;
mod identity;
mod objects;
mod owners;
mod world;
mod writes;
