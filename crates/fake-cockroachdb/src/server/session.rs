use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, atomic::Ordering},
};

use tokio::{io::split, net::TcpStream, sync::watch};

use super::{
    Handle, Shared,
    authentication::{self, Said},
    encryption,
    execution::{Reply, Transaction},
    lock,
    wire::{BYTES, Body, Reader, Request, Stream, TEXT, Writer, put_count, read, read_startup},
};
use crate::{
    changefeed::{End, Feed, Plan, shutting_down},
    sql::{SqlError, Statement, parse},
};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// A connection of a client that was let in.
pub(super) struct Session {
    shared: Arc<Shared>,
    reader: Reader,
    writer: Writer,
    handle: Arc<Handle>,
    drained: watch::Receiver<u64>,
    prepared: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
    transaction: Transaction,
    /// What came while a changefeed ran.
    waiting: VecDeque<Request>,
    /// Whether requests are passed over until the next `Sync`.
    is_skipping: bool,
}

#[derive(Clone)]
struct Prepared {
    sql: String,
    statement: Statement,
}

struct Portal {
    prepared: Prepared,
    is_binary: Vec<bool>,
}

/// Why a session ends.
enum Halt {
    Gone,
    Failed(SqlError),
}

impl From<io::Error> for Halt {
    fn from(_: io::Error) -> Self {
        Halt::Gone
    }
}

/// Takes a session off the list, whatever ends it.
struct Listed {
    shared: Arc<Shared>,
    number: u32,
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.shared.sessions).remove(&self.number);
    }
}

