//! What handlers take out of a request. Every refusal is an [`ApiError`](crate::error::ApiError).

mod body;
mod json;
mod org;
mod path;
mod query;

pub use body::{BodyReader, read_body};
pub use json::{JsonBody, OptionalJsonBody, from_json};
pub use org::{MayExport, MayTest, OrgAdmin, OrgAdminBy, OrgReader, must_exist};
pub use path::PathParameter;
pub use query::read_query;
