//! Cloud Spanner's emulator. It keeps everything in memory: a restart begins with nothing.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use super::Service;
use crate::{
    Result,
    install::require,
    machine::place::{Place, detached},
};

const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How a client begins to speak HTTP/2, with empty settings.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The kind of frame that holds the server's settings, behind its length.
const SETTINGS: u8 = 4;

pub(crate) struct Spanner;

impl Service for Spanner {
    fn name(&self) -> &'static str {
        "spanner"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["emulator_main"]
    }

    /// Only the vendor's own packages bring it.
    fn packages(&self) -> &'static [&'static str] {
        &[]
    }

    fn ports(&self) -> usize {
        1
    }

    fn variables(&self, ports: &[u16]) -> Vec<(&'static str, String)> {
        vec![("SPANNER_EMULATOR_HOST", format!("127.0.0.1:{}", ports[0]))]
    }

    fn prepare(&self, _place: &Place) -> Result {
        Ok(())
    }

    fn server(&self, place: &Place) -> Result<Command> {
        let mut server = detached(require("emulator_main")?);
        server.arg("--host_port").arg(format!("127.0.0.1:{}", place.ports[0]));
        Ok(server)
    }

    fn answers(&self, place: &Place) -> Result<bool> {
        let mut answer = [0; 9];
        let mut asked = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, place.ports[0]));
            let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
            stream.set_read_timeout(Some(ANSWER_LIMIT))?;
            stream.write_all(GREETING)?;
            stream.read_exact(&mut answer)
        };
        Ok(asked().is_ok() && answer[3] == SETTINGS)
    }
}
