use rowtide_core::ErrorKind::{self, Config, Fatal, Transient};

use super::Refusal;

pub(super) fn refusal(number: u16, state: &str, message: &str) -> Refusal {
    let (kind, help) = match number {
        1044 | 1045 | 1130 | 1698 => (
            Config,
            Some(
                "the user or the password in `database` is wrong, or the user may not in from here",
            ),
        ),
        1049 => (Config, Some("create the database, or name another in `database`")),
        1046 => (Config, Some("name a database in `database`, or before the table")),
        1142 | 1143 | 1227 | 1370 => (Config, Some("grant the user of `database` what it lacks")),
        1146 => (
            Config,
            Some(
                "create the table (`rowtide setup` makes those of Rowtide's own), or name another",
            ),
        ),
        1054 | 1305 => (Config, None),
        1290 | 1792 | 1836 => (
            Transient,
            Some("the server is a replica or read-only; `database` must name the primary"),
        ),
        1040 | 1203 | 1226 => (Transient, Some("raise max_connections, or use fewer connections")),
        _ => (by_number(number, state), None),
    };
    Refusal { kind, help, cause: cause(number, state, message) }
}

fn by_number(number: u16, state: &str) -> ErrorKind {
    match number {
        // Full disks and memory. What an engine says of its disk (1030) and what came up at a commit
        // (1180) has the system's own number in its text alone, and most of those pass.
        1021 | 1030 | 1037 | 1038 | 1041 | 1114 | 1180 | 1206 => Transient,
        // Shutting down, interrupted, killed, or out of time.
        1053 | 1077 | 1079 | 1152 | 1184 | 1317 | 1927 | 1969 | 3024 | 3032 | 3169 | 4031 => {
            Transient
        }
        // A group that changes its members, and a proxy that has no server to go to.
        3100 | 9001 => Transient,
        // Locks, and too much at once.
        1205 | 1213 | 1637 | 3572 => Transient,
        // What was prepared is no longer valid.
        1243 | 1412 | 1615 => Transient,
        _ => match state.get(..2) {
            Some("08" | "40") => Transient,
            _ => Fatal,
        },
    }
}

/// Some messages quote what was to be stored; a signal says whatever a trigger says.
fn cause(number: u16, state: &str, message: &str) -> String {
    let quotes = matches!(state.get(..2), Some("21" | "22" | "23" | "45"))
        || matches!(number, 1300 | 1366 | 1411 | 1525 | 3140..=3160 | 4025);
    match quotes {
        true => format!("MySQL refuses it with {number} ({state})"),
        false => format!("{message} ({number})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (number, state, kind) in [
            (1040, "08004", Transient),
            (1047, "08S01", Transient),
            (1053, "08S01", Transient),
            (1205, "HY000", Transient),
            (1213, "40001", Transient),
            (1290, "HY000", Transient),
            (1927, "70100", Transient),
            (1030, "HY000", Transient),
            (1180, "HY000", Transient),
            (1206, "HY000", Transient),
            (3032, "HY000", Transient),
            (3100, "HY000", Transient),
            (9001, "HY000", Transient),
            (1044, "42000", Config),
            (1045, "28000", Config),
            (1049, "42000", Config),
            (1142, "42000", Config),
            (1146, "42S02", Config),
            (1064, "42000", Fatal),
            (1105, "HY000", Fatal),
        ] {
            assert_eq!(refusal(number, state, "m").kind, kind, "{number}");
        }
    }

    #[test]
    fn no_value_is_shown() {
        for (number, state) in [(1062, "23000"), (1366, "22007"), (1366, "HY000"), (1644, "45000")]
        {
            let cause = refusal(number, state, "Duplicate entry 'hush'").cause;
            assert!(!cause.contains("hush") && cause.contains(&number.to_string()), "{cause}");
        }
        assert_eq!(refusal(1213, "40001", "Deadlock found").cause, "Deadlock found (1213)");
    }
}
