use std::collections::{BTreeMap, HashMap};

use super::{Validator, loss::HUGE};
use crate::history::{Entry, MessageKind, What};

/// Who applies the messages in their order ends with the tables as they are at the source.
#[derive(Default)]
pub(crate) struct Convergence {
    replayed: HashMap<String, Rows>,
    source: HashMap<String, Rows>,
}

type Rows = BTreeMap<String, u64>;

impl Validator for Convergence {
    fn note(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            What::Row { table, key, digest } => {
                self.source.entry(table.clone()).or_default().insert(key.clone(), *digest);
            }
            What::Delivered { message, .. } => {
                let table = self.replayed.entry(message.table.clone()).or_default();
                match (message.kind, &message.key, message.row) {
                    (MessageKind::Replaces, ..) => table.clear(),
                    (MessageKind::Mark, ..) | (_, None, _) => {}
                    (_, Some(key), Some(digest)) => drop(table.insert(key.clone(), digest)),
                    (_, Some(key), None) => drop(table.remove(key)),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where the source tells of no rows, as an outbox, there is nothing to compare.
    fn conclude(&self) -> Result<(), String> {
        let none = Rows::new();
        let tables = if self.source.is_empty() { &self.source } else { &self.replayed };
        for table in tables.keys().chain(self.source.keys()) {
            let [replayed, source] =
                [&self.replayed, &self.source].map(|all| all.get(table).unwrap_or(&none));
            // What the sink refused is not there, and nobody else is wrong about it.
            let is_refused = |key: &str| key.starts_with(HUGE) && !replayed.contains_key(key);
            let differs =
                |key: &&String| replayed.get(*key) != source.get(*key) && !is_refused(key);
            let keys: Vec<_> =
                source.keys().chain(replayed.keys()).filter(differs).take(5).collect();
            if !keys.is_empty() {
                let (ours, theirs) = (replayed.len(), source.len());
                return Err(format!(
                    "{table} has {theirs} rows, its replay {ours}; they differ at {keys:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::trial::*, *};
    use crate::history::Message;

    fn row(key: &str, digest: u64) -> What {
        What::Row { table: "t".to_owned(), key: key.to_owned(), digest }
    }

    fn of(messages: Vec<Message>, rows: Vec<What>) -> Result<(), String> {
        verdict(Convergence::default(), rows.into_iter().chain(stream(messages)))
    }

    #[test]
    fn refuses_a_table_that_is_another_one() {
        let deleted = Message { row: None, ..change("b", 2) };
        let messages = vec![change("b", 1), change("a", 3), deleted];
        assert_eq!(of(messages.clone(), vec![row("a", 3)]), Ok(()));
        refused(of(messages.clone(), vec![row("a", 4)]), "differ at");
        refused(of(messages.clone(), vec![row("a", 3), row("b", 1)]), "differ at");
        refused(of([messages, vec![change("b", 1)]].concat(), vec![row("a", 3)]), "differ at");
    }

    #[test]
    fn a_row_that_was_refused_may_be_missing_and_may_not_differ() {
        assert_eq!(of(vec![change("a", 1)], vec![row("a", 1), row("huge", 2)]), Ok(()));
        let messages = vec![change("a", 1), change("huge", 1)];
        refused(of(messages.clone(), vec![row("a", 1), row("huge", 2)]), "differ at");
        refused(of(messages, vec![row("a", 1)]), "differ at");
    }

    #[test]
    fn a_table_that_is_read_again_is_replaced() {
        let replaces = Message { kind: MessageKind::Replaces, key: None, ..change("t", 0) };
        let messages = vec![change("a", 1), replaces, change("b", 2)];
        assert_eq!(of(messages, vec![row("b", 2)]), Ok(()));
    }

    #[test]
    fn without_rows_nothing_is_compared() {
        assert_eq!(of(vec![change("a", 1)], vec![]), Ok(()));
    }
}
