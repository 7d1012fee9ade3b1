//! S3 and STS: the only part that knows the AWS SDK.

pub mod advice;
pub mod bucket;
mod clock;
pub mod failure;
pub mod key;
pub mod session;
pub mod uploads;
