use sqlx::Transaction;

use crate::{Database, Error, Layout, Result, insert};

/// An outbox table, and how messages lie in it.
///
/// It holds names only, so one of them serves any number of transactions and databases.
#[derive(Clone, Debug)]
pub struct Outbox<L> {
    table: String,
    layout: L,
}

impl<L: Layout> Outbox<L> {
    /// The outbox in `table`, whose name may have a schema and a dot before it.
    ///
    /// Any name is quoted: it must be spelled as the database keeps it.
    pub fn new(table: impl Into<String>, layout: L) -> Self {
        Self { table: table.into(), layout }
    }

    /// Writes `messages` in the caller's transaction: they are published if it is committed, after
    /// those of earlier calls and in the order given, and never if it is not.
    ///
    /// **Messages of one aggregate stay in order only if the aggregate is locked before.** Update
    /// its row, or `SELECT … FOR UPDATE` it, and publish after that.
    ///
    /// A transaction can be had from sqlx alone, so that there is no way to write outside one:
    ///
    /// ```compile_fail,E0308
    /// # use rowtide_outbox_writer::{Message, Outbox, Router};
    /// # async fn publish(pool: sqlx::SqlitePool, message: Message) {
    /// let outbox = Outbox::new("outbox", Router::default());
    /// let mut connection = pool.acquire().await.unwrap();
    /// outbox.publish(&mut connection, &[message]).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NoMessages`](Error::NoMessages) if there is none, [`Message`](Error::Message) if one
    /// cannot be written; then nothing was sent to the database. Whatever the error, the
    /// transaction should be rolled back.
    pub async fn publish<D: Database>(
        &self,
        transaction: &mut Transaction<'_, D>,
        messages: &[L::Message],
    ) -> Result<()> {
        if messages.is_empty() {
            return Err(Error::NoMessages);
        }
        for rows in self.layout.rows(messages)? {
            insert::write::<D>(transaction, &self.table, &rows).await?;
        }
        Ok(())
    }
}
