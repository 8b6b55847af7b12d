use std::{io, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{connection, controls::Shared, port::Port};

/// Accepts connections until the proxy is dropped, and has them carried.
pub(crate) async fn run(mut door: Door, shared: Arc<Shared>, mut orders: mpsc::Receiver<Order>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        select! {
            client = door.accept() => {
                number += 1;
                connections.spawn(connection::run(client, number, shared.clone()));
            }
            order = orders.recv() => match order {
                // Whoever asked may be gone.
                Some(Order { is_open, done }) => drop(done.send(door.set_open(is_open))),
                None => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// To open the door, or to shut it.
pub(crate) struct Order {
    pub(crate) is_open: bool,
    pub(crate) done: oneshot::Sender<io::Result<()>>,
}

/// Where clients come in, if they do.
pub(crate) struct Door {
    port: Port,
    listener: Option<TcpListener>,
}

impl Door {
    pub(crate) fn new(port: Port) -> io::Result<Self> {
        let listener = Some(port.open()?);
        Ok(Self { port, listener })
    }

    fn set_open(&mut self, is_open: bool) -> io::Result<()> {
        match (is_open, &self.listener) {
            (true, None) => self.listener = Some(self.port.open()?),
            (false, Some(_)) => {
                self.listener = None;
                self.port.shut();
            }
            _ => {}
        }
        Ok(())
    }

    async fn accept(&self) -> TcpStream {
        if let Some(listener) = &self.listener {
            loop {
                // An error is about one client that has gone again.
                if let Ok((client, _)) = listener.accept().await {
                    return client;
                }
            }
        }
        std::future::pending().await
    }
}
