//! The messages of PostgreSQL's protocol, version 3.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::{
    changefeed::{Message, Output},
    datum::hex,
    sql::SqlError,
    store::Answer,
};

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) type Reader = ReadHalf<Box<dyn Stream>>;

/// The types of columns, by their number in PostgreSQL.
pub(super) const TEXT: u32 = 25;
pub(super) const BYTES: u32 = 17;

const LENGTH_MAX: usize = 16 << 20;
/// How much is kept back at most.
const BUFFER_BYTES: usize = 64 << 10;

/// Collects messages until they are flushed, as the server does: what `Bind` is answered with
/// leaves with the first row.
pub(super) struct Writer {
    half: WriteHalf<Box<dyn Stream>>,
    pub(super) buffer: Vec<u8>,
    /// Whether the columns of rows are asked for in binary.
    pub(super) is_binary: Vec<bool>,
}

/// A message of a client: its kind and the rest.
pub(super) struct Request {
    pub(super) kind: u8,
    pub(super) body: Vec<u8>,
}

/// Reads the parts of a message.
pub(super) struct Body<'b>(pub(super) &'b [u8]);

impl Body<'_> {
    /// A text that ends with a zero.
    pub(super) fn text(&mut self) -> io::Result<String> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or_else(malformed)?;
        let text = String::from_utf8(self.0[..end].to_vec()).map_err(|_| malformed())?;
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    pub(super) fn byte(&mut self) -> io::Result<u8> {
        let (&byte, rest) = self.0.split_first().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn short(&mut self) -> io::Result<usize> {
        Ok(usize::from(self.byte()?) << 8 | usize::from(self.byte()?))
    }

    pub(super) fn long(&mut self) -> io::Result<u32> {
        let (bytes, rest) = self.0.split_first_chunk::<4>().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed message")
}

/// Reads a message without kind, as connections begin with.
pub(super) async fn read_startup(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = reader.read_u32().await? as usize;
    if !(4..LENGTH_MAX).contains(&length) {
        return Err(malformed());
    }
    let mut body = vec![0; length - 4];
    reader.read_exact(&mut body).await?;
    Ok(body)
}

pub(super) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Request> {
    let kind = reader.read_u8().await?;
    Ok(Request { kind, body: read_startup(reader).await? })
}

impl Writer {
    pub(super) fn new(half: WriteHalf<Box<dyn Stream>>) -> Self {
        Self { half, buffer: Vec::new(), is_binary: Vec::new() }
    }

    /// Appends a message.
    pub(super) fn put(&mut self, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        self.buffer.push(kind);
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        fill(&mut self.buffer);
        let length = u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX);
        self.buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub(super) fn put_error(&mut self, error: &SqlError) {
        self.put(b'E', |out| {
            let severity = [(b'S', error.severity), (b'V', error.severity)];
            let rest = [(b'C', error.code), (b'M', &error.message)];
            let hint = error.hint.as_deref().map(|hint| (b'H', hint));
            for (field, text) in severity.into_iter().chain(rest).chain(hint) {
                out.push(field);
                put_text(out, text);
            }
            out.push(0);
        });
    }

    pub(super) fn put_done(&mut self, tag: &str) {
        self.put(b'C', |out| put_text(out, tag));
    }

    pub(super) fn put_ready(&mut self, status: u8) {
        self.put(b'Z', |out| out.push(status));
    }

    /// Says what the columns of rows are.
    pub(super) fn put_description(&mut self, columns: &[(String, u32)]) {
        let is_binary = self.is_binary.clone();
        self.put(b'T', |out| {
            put_count(out, columns.len());
            for (index, (name, kind)) in columns.iter().enumerate() {
                put_text(out, name);
                out.extend_from_slice(&[0; 6]);
                out.extend_from_slice(&kind.to_be_bytes());
                out.extend_from_slice(&(-1_i16).to_be_bytes());
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                let binary = is_binary.get(index).copied().unwrap_or_default();
                out.extend_from_slice(&u16::from(binary).to_be_bytes());
            }
        });
    }

    /// The rows of an answer, which are texts and so the same in binary.
    pub(super) fn put_rows(&mut self, answer: &Answer) {
        for row in &answer.rows {
            let values = row.iter().map(|value| value.as_deref().map(str::as_bytes));
            let values: Vec<_> = values.collect();
            self.put(b'D', |out| put_values(out, &values));
        }
    }

    fn put_message(&mut self, message: &Message) {
        let is_binary = |index: usize| self.is_binary.get(index).copied().unwrap_or_default();
        let bytes = |index: usize, text: &str| match is_binary(index) {
            true => text.as_bytes().to_vec(),
            false => hex(text.as_bytes()).into_bytes(),
        };
        let key = message.key.as_ref().map(|key| bytes(1, key));
        let value = bytes(2, &message.value);
        let table = message.table.as_ref().map(|table| table.as_bytes());
        self.put(b'D', |out| put_values(out, &[table, key.as_deref(), Some(&value)]));
    }

    pub(super) async fn send_all(&mut self) -> io::Result<()> {
        self.half.write_all(&self.buffer).await?;
        self.buffer.clear();
        self.half.flush().await
    }
}

impl Output for Writer {
    async fn send(&mut self, message: &Message) -> io::Result<()> {
        self.put_message(message);
        if self.buffer.len() >= BUFFER_BYTES {
            self.half.write_all(&self.buffer).await?;
            self.buffer.clear();
        }
        Ok(())
    }

    async fn send_half(&mut self, message: &Message) -> io::Result<()> {
        let start = self.buffer.len();
        self.put_message(message);
        let half = (self.buffer.len() - start) / 2;
        self.buffer.truncate(start + half);
        self.send_all().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.send_all().await
    }
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

fn put_values(out: &mut Vec<u8>, values: &[Option<&[u8]>]) {
    put_count(out, values.len());
    for value in values {
        match value {
            Some(bytes) => {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(bytes);
            }
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }
}
