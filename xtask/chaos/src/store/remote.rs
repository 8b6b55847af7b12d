//! A store in a database server, which goes away as any other.

use std::{path::PathBuf, sync::Arc};

use rowtide_servers::Kind;

use crate::{
    Outcome,
    nemesis::{Fault, server},
    pipeline::Store,
    site::{Link, Site},
};

pub(crate) struct Remote {
    settings: String,
    site: Arc<Site>,
}

impl Remote {
    /// A table of its own in the server.
    pub(crate) fn new(site: Arc<Site>, seed: u64) -> Outcome<Self> {
        let name = if site.kind == Kind::Postgres { "postgres" } else { "mysql" };
        let settings = format!(
            "type = \"{name}\"\ndatabase = \"{}\"\ntable = \"checkpoint_{seed}\"\ntimeout = \"5s\"",
            site.proxied(site.url()?)?
        );
        Ok(Self { settings, site })
    }
}

impl Store for Remote {
    fn settings(&self) -> String {
        self.settings.clone()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    fn link(&self) -> Option<&Arc<Link>> {
        Some(&self.site.link)
    }

    fn faults(&self) -> Vec<Fault> {
        server::faults(&self.site)
    }
}