/// Counts a feed for as long as it runs.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.feeds.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.feeds.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Session {
    /// Serves a connection from its first byte to its last.
    pub(super) async fn serve(socket: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
        let Some(client) = start(socket, &shared).await? else { return Ok(()) };
        let (mut reader, half) = split(client.stream);
        let mut writer = Writer::new(half);
        if let Err(error) =
            authentication::let_in(&shared.options, &client.said, &mut reader, &mut writer).await?
        {
            writer.put_error(&error);
            return writer.send_all().await;
        }
        let number = u32::try_from(shared.count_feed()).unwrap_or_default();
        let handle =
            Arc::new(Handle { secret: number.wrapping_mul(2_654_435_761), ..Handle::default() });
        lock(&shared.sessions).insert(number, Arc::clone(&handle));
        let _listed = Listed { shared: Arc::clone(&shared), number };
        greet(&mut writer, number, handle.secret);
        writer.send_all().await?;
        let drained = shared.drained.subscribe();
        let mut session = Self {
            shared,
            reader,
            writer,
            handle,
            drained,
            prepared: HashMap::new(),
            portals: HashMap::new(),
            transaction: None,
            waiting: VecDeque::new(),
            is_skipping: false,
        };
        let halt = session.answer_all().await;
        if let Err(Halt::Failed(error)) = halt {
            session.writer.put_error(&error);
            session.writer.send_all().await?;
        }
        Ok(())
    }

    async fn answer_all(&mut self) -> Result<(), Halt> {
        loop {
            let request = self.next_request().await?;
            if request.kind == b'X' {
                return Ok(());
            }
            self.answer(&request).await?;
        }
    }

    async fn next_request(&mut self) -> Result<Request, Halt> {
        if let Some(request) = self.waiting.pop_front() {
            return Ok(request);
        }
        tokio::select! {
            request = read(&mut self.reader) => Ok(request?),
            () = self.handle.cut.notified() => Err(Halt::Gone),
            _ = self.drained.changed() => Err(Halt::Failed(shutting_down())),
        }
    }

    async fn answer(&mut self, request: &Request) -> Result<(), Halt> {
        if self.is_skipping && request.kind != b'S' {
            return Ok(());
        }
        let mut body = Body(&request.body);
        let answered = match request.kind {
            b'Q' => return self.query(&body.text()?).await,
            b'P' => self.prepare(&mut body)?,
            b'B' => self.bind(&mut body)?,
            b'D' => self.describe(&mut body)?,
            b'E' => self.execute(&body.text()?).await?,
            b'C' => {
                let kind = body.byte()?;
                self.close(kind, &body.text()?);
                Ok(())
            }
            b'S' => {
                self.is_skipping = false;
                self.ready().await?;
                Ok(())
            }
            b'H' => {
                self.writer.send_all().await?;
                Ok(())
            }
            other => {
                let message = format!("unexpected message {:?}", char::from(other));
                return Err(Halt::Failed(SqlError::fatal("08P01", message)));
            }
        };
        if let Err(error) = answered {
            self.writer.put_error(&error);
            self.is_skipping = true;
        }
        Ok(())
    }

    async fn ready(&mut self) -> io::Result<()> {
        let status = if self.transaction.is_some() { b'T' } else { b'I' };
        self.writer.put_ready(status);
        self.writer.send_all().await
    }

    /// The simple protocol: any number of statements, up to the first error.
    async fn query(&mut self, sql: &str) -> Result<(), Halt> {
        self.shared.note(sql);
        self.writer.is_binary.clear();
        match parse(sql) {
            Err(error) => self.writer.put_error(&error),
            Ok(statements) if statements.is_empty() => self.writer.put(b'I', |_| {}),
            Ok(statements) => {
                for statement in statements {
                    if let Err(error) = self.run(&statement, Description::Shown).await? {
                        self.writer.put_error(&error);
                        break;
                    }
                }
            }
        }
        Ok(self.ready().await?)
    }

    fn prepare(&mut self, body: &mut Body<'_>) -> io::Result<Result<(), SqlError>> {
        let (name, sql) = (body.text()?, body.text()?);
        Ok(parse(&sql).and_then(|mut statements| {
            if statements.len() > 1 {
                let message = "prepared statement had more than one statement";
                return Err(SqlError::new("42601", message));
            }
            let statement = statements.pop().unwrap_or(Statement::Empty);
            self.prepared.insert(name, Prepared { sql, statement });
            self.writer.put(b'1', |_| {});
            Ok(())
        }))
    }

    fn bind(&mut self, body: &mut Body<'_>) -> io::Result<Result<(), SqlError>> {
        let (portal, name) = (body.text()?, body.text()?);
        for _ in 0..body.short()? {
            body.short()?;
        }
        if body.short()? > 0 {
            return Ok(Err(SqlError::new("0A000", "placeholders are not faked")));
        }
        let count = body.short()?;
        let mut formats =
            (0..count).map(|_| Ok(body.short()? == 1)).collect::<io::Result<Vec<_>>>()?;
        if let [all] = formats[..] {
            // One stands for all columns, and there is no answer with more than these.
            formats = vec![all; 64];
        }
        let Some(prepared) = self.prepared.get(&name).cloned() else {
            return Ok(Err(unknown("prepared statement", &name)));
        };
        self.portals.insert(portal, Portal { prepared, is_binary: formats });
        self.writer.put(b'2', |_| {});
        Ok(Ok(()))
    }

    fn describe(&mut self, body: &mut Body<'_>) -> io::Result<Result<(), SqlError>> {
        let kind = body.byte()?;
        let name = body.text()?;
        let statement = if kind == b'S' {
            self.writer.is_binary.clear();
            let Some(prepared) = self.prepared.get(&name) else {
                return Ok(Err(unknown("prepared statement", &name)));
            };
            self.writer.put(b't', |out| put_count(out, 0));
            prepared.statement.clone()
        } else {
            let Some(portal) = self.portals.get(&name) else {
                return Ok(Err(unknown("portal", &name)));
            };
            self.writer.is_binary.clone_from(&portal.is_binary);
            portal.prepared.statement.clone()
        };
        match self.columns(&statement) {
            Ok(Some(columns)) => self.writer.put_description(&columns),
            Ok(None) => self.writer.put(b'n', |_| {}),
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(()))
    }

    /// The columns of what a statement returns, if it returns rows.
    fn columns(&self, statement: &Statement) -> Result<Option<Vec<(String, u32)>>, SqlError> {
        match statement {
            Statement::Changefeed(_) => Ok(Some(changefeed_columns())),
            Statement::Empty
            | Statement::Begin
            | Statement::Commit
            | Statement::Rollback
            | Statement::Set
            | Statement::SetClusterSetting(..)
            | Statement::Write(_)
            | Statement::Define(_) => Ok(None),
            question => {
                let answer = self.shared.answer(question)?;
                Ok(Some(answer.columns.into_iter().map(|name| (name, TEXT)).collect()))
            }
        }
    }

    async fn execute(&mut self, portal: &str) -> Result<Result<(), SqlError>, Halt> {
        let Some(portal) = self.portals.get(portal) else {
            return Ok(Err(unknown("portal", portal)));
        };
        let prepared = portal.prepared.clone();
        self.writer.is_binary.clone_from(&portal.is_binary);
        self.shared.note(&prepared.sql);
        self.run(&prepared.statement, Description::Known).await
    }

    fn close(&mut self, kind: u8, name: &str) {
        match kind {
            b'S' => drop(self.prepared.remove(name)),
            _ => drop(self.portals.remove(name)),
        }
        self.writer.put(b'3', |_| {});
    }

    async fn run(
        &mut self,
        statement: &Statement,
        description: Description,
    ) -> Result<Result<(), SqlError>, Halt> {
        let reply = match self.shared.run(statement, &mut self.transaction) {
            Ok(reply) => reply,
            Err(error) => return Ok(Err(error)),
        };
        match reply {
            Reply::Done(tag) => self.writer.put_done(&tag),
            Reply::Rows(answer) => {
                if description == Description::Shown {
                    let columns = answer.columns.iter().map(|name| (name.clone(), TEXT));
                    self.writer.put_description(&columns.collect::<Vec<_>>());
                }
                self.writer.put_rows(&answer);
                self.writer.put_done(&format!("SELECT {}", answer.rows.len()));
            }
            Reply::Changefeed(plan) => {
                if description == Description::Shown {
                    self.writer.put_description(&changefeed_columns());
                }
                return self.feed(*plan).await;
            }
        }
        Ok(Ok(()))
    }

    /// Runs a changefeed until it ends, is cancelled, or the client is gone.
    async fn feed(&mut self, plan: Plan) -> Result<Result<(), SqlError>, Halt> {
        let _running = Running::new(&self.shared);
        let feed = Feed::new(plan, Arc::clone(&self.shared)).run(&mut self.writer);
        let end = tokio::select! {
            end = feed => end,
            () = listen(&mut self.reader, &mut self.waiting) => End::Cut,
            () = self.handle.cut.notified() => End::Cut,
            () = self.handle.cancel.notified() => {
                End::Failed(SqlError::new("57014", "query execution canceled"))
            }
            _ = self.drained.changed() => End::Failed(shutting_down()),
        };
        match end {
            End::Complete => {
                self.writer.put_done("CREATE CHANGEFEED");
                Ok(Ok(()))
            }
            End::Cut => Err(Halt::Gone),
            End::Failed(error) if error.severity == "FATAL" => Err(Halt::Failed(error)),
            End::Failed(error) => Ok(Err(error)),
        }
    }
}

