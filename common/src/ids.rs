//! Id types: an organisation's id, and one UUID type per kind of row, so that they cannot be mixed.

use std::{error::Error, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use uuid::Uuid;

/// An organisation's id, as the vendor names it: 1 to 64 of `[A-Za-z0-9_.-]`, not dots alone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrgId(String);

/// Why a text is not an [`OrgId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an organisation id is 1 to 64 of the characters A-Z a-z 0-9 _ . - and not dots alone")]
pub struct InvalidOrgId;

impl OrgId {
    /// The same rules as a JSON Schema has them (ECMA 262), but for the length.
    pub const PATTERN: &str = r"^\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*$";
    /// The longest, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OrgId {
    type Err = InvalidOrgId;

    fn from_str(text: &str) -> Result<Self, InvalidOrgId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let good = (1..=Self::MAX_BYTES).contains(&text.len())
            && text.bytes().all(allowed)
            && text.bytes().any(|b| b != b'.');
        good.then(|| Self(text.to_owned())).ok_or(InvalidOrgId)
    }
}

impl TryFrom<String> for OrgId {
    type Error = InvalidOrgId;

    fn try_from(text: String) -> Result<Self, InvalidOrgId> {
        text.parse()
    }
}

impl From<OrgId> for String {
    fn from(id: OrgId) -> Self {
        id.0
    }
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! sql_as {
    ($id:ty, $inner:ty) => {
        impl ToSql for $id {
            fn to_sql(
                &self,
                ty: &Type,
                out: &mut BytesMut,
            ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
                self.0.to_sql(ty, out)
            }

            fn accepts(ty: &Type) -> bool {
                <$inner as ToSql>::accepts(ty)
            }

            to_sql_checked!();
        }

        impl<'a> FromSql<'a> for $id {
            fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
                <$inner>::from_sql(ty, raw).map(Self)
            }

            fn accepts(ty: &Type) -> bool {
                <$inner as FromSql>::accepts(ty)
            }
        }
    };
}

sql_as!(OrgId, String);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $id:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $id(pub Uuid);

        impl $id {
            /// A new id (UUIDv7: ids made later sort later).
            #[allow(clippy::new_without_default, reason = "a new id differs every time")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $id {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        sql_as!($id, Uuid);
    };
}

uuid_id!(
    /// An export config.
    ConfigId
);
uuid_id!(
    /// An export run.
    RunId
);
uuid_id!(
    /// A connection test.
    TestId
);

/// A plan: one object's frozen content and key. It stands in the key, where it proves that an
/// object found there is ours, so it is wholly random (UUIDv4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(pub Uuid);

impl PlanId {
    /// A new random plan id.
    #[allow(clippy::new_without_default, reason = "a new id differs every time")]
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

sql_as!(PlanId, Uuid);

/// A worker's hold on a run or test. Every write of the worker names it; a write that finds another
/// one in the row touches nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseToken(pub Uuid);

impl LeaseToken {
    /// A new random token.
    #[allow(clippy::new_without_default, reason = "a new token differs every time")]
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

sql_as!(LeaseToken, Uuid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn org_ids_follow_the_rule() {
        for good in ["acme", "A.b_c-9", "..a", &"x".repeat(64)] {
            assert!(good.parse::<OrgId>().is_ok(), "{good}");
        }
        for bad in ["", ".", "...", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<OrgId>().is_err(), "{bad}");
        }
    }
}
