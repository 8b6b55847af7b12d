use rowtide_core::ErrorKind::{Config, Fatal, Transient};

use super::Refusal;

/// By the primary code, which is the low byte of an extended one.
pub(super) fn refusal(code: u32, message: &str) -> Refusal {
    let (kind, help) = match code & 0xff {
        5 | 6 | 7 | 10 | 13 | 15 => (Transient, None),
        3 | 8 | 14 | 23 => (
            Config,
            Some(
                "the file and its folder must be there, and this user must be able to write to them",
            ),
        ),
        26 => (Config, Some("the file is not a SQLite database")),
        1 if message.starts_with("no such") => (Config, None),
        _ => (Fatal, None),
    };
    // What breaks a constraint may be named by a trigger, in its own words.
    let cause = match code & 0xff {
        19 => format!("SQLite refuses it with {code}"),
        _ => format!("{message} ({code})"),
    };
    Refusal { kind, help, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (code, message, kind) in [
            (5, "database is locked", Transient),
            (517, "database is locked", Transient),
            (13, "database or disk is full", Transient),
            (14, "unable to open database file", Config),
            (26, "file is not a database", Config),
            (1, "no such table: outbox", Config),
            (1, "near \"SELEC\": syntax error", Fatal),
            (11, "database disk image is malformed", Fatal),
        ] {
            assert_eq!(refusal(code, message).kind, kind, "{code}");
        }
    }
}
