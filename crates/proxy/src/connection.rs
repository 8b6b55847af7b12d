use std::{io, sync::Arc};

use tokio::{net::TcpStream, select, try_join};

use crate::{controls::Shared, lane::Lane};

/// Carries the bytes of one connection until both directions have ended, or it is cut.
pub(crate) async fn run(client: TcpStream, number: u64, shared: Arc<Shared>) {
    let open = Open::begin(shared.clone());
    let resets = shared.controls.borrow().resets;
    let address = shared.controls.borrow().server;
    let mut lanes = [0, 1].map(|index| Lane::new(&shared, index, number));
    // A reset meanwhile comes after it: given up now, the server would see an end in good order.
    let server = TcpStream::connect(address).await;
    let Ok(mut server) = server else {
        select! {
            () = lanes[1].audible() => {}
            () = reset(&shared, resets) => {}
        }
        cut(&client, &shared);
        drop(client);
        return drop(open);
    };
    let mut client = client;
    // What is written is to arrive as it was written, not when a packet is full.
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    let result = carry(&mut client, &mut server, lanes, reset(&shared, resets)).await;
    if result.is_err() {
        let _ = server.set_zero_linger();
        cut(&client, &shared);
    }
    drop((client, server));
    // Who waits for this finds the sockets closed.
    drop(open);
}

/// `Ok` once both directions have ended in good order.
async fn carry(
    client: &mut TcpStream,
    server: &mut TcpStream,
    [to_server, to_client]: [Lane; 2],
    reset: impl Future<Output = ()>,
) -> io::Result<()> {
    let (client_reader, client_writer) = client.split();
    let (server_reader, server_writer) = server.split();
    let both = async {
        try_join!(
            to_server.carry(client_reader, server_writer),
            to_client.carry(server_reader, client_writer)
        )
    };
    select! {
        ended = both => ended.map(drop),
        () = reset => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// Returns once connections are reset that began when `resets` was the number of resets.
async fn reset(shared: &Shared, resets: u64) {
    let mut controls = shared.controls.subscribe();
    // The sender is in `shared`.
    let _ = controls.wait_for(|controls| controls.resets > resets).await;
}

/// Closing `stream` is a reset from now on.
fn cut(stream: &TcpStream, shared: &Shared) {
    let _ = stream.set_zero_linger();
    shared.statistics.send_modify(|statistics| statistics.resets += 1);
}

/// A connection that counts as open until this is dropped.
struct Open(Arc<Shared>);

impl Open {
    fn begin(shared: Arc<Shared>) -> Self {
        shared.statistics.send_modify(|statistics| {
            statistics.connections += 1;
            statistics.open += 1;
        });
        Self(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.statistics.send_modify(|statistics| statistics.open -= 1);
    }
}
