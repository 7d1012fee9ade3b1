//! Which runs a list shows, and where the next page is.

use axum::extract::{Query, rejection::QueryRejection};
use common::ids::RunId;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{error::ApiError, extract::read_query};

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 100;
pub(in crate::routes) const STATUSES: [&str; 4] = ["queued", "running", "succeeded", "failed"];

/// Which runs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunsQuery {
    /// How many at most, default 20.
    #[param(value_type = Option<i64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// Only runs older than the one with this id.
    #[param(value_type = Option<Uuid>)]
    before: Option<String>,
    /// Only runs with this status.
    status: Option<String>,
}

/// A query that was checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(super) limit: i64,
    pub(super) before: Option<RunId>,
    pub(super) status: Option<&'static str>,
}

impl RunsQuery {
    /// Reads the query of a URL.
    ///
    /// # Errors
    /// It has a parameter twice, or one that is wrong.
    pub(crate) fn page(query: Result<Query<Self>, QueryRejection>) -> Result<Page, ApiError> {
        read_query(query, "limit, before and status")?.check()
    }

    /// # Errors
    /// The parameter that is wrong.
    fn check(&self) -> Result<Page, ApiError> {
        let limit = match self.limit.as_deref().map(str::parse::<i64>) {
            None => DEFAULT_LIMIT,
            Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
            Some(_) => {
                return Err(ApiError::field(
                    "limit",
                    format!("limit must be a number from 1 to {MAX_LIMIT}"),
                ));
            }
        };
        let before = match self.before.as_deref().map(str::parse) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => {
                return Err(ApiError::field("before", "before must be the id of a run"));
            }
        };
        let status = match self.status.as_deref() {
            None => None,
            Some(status) => Some(
                STATUSES
                    .into_iter()
                    .find(|known| *known == status)
                    .ok_or_else(|| {
                        ApiError::field(
                            "status",
                            format!("status must be one of {}", STATUSES.join(", ")),
                        )
                    })?,
            ),
        };
        Ok(Page {
            limit,
            before,
            status,
        })
    }
}

impl Page {
    /// The link to the page that follows the run `last`.
    pub(crate) fn next_link(&self, path: &str, last: RunId) -> String {
        let status = self
            .status
            .map(|status| format!("&status={status}"))
            .unwrap_or_default();
        let limit = self.limit;
        format!("<{path}?limit={limit}&before={last}{status}>; rel=\"next\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(
        limit: Option<&str>,
        before: Option<&str>,
        status: Option<&str>,
    ) -> Result<Page, ApiError> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        RunsQuery {
            limit: owned(limit),
            before: owned(before),
            status: owned(status),
        }
        .check()
    }

    #[test]
    fn queries_are_checked() {
        assert_eq!(
            query(None, None, None).unwrap(),
            Page {
                limit: 20,
                before: None,
                status: None
            }
        );
        assert_eq!(
            query(Some("100"), None, Some("failed")).unwrap().status,
            Some("failed")
        );
        for limit in ["0", "101", "-1", "x", "", "1.0", "99999999999999999999"] {
            assert!(query(Some(limit), None, None).is_err(), "{limit}");
        }
        assert!(query(None, Some("x"), None).is_err());
        assert!(query(None, None, Some("done")).is_err());
        assert!(query(None, None, Some("")).is_err());
    }

    #[test]
    fn the_next_page_keeps_the_filter() {
        let last: RunId = "0198c0de-0000-7000-8000-000000000001".parse().unwrap();
        let page = query(Some("5"), None, Some("failed")).unwrap();
        assert_eq!(
            page.next_link("/runs", last),
            "</runs?limit=5&before=0198c0de-0000-7000-8000-000000000001&status=failed>; rel=\"next\"",
        );
    }
}
