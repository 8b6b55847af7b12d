use std::sync::Arc;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use rowtide_core::{Error, Result, Value, async_trait};
use rowtide_sql::{failure, postgres};
use sqlx::{
    AssertSqlSafe, Executor, PgConnection, Row,
    postgres::{PgConnectOptions, PgRow},
};

use crate::{
    config::Order,
    database::{
        Page, Pass, Reader,
        postgres::{
            CONNECT_WITHIN,
            snapshot::Snapshot,
            statements::{COMMIT, LOG_DURABLE, Span, Statements},
            wake::Wake,
        },
    },
    keys::Key,
    layout::FoundRow,
    source::position::{Cursor, Reading},
};

/// How many rows the first page has at most, before it is known how large they are.
const FIRST_ROWS: usize = 1_000;

/// Reads what each snapshot sees beyond the one before.
///
/// Whoever touches an aggregate second commits second, so no snapshot sees the second without the
/// first, and inside one difference the numbers order them. A transaction that commits late is in
/// the difference in which it becomes visible, whatever its number is. Nothing waits for it.
pub(super) struct PostgresReader {
    pub(super) connection: PgConnection,
    pub(super) options: PgConnectOptions,
    pub(super) statements: Arc<Statements>,
    pub(super) wake: Wake,
    pub(super) limits: Limits,
    /// All that it sees has been read.
    pub(super) seen: Option<Snapshot>,
    /// What is being read.
    pub(super) span: Option<Open>,
}

/// How much a page may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// How many rows the next page asks for, by how large they were.
    next: usize,
}

/// A difference of which a part has been read.
pub(super) struct Open {
    pub(super) reading: Snapshot,
    pub(super) after: Option<Key>,
    /// When it began, and the end of the log then; unknown of one that an earlier run began.
    began: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    time: Timestamp,
    log_end: u64,
}

/// The rows of a page, and whether the server had more than were asked for.
struct Rows {
    rows: Vec<FoundRow>,
    is_last: bool,
}

impl Limits {
    pub(super) fn new(rows: usize, bytes: usize) -> Self {
        Self { rows, bytes, next: rows.min(FIRST_ROWS) }
    }

    fn learn(&mut self, rows: usize, bytes: usize) {
        if let Some(average) = bytes.checked_div(rows) {
            self.next = (self.bytes / average.max(1)).clamp(1, self.rows);
        }
    }
}

impl Open {
    pub(super) fn resume(reading: Snapshot, after: i64) -> Self {
        Self { reading, after: Some(Key::Seq(after)), began: None }
    }
}

#[async_trait]
impl Reader for PostgresReader {
    async fn page(&mut self) -> Result<Page> {
        let (moment, snapshot, is_any) = self.begin().await?;
        if self.seen.as_ref().is_some_and(|seen| !seen.is_not_after(&snapshot)) {
            return Err(Error::transient("the server has forgotten transactions: it has crashed"));
        }
        let open = self.span.take().unwrap_or(Open {
            reading: snapshot,
            after: None,
            began: Some(moment),
        });
        let rows = if is_any { self.rows(&open).await? } else { Rows::none() };
        let log_durable = self.commit().await?;
        let log_end = open.began.map_or(moment.log_end, |began| began.log_end);
        let pass = self.advance(open, &rows);
        Ok(Page { cursor: self.cursor(), rows: rows.rows, pass, log_end, log_durable })
    }

    async fn log_durable(&mut self) -> Result<u64> {
        let row = self.connection.fetch_one(sqlx::raw_sql(LOG_DURABLE)).await.map_err(doing)?;
        log_place(&row.try_get::<String, _>("log_durable").map_err(doing)?)
    }

    async fn wait(&mut self) -> Result<()> {
        self.wake.wait().await
    }
}

