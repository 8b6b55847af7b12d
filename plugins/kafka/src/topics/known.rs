use std::{collections::HashMap, sync::Arc};

use rdkafka::ClientConfig;
use rowtide_core::{Change, Result, Table};
use rowtide_format::{Message, Template};

use super::{inquiry, name};
use crate::producer::Living;

/// A topic's place among those that are known.
pub(crate) type TopicIndex = usize;

/// The topics that changes have gone to so far.
pub(crate) struct Topics {
    /// Unset: where the format wants a message to go, or else the table's name.
    template: Option<Template>,
    known: Vec<Topic>,
    by_name: HashMap<String, TopicIndex>,
    /// Most changes are of the same table as the one before.
    latest: Option<(Arc<Table>, TopicIndex)>,
    name: String,
}

/// A topic, and the largest batch that it takes.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    /// Unset until the brokers were asked.
    pub(crate) limit: Option<Limit>,
}

/// How large a batch may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// As the brokers told.
    Told(usize),
    /// As large as brokers take unless they are told otherwise: they did not tell.
    Guessed(usize),
}

impl Topic {
    /// The largest batch that it takes, as far as that is known.
    pub(crate) fn bytes_max(&self) -> Option<usize> {
        self.limit.map(|limit| match limit {
            Limit::Told(bytes) | Limit::Guessed(bytes) => bytes,
        })
    }

    /// Whether a batch is larger than was guessed, so that the brokers are to be asked once more.
    pub(crate) fn is_doubtful(&self, bytes: usize) -> bool {
        matches!(self.limit, Some(Limit::Guessed(most)) if bytes > most)
    }
}

impl Topics {
    pub(crate) fn new(template: Option<Template>) -> Self {
        Self {
            template,
            known: Vec::new(),
            by_name: HashMap::new(),
            latest: None,
            name: String::new(),
        }
    }

    /// The topic of `message`, which is one of `change`.
    ///
    /// # Errors
    /// The reason why it has none.
    pub(crate) fn of(
        &mut self,
        change: &Change,
        message: &Message<'_>,
    ) -> Result<TopicIndex, String> {
        if let (None, Some(topic)) = (&self.template, message.topic) {
            return self.named(topic);
        }
        if let Some((table, index)) = &self.latest
            && Arc::ptr_eq(table, &change.table)
        {
            return Ok(*index);
        }
        let mut name = std::mem::take(&mut self.name);
        let found = self.write(&mut name, change, message).and_then(|()| self.named(&name));
        self.name = name;
        let index = found?;
        if self.template.as_ref().is_none_or(Template::is_of_table) {
            self.latest = Some((Arc::clone(&change.table), index));
        }
        Ok(index)
    }

    fn write(
        &self,
        name: &mut String,
        change: &Change,
        message: &Message<'_>,
    ) -> Result<(), String> {
        name.clear();
        match &self.template {
            Some(template) => template.write(name, change, message)?,
            None => name.push_str(&change.table.name),
        }
        name::mend(name);
        Ok(())
    }

    /// The topic of this name.
    ///
    /// # Errors
    /// The reason why there can be none.
    pub(crate) fn named(&mut self, name: &str) -> Result<TopicIndex, String> {
        if let Some(index) = self.by_name.get(name) {
            return Ok(*index);
        }
        name::check(name)?;
        self.known.push(Topic { name: name.to_owned(), limit: None });
        self.by_name.insert(name.to_owned(), self.known.len() - 1);
        Ok(self.known.len() - 1)
    }

    /// The topic at this place.
    pub(crate) fn at(&self, index: TopicIndex) -> &Topic {
        &self.known[index]
    }

    /// Whether there are topics whose limits are not known.
    pub(crate) fn has_unknown(&self) -> bool {
        self.known.iter().any(|topic| topic.limit.is_none())
    }

    /// Asks for the limits that are not known.
    ///
    /// # Errors
    /// `Config` if a topic is missing, `Transient` if nobody answers.
    pub(crate) async fn learn(
        &mut self,
        client: &ClientConfig,
        living: &Arc<Living>,
    ) -> Result<()> {
        let unknown: Vec<_> =
            (0..self.known.len()).filter(|&index| self.known[index].limit.is_none()).collect();
        let names = unknown.iter().map(|&index| self.known[index].name.clone()).collect();
        let limits = inquiry::limits(client, living, names).await?;
        for (index, limit) in unknown.into_iter().zip(limits) {
            self.known[index].limit = Some(limit);
        }
        Ok(())
    }

    /// Forgets the limit of a topic: it has proved wrong.
    pub(crate) fn forget(&mut self, index: TopicIndex) {
        self.known[index].limit = None;
    }
}
