use rowtide_core::ErrorKind::{Config, Fatal, Transient};

use super::Refusal;

pub(super) fn refusal(code: &str, message: &str) -> Refusal {
    let (kind, help) = match code {
        "28P01" | "28000" => (
            Config,
            Some(
                "the user or the password in `database` is wrong, or pg_hba.conf lets it in in another way",
            ),
        ),
        "3D000" => (Config, Some("create the database, or name another in `database`")),
        "3F000" => (Config, Some("create the schema, or name another")),
        "42501" => (Config, Some("grant the user of `database` what it lacks")),
        "42P01" => (
            Config,
            Some(
                "create the table (`rowtide setup` makes those of Rowtide's own), or name another",
            ),
        ),
        "42703" | "42883" | "42704" => (Config, None),
        "57P04" => (Config, Some("the database was dropped")),
        // A standby, or a server whose disk is full: both pass, by a failover or by making room.
        "25006" => (
            Transient,
            Some("the server is a standby or read-only; `database` must name the primary"),
        ),
        "53300" => (Transient, Some("raise max_connections, or use fewer connections")),
        "55P03" | "55006" | "57014" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => {
            (Transient, None)
        }
        // What a pooler says of a statement that another connection prepared, and a server of one
        // whose table was altered.
        "26000" | "08P01" | "0A000" if is_stale(message) => (Transient, None),
        _ => match code.get(..2) {
            Some("08" | "40" | "53" | "58") => (Transient, None),
            _ => (Fatal, None),
        },
    };
    Refusal { kind, help, cause: cause(code, message) }
}

fn is_stale(message: &str) -> bool {
    message.contains("prepared statement") || message.contains("cached plan")
}

/// Classes 22, 23 and 44 quote what was to be stored, and P0 says whatever a trigger says.
fn cause(code: &str, message: &str) -> String {
    match code.get(..2) {
        Some("22" | "23" | "44" | "P0") => format!("PostgreSQL refuses it with {code}"),
        _ => format!("{message} ({code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (code, kind) in [
            ("08006", Transient),
            ("25006", Transient),
            ("40001", Transient),
            ("40P01", Transient),
            ("53100", Transient),
            ("53300", Transient),
            ("55P03", Transient),
            ("57P01", Transient),
            ("57P03", Transient),
            ("58030", Transient),
            ("28P01", Config),
            ("3D000", Config),
            ("42501", Config),
            ("42P01", Config),
            ("42601", Fatal),
            ("XX001", Fatal),
            ("", Fatal),
        ] {
            assert_eq!(refusal(code, "m").kind, kind, "{code}");
        }
        let told = "prepared statement \"sqlx_s_1\" does not exist";
        assert_eq!(refusal("26000", told).kind, Transient);
        assert_eq!(refusal("0A000", "not supported").kind, Fatal);
    }

    #[test]
    fn no_value_is_shown() {
        for code in ["22P02", "23505", "44000", "P0001"] {
            let cause = refusal(code, "invalid input: \"hush\"").cause;
            assert!(!cause.contains("hush") && cause.contains(code), "{cause}");
        }
        assert_eq!(refusal("57P01", "terminating").cause, "terminating (57P01)");
    }
}
