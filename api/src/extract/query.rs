//! The query of a URL.

use axum::extract::{Query, rejection::QueryRejection};

use crate::error::ApiError;

/// What a query says; `parameters` are all that it may have.
///
/// # Errors
/// It has one twice, or one that is not known where those are refused.
pub fn read_query<T>(
    query: Result<Query<T>, QueryRejection>,
    parameters: &str,
) -> Result<T, ApiError> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(_) => Err(ApiError::InvalidRequest {
            field: None,
            message: format!("the query must be of {parameters}, each once at most"),
        }),
    }
}
