//! The export job: claim a run, deliver its objects, end it.

pub(crate) mod compress;
pub(crate) mod encode;
pub(crate) mod lines;
mod plan;
mod room;
mod upload;
mod uploads;

use common::{
    db::{
        Failure, FailureClass, Owner, QueryError, Tenant,
        connection_tests::ReplyTo,
        export_configs,
        export_runs::{self, GiveBackPauses, Requested},
        export_state, orgs,
    },
    ids::{OrgId, RunId},
    jobs::{Job, Outcome, RejectReason, VERSION},
    queue::topology,
};
use plan::{Bounds, Hold, Next, Run};
use tokio::sync::OwnedSemaphorePermit;
use upload::DeliverError;

use crate::{
    context::{Context, Disposition},
    crash, lease,
    retry::Budget,
    s3::advice::Subject,
};

/// Works on an export job; `reply_to` is what the message names.
pub async fn handle(context: &Context, org: OrgId, id: RunId, reply_to: ReplyTo) -> Disposition {
    let begun = context
        .patiently(|| begin(context, &org, id, &reply_to))
        .await;
    match begun {
        Ok(Some(Begun::Claimed(run, next, retry_slot))) => {
            crash::point("claimed");
            work(context, *run, next, retry_slot).await;
            Disposition::Ack
        }
        Ok(Some(Begun::Rejected(reason, reply_to))) => {
            tracing::info!(?reason, "the run is rejected");
            let rejected = Outcome::RunRejected {
                version: VERSION,
                org_id: org,
                run_id: id,
                reason,
            };
            context.announce(&rejected, &reply_to).await;
            Disposition::Ack
        }
        Ok(Some(Begun::Stale)) => {
            tracing::debug!("the message is stale");
            Disposition::Ack
        }
        Ok(Some(Begun::Unknown(reason))) => Disposition::DeadLetter(reason.into()),
        Ok(None) => Disposition::Leave,
        Err(error) => {
            tracing::error!(%error, "the run could not be claimed");
            Disposition::Ack
        }
    }
}

