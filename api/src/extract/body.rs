//! Bodies, read step by step within limits of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::error::ApiError;

/// How long a body may take to arrive, beside what its size allows.
const BODY_GRACE: Duration = Duration::from_secs(10);
/// How fast a body has to arrive otherwise: 62.5 KiB a second.
const BODY_BYTES_PER_MS: u64 = 64;
/// How much of a body that is too large is read all the same, in bytes, and for how long.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// It is larger, broke off, or took too long.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut reader = BodyReader::new(body, limit);
    reader.read_to(usize::MAX).await?;
    Ok(reader.into_bytes())
}

/// A body that is read step by step, at most `limit` bytes in all.
pub struct BodyReader {
    body: Body,
    limit: usize,
    bytes: Vec<u8>,
}

impl BodyReader {
    /// Nothing of it is read yet.
    pub fn new(body: Body, limit: usize) -> Self {
        Self {
            body,
            limit,
            bytes: Vec::new(),
        }
    }

    /// Reads on until so many bytes have arrived, or somewhat more; true when it is whole.
    ///
    /// # Errors
    /// It is too large, broke off, or came too slowly since this was called.
    pub async fn read_to(&mut self, enough: usize) -> Result<bool, ApiError> {
        // What is known to be too large is not kept in memory first.
        let announced = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.limit - self.bytes.len() {
            return Err(self.too_large().await);
        }
        let began = Instant::now();
        let mut arrived = 0;
        while self.bytes.len() < enough {
            let deadline = began + BODY_GRACE + Duration::from_millis(arrived / BODY_BYTES_PER_MS);
            let frame = match tokio::time::timeout_at(deadline, self.body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|_| ApiError::IncompleteBody)?,
                Ok(None) => return Ok(true),
                Err(_) => return Err(ApiError::RequestTimeout),
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > self.limit - self.bytes.len() {
                return Err(self.too_large().await);
            }
            arrived += data.len() as u64;
            self.bytes.extend_from_slice(&data);
        }
        Ok(false)
    }

    async fn too_large(&mut self) -> ApiError {
        self.bytes = Vec::new();
        discard(&mut self.body).await;
        ApiError::PayloadTooLarge(self.limit)
    }

    /// How many bytes have arrived.
    pub fn arrived(&self) -> usize {
        self.bytes.len()
    }

    /// What has arrived.
    pub fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }
}

/// Reads on for a while without keeping anything: a client that is still sending when the connection
/// is closed gets a broken connection in place of the answer.
async fn discard(body: &mut Body) {
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    // Whether it ended or took too long: the answer goes out now.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_step_by_step() {
        let chunk = |_| Ok::<_, std::io::Error>(Bytes::from_static(b"xxxx"));
        let chunks = Body::from_stream(futures_util::stream::iter((0..4).map(chunk)));
        let mut reader = BodyReader::new(chunks, 16);
        assert!(!reader.read_to(5).await.unwrap());
        assert_eq!(reader.arrived(), 8);
        assert!(reader.read_to(usize::MAX).await.unwrap());
        assert_eq!(reader.into_bytes().len(), 16);
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let exact = read_body(Body::from(vec![b'x'; 10]), 10).await;
        assert_eq!(exact.unwrap().len(), 10);
        let too_large = read_body(Body::from(vec![b'x'; 11]), 10).await;
        assert!(matches!(too_large, Err(ApiError::PayloadTooLarge(10))));
        // One that does not tell its size before.
        let chunk = |_| Ok::<_, std::io::Error>(Bytes::from_static(b"xxxx"));
        let chunks = |n| Body::from_stream(futures_util::stream::iter((0..n).map(chunk)));
        assert_eq!(read_body(chunks(2), 10).await.unwrap().len(), 8);
        let too_large = read_body(chunks(3), 10).await;
        assert!(matches!(too_large, Err(ApiError::PayloadTooLarge(10))));
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
        let broken = read_body(Body::from_stream(broken), 10).await;
        assert!(matches!(broken, Err(ApiError::IncompleteBody)));
    }
}
