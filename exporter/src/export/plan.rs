//! What a run does next, decided under the organisation's locks: adopt the plan that exists, or
//! freeze a new one, or end.
//!
//! By timeline, for a run of one object:
//! 1. One commit claims the run and freezes the plan. A crash after it: the lease expires, the next
//!    claim adopts the plan.
//! 2. A commit records the object's SHA-256; then the request goes out that makes it visible. A crash
//!    between or after: the next attempt writes the same bytes to the same key, or is told that the
//!    key exists, which the random plan id in it proves to be ours.
//! 3. One commit marks the object stored, moves the cursor and ends the run. A crash before it is the
//!    case above; after it, the message is stale.

use std::time::{Duration, Instant};

use common::{
    db::{
        self, Tenant, audit_events, export_configs,
        export_objects::{self, Plan, Stored},
        export_runs::{self, Claimed, Delivered},
        export_state,
    },
    destination::Destination,
    ids::{LeaseToken, OrgId, PlanId, RunId},
};

use super::encode::ENCODER_VERSION;
use crate::{
    crash,
    s3::{key, session::SessionKey},
};

/// A run takes no new object after so long: the broker takes a message back after 30 minutes.
const RUN_TIME: Duration = Duration::from_mins(5);

/// What one run may deliver.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Events.
    pub events: i64,
    /// Bytes of uncompressed lines.
    pub bytes: i64,
}

/// A run that is held under a token.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Whose.
    pub org: OrgId,
    /// Which.
    pub id: RunId,
    /// The token.
    pub token: LeaseToken,
}

/// A claimed run, and how far it has come.
#[derive(Debug)]
pub struct Run {
    /// Our hold on it.
    pub hold: Hold,
    /// What the claim found.
    pub claimed: Claimed,
    /// Whether uploads of earlier objects are to be ended.
    pub uploads_left_open: bool,
    bounds: Bounds,
    /// The last sequence number that was pending at the claim.
    target: i64,
    cursor: i64,
    events: i64,
    started: Instant,
}

/// What a run does next.
#[derive(Debug)]
pub enum Next {
    /// Deliver this object.
    Deliver(Plan),
    /// Nothing: it has ended well.
    Ended {
        /// The events it delivered.
        events: i64,
        /// The next run, queued because more is pending than one run may deliver.
        continuation: Option<RunId>,
    },
    /// Nothing: somebody else holds it.
    LeaseLost,
}

