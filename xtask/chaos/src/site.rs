//! Servers of a run, each with a proxy before it. The rounds share them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use rowtide_proxy::Proxy;
use rowtide_servers::{Kind, Server};
use tokio::runtime::{Builder, Runtime};

use crate::Outcome;

/// The proxy by which the program reaches a server.
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) proxy: Proxy,
    pub(crate) runtime: Arc<Runtime>,
}

/// A server, and the link to it.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) link: Arc<Link>,
    pub(crate) kind: Kind,
    pub(crate) runtime: Arc<Runtime>,
}

/// Those that were started so far.
pub(crate) struct Sites {
    runtime: Arc<Runtime>,
    started: Mutex<HashMap<Kind, Arc<Site>>>,
}

impl Sites {
    pub(crate) fn new() -> Outcome<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime: Arc::new(runtime), started: Mutex::default() })
    }

    pub(crate) fn runtime(&self) -> Arc<Runtime> {
        self.runtime.clone()
    }

    /// The server of this kind, which is started if it does not run yet.
    pub(crate) fn site(&self, kind: Kind, arguments: &[&str]) -> Outcome<Arc<Site>> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(site) = started.get(&kind) {
            return Ok(site.clone());
        }
        let site = self.start(kind, arguments)?;
        started.insert(kind, site.clone());
        Ok(site)
    }

    /// One that nobody else uses.
    pub(crate) fn start(&self, kind: Kind, arguments: &[&str]) -> Outcome<Arc<Site>> {
        let server = Server::start_with(kind, arguments)?;
        let (behind, before) = match kind {
            // It tells its clients where to go on, so it knows of the proxy.
            Kind::Kafka => (
                server.variable("ROWTIDE_KAFKA_BEHIND_PROXY")?,
                server.variable("ROWTIDE_KAFKA_PROXY")?,
            ),
            _ => (server.variable(variable(kind))?, "127.0.0.1:0"),
        };
        let (behind, before) = (address(behind)?, before.parse()?);
        let link = Arc::new(Link::open(kind.name(), [before, behind], self.runtime())?);
        Ok(Arc::new(Site { server, link, kind, runtime: self.runtime() }))
    }
}

impl Site {
    /// Where it is, as its own clients know it.
    pub(crate) fn url(&self) -> Outcome<&str> {
        Ok(self.server.variable(variable(self.kind))?)
    }

    /// The same through the proxy.
    pub(crate) fn proxied(&self, url: &str) -> Outcome<String> {
        self.link.proxied(url)
    }
}

impl Link {
    /// A link to a server of one's own.
    pub(crate) fn start(
        name: &'static str,
        server: SocketAddr,
        runtime: Arc<Runtime>,
    ) -> Outcome<Arc<Self>> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Arc::new(Self::open(name, [anywhere, server], runtime)?))
    }

    fn open(
        name: &'static str,
        [before, server]: [SocketAddr; 2],
        runtime: Arc<Runtime>,
    ) -> Outcome<Self> {
        let proxy = runtime.block_on(Proxy::start_at(before, server, 7))?;
        Ok(Self { name, proxy, runtime })
    }

    /// A URL of the server, through the proxy.
    pub(crate) fn proxied(&self, url: &str) -> Outcome<String> {
        let direct = address(url)?.to_string();
        Ok(url.replace(&direct, &self.proxy.address().to_string()))
    }
}

fn variable(kind: Kind) -> &'static str {
    match kind {
        Kind::Kafka => "ROWTIDE_KAFKA_BROKERS",
        Kind::RabbitMq => "ROWTIDE_AMQP_URL",
        Kind::Postgres => "ROWTIDE_POSTGRES_URL",
        Kind::MariaDb => "ROWTIDE_MYSQL_URL",
        Kind::Spanner => "SPANNER_EMULATOR_HOST",
    }
}

/// The host and port of a URL.
pub(crate) fn address(url: &str) -> Outcome<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    Ok(host.parse().map_err(|_| format!("no address in {url}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_every_url() {
        for url in ["127.0.0.1:7", "amqp://a:b@127.0.0.1:7/%2f", "postgres://p@127.0.0.1:7/rowtide"]
        {
            assert_eq!(address(url).unwrap().port(), 7, "{url}");
        }
        assert!(address("postgres://localhost/rowtide").is_err());
    }
}