/// Whether the columns of an answer come before it, or were asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Description {
    Shown,
    Known,
}

fn changefeed_columns() -> Vec<(String, u32)> {
    let column = |(name, kind): (&str, u32)| (name.to_owned(), kind);
    [("table", TEXT), ("key", BYTES), ("value", BYTES)].map(column).to_vec()
}

fn unknown(what: &str, name: &str) -> SqlError {
    SqlError::new("26000", format!("unknown {what} \"{name}\""))
}

/// Keeps what the client sends; returns once it is gone.
async fn listen(reader: &mut Reader, waiting: &mut VecDeque<Request>) {
    while let Ok(request) = read(reader).await {
        if request.kind == b'X' {
            return;
        }
        waiting.push_back(request);
    }
}

/// Who wants to come in.
struct Client {
    stream: Box<dyn Stream>,
    said: Said,
}

/// From the first byte to the parameters; `None` if the connection was for a cancel request.
async fn start(socket: TcpStream, shared: &Arc<Shared>) -> io::Result<Option<Client>> {
    let mut stream: Box<dyn Stream> = Box::new(socket);
    let mut certified = None;
    loop {
        let request = read_startup(&mut stream).await?;
        let mut body = Body(&request);
        match body.long()? {
            SSL_REQUEST => match &shared.tls {
                Some(acceptor) => {
                    tokio::io::AsyncWriteExt::write_all(&mut stream, b"S").await?;
                    let encrypted = acceptor.accept(stream).await?;
                    let (_, session) = encrypted.get_ref();
                    let name = session.server_name().unwrap_or_default().to_owned();
                    lock(&shared.server_names).push(name);
                    certified = encryption::common_name(session.peer_certificates());
                    stream = Box::new(encrypted);
                }
                None => tokio::io::AsyncWriteExt::write_all(&mut stream, b"N").await?,
            },
            GSS_REQUEST => tokio::io::AsyncWriteExt::write_all(&mut stream, b"N").await?,
            CANCEL_REQUEST => {
                cancel(shared, body.long()?, body.long()?);
                return Ok(None);
            }
            _ => {
                let mut parameters = HashMap::new();
                while body.0.len() > 1 {
                    let name = body.text()?;
                    parameters.insert(name, body.text()?);
                }
                return Ok(Some(Client { stream, said: Said { parameters, certified } }));
            }
        }
    }
}

fn cancel(shared: &Shared, number: u32, secret: u32) {
    let sessions = lock(&shared.sessions);
    if let Some(handle) = sessions.get(&number).filter(|handle| handle.secret == secret) {
        shared.cancels.fetch_add(1, Ordering::SeqCst);
        handle.cancel.notify_one();
    }
}

fn greet(writer: &mut Writer, number: u32, secret: u32) {
    let parameters = [
        ("server_version", "13.0.0"),
        ("crdb_version", "CockroachDB CCL v25.4.1"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "on"),
    ];
    for (name, value) in parameters {
        writer.put(b'S', |out| {
            super::wire::put_text(out, name);
            super::wire::put_text(out, value);
        });
    }
    writer.put(b'K', |out| {
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&secret.to_be_bytes());
    });
    writer.put_ready(b'I');
}
