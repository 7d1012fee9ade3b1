//! `system_events`: what the system itself does for an organisation, on its way into that organisation's
//! audit log. Written in the transaction of the change by whoever makes it; appended by the API's
//! scheduler.

use serde_json::{Map, Value, json};

use super::{Client, Error, Tenant};
use crate::destination::{AccountId, Destination, KmsKeyArn};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A configuration was saved where there was none.
    ConfigCreated,
    /// A configuration was saved over another.
    ConfigUpdated,
    /// A configuration was deleted.
    ConfigDeleted,
    /// Somebody asked for a test.
    TestRequested,
    /// A test that is no probe passed.
    TestSucceeded,
    /// A test that is no probe failed.
    TestFailed,
    /// Delivery was paused: the destination refused.
    DeliveryPaused,
    /// Delivery goes on after a pause.
    DeliveryResumed,
    /// Somebody asked for an export.
    ExportRequested,
}

impl Action {
    /// The event's `action`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigCreated => "audit_export.config.created",
            Self::ConfigUpdated => "audit_export.config.updated",
            Self::ConfigDeleted => "audit_export.config.deleted",
            Self::TestRequested => "audit_export.test.requested",
            Self::TestSucceeded => "audit_export.test.succeeded",
            Self::TestFailed => "audit_export.test.failed",
            Self::DeliveryPaused => "audit_export.delivery.paused",
            Self::DeliveryResumed => "audit_export.delivery.resumed",
            Self::ExportRequested => "audit_export.export.requested",
        }
    }
}

/// Who did it, and from where.
#[derive(Debug, Clone)]
pub struct Author {
    actor: Value,
    context: Option<Value>,
}

impl Author {
    /// The system itself.
    #[must_use]
    pub fn system() -> Self {
        Self {
            actor: json!({"type": "system", "id": "audit-export"}),
            context: None,
        }
    }

    /// A person, as the token's issuer names him or her; the address that the request came from, and
    /// the client's `User-Agent`.
    #[must_use]
    pub fn user(id: &str, address: Option<&str>, user_agent: Option<&str>) -> Self {
        let mut context = Map::new();
        let known = [("location", address), ("userAgent", user_agent)];
        for (name, value) in known {
            if let Some(value) = value {
                context.insert(name.to_owned(), value.into());
            }
        }
        Self {
            actor: json!({"type": "user", "id": id}),
            context: (!context.is_empty()).then(|| context.into()),
        }
    }
}

/// A destination as it may stand in an event.
#[must_use]
pub fn shown(destination: &Destination) -> Value {
    let Destination {
        bucket,
        region,
        role_arn,
        prefix,
        bucket_owner,
        kms_key_arn,
        compression,
    } = destination;
    json!({
        "bucket": bucket.as_str(),
        "region": region.as_str(),
        "roleArnMasked": role_arn.masked(),
        "prefix": prefix.as_str(),
        "bucketOwner": bucket_owner.as_ref().map(AccountId::as_str),
        "kmsKeyArn": kms_key_arn.as_ref().map(KmsKeyArn::as_str),
        "compression": compression.as_str(),
    })
}

/// Writes down what has been done, in the transaction that does it. `target` is the kind and the id of
/// what it was done to. No value may hold a whole role ARN.
///
/// # Errors
/// Postgres's.
pub async fn record(
    db: &Tenant<'_>,
    action: Action,
    author: &Author,
    target: (&str, &str),
    metadata: &Value,
) -> Result<(), Error> {
    let sql = "
        insert into system_events (org_id, action, actor, targets, context, metadata)
        values ($1, $2, $3, $4, $5, $6)";
    let Author { actor, context } = author;
    let targets = json!([{"type": target.0, "id": target.1}]);
    let action = action.as_str();
    db.execute(
        sql,
        &[db.org(), &action, actor, &targets, context, metadata],
    )
    .await?;
    Ok(())
}

/// Appends what was written down, of `limit` organisations at most, to their audit logs; where it is
/// not `wanted` there, drops it. Returns the number of events.
///
/// # Errors
/// Postgres's.
pub async fn append(db: &Client, limit: i64, wanted: bool) -> Result<i64, Error> {
    let sql = "select append_system_events($1, $2) as events";
    let statement = db.prepare_cached(sql).await?;
    let row = db.query_one(&statement, &[&limit, &wanted]).await?;
    Ok(row.get("events"))
}
