//! `export_configs`: where an organisation's events go. Saved and deleted by the API; the exporter
//! writes the results of tests and deliveries.

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::Row;

use super::{
    Client, Error, Tenant, connection_tests, destination,
    export_state::{self, Progress},
    system_events::{self, Action, Author},
};
use crate::{
    destination::{AccountId, Destination, KmsKeyArn},
    ids::{ConfigId, OrgId, TestId},
};

/// Whether an organisation's events are being delivered, as the SQL function `delivery_state` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Switched off by an admin.
    Disabled,
    /// The saved destination has not passed a test yet.
    AwaitingTest,
    /// Events are delivered.
    Active,
    /// The destination refused; it is probed until it works again.
    Paused,
}

impl DeliveryState {
    pub(super) fn from_sql(text: &str) -> Self {
        match text {
            "disabled" => Self::Disabled,
            "awaiting_test" => Self::AwaitingTest,
            "active" => Self::Active,
            "paused" => Self::Paused,
            other => unreachable!("delivery_state() of a config is {other}"),
        }
    }
}

/// A stored config with what is known of its delivery.
#[derive(Debug, Clone)]
pub struct ExportConfig {
    /// Its id.
    pub id: ConfigId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Where events go.
    pub destination: Destination,
    /// Switched on by the admin.
    pub enabled: bool,
    /// The destination's version.
    pub version: i64,
    /// How often it was saved.
    pub revision: i64,
    /// When this destination was last tested.
    pub last_tested_at: Option<Timestamp>,
    /// How that went.
    pub last_test_ok: Option<bool>,
    /// The last failure of a test or a delivery, until one succeeds.
    pub last_error: Option<String>,
    /// When an object was last delivered.
    pub last_exported_at: Option<Timestamp>,
    /// When it was first saved.
    pub created_at: Timestamp,
    /// When it was last saved.
    pub updated_at: Timestamp,
    /// The organisation's external id.
    pub external_id: String,
    /// Whether events are being delivered.
    pub state: DeliveryState,
    /// Why delivery is paused.
    pub pause_error: Option<String>,
    /// When a paused destination is next tried.
    pub next_probe_at: Option<Timestamp>,
}

fn config(row: &Row) -> Result<ExportConfig, Error> {
    Ok(ExportConfig {
        id: row.get("id"),
        org_id: row.get("org_id"),
        destination: destination(row)?,
        enabled: row.get("enabled"),
        version: row.get("version"),
        revision: row.get("revision"),
        last_tested_at: row.get("last_tested_at"),
        last_test_ok: row.get("last_test_ok"),
        last_error: row.get("last_error"),
        last_exported_at: row.get("last_exported_at"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
        external_id: row.get("external_id"),
        state: DeliveryState::from_sql(row.get("state")),
        pause_error: row.get("pause_error"),
        next_probe_at: row.get("next_probe_at"),
    })
}

/// The statement of [`find`], for whoever measures or explains it.
pub const FIND: &str = "
    select c.id, c.org_id, c.bucket, c.region, c.role_arn, c.prefix, c.bucket_owner, c.kms_key_arn,
           c.compression, c.enabled, c.version, c.revision, c.last_tested_at, c.last_test_ok, c.last_error,
           c.last_exported_at, c.created_at, c.updated_at, o.external_id,
           delivery_state(c, s) as state, s.pause_error, s.next_probe_at
      from export_configs c
      join orgs o on o.id = c.org_id
      join export_state s on s.org_id = c.org_id
     where c.org_id = $1";

/// The organisation's config, if it has one.
///
/// # Errors
/// Postgres's.
pub async fn find(db: &Tenant<'_>) -> Result<Option<ExportConfig>, Error> {
    db.query_opt(FIND, &[db.org()])
        .await?
        .as_ref()
        .map(config)
        .transpose()
}

/// Where delivery to a new destination begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartFrom {
    /// With the first event ever appended.
    Beginning,
    /// With the first event appended after the config is saved.
    Now,
}

/// What is to be saved.
#[derive(Debug)]
pub struct Change {
    /// Where events are to go.
    pub destination: Destination,
    /// `None`: as it is, and true for a new config.
    pub enabled: Option<bool>,
    /// Only for the organisation's first config; there: the beginning.
    pub start_from: Option<StartFrom>,
}