impl PostgresReader {
    /// Begins the transaction of a page.
    async fn begin(&mut self) -> Result<(Moment, Snapshot, bool)> {
        let open = self.span.as_ref();
        let statement = self.statements.moment(Span {
            seen: self.seen.as_ref(),
            reading: open.map(|open| &open.reading),
            after: open.and_then(|open| open.after.as_ref()),
        });
        let statement = sqlx::raw_sql(AssertSqlSafe(statement));
        let row = self.connection.fetch_one(statement).await.map_err(doing)?;
        let text = |name| row.try_get::<String, _>(name).map_err(doing);
        let micros = text("micros")?.parse().unwrap_or_default();
        let moment = Moment {
            time: Timestamp::from_microsecond(micros).unwrap_or_default(),
            log_end: log_place(&text("log_end")?)?,
        };
        Ok((moment, Snapshot::parse(&text("snapshot")?)?, text("is_any")? == "true"))
    }

    async fn commit(&mut self) -> Result<u64> {
        let row = self.connection.fetch_one(sqlx::raw_sql(COMMIT)).await.map_err(doing)?;
        log_place(&row.try_get::<String, _>("log_durable").map_err(doing)?)
    }

    async fn rows(&mut self, open: &Open) -> Result<Rows> {
        let limit = self.limits.next;
        let span = Span {
            seen: self.seen.as_ref(),
            reading: Some(&open.reading),
            after: open.after.as_ref(),
        };
        let statement = AssertSqlSafe(self.statements.page(span, limit));
        let query = sqlx::query(statement).persistent(false);
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut stream = self.connection.fetch(query);
        while let Some(row) = stream.try_next().await.map_err(doing)? {
            let (row, length) = read(&self.statements, &row)?;
            rows.push(row);
            bytes += length;
            if bytes > 2 * self.limits.bytes {
                break;
            }
        }
        drop(stream);
        let is_cut = bytes > 2 * self.limits.bytes && rows.len() < limit;
        if is_cut {
            // What the server still sends of rows so large is not read at all.
            self.reconnect().await?;
        }
        self.limits.learn(rows.len(), bytes);
        let is_last = rows.len() < limit && !is_cut;
        Ok(Rows { rows, is_last })
    }

    /// Leaves the connection for a new one, in a transaction as the old one was.
    async fn reconnect(&mut self) -> Result<()> {
        self.connection = postgres::connect(&self.options, CONNECT_WITHIN).await?;
        self.connection.execute("BEGIN READ ONLY").await.map_err(doing)?;
        Ok(())
    }

    fn advance(&mut self, open: Open, rows: &Rows) -> Pass {
        if !rows.is_last {
            let after = rows.rows.last().map(|row| row.key.clone()).or(open.after);
            self.span = Some(Open { after, ..open });
            return Pass::Unfinished;
        }
        if self.statements.order == Order::Transactions {
            self.seen = Some(open.reading);
        }
        match open.began {
            Some(began) => Pass::Finished(began.time),
            // It says nothing of what was committed before this run.
            None => Pass::Unfinished,
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        let reading = match &self.span {
            Some(Open { reading, after: Some(Key::Seq(after)), .. }) => {
                Some(Reading { snapshot: reading.text().to_owned(), after: *after })
            }
            _ => None,
        };
        let seen = self.seen.as_ref().map(|seen| seen.text().to_owned());
        Some(Cursor::Snapshots { seen, reading })
    }
}

impl Rows {
    fn none() -> Self {
        Self { rows: Vec::new(), is_last: true }
    }
}

/// A row, and how many bytes it came in.
fn read(statements: &Statements, row: &PgRow) -> Result<(FoundRow, usize)> {
    let count = statements.wires.len();
    let mut values = Vec::with_capacity(count);
    let mut bytes = 0;
    for (index, wire) in statements.wires.iter().enumerate() {
        let (value, length) = wire.value(row, index)?;
        values.push(value);
        bytes += length;
    }
    let key = match statements.order {
        Order::Transactions => Key::Seq(row.try_get(count).map_err(doing)?),
        Order::None => Key::Id(row.try_get::<String, _>(count).map_err(doing)?.into()),
    };
    let memory = bytes + count * size_of::<Value>();
    Ok((FoundRow { key, values: values.into() }, memory))
}

fn doing(error: sqlx::Error) -> Error {
    failure("failed to read the outbox", error)
}

pub(super) fn log_place(text: &str) -> Result<u64> {
    text.parse().map_err(|_| Error::fatal("the server tells a place in its log that is none"))
}
