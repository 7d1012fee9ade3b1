//! How many requests are worked on at once. One more is refused at once: a queue that only grows ends
//! in a collapse, and a client that is told can come again.
//!
//! What waits for others has a room of its own, so that it never keeps out what takes no time: tests
//! wait for workers, ingest for bodies and for the organisation's turn. Within a room an organisation
//! has its share, so that its admins cannot use up what is there for all.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use common::ids::OrgId;
use http::Extensions;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{error::ApiError, per_org::PerOrg, routes};

/// What part of a room one organisation may take.
const ORG_SHARE: usize = 16;

/// The rooms. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    ordinary: Room,
    ingest: Room,
    tests: Room,
}

#[derive(Debug, Clone)]
struct Room {
    places: Arc<Semaphore>,
    orgs: PerOrg,
}

impl Room {
    fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.max(1))),
            orgs: PerOrg::new((places / ORG_SHARE).max(1)),
        }
    }
}

impl Admission {
    /// So many requests at once; beside them half as many that ingest, and a quarter as many that wait
    /// for tests.
    pub(crate) fn new(requests: u32) -> Self {
        let requests = usize::try_from(requests).unwrap_or(usize::MAX);
        Self {
            ordinary: Room::new(requests),
            ingest: Room::new(requests / 2),
            tests: Room::new(requests / 4),
        }
    }

    fn room(&self, route: Option<&MatchedPath>) -> &Room {
        match route.map(MatchedPath::as_str) {
            Some(routes::EVENTS) => &self.ingest,
            Some(routes::TEST_CONNECTION) => &self.tests,
            _ => &self.ordinary,
        }
    }
}

/// Lets a request in, or refuses it.
pub(crate) async fn admit(
    State(admission): State<Admission>,
    mut request: Request,
    next: Next,
) -> Response {
    let room = admission.room(request.extensions().get());
    let Ok(place) = Arc::clone(&room.places).try_acquire_owned() else {
        return ApiError::Overloaded.into_response();
    };
    let share = Share {
        orgs: room.orgs.clone(),
        held: Arc::default(),
    };
    request.extensions_mut().insert(share.clone());
    let response = next.run(request).await;
    drop(place);
    match share.take() {
        // An answer that its client does not take lies in memory as long: this bounds how many do.
        Some(held) => response.map(|body| Body::new(Held { body, _held: held })),
        None => response,
    }
}

/// Counts a request to an organisation's share, once it is known whose it is.
///
/// # Errors
/// The organisation has as many under way as it may.
pub(crate) fn count_to(org: &OrgId, extensions: &Extensions) -> Result<(), ApiError> {
    let share = extensions
        .get::<Share>()
        .ok_or_else(|| ApiError::internal("the request was not admitted"))?;
    let held = share
        .orgs
        .of(org)
        .try_acquire_owned()
        .map_err(|_| ApiError::RateLimited {
            message: "too many requests of this organisation are being worked on; try again in a \
                      second"
                .to_owned(),
            seconds: 1,
        })?;
    *share.lock() = Some(held);
    Ok(())
}

/// A request's part in its organisation's share.
#[derive(Debug, Clone)]
struct Share {
    orgs: PerOrg,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Share {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.lock().take()
    }
}

/// A body, with what is held until it has been sent or given up.
struct Held {
    body: Body,
    _held: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
