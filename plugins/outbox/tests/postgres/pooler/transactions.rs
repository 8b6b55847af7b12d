use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::relay::Outcome;

/// How many sessions there are, each of which a transaction gets in turn.
const SESSIONS: usize = 12;

/// A pooler of transactions, of just the protocol that it takes.
pub(crate) struct Pooler {
    pub(crate) url: String,
}

type Free = Arc<Mutex<VecDeque<TcpStream>>>;

/// A message: its kind, and all of it.
struct Message {
    kind: u8,
    bytes: Vec<u8>,
}

impl Pooler {
    pub(crate) async fn start(url: &str) -> Outcome<Self> {
        let (user, rest) = url
            .strip_prefix("postgres://")
            .and_then(|rest| rest.split_once('@'))
            .ok_or("an unusual URL")?;
        let (address, database) = rest.split_once('/').ok_or("an unusual URL")?;
        let database = database.split('?').next().unwrap_or(database);
        let free = Free::default();
        for _ in 0..SESSIONS {
            let session = session(address, user, database).await?;
            free.lock().map_err(|_| "poisoned")?.push_back(session);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("postgres://{user}@{}/{database}", listener.local_addr()?);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let free = Arc::clone(&free);
                tokio::spawn(async move { serve(client, &free).await });
            }
        });
        Ok(Self { url })
    }
}

/// A session of the server, ready for a query.
async fn session(address: &str, user: &str, database: &str) -> Outcome<TcpStream> {
    let mut server = TcpStream::connect(address).await?;
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    for text in ["user", user, "database", database] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    server.write_i32(i32::try_from(body.len())? + 4).await?;
    server.write_all(&body).await?;
    while read(&mut server).await?.kind != b'Z' {}
    Ok(server)
}

async fn read(stream: &mut TcpStream) -> io::Result<Message> {
    let kind = stream.read_u8().await?;
    let length = stream.read_u32().await?;
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.resize(1 + length as usize, 0);
    stream.read_exact(&mut bytes[5..]).await?;
    Ok(Message { kind, bytes })
}

/// Says that whoever it is may come in.
async fn greet(client: &mut TcpStream) -> io::Result<()> {
    loop {
        let length = client.read_u32().await?;
        let mut start = vec![0; length as usize - 4];
        client.read_exact(&mut start).await?;
        if start[..4] != 80_877_103_u32.to_be_bytes() {
            break;
        }
        // No encryption.
        client.write_all(b"N").await?;
    }
    client.write_all(b"R\0\0\0\x08\0\0\0\0").await?;
    client.write_all(b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x01").await?;
    client.write_all(b"Z\0\0\0\x05I").await
}

async fn serve(mut client: TcpStream, free: &Free) -> io::Result<()> {
    greet(&mut client).await?;
    loop {
        let first = read(&mut client).await?;
        if first.kind == b'X' {
            return Ok(());
        }
        let session = free.lock().ok().and_then(|mut free| free.pop_front());
        let mut server = session.ok_or(io::ErrorKind::WouldBlock)?;
        transact(&mut client, &mut server, first).await?;
        if let Ok(mut free) = free.lock() {
            free.push_back(server);
        }
    }
}

/// Passes messages on until the transaction has ended. A client that leaves in the midst of one
/// ends the session.
async fn transact(
    client: &mut TcpStream,
    server: &mut TcpStream,
    first: Message,
) -> io::Result<()> {
    let mut next = Some(first);
    loop {
        // The client says all that it has to say before an answer is due.
        let mut is_due = false;
        while !is_due {
            let message = match next.take() {
                Some(message) => message,
                None => read(client).await?,
            };
            is_due = matches!(message.kind, b'Q' | b'S');
            server.write_all(&message.bytes).await?;
        }
        loop {
            let message = read(server).await?;
            // A notification is for whoever listened in this session, who may be gone.
            if message.kind != b'A' {
                client.write_all(&message.bytes).await?;
            }
            if message.kind == b'Z' {
                match message.bytes.last() {
                    Some(b'I') => return Ok(()),
                    _ => break,
                }
            }
        }
    }
}
