//! Who is calling, and what they may do.
//!
//! A request carries a Bearer JWT, signed with the shared secret (HS256) or with a key of the
//! identity provider's JWKS (RS256, ES256, EdDSA). Which algorithm checks a token is fixed by the
//! key, never by the token: its header only says where to look for the key.

mod caller;
mod jwks;
#[cfg(test)]
mod test_keys;
mod verify;

pub(crate) use caller::CallerKey;
pub use caller::{Caller, Role, Scope};
pub use jwks::{Jwks, JwksUrl};
pub use verify::{Authenticator, NewToken, sign};

/// The longest token that is looked at, in bytes. One that names a thousand organisations fits.
pub const MAX_TOKEN_BYTES: usize = 48 * 1024;
/// How far clocks may be apart, in seconds.
pub const LEEWAY_SECONDS: u64 = 30;
/// The shortest secret that HS256 may have, in bytes (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;
