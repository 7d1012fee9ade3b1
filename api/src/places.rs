//! The places that connections take. A connection on which nothing is asked for long enough loses
//! its place, and where places run out, the one that has been silent the longest loses it at once: who
//! opens many and asks nothing keeps nobody out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a connection keeps its place in any case, so that what has just come can ask.
const LEAST_TIME: Duration = Duration::from_secs(1);
/// How long to wait for a place before another one that is silent is looked for.
const PATIENCE: Duration = Duration::from_millis(100);

/// All places. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<u64, Arc<Seat>>>>,
    numbers: Arc<AtomicU64>,
    least_time: Duration,
}

#[derive(Debug)]
struct Seat {
    activity: Mutex<Activity>,
    lost: CancellationToken,
}

#[derive(Debug)]
struct Activity {
    /// Requests that are being worked on.
    requests: usize,
    /// When the last one ended, or the connection began.
    since: Instant,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when nothing has been asked, where that is so and has been for a while.
    fn silent_since(&self, least_time: Duration) -> Option<Instant> {
        let seat = self.lock();
        let silent = seat.requests == 0 && seat.since.elapsed() >= least_time;
        (silent && !self.lost.is_cancelled()).then_some(seat.since)
    }
}

impl Places {
    pub(crate) fn new(limit: usize) -> Self {
        Self::with_least_time(limit, LEAST_TIME)
    }

    fn with_least_time(limit: usize, least_time: Duration) -> Self {
        Self {
            least_time,
            free: Arc::new(Semaphore::new(limit)),
            taken: Arc::default(),
            numbers: Arc::default(),
        }
    }

    /// A place for the next connection, as soon as there is one.
    pub(crate) async fn take(&self) -> Place {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
                break permit;
            }
            self.make_room();
            let next = timeout(PATIENCE, Arc::clone(&self.free).acquire_owned()).await;
            if let Ok(Ok(permit)) = next {
                break permit;
            }
        };
        let seat = Arc::new(Seat {
            activity: Mutex::new(Activity {
                requests: 0,
                since: Instant::now(),
            }),
            lost: CancellationToken::new(),
        });
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, Arc::clone(&seat));
        Place {
            number,
            seat,
            places: self.clone(),
            _permit: permit,
        }
    }

    /// Has the connection that has been silent the longest end, if there is one.
    pub(crate) fn make_room(&self) {
        let taken = self.lock();
        let silent = taken
            .values()
            .filter_map(|seat| Some((seat.silent_since(self.least_time)?, seat)));
        if let Some((_, seat)) = silent.min_by_key(|(since, _)| *since) {
            seat.lost.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    seat: Arc<Seat>,
    places: Places,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Counts the connection's time from now.
    pub(crate) fn restart(&self) {
        self.seat.lock().since = Instant::now();
    }

    /// For the connection's requests to tell that they are there.
    pub(crate) fn asker(&self) -> Asker {
        Asker(Arc::clone(&self.seat))
    }

    /// Waits until the connection has lost its place: to another one, or because nothing was asked for
    /// `limit`.
    pub(crate) async fn lost(&self, limit: Duration) {
        let silent = async {
            loop {
                let ends = {
                    let seat = self.seat.lock();
                    let since = if seat.requests > 0 {
                        Instant::now()
                    } else {
                        seat.since
                    };
                    since + limit
                };
                if ends <= Instant::now() {
                    return;
                }
                sleep_until(ends).await;
            }
        };
        tokio::select! {
            () = self.seat.lost.cancelled() => {}
            () = silent => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
    }
}

/// Tells that something is asked on a connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Asker(Arc<Seat>);

impl Asker {
    /// A request has come; it has been worked on when what this returns is dropped.
    pub(crate) fn ask(&self) -> Asking {
        self.0.lock().requests += 1;
        Asking(Arc::clone(&self.0))
    }
}

/// A request that is being worked on.
#[derive(Debug)]
pub(crate) struct Asking(Arc<Seat>);

impl Drop for Asking {
    fn drop(&mut self) {
        let mut seat = self.0.lock();
        seat.requests -= 1;
        seat.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);
    const SHORT: Duration = Duration::from_millis(100);

    async fn has_lost(place: &Place, limit: Duration) -> bool {
        let look = timeout(Duration::from_millis(1), place.lost(limit));
        look.await.is_ok()
    }

    #[tokio::test]
    async fn the_one_that_has_been_silent_the_longest_makes_room() {
        let places = Places::with_least_time(3, SHORT);
        let asks = places.take().await;
        let asking = asks.asker().ask();
        let oldest = places.take().await;
        tokio::time::sleep(SHORT).await;
        let newer = places.take().await;
        let (next, ()) = tokio::join!(places.take(), async {
            oldest.lost(LONG).await;
            assert!(!has_lost(&asks, LONG).await && !has_lost(&newer, LONG).await);
            drop(oldest);
        });
        assert_eq!(places.lock().len(), 3);
        // One that asks stays, however long it has been there.
        drop((newer, next));
        let others = (places.take().await, places.take().await);
        tokio::time::sleep(SHORT).await;
        places.make_room();
        places.make_room();
        places.make_room();
        assert!(has_lost(&others.0, LONG).await && has_lost(&others.1, LONG).await);
        assert!(!has_lost(&asks, LONG).await);
        drop((asking, asks, others));
        assert_eq!(places.lock().len(), 0);
    }

    #[tokio::test]
    async fn what_has_just_come_stays() {
        let places = Places::with_least_time(1, LONG);
        let place = places.take().await;
        assert!(timeout(SHORT, places.take()).await.is_err());
        assert!(!has_lost(&place, LONG).await);
    }

    #[tokio::test]
    async fn silence_is_limited_and_work_is_not() {
        let place = Places::new(1).take().await;
        let asking = place.asker().ask();
        tokio::time::sleep(SHORT * 2).await;
        assert!(!has_lost(&place, SHORT).await);
        drop(asking);
        assert!(!has_lost(&place, SHORT).await);
        tokio::time::sleep(SHORT).await;
        assert!(has_lost(&place, SHORT).await);
    }
}
