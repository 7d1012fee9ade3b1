//! The test job: claim a test, try its destination, and record what was seen.

mod stages;

use common::{
    db::{
        Owner, QueryError, Tenant,
        connection_tests::{self, Claimed, ReplyTo},
        orgs,
    },
    ids::{LeaseToken, OrgId, TestId},
    jobs::{Outcome, VERSION},
};

use crate::{
    context::{Context, Disposition},
    crash, lease,
};

/// Works on a test job; `reply_to` is what the message names.
pub async fn handle(context: &Context, org: OrgId, id: TestId, reply_to: ReplyTo) -> Disposition {
    let token = LeaseToken::new();
    let claimed = match context
        .patiently(|| begin(context, &org, id, token, &reply_to))
        .await
    {
        Ok(Some(Begun::Claimed(claimed))) => claimed,
        Ok(Some(Begun::Stale)) => return Disposition::Ack,
        Ok(Some(Begun::Unknown(reason))) => return Disposition::DeadLetter(reason.into()),
        Ok(Some(Begun::NotConfigured)) => {
            announce(
                context,
                &org,
                id,
                Some("export is not configured"),
                &reply_to,
            )
            .await;
            return Disposition::Ack;
        }
        Ok(None) => return Disposition::Leave,
        Err(error) => {
            tracing::error!(%error, "the test could not be claimed");
            return Disposition::Ack;
        }
    };
    crash::point("test-claimed");
    let lease = context.config.lease;
    let renew = || async {
        let client = context.client().await?;
        Ok(connection_tests::renew(&Tenant::of(&client, &org), id, token, lease).await?)
    };
    let outcome = tokio::select! {
        outcome = stages::run(context, &org, id, &claimed) => outcome,
        () = lease::keep(lease, renew) => {
            tracing::info!("the lease was lost; another worker tests");
            return Disposition::Ack;
        }
        () = context.stop.cancelled() => {
            give_back(context, &org, id, token).await;
            return Disposition::Ack;
        }
    };
    crash::point("test-made");
    let finish = || async {
        let mut client = context.client().await?;
        let pauses = context.config.probe_pauses();
        let finished =
            connection_tests::finish(&mut client, &org, id, token, &outcome, pauses).await?;
        Ok(finished)
    };
    match context.patiently(finish).await {
        Ok(Some(true)) => {
            crash::point("test-finished");
            let error = outcome.failure.as_ref().map(|f| f.text.as_str());
            tracing::info!(ok = error.is_none(), "the test is done");
            announce(context, &org, id, error, &claimed.reply_to).await;
        }
        Ok(Some(false)) => tracing::info!("the test was superseded or taken over"),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "the test's result was not recorded"),
    }
    Disposition::Ack
}

enum Begun {
    Claimed(Box<Claimed>),
    /// It is in other hands, or ended.
    Stale,
    NotConfigured,
    Unknown(&'static str),
}

async fn begin(
    context: &Context,
    org: &OrgId,
    id: TestId,
    token: LeaseToken,
    reply_to: &ReplyTo,
) -> Result<Begun, QueryError> {
    let lease = context.config.lease;
    let client = context.client().await?;
    let tenant = Tenant::of(&client, org);
    if let Some(claimed) = connection_tests::claim(&tenant, id, token, lease).await? {
        return Ok(Begun::Claimed(Box::new(claimed)));
    }
    match connection_tests::owner(&tenant, id).await? {
        Owner::Another => {
            return Ok(Begun::Unknown("the test belongs to another organisation"));
        }
        Owner::This => return Ok(Begun::Stale),
        Owner::Nobody => {}
    }
    // Another program's job: its row is made here, of the stored config.
    if orgs::find(&tenant).await?.is_none() {
        return Ok(Begun::Unknown("no organisation has this id"));
    }
    let queued =
        connection_tests::queue_of_stored(&tenant, id, "submitted", Some(reply_to)).await?;
    if queued.is_none() {
        return Ok(Begun::NotConfigured);
    }
    let claimed = connection_tests::claim(&tenant, id, token, lease).await?;
    Ok(claimed.map_or(Begun::Stale, |claimed| Begun::Claimed(Box::new(claimed))))
}

async fn give_back(context: &Context, org: &OrgId, id: TestId, token: LeaseToken) {
    let given_back = async {
        let client = context.client().await?;
        Ok::<_, QueryError>(
            connection_tests::give_back(&Tenant::of(&client, org), id, token).await?,
        )
    };
    if let Err(error) = given_back.await {
        tracing::error!(%error, "the test was not given back; the lease will expire");
    }
}

async fn announce(
    context: &Context,
    org: &OrgId,
    id: TestId,
    error: Option<&str>,
    reply_to: &ReplyTo,
) {
    let (version, org_id, test_id) = (VERSION, org.clone(), id);
    let outcome = match error {
        None => Outcome::TestSucceeded {
            version,
            org_id,
            test_id,
        },
        Some(error) => Outcome::TestFailed {
            version,
            org_id,
            test_id,
            error: error.into(),
        },
    };
    context.announce(&outcome, reply_to).await;
}
