use super::{Shared, lock};
use crate::{
    changefeed::Plan,
    sql::{Literal, SqlError, Statement, Write},
    store::Answer,
};

/// What became of a statement.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It is done; the tag says what.
    Done(String),
    Rows(Answer),
    Changefeed(Box<Plan>),
}

/// The writes of the transaction that is open, if one is.
pub(crate) type Transaction = Option<Vec<Write>>;

/// Who a cluster is.
const CLUSTER_ID: &str = "8e2f1f3c-2c6b-4a3e-9a53-5d1c0a9b7e11";

impl Shared {
    /// Runs a statement, as far as that needs no connection.
    pub(crate) fn run(
        &self,
        statement: &Statement,
        transaction: &mut Transaction,
    ) -> Result<Reply, SqlError> {
        let done = |tag: &str| Ok(Reply::Done(tag.to_owned()));
        match statement {
            Statement::Empty => done(""),
            Statement::Begin => {
                *transaction = Some(Vec::new());
                done("BEGIN")
            }
            Statement::Rollback => {
                *transaction = None;
                done("ROLLBACK")
            }
            Statement::Commit => {
                let writes = transaction.take().unwrap_or_default();
                self.commit(&writes)?;
                done("COMMIT")
            }
            Statement::Write(write) => self.write(write, transaction),
            Statement::Define(definition) => {
                self.store().define(definition)?;
                self.announce();
                done("OK")
            }
            Statement::Changefeed(changefeed) => {
                let faults = self.faults();
                let plan = Plan::new(changefeed, &mut self.store(), &faults)?;
                Ok(Reply::Changefeed(Box::new(plan)))
            }
            Statement::Set => done("SET"),
            Statement::SetClusterSetting(name, value) => {
                self.set_cluster_setting(name, value)?;
                done("SET CLUSTER SETTING")
            }
            question => self.answer(question).map(Reply::Rows),
        }
    }

    fn write(&self, write: &Write, transaction: &mut Transaction) -> Result<Reply, SqlError> {
        let count = match transaction {
            // What a transaction writes is counted when it is committed.
            Some(writes) => {
                writes.push(write.clone());
                1
            }
            None => self.commit(std::slice::from_ref(write))?,
        };
        let tag = match write {
            Write::Insert { .. } => format!("INSERT 0 {count}"),
            Write::Update { .. } => format!("UPDATE {count}"),
            Write::Delete { .. } => format!("DELETE {count}"),
        };
        Ok(Reply::Done(tag))
    }

    fn commit(&self, writes: &[Write]) -> Result<usize, SqlError> {
        let (_, count) = self.store().commit(writes)?;
        self.announce();
        Ok(count)
    }

    /// Answers a statement that changes nothing.
    pub(crate) fn answer(&self, statement: &Statement) -> Result<Answer, SqlError> {
        match statement {
            Statement::Select(select) => self.store().select(select),
            Statement::Call { function, arguments } => self.call(function, arguments),
            Statement::ShowColumns(table) => self.store().show_columns(table),
            Statement::ShowCreate(table) => self.store().show_create(table),
            Statement::ShowTables => Ok(self.store().show_tables()),
            Statement::ShowZone(table) => self.store().show_zone(table),
            Statement::ShowClusterSetting(name) => {
                let store = self.store();
                let unknown = || SqlError::new("42704", format!("unknown setting: {name}"));
                let value = store.settings.get(name).ok_or_else(unknown)?;
                let shown = if value == "true" { "t" } else { value };
                let shown = if value == "false" { "f" } else { shown };
                Ok(Answer { columns: vec![name.clone()], rows: vec![vec![Some(shown.to_owned())]] })
            }
            Statement::Show(name) => {
                Ok(Answer { columns: vec![name.clone()], rows: vec![vec![Some(String::new())]] })
            }
            other => Err(SqlError::new("0A000", format!("not faked: {other:?}"))),
        }
    }

    fn call(&self, function: &str, arguments: &[Literal]) -> Result<Answer, SqlError> {
        let value = match (function, arguments) {
            ("version", []) => self.options.version.clone(),
            ("cluster_logical_timestamp", []) => self.store().now().to_string(),
            ("crdb_internal.cluster_id", []) => CLUSTER_ID.to_owned(),
            ("current_database", []) => self.options.database.clone(),
            ("literal", [Literal::Number(number)]) => number.clone(),
            ("has_table_privilege", [Literal::Text(table), Literal::Text(_)]) => {
                let store = self.store();
                let name = &store.table(&table.replace('"', ""))?.name;
                if store.unreadable.contains(name) { "f" } else { "t" }.to_owned()
            }
            _ => {
                let message = format!("unknown function: {function}()");
                return Err(SqlError::new("42883", message));
            }
        };
        let column = function.rsplit('.').next().unwrap_or(function).to_owned();
        Ok(Answer { columns: vec![column], rows: vec![vec![Some(value)]] })
    }

    fn set_cluster_setting(&self, name: &str, value: &Literal) -> Result<(), SqlError> {
        let value = match value {
            Literal::Text(text) | Literal::Number(text) => text.clone(),
            Literal::Bool(value) => value.to_string(),
            _ => return Err(SqlError::new("22023", format!("{name}: invalid value"))),
        };
        match name.strip_prefix("fake.") {
            Some("collect_garbage") => self.store().collect_garbage(),
            Some("drain") if value == "now" => self.drained.send_modify(|count| *count += 1),
            Some(fault) => lock(&self.faults).set(fault, &value)?,
            None => drop(self.store().settings.insert(name.to_owned(), value)),
        }
        Ok(())
    }
}