/// A saved config, and the test that was queued for it, which the caller publishes now.
#[derive(Debug)]
pub struct Saved {
    /// As it is now.
    pub config: ExportConfig,
    /// The automatic test of an enabled config.
    pub test: Option<TestId>,
}

/// Why a config was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// No organisation has the id.
    #[error("no organisation has this id")]
    UnknownOrg,
    /// A start can be chosen only once.
    #[error(
        "startFrom can be set only on the organisation's first config: delivery goes on where it stopped"
    )]
    StartFromNotFirst,
    /// Postgres's own.
    #[error(transparent)]
    Database(#[from] Error),
}

/// Creates or updates the organisation's config, as is decided on what is stored: nobody saves another
/// one in between. Another destination gets a new version, which has to pass a test of its own; any
/// save ends a pause and, where the config is enabled, queues a test.
///
/// # Errors
/// The decision's, and those of [`SaveError`].
pub async fn save<E: From<SaveError>>(
    client: &mut Client,
    org: &OrgId,
    author: &Author,
    decide: impl FnOnce(Option<&ExportConfig>) -> Result<Change, E>,
) -> Result<Saved, E> {
    let tx = Tenant::begin(client, org).await.map_err(SaveError::from)?;
    let (progress, stored) = locked(&tx).await?;
    let change = decide(stored.as_ref())?;
    Ok(write(tx, author, progress, stored, change).await?)
}

/// What is stored, until the transaction ends.
async fn locked(tx: &Tenant<'_>) -> Result<(Progress, Option<ExportConfig>), SaveError> {
    let progress = export_state::lock(tx).await?;
    let progress = progress.ok_or(SaveError::UnknownOrg)?;
    Ok((progress, find(tx).await?))
}

async fn write(
    tx: Tenant<'_>,
    author: &Author,
    progress: Progress,
    stored: Option<ExportConfig>,
    change: Change,
) -> Result<Saved, SaveError> {
    let wanted = change.destination;
    if progress.started && change.start_from.is_some() {
        return Err(SaveError::StartFromNotFirst);
    }
    let cursor_seq = match change.start_from {
        Some(StartFrom::Now) => super::audit_events::last_seq(&tx).await?,
        _ => progress.cursor_seq,
    };
    let version = match &stored {
        Some(config) if config.destination == wanted => config.version,
        _ => progress.last_version + 1,
    };
    let enabled = change
        .enabled
        .or(stored.as_ref().map(|c| c.enabled))
        .unwrap_or(true);

    let last_version = version.max(progress.last_version);
    export_state::begin(&tx, last_version, cursor_seq).await?;
    put(&tx, &wanted, enabled, version).await?;
    connection_tests::supersede_own(&tx).await?;
    let old = stored.as_ref().map(|c| shown(&c.destination, c.enabled));
    let action = match old {
        Some(_) => Action::ConfigUpdated,
        None => Action::ConfigCreated,
    };
    let what = json!({"old": old, "new": shown(&wanted, enabled)});
    record(&tx, action, author, &what).await?;
    export_state::start_over(&tx).await?;
    let test = if enabled {
        connection_tests::queue_of_stored(&tx, TestId::new(), "automatic", None).await?
    } else {
        None
    };
    let config = find(&tx).await?.ok_or(SaveError::UnknownOrg)?;
    tx.commit().await?;
    Ok(Saved { config, test })
}