enum Begun {
    Claimed(Box<Run>, Next, Option<RetrySlot>),
    Rejected(RejectReason, ReplyTo),
    /// It is in other hands, not due yet, or ended.
    Stale,
    Unknown(&'static str),
}

async fn begin(
    context: &Context,
    org: &OrgId,
    id: RunId,
    reply_to: &ReplyTo,
) -> Result<Begun, QueryError> {
    if let Some(claimed) = claim(context, org, id).await? {
        return Ok(claimed);
    }
    let client = context.client().await?;
    let tenant = Tenant::of(&client, org);
    match export_runs::owner(&tenant, id).await? {
        Owner::Another => {
            return Ok(Begun::Unknown("the run belongs to another organisation"));
        }
        Owner::This => {
            let rejected = export_runs::reject_inactive(&tenant, id).await?;
            let not_active = |reply_to| Begun::Rejected(RejectReason::NotActive, reply_to);
            return Ok(rejected.map_or(Begun::Stale, not_active));
        }
        Owner::Nobody => {}
    }
    // Another program's job: its row is made here.
    if orgs::find(&tenant).await?.is_none() {
        return Ok(Begun::Unknown("no organisation has this id"));
    }
    let reject = |reason| Ok(Begun::Rejected(reason, reply_to.clone()));
    match export_runs::request(&tenant, id, "submitted", reply_to).await? {
        Requested::NotActive => reject(RejectReason::NotActive),
        Requested::RunInProgress if export_runs::owner(&tenant, id).await? != Owner::Nobody => {
            Ok(Begun::Stale)
        }
        Requested::RunInProgress => reject(RejectReason::RunInProgress),
        Requested::Queued => {
            drop(tenant);
            drop(client);
            Ok(claim(context, org, id).await?.unwrap_or(Begun::Stale))
        }
    }
}

async fn claim(context: &Context, org: &OrgId, id: RunId) -> Result<Option<Begun>, QueryError> {
    let mut client = context.client().await?;
    let config = &context.config;
    let bounds = Bounds {
        events: config.run_max_events,
        bytes: config.run_max_bytes,
    };
    let retry_slot = context.retry_slots.clone().try_acquire_owned().ok();
    let wanted = retry_slot.is_some();
    let claimed = Run::claim(&mut client, org, id, config.lease, bounds, wanted).await?;
    if claimed.is_none() && !wanted && export_runs::put_off(&Tenant::of(&client, org), id).await? {
        return Ok(Some(Begun::Stale));
    }
    Ok(claimed.map(|(run, next)| {
        let retry_slot = retry_slot.filter(|_| run.claimed.failed_before);
        Begun::Claimed(Box::new(run), next, retry_slot)
    }))
}

/// The right to work on a run that was given back because of a failure; let go of once the destination
/// has taken an object.
type RetrySlot = OwnedSemaphorePermit;

async fn work(context: &Context, mut run: Run, next: Next, retry_slot: Option<RetrySlot>) {
    let hold = run.hold.clone();
    let lease = context.config.lease;
    let renew = || async {
        let client = context.client().await?;
        let Hold { org, id, token } = &hold;
        Ok(export_runs::renew(&Tenant::of(&client, org), *id, *token, lease).await?)
    };
    let mut budget = Budget::new(context.config.retry_budget);
    let room = room::wanted(
        context,
        budget.unanswered_since(),
        run.claimed.attempts,
        retry_slot.is_some(),
    );
    let ended = tokio::select! {
        ended = deliver_all(context, &mut run, next, &mut budget, retry_slot) => ended,
        () = room => Err(DeliverError::MadeRoom),
        () = lease::keep(lease, renew) => Err(DeliverError::LeaseLost),
        () = context.stop.cancelled() => {
            give_back(context, &run, None, AT_ONCE).await;
            return;
        }
    };
    if let Err(error) = ended {
        end_badly(context, &run, error).await;
    }
}

/// No pause: the run was well, the process has to stop.
const AT_ONCE: GiveBackPauses = GiveBackPauses {
    first: std::time::Duration::ZERO,
    longest: std::time::Duration::ZERO,
};

async fn deliver_all(
    context: &Context,
    run: &mut Run,
    mut next: Next,
    budget: &mut Budget,
    mut retry_slot: Option<RetrySlot>,
) -> Result<(), DeliverError> {
    loop {
        match next {
            Next::Deliver(plan) => {
                if std::mem::take(&mut run.uploads_left_open) {
                    uploads::end_left_open(context, run).await?;
                }
                let delivery = upload::deliver(context, run, &plan, budget).await?;
                crash::point("delivered");
                let mut client = context.client().await?;
                next = run
                    .stored(&mut client, &plan, &delivery.stored, delivery.raw_bytes)
                    .await?;
                crash::point("stored");
                drop(retry_slot.take());
                tracing::info!(
                    key = plan.key,
                    events = delivery.stored.events,
                    bytes = delivery.stored.bytes,
                    "an object is delivered",
                );
            }
            Next::Ended {
                events,
                continuation,
            } => {
                succeeded(context, run, events, continuation).await;
                if run.uploads_left_open {
                    uploads::end_left_open(context, run).await?;
                }
                return Ok(());
            }
            Next::LeaseLost => return Err(DeliverError::LeaseLost),
        }
    }
}

async fn succeeded(context: &Context, run: &Run, events: i64, continuation: Option<RunId>) {
    tracing::info!(
        events,
        continued = continuation.is_some(),
        "the run succeeded"
    );
    if let Some(next_run) = continuation {
        context
            .wake(
                topology::EXPORT,
                &Job::export(run.hold.org.clone(), next_run),
            )
            .await;
    }
    let outcome = Outcome::RunSucceeded {
        version: VERSION,
        org_id: run.hold.org.clone(),
        run_id: run.hold.id,
        events,
    };
    context.announce(&outcome, &run.claimed.reply_to).await;
}

/// Whatever went wrong: the events stay pending, and the row tells why and what comes next.
async fn end_badly(context: &Context, run: &Run, error: DeliverError) {
    let failure = match &error {
        DeliverError::LeaseLost => {
            tracing::info!("the lease was lost; another worker goes on");
            return;
        }
        DeliverError::Call(call) => call.failure(&Subject {
            destination: &run.claimed.destination,
            external_id: &run.claimed.external_id,
        }),
        DeliverError::MadeRoom => Failure {
            class: FailureClass::Transient,
            code: "made_room".into(),
            text: "The destination did not do what it was asked for some seconds, while others \
                   waited; it is tried again by itself."
                .into(),
        },
        DeliverError::Database(_) | DeliverError::Gap(_) => Failure {
            class: FailureClass::Internal,
            code: "internal".into(),
            text: "The export was interrupted by a problem on our side; it is tried again by \
                   itself."
                .into(),
        },
    };
    match failure.class {
        FailureClass::Permanent => {
            tracing::warn!(%error, "the destination refuses; delivery is paused");
            return fail(context, run, failure).await;
        }
        FailureClass::Transient => tracing::warn!(%error, "the run is given back"),
        FailureClass::Internal | FailureClass::NotActive => {
            tracing::error!(%error, "the run is given back");
        }
    }
    let pauses = context.config.give_back_pauses();
    give_back(context, run, Some(&failure), pauses).await;
}

/// Ends the run and pauses its destination, unless another has been saved meanwhile.
async fn fail(context: &Context, run: &Run, failure: Failure) {
    let once = || async {
        let mut client = context.client().await?;
        let Run {
            hold: Hold { org, id, token },
            claimed,
            ..
        } = run;
        let tx = Tenant::begin(&mut client, org).await?;
        export_state::lock(&tx).await?;
        if export_configs::record_failure(&tx, claimed.version, &failure.text).await? {
            let pauses = context.config.probe_pauses();
            export_state::pause(&tx, &failure, pauses).await?;
        }
        let held = export_runs::fail(&tx, *id, *token, &failure).await?;
        if held {
            tx.commit().await?;
        }
        Ok::<_, QueryError>(held)
    };
    match once().await {
        Ok(true) => {
            let outcome = Outcome::RunFailed {
                version: VERSION,
                org_id: run.hold.org.clone(),
                run_id: run.hold.id,
                error: failure.text.clone(),
            };
            context.announce(&outcome, &run.claimed.reply_to).await;
        }
        Ok(false) => tracing::info!("the lease was lost; another worker goes on"),
        Err(error) => {
            tracing::error!(%error, "the failure was not recorded; the lease will expire")
        }
    }
}

async fn give_back(context: &Context, run: &Run, reason: Option<&Failure>, pauses: GiveBackPauses) {
    let once = || async {
        let client = context.client().await?;
        let Run {
            hold: Hold { org, id, token },
            claimed,
            ..
        } = run;
        if let Some(Failure {
            class: FailureClass::Transient,
            text,
            ..
        }) = reason
        {
            export_configs::record_failure(&Tenant::of(&client, org), claimed.version, text)
                .await?;
        }
        Ok::<_, QueryError>(
            export_runs::give_back(&Tenant::of(&client, org), *id, *token, reason, pauses).await?,
        )
    };
    match once().await {
        Ok(true) => {}
        Ok(false) => tracing::info!("the lease was lost; another worker goes on"),
        Err(error) => tracing::error!(%error, "the run was not given back; the lease will expire"),
    }
}
