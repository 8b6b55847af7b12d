//! Who may come in: nobody is asked, or a password is, as it is or by SCRAM-SHA-256.

use std::{collections::HashMap, io};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest, Sha256};

use super::{
    Authentication, Options,
    wire::{Body, Reader, Writer, put_text, read},
};
use crate::sql::SqlError;

const ITERATIONS: u32 = 4096;
const SALT: &[u8] = b"sixteen bytes...";

/// What a client says of itself.
pub(super) struct Said {
    pub(super) parameters: HashMap<String, String>,
    /// The name that its certificate bears.
    pub(super) certified: Option<String>,
}

type Verdict = io::Result<Result<(), SqlError>>;

/// Asks for the password of the user, and tells the client that it is in.
pub(super) async fn let_in(
    options: &Options,
    said: &Said,
    reader: &mut Reader,
    writer: &mut Writer,
) -> Verdict {
    let parameters = &said.parameters;
    let user = parameters.get("user").map_or("", String::as_str);
    let database = parameters.get("database").map_or(user, String::as_str);
    let is_certified = said.certified.as_deref() == Some(user);
    if !options.users.is_empty() && !is_certified {
        let password = options.users.get(user);
        let is_right = match options.authentication {
            Authentication::Cleartext => cleartext(password, reader, writer).await?,
            Authentication::Scram => scram(password, reader, writer).await?,
        };
        if !is_right {
            let message = format!("password authentication failed for user {user}");
            return Ok(Err(SqlError::fatal("28P01", message)));
        }
    }
    if ![options.database.as_str(), "", "postgres", "system"].contains(&database) {
        let message = format!("database \"{database}\" does not exist");
        return Ok(Err(SqlError::fatal("3D000", message)));
    }
    put_request(writer, 0, b"");
    Ok(Ok(()))
}

fn put_request(writer: &mut Writer, kind: u32, rest: &[u8]) {
    writer.put(b'R', |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(rest);
    });
}

async fn cleartext(
    password: Option<&String>,
    reader: &mut Reader,
    writer: &mut Writer,
) -> io::Result<bool> {
    put_request(writer, 3, b"");
    writer.send_all().await?;
    let request = read(reader).await?;
    Ok(Some(Body(&request.body).text()?) == password.cloned())
}

async fn scram(
    password: Option<&String>,
    reader: &mut Reader,
    writer: &mut Writer,
) -> io::Result<bool> {
    let mut mechanisms = Vec::new();
    put_text(&mut mechanisms, "SCRAM-SHA-256");
    mechanisms.push(0);
    put_request(writer, 10, &mechanisms);
    writer.send_all().await?;

    let request = read(reader).await?;
    let mut body = Body(&request.body);
    body.text()?;
    body.long()?;
    let first = String::from_utf8_lossy(body.0).into_owned();
    // Behind the header that says which channel binding there is.
    let bare = first.splitn(3, ',').nth(2).unwrap_or_default().to_owned();
    let client_nonce = attribute(&bare, "r=").unwrap_or_default();
    let nonce = format!("{client_nonce}fake");
    let challenge = format!("r={nonce},s={},i={ITERATIONS}", BASE64.encode(SALT));
    put_request(writer, 11, challenge.as_bytes());
    writer.send_all().await?;

    let request = read(reader).await?;
    let last = String::from_utf8_lossy(&request.body).into_owned();
    let (without_proof, proof) = last.rsplit_once(",p=").unwrap_or_default();
    let proof = BASE64.decode(proof).unwrap_or_default();
    let Some(password) = password else { return Ok(false) };
    let salted = salted(password.as_bytes());
    let stored: [u8; 32] = Sha256::digest(hmac(&salted, b"Client Key")).into();
    let signed = format!("{bare},{challenge},{without_proof}");
    let signature = hmac(&stored, signed.as_bytes());
    let key: Vec<u8> = proof.iter().zip(signature).map(|(left, right)| left ^ right).collect();
    if <[u8; 32]>::from(Sha256::digest(&key)) != stored {
        return Ok(false);
    }
    let server = hmac(&hmac(&salted, b"Server Key"), signed.as_bytes());
    put_request(writer, 12, format!("v={}", BASE64.encode(server)).as_bytes());
    Ok(true)
}

fn attribute<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.split(',').find_map(|part| part.strip_prefix(name))
}

/// PBKDF2 with one block, which is what SCRAM salts a password with.
fn salted(password: &[u8]) -> [u8; 32] {
    let mut block = hmac(password, &[SALT, &1_u32.to_be_bytes()].concat());
    let mut result = block;
    for _ in 1..ITERATIONS {
        block = hmac(password, &block);
        result.iter_mut().zip(block).for_each(|(left, right)| *left ^= right);
    }
    result
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}