/// Writes the row. What was known of another version says nothing of this one.
async fn put(
    db: &Tenant<'_>,
    destination: &Destination,
    enabled: bool,
    version: i64,
) -> Result<(), Error> {
    let sql = "
        insert into export_configs as c
               (id, org_id, bucket, region, role_arn, prefix, bucket_owner, kms_key_arn,
                compression, enabled, version)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            on conflict (org_id) do update
           set bucket = excluded.bucket, region = excluded.region,
               role_arn = excluded.role_arn, prefix = excluded.prefix,
               bucket_owner = excluded.bucket_owner, kms_key_arn = excluded.kms_key_arn,
               compression = excluded.compression, enabled = excluded.enabled,
               version = excluded.version, revision = c.revision + 1, updated_at = now(),
               tested_version =
                   case when c.version = excluded.version then c.tested_version end,
               last_tested_at =
                   case when c.version = excluded.version then c.last_tested_at end,
               last_test_ok = case when c.version = excluded.version then c.last_test_ok end,
               last_error = case when c.version = excluded.version then c.last_error end";
    let Destination {
        bucket,
        region,
        role_arn,
        prefix,
        bucket_owner,
        kms_key_arn,
        compression,
    } = destination;
    db.execute(
        sql,
        &[
            &ConfigId::new(),
            db.org(),
            &bucket.as_str(),
            &region.as_str(),
            &role_arn.expose(),
            &prefix.as_str(),
            &bucket_owner.as_ref().map(AccountId::as_str),
            &kms_key_arn.as_ref().map(KmsKeyArn::as_str),
            &compression.as_str(),
            &enabled,
            &version,
        ],
    )
    .await?;
    Ok(())
}

/// Deletes the config, unless the decision on what is stored is another; events and cursor stay. False
/// when there was none.
///
/// # Errors
/// The decision's, and Postgres's.
pub async fn delete<E: From<Error>>(
    client: &mut Client,
    org: &OrgId,
    author: &Author,
    decide: impl FnOnce(&ExportConfig) -> Result<(), E>,
) -> Result<bool, E> {
    let tx = Tenant::begin(client, org).await?;
    export_state::lock(&tx).await?;
    let Some(old) = find(&tx).await? else {
        return Ok(false);
    };
    decide(&old)?;
    let sql = "delete from export_configs where org_id = $1";
    tx.execute(sql, &[org]).await?;
    let what = json!({"old": shown(&old.destination, old.enabled)});
    record(&tx, Action::ConfigDeleted, author, &what).await?;
    connection_tests::supersede_own(&tx).await?;
    export_state::start_over(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// Settings as they stand in the organisation's audit log.
fn shown(destination: &Destination, enabled: bool) -> Value {
    let mut shown = system_events::shown(destination);
    shown["enabled"] = enabled.into();
    shown
}

async fn record(
    db: &Tenant<'_>,
    action: Action,
    author: &Author,
    what: &Value,
) -> Result<(), Error> {
    let target = ("audit_export_config", db.org().as_str());
    system_events::record(db, action, author, target, what).await
}

/// Records a test's outcome, where the stored destination is still of the version that was tested.
/// Returns the delivery state from before, or `None` where it is not. After a failure that will not
/// go away by itself the version no longer counts as tested.
///
/// # Errors
/// Postgres's.
pub async fn record_test(
    db: &Tenant<'_>,
    version: i64,
    failure: Option<&super::Failure>,
) -> Result<Option<DeliveryState>, Error> {
    let sql = "
        update export_configs n
           set last_tested_at = now(), last_test_ok = $3, last_error = $4,
               tested_version = case
                   when $3 then n.version when $5 then null else n.tested_version end
          from export_configs c
          join export_state s on s.org_id = c.org_id
         where n.id = c.id and c.org_id = $1 and c.version = $2
        returning delivery_state(c, s) as state";
    let ok = failure.is_none();
    let error = failure.map(|f| f.text.as_str());
    let permanent = failure.is_some_and(|f| f.class == super::FailureClass::Permanent);
    let row = db
        .query_opt(sql, &[db.org(), &version, &ok, &error, &permanent])
        .await?;
    Ok(row.map(|row| DeliveryState::from_sql(row.get("state"))))
}

/// Records that an object was delivered.
///
/// # Errors
/// Postgres's.
pub async fn record_delivery(db: &Tenant<'_>, version: i64) -> Result<(), Error> {
    let sql = "
        update export_configs
           set last_exported_at = now(),
               last_error = case when version = $2 then null else last_error end
         where org_id = $1";
    db.execute(sql, &[db.org(), &version]).await?;
    Ok(())
}

/// Records that a delivery failed; false when the stored destination is of another version by now,
/// whose fault it is not.
///
/// # Errors
/// Postgres's.
pub async fn record_failure(db: &Tenant<'_>, version: i64, error: &str) -> Result<bool, Error> {
    let sql = "update export_configs set last_error = $3 where org_id = $1 and version = $2";
    Ok(db.execute(sql, &[db.org(), &version, &error]).await? == 1)
}
