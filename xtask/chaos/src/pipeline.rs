//! What a pipeline is made of here: where changes come from, where they go, and where positions
//! are kept.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::Value;

use crate::{
    Outcome,
    history::{Message, Scope, What},
    nemesis::{Fault, network},
    site::Link,
};

/// What a sink makes of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Fits,
    TooLarge,
}

/// Where changes come from.
pub(crate) trait Upstream: Send + Sync {
    /// The table `[source]` of the pipeline file.
    fn settings(&self) -> String;

    /// What messages are written as.
    fn format(&self) -> &'static str;

    fn scope(&self) -> Scope;

    /// How many instances may run at once.
    fn instances(&self) -> usize {
        1
    }

    /// Whether what is saved covers what was there before, so that all that is written from now on
    /// comes as changes.
    fn is_ready(&self, states: &[Value]) -> bool {
        !states.is_empty()
    }

    /// Whether nothing comes again behind a position.
    fn is_exact(&self) -> bool {
        true
    }

    /// A setting that the next start has otherwise, as a variable. It may be on its way to a point.
    fn overlay(&self, _point: Option<&str>, _chance: &mut Rng) -> Option<(&'static str, String)> {
        None
    }

    /// Ends what goes wrong by itself.
    fn calm(&self) {}

    /// What else must hold of the messages.
    fn judge(&self, _messages: &[Vec<Vec<u8>>]) -> Outcome {
        Ok(())
    }

    /// Puts a backup of earlier in its place, if there is one.
    fn restore(&self) -> Outcome<bool> {
        Ok(false)
    }

    /// Writes until it is dropped or stopped.
    fn write(&self, seed: u64) -> Outcome<Box<dyn Writer>>;

    /// Writes a message of so many bytes more than it would have, between two small ones; whether it
    /// can. One that fits must arrive, another one must not.
    fn write_large(&self, _bytes: usize, _fate: Fate) -> Outcome<bool> {
        Ok(false)
    }

    /// What is committed, and the rows as they are now.
    fn truth(&self) -> Outcome<Vec<What>>;

    /// The places of saved positions, if they can be compared.
    fn places(&self, states: &[Value]) -> Outcome<Vec<(String, u64)>>;

    /// What it was told to forget since the last look; `None` if it cannot be looked at.
    fn forgotten(&self) -> Outcome<Option<Vec<(String, u64)>>> {
        Ok(Some(Vec::new()))
    }

    /// Reads a message of the sink.
    fn parse(&self, text: &[u8]) -> Outcome<Message>;

    /// How the program reaches its server, if it has one.
    fn link(&self) -> Option<&Arc<Link>> {
        None
    }

    /// What goes wrong beside the network.
    fn faults(&self) -> Vec<Fault>;
}

pub(crate) trait Writer: Send {
    /// Ends it, once what is under way is committed or rolled back.
    fn stop(self: Box<Self>) -> Outcome;
}

/// Where changes go.
pub(crate) trait Downstream: Send + Sync {
    /// The table `[sink]` of the pipeline file.
    fn settings(&self) -> String;

    /// Whether a second process waits here for the end of the first, before it asks the store.
    fn makes_wait(&self) -> bool {
        false
    }

    /// How many messages each stream has; `None` if it cannot be looked at at the moment.
    fn reached(&self) -> Outcome<Option<Vec<u64>>>;

    /// The largest message that it takes, in bytes as it counts them; `None` if nobody set it.
    fn limit(&self) -> Option<usize> {
        None
    }

    /// The largest message of those behind so many, counted so.
    fn largest(&self, _known: &[usize]) -> Outcome<usize> {
        Ok(0)
    }

    /// The messages of each stream behind so many. Nothing is in the way of it.
    fn messages(&self, known: &[usize]) -> Outcome<Vec<Vec<Vec<u8>>>>;

    /// How the program reaches its server, if it has one.
    fn link(&self) -> Option<&Arc<Link>> {
        None
    }

    /// How long nothing around the processes may go wrong at first.
    fn spared(&self) -> Duration {
        Duration::ZERO
    }

    /// What goes wrong beside the network.
    fn faults(&self) -> Vec<Fault>;
}

/// Where positions are kept.
pub(crate) trait Store: Send + Sync {
    /// The table `[checkpoint]` of the pipeline file.
    fn settings(&self) -> String;

    /// Whether a second process takes the pipeline over, and is not refused.
    fn is_remote(&self) -> bool;

    /// Whether what it keeps is all of a position.
    fn is_exact(&self) -> bool {
        true
    }

    /// The files that it keeps, for whoever damages them.
    fn files(&self) -> Vec<std::path::PathBuf>;

    /// How the program reaches its server, if it has one.
    fn link(&self) -> Option<&Arc<Link>> {
        None
    }

    /// What goes wrong beside the network.
    fn faults(&self) -> Vec<Fault>;
}

/// All of it.
pub(crate) struct Pipeline {
    pub(crate) upstream: Box<dyn Upstream>,
    pub(crate) downstream: Box<dyn Downstream>,
    pub(crate) store: Box<dyn Store>,
    /// The table `[delivery]`, as it was drawn.
    pub(crate) delivery: Vec<(String, String)>,
}

impl Pipeline {
    /// The pipeline file.
    pub(crate) fn text(&self) -> String {
        let delivery: String =
            self.delivery.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        format!(
            "name = \"chaos\"\n[source]\n{}\n[sink]\n{}\nformat = {}\n[checkpoint]\n{}\n[delivery]\n{delivery}",
            self.upstream.settings(),
            self.downstream.settings(),
            self.upstream.format(),
            self.store.settings()
        )
    }

    /// Whether a stop that nothing disturbs has nothing come again.
    pub(crate) fn is_exact(&self) -> bool {
        self.upstream.is_exact() && self.store.is_exact()
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = self.upstream.faults();
        faults.extend(self.downstream.faults());
        faults.extend(self.store.faults());
        let links = self.links();
        faults.extend(links.iter().flat_map(network::faults));
        if links.len() > 1 {
            faults.push(network::swizzle(links));
        }
        faults
    }

    /// Each link once: a source and a store may be in one server.
    fn links(&self) -> Vec<Arc<Link>> {
        let all = [self.upstream.link(), self.downstream.link(), self.store.link()];
        let mut links: Vec<Arc<Link>> = Vec::new();
        for link in all.into_iter().flatten() {
            if !links.iter().any(|known| Arc::ptr_eq(known, link)) {
                links.push(link.clone());
            }
        }
        links
    }
}
