use std::error::Error as StdError;

use rowtide_core::{Error, ErrorKind};
use tokio_postgres::error::{DbError, SqlState};

const GRANT: &str = "run `GRANT SELECT ON TABLE … TO …` as the owner of the table";
const RANGEFEEDS: &str =
    "run `SET CLUSTER SETTING kv.rangefeed.enabled = true` as an administrator of the cluster";
const LOST: &str = "the cluster keeps old versions for `gc.ttlseconds`: raise that with `ALTER TABLE \
                    … CONFIGURE ZONE USING gc.ttlseconds = …`; to start over, set on_lost = \
                    \"rescan\", or run `rowtide checkpoint reset`";

/// What was being done, and what became of it.
pub(crate) fn failure(doing: impl Into<String>, error: tokio_postgres::Error) -> Error {
    let doing = doing.into();
    match error.as_db_error() {
        Some(database) => of_database(doing, database),
        None if is_certificate(&error) => {
            let help = "check the `sslmode` of the URL, or `tls`: `ca` is a file with the \
                        certificate of the cluster's authority";
            Error::config(doing).help(help).key("database").because(error)
        }
        None if error.to_string().starts_with("invalid configuration") => {
            let help = "write a password into the URL, or the certificate of a client into `tls`";
            Error::config(doing).help(help).key("database").because(error)
        }
        None => Error::transient(doing).because(error),
    }
}

/// Whether going on would skip changes.
pub(crate) fn is_lost(error: &Error) -> bool {
    *error.kind() == ErrorKind::PositionLost
}

fn of_database(doing: String, error: &DbError) -> Error {
    let text = text(error);
    let message = format!("{doing}: {}", error.message());
    let code = error.code();
    if says_lost(&text) {
        return Error::position_lost(message).help(LOST);
    }
    if text.contains("kv.rangefeed.enabled") {
        return Error::config(message).help(RANGEFEEDS);
    }
    if ["was dropped", "was truncated", "is offline"].iter().any(|word| text.contains(word)) {
        let help = "a changefeed ends with that; take the table out of `tables`, or start over \
                    with `rowtide checkpoint reset`";
        return Error::fatal(message).help(help);
    }
    match code.code() {
        "28P01" | "28000" => Error::config(message).key("database").help("check user and password"),
        "3D000" => Error::config(message).key("database"),
        "42501" => Error::config(message).key("tables").help(GRANT),
        "42P01" | "3F000" => Error::config(message).key("tables"),
        // Syntax, an option or a value that this version does not know.
        _ if *code == SqlState::SYNTAX_ERROR || code.code().starts_with("22") => {
            Error::config(message).key("options")
        }
        "0A000" | "42703" | "42883" => Error::config(message),
        _ => Error::transient(message),
    }
}

/// The wordings of all versions for a position that is too old.
fn says_lost(text: &str) -> bool {
    text.contains("gc threshold")
        || text.contains("do the targets exist at the specified cursor time")
}

/// All that the server says, in lower case.
fn text(error: &DbError) -> String {
    let parts = [Some(error.message()), error.detail(), error.hint()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n").to_lowercase()
}

/// Whether the two ends cannot agree on encryption, which does not pass by itself.
fn is_certificate(error: &tokio_postgres::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(one) = cause {
        let inner = one.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = one.downcast_ref().or_else(|| inner?.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            return !is_cut(tls);
        }
        if one.to_string() == "server does not support TLS" {
            return true;
        }
        cause = one.source();
    }
    false
}

/// Whether it is said of a handshake that was cut in the midst: the next one may come to its end.
fn is_cut(error: &rustls::Error) -> bool {
    use rustls::{AlertDescription as Alert, Error as Tls};
    match error {
        Tls::InvalidMessage(_) | Tls::PeerMisbehaved(_) | Tls::DecryptError => true,
        Tls::AlertReceived(alert) => [
            Alert::DecodeError,
            Alert::UnexpectedMessage,
            Alert::BadRecordMac,
            Alert::InternalError,
            Alert::UserCanceled,
            Alert::CloseNotify,
        ]
        .contains(alert),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_that_was_cut_is_no_disagreement() {
        use rustls::{AlertDescription as Alert, Error as Tls};
        assert!(is_cut(&Tls::AlertReceived(Alert::DecodeError)));
        assert!(!is_cut(&Tls::AlertReceived(Alert::UnknownCA)));
        assert!(!is_cut(&rustls::CertificateError::UnknownIssuer.into()));
    }

    #[test]
    fn every_wording_of_a_lost_position_is_known() {
        for text in [
            "batch timestamp 1692283563.643512000,0 must be after replica GC threshold \
             1692283600.000000000,0 (r57: /Table/{104-105})",
            "failed to resolve targets in the CHANGEFEED stmt\ndo the targets exist at the \
             specified cursor time 1692283563643512000.0000000000?",
            "could not create changefeed: cursor 1692283563643512000.0000000000 is older than the \
             GC threshold 1692283600000000000: batch timestamp",
        ] {
            assert!(says_lost(&text.to_lowercase()), "{text}");
        }
        assert!(!says_lost("server is shutting down"));
    }
}
