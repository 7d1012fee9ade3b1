//! A connection that is bound to one organisation: Postgres neither shows nor changes a row of any
//! other, whatever a statement says (row-level security, migration V5). All queries for a tenant take
//! a [`Tenant`], so none can be made without saying for whom.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use futures_util::{FutureExt, TryStreamExt, future::join3};
use tokio_postgres::{
    CopyOutStream, Row,
    binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream},
    types::{ToSql, Type},
};

use super::{Client, Error};
use crate::ids::OrgId;

/// A statement's parameters.
type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A connection, bound to one organisation.
pub struct Tenant<'a> {
    org: &'a OrgId,
    connection: Connection<'a>,
}

enum Connection<'a> {
    Single(&'a Client),
    Open(Transaction<'a>),
}

/// A transaction that is rolled back when it is dropped before its end. The driver's own would cost a
/// round trip more, for the binding.
struct Transaction<'a> {
    client: &'a mut Client,
    ended: bool,
}

impl<'a> Transaction<'a> {
    async fn begin(client: &'a mut Client, org: &OrgId) -> Result<Self, Error> {
        // There before the first message goes out: whoever gives up waiting leaves nothing open.
        let transaction = Self {
            client,
            ended: false,
        };
        let begin = format!("begin; {}", binding(org));
        transaction.client.batch_execute(&begin).await?;
        Ok(transaction)
    }

    async fn commit(mut self) -> Result<(), Error> {
        let committed = self.client.batch_execute("commit").await;
        self.ended = true;
        committed
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // The message goes out when this is first polled; nobody waits for the answer.
            let _ = self.client.batch_execute("rollback").now_or_never();
        }
    }
}

impl<'a> Tenant<'a> {
    /// Every statement will be a transaction of its own. It costs one round trip, as it would without
    /// the binding.
    pub fn of(client: &'a Client, org: &'a OrgId) -> Self {
        let connection = Connection::Single(client);
        Self { org, connection }
    }

    /// All statements until [`Self::commit`] will be one transaction; dropped, it is rolled back.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn begin(client: &'a mut Client, org: &'a OrgId) -> Result<Self, Error> {
        let connection = Connection::Open(Transaction::begin(client, org).await?);
        Ok(Self { org, connection })
    }

    /// Commits what was begun.
    ///
    /// # Errors
    /// Postgres's.
    pub async fn commit(self) -> Result<(), Error> {
        match self.connection {
            Connection::Single(_) => Ok(()),
            Connection::Open(transaction) => transaction.commit().await,
        }
    }

    /// Whose rows it sees.
    pub fn org(&self) -> &OrgId {
        self.org
    }

    pub(super) async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        let client = self.client();
        let statement = client.prepare_cached(sql).await?;
        self.as_transaction(client.query(&statement, params)).await
    }

    fn client(&self) -> &Client {
        match &self.connection {
            Connection::Single(client) => client,
            Connection::Open(transaction) => transaction.client,
        }
    }

    /// The row of a statement that gives one at most.
    pub(super) async fn query_opt(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, params).await?.pop())
    }

    /// The row of a statement that always gives one.
    pub(super) async fn query_one(&self, sql: &str, params: Params<'_>) -> Result<Row, Error> {
        Ok(self.query(sql, params).await?.swap_remove(0))
    }

    pub(super) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, Error> {
        let client = self.client();
        let statement = client.prepare_cached(sql).await?;
        self.as_transaction(client.execute(&statement, params))
            .await
    }

    /// Hands out the rows of a query that has no parameters, in the form that costs the least where there
    /// are many.
    pub(super) async fn copy(
        &self,
        query: &str,
        types: &[Type],
        each: impl FnMut(BinaryCopyOutRow),
    ) -> Result<(), Error> {
        let sql = format!("copy ({query}) to stdout (format binary)");
        let client = self.client();
        let statement = client.prepare(&sql).await?;
        let rows = async { hand_out(client.copy_out(&statement).await?, types, each).await };
        self.as_transaction(rows).await
    }

    /// Makes a transaction of one statement, outside one. All messages go out in order when this is
    /// first polled, without waiting for the answers in between; so one that is dropped later leaves no
    /// open transaction behind.
    async fn as_transaction<T>(
        &self,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Connection::Single(client) = &self.connection else {
            return statement.await;
        };
        let begin = format!("begin; {}", binding(self.org));
        let (begun, result, committed) = join3(
            client.batch_execute(&begin),
            statement,
            client.batch_execute("commit"),
        )
        .await;
        let result = result?;
        begun.and(committed).map(|()| result)
    }
}

async fn hand_out(
    rows: CopyOutStream,
    types: &[Type],
    mut each: impl FnMut(BinaryCopyOutRow),
) -> Result<(), Error> {
    let mut rows = pin!(BinaryCopyOutStream::new(rows, types));
    while let Some(row) = rows.try_next().await? {
        each(row);
    }
    Ok(())
}

/// The setting that the policies look at, until the transaction's end. An [`OrgId`] holds nothing that
/// would have to be quoted.
fn binding(org: &OrgId) -> String {
    format!("set local audit_export.org = '{org}'")
}

/// Says once if the role that we log in as is one that no policy holds for: the owner of the tables, or a
/// superuser. Everything works then, but nothing stands behind the checks in the code.
pub(super) async fn warn_if_unconfined(client: &tokio_postgres::Client) {
    static LOOKED: AtomicBool = AtomicBool::new(false);
    if LOOKED.load(Relaxed) {
        return;
    }
    // Before the first migration there is nothing to look at.
    let confined = "select row_security_active('audit_events')";
    let Ok(row) = client.query_one(confined, &[]).await else {
        return;
    };
    if !LOOKED.swap(true, Relaxed) && !row.get::<_, bool>(0) {
        tracing::warn!(
            "row-level security does not hold for the role of DATABASE_URL: let the services log in as \
             a role that does not own the tables, and name the owner in DATABASE_OWNER_URL for migrate"
        );
    }
}
