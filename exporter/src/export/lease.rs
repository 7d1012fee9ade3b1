//! Keeping a run's lease while it is worked on.

use std::time::Instant;

use common::{
    db::{QueryError, export_runs},
    ids::{LeaseToken, OrgId, RunId},
};

use crate::context::Context;

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

/// Renews the lease three times as often as it expires; returns when it is lost, or when it must be
/// taken for lost because the database has not confirmed it in time.
pub async fn keep(context: &Context, hold: &Hold) {
    let lease = context.config.lease;
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(lease / 3).await;
        let asked = Instant::now();
        match renew(context, hold).await {
            Ok(true) => renewed = asked,
            Ok(false) => return,
            Err(error) => tracing::warn!(%error, "the lease was not renewed"),
        }
        if renewed.elapsed() > lease {
            return;
        }
    }
}

async fn renew(context: &Context, hold: &Hold) -> Result<bool, QueryError> {
    let client = context.client().await?;
    let Hold { org, id, token } = hold;
    Ok(export_runs::renew(&client, org, *id, *token, context.config.lease).await?)
}