impl Run {
    /// Claims a run, one that was given back because of a failure only where those are wanted, and
    /// decides what it does first, in one commit; `None` where it is not to be had.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn claim(
        client: &mut db::Client,
        org: &OrgId,
        id: RunId,
        lease: Duration,
        bounds: Bounds,
        failed_wanted: bool,
    ) -> Result<Option<(Self, Next)>, db::Error> {
        let token = LeaseToken::new();
        let tx = Tenant::begin(client, org).await?;
        let Some(claimed) = export_runs::claim(&tx, id, token, lease, failed_wanted).await? else {
            return Ok(None);
        };
        let mut run = Self {
            hold: Hold {
                org: org.clone(),
                id,
                token,
            },
            bounds,
            target: audit_events::last_seq(&tx).await?,
            cursor: claimed.cursor_seq,
            uploads_left_open: claimed.uploads_left_open,
            claimed,
            events: 0,
            started: Instant::now(),
        };
        let next = run.next(&tx).await?;
        crash::point("claiming");
        tx.commit().await?;
        Ok(Some((run, next)))
    }

    /// Records that an object of `raw_bytes` bytes of lines is stored, moves the cursor over it, and
    /// decides what comes next, in one commit.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn stored(
        &mut self,
        client: &mut db::Client,
        plan: &Plan,
        stored: &Stored,
        raw_bytes: i64,
    ) -> Result<Next, db::Error> {
        let org = self.hold.org.clone();
        let tx = Tenant::begin(client, &org).await?;
        let from = plan.first_seq - 1;
        export_state::lock(&tx).await?;
        export_configs::record_delivery(&tx, plan.destination_version).await?;
        let delivered = Delivered {
            first_seq: plan.first_seq,
            last_seq: plan.last_seq,
            events: stored.events,
            bytes: stored.bytes,
        };
        let ours = export_runs::add_object(&tx, self.hold.id, self.hold.token, &delivered).await?
            && export_objects::mark_stored(&tx, plan.id, self.hold.token, stored).await?
            && export_state::advance(&tx, from, plan.last_seq).await?;
        if !ours {
            return Ok(Next::LeaseLost);
        }
        self.cursor = plan.last_seq;
        self.events += stored.events;
        self.bounds.bytes -= raw_bytes;
        // There is no other plan: an organisation has one at most, and that is carried out now.
        let next = self.freeze_or_end(&tx).await?;
        crash::point("storing");
        tx.commit().await?;
        Ok(next)
    }

    /// Whose session it works with.
    pub fn session_key(&self) -> SessionKey {
        SessionKey {
            org: self.hold.org.clone(),
            version: self.claimed.version,
            external_id: self.claimed.external_id.clone(),
        }
    }

    async fn next(&mut self, tx: &Tenant<'_>) -> Result<Next, db::Error> {
        if let Some(plan) = self.adopt(tx).await? {
            return Ok(Next::Deliver(plan));
        }
        self.freeze_or_end(tx).await
    }

    async fn freeze_or_end(&self, tx: &Tenant<'_>) -> Result<Next, db::Error> {
        let pending = self.cursor < self.target;
        let events_left = self.bounds.events - self.events;
        let bounded = events_left <= 0
            || self.bounds.bytes <= 0
            || (self.events > 0 && self.started.elapsed() > RUN_TIME);
        if pending
            && !bounded
            && let Some(plan) = self
                .freeze(tx, self.cursor, events_left, self.bounds.bytes)
                .await?
        {
            return Ok(Next::Deliver(plan));
        }
        let Some(events) = export_runs::succeed(tx, self.hold.id, self.hold.token).await? else {
            return Ok(Next::LeaseLost);
        };
        let continuation = match pending && bounded {
            true => Some(export_runs::queue_continuation(tx).await?),
            false => None,
        };
        Ok(Next::Ended {
            events,
            continuation,
        })
    }

    /// The plan that exists, under this run; if bucket or prefix have changed since it was made, the
    /// same range under a new id and key.
    async fn adopt(&mut self, tx: &Tenant<'_>) -> Result<Option<Plan>, db::Error> {
        let Some(plan) = export_objects::planned(tx).await? else {
            return Ok(None);
        };
        let Destination {
            bucket,
            region,
            prefix,
            ..
        } = &self.claimed.destination;
        let same_place = (
            plan.bucket.as_str(),
            plan.region.as_str(),
            plan.prefix.as_str(),
        ) == (bucket.as_str(), region.as_str(), prefix.as_str());
        if same_place {
            let version = self.claimed.version;
            export_objects::adopt(tx, plan.id, self.hold.id, version).await?;
            return Ok(Some(Plan {
                destination_version: version,
                ..plan
            }));
        }
        export_objects::abandon(tx, plan.id).await?;
        // An upload that may be open is ended, or said, as one of those that were left open.
        self.uploads_left_open |= plan.unfinished_uploads || plan.upload_id.is_some();
        if plan.attempted {
            let warning = format!(
                "The destination changed while an object was being written; s3://{}/{} may or may \
                 not exist in the old one.",
                plan.bucket, plan.key,
            );
            export_runs::warn(tx, self.hold.id, &warning).await?;
        }
        // A plan lies within one day and within bounds, so the same range is found again.
        let events = plan.last_seq - plan.first_seq + 1;
        self.freeze(tx, plan.first_seq - 1, events, i64::MAX / 2)
            .await
    }

    async fn freeze(
        &self,
        tx: &Tenant<'_>,
        after: i64,
        max_events: i64,
        max_bytes: i64,
    ) -> Result<Option<Plan>, db::Error> {
        let range = audit_events::next_range(tx, after, max_events, max_bytes).await?;
        let Some(range) = range else {
            return Ok(None);
        };
        let Destination {
            bucket,
            region,
            prefix,
            compression,
            ..
        } = &self.claimed.destination;
        let id = PlanId::new();
        let key = key::events(
            prefix,
            &self.hold.org,
            range.recorded_on,
            range.first_seq,
            range.last_seq,
            id,
            *compression,
        );
        let plan = Plan {
            id,
            destination_version: self.claimed.version,
            bucket: bucket.as_str().to_owned(),
            region: region.as_str().to_owned(),
            prefix: prefix.as_str().to_owned(),
            key,
            compression: *compression,
            encoder_version: ENCODER_VERSION,
            first_seq: range.first_seq,
            last_seq: range.last_seq,
            upload_id: None,
            unfinished_uploads: false,
            attempted: false,
        };
        export_objects::insert(tx, self.hold.id, &plan).await?;
        Ok(Some(plan))
    }
}
