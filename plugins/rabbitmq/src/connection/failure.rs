//! What an error of the client or of the broker means.

use lapin::{
    ErrorKind,
    protocol::{AMQPError, AMQPErrorKind, AMQPHardError as Hard, AMQPSoftError as Soft},
};
use rowtide_core::Error;

/// What becomes of a name that is declared and is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declaration {
    /// It is made.
    Active,
    /// It is missing.
    Passive,
}

/// While connecting: what the broker refuses now it refuses until somebody changes something.
pub(crate) fn connecting(error: lapin::Error, server: &str) -> Error {
    if let ErrorKind::ProtocolError(refusal) = error.kind() {
        let text = refusal.get_message().as_str();
        let refused = || Error::config(format!("{server} refuses the connection: {text}"));
        match refusal.kind() {
            AMQPErrorKind::Soft(Soft::ACCESSREFUSED) => {
                return refused()
                    .key("url")
                    .help("check the user, the password and `authentication`");
            }
            AMQPErrorKind::Hard(Hard::NOTALLOWED) if !text.contains("limit") => {
                return refused()
                    .key("url")
                    .help("the URL ends in the virtual host; it must be there, and the user's");
            }
            _ => {}
        }
    }
    if let ErrorKind::AuthProviderError(_) = error.kind() {
        let message = format!("{server} does not offer this way of authentication");
        return Error::config(message).key("authentication");
    }
    in_operation(error, server)
}

/// While declaring what the settings name.
pub(crate) fn declaring(
    error: lapin::Error,
    (what, declaration): (&str, Declaration),
    server: &str,
) -> Error {
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        return in_operation(error, server);
    };
    let text = refusal.get_message().as_str();
    if is_passing(&error, declaration) {
        return Error::transient(format!("{server} does not declare {what} for now: {text}"));
    }
    let config = |help: &str| {
        Error::config(format!("{server} refuses to declare {what}: {text}")).help(help)
    };
    match refusal.kind() {
        AMQPErrorKind::Soft(Soft::NOTFOUND) => {
            Error::config(format!("{server} has no {what}")).help("create it, or have it declared")
        }
        AMQPErrorKind::Soft(Soft::ACCESSREFUSED) => {
            config("grant the user the permission to configure it, or create it and say `existing`")
        }
        AMQPErrorKind::Soft(Soft::PRECONDITIONFAILED) => {
            config("it is there with other properties; name its type, or `existing`")
        }
        AMQPErrorKind::Soft(Soft::RESOURCELOCKED) => {
            config("it is the exclusive queue of another connection; take another name")
        }
        AMQPErrorKind::Hard(Hard::COMMANDINVALID | Hard::NOTALLOWED | Hard::NOTIMPLEMENTED) => {
            config("this broker does not know that type")
        }
        _ => in_operation(error, server),
    }
}

/// Whether what a declaration was answered with may be over soon.
pub(crate) fn is_passing(error: &lapin::Error, declaration: Declaration) -> bool {
    let ErrorKind::ProtocolError(refusal) = error.kind() else { return true };
    let text = refusal.get_message().as_str();
    match refusal.kind() {
        // A queue whose node is down, that has crashed or does not answer is not found either.
        AMQPErrorKind::Soft(Soft::NOTFOUND) => {
            let text = text.strip_prefix("NOT_FOUND - ").unwrap_or(text);
            let is_missing = ["no queue '", "no exchange '"].iter().any(|no| text.starts_with(no));
            declaration == Declaration::Active || !is_missing
        }
        AMQPErrorKind::Soft(Soft::PRECONDITIONFAILED) => is_limit(text),
        _ => false,
    }
}

/// Whether there are as many queues as there may be. The broker's words end after 255 bytes, and
/// the limit comes after the name; what is there with other properties is never begun so.
fn is_limit(text: &str) -> bool {
    text.starts_with("PRECONDITION_FAILED - cannot declare ")
}

/// While publishing.
pub(crate) fn in_operation(error: lapin::Error, server: &str) -> Error {
    let ErrorKind::ProtocolError(refusal) = error.kind() else {
        return match error.kind() {
            ErrorKind::SerialisationError(_)
            | ErrorKind::ParsingError(_)
            | ErrorKind::InvalidProtocolVersion(_) => {
                Error::fatal(format!("{server} does not speak the same protocol")).because(error)
            }
            _ => Error::transient(format!("the connection to {server} is lost")).because(error),
        };
    };
    let message = format!("{server} closed the channel or the connection: {}", shown(refusal));
    match refusal.kind() {
        AMQPErrorKind::Soft(Soft::ACCESSREFUSED) => Error::fatal(message)
            .help("grant the user the permission to write to the exchange, and to its topics"),
        // Opening the sink anew declares what is gone, or says that it is missing.
        AMQPErrorKind::Soft(Soft::NOTFOUND | Soft::RESOURCELOCKED) => Error::transient(message),
        AMQPErrorKind::Hard(
            Hard::CONNECTIONFORCED | Hard::RESOURCEERROR | Hard::INTERNALERROR | Hard::CHANNELERROR,
        ) => Error::transient(message),
        AMQPErrorKind::Hard(Hard::NOTALLOWED) if message.contains("limit") => {
            Error::transient(message)
        }
        AMQPErrorKind::Soft(Soft::PRECONDITIONFAILED)
            if is_limit(refusal.get_message().as_str()) =>
        {
            Error::transient(message)
        }
        _ => Error::fatal(message),
    }
}

/// The broker's words, unless they quote a routing key, which may be a value of a row.
fn shown(refusal: &AMQPError) -> &str {
    let text = refusal.get_message().as_str();
    if text.contains("topic '") { "ACCESS_REFUSED, to a topic of the exchange" } else { text }
}

#[cfg(test)]
mod tests {
    use rowtide_core::ErrorKind as Kind;

    use super::*;

    fn refusal(kind: impl Into<AMQPErrorKind>, text: &str) -> lapin::Error {
        ErrorKind::ProtocolError(AMQPError::new(kind.into(), text.into())).into()
    }

    #[test]
    fn a_user_or_a_virtual_host_that_is_refused_is_a_matter_of_settings() {
        let error = connecting(refusal(Soft::ACCESSREFUSED, "Login was refused"), "h:1");
        assert_eq!((error.kind(), error.setting()), (&Kind::Config, Some("url")));
        let error = connecting(refusal(Hard::NOTALLOWED, "vhost x not found"), "h:1");
        assert_eq!((error.kind(), error.setting()), (&Kind::Config, Some("url")));
        let error = connecting(refusal(Hard::NOTALLOWED, "connection limit (1) is reached"), "h:1");
        assert!(error.is_transient(), "{error}");
        assert!(connecting(ErrorKind::MissingHeartbeatError.into(), "h:1").is_transient());
    }

    #[test]
    fn what_a_new_opening_mends_is_transient_and_a_missing_permission_is_not() {
        for kind in [Soft::NOTFOUND, Soft::RESOURCELOCKED] {
            assert!(in_operation(refusal(kind, "x"), "h:1").is_transient());
        }
        for kind in [Hard::CONNECTIONFORCED, Hard::INTERNALERROR, Hard::RESOURCEERROR] {
            assert!(in_operation(refusal(kind, "x"), "h:1").is_transient());
        }
        for kind in [Soft::ACCESSREFUSED, Soft::PRECONDITIONFAILED] {
            assert_eq!(in_operation(refusal(kind, "x"), "h:1").kind(), &Kind::Fatal);
        }
    }

    #[test]
    fn only_a_name_that_is_not_there_is_missing() {
        use Declaration::{Active, Passive};
        let declared = |kind: Soft, text: &str, declaration| {
            let text = format!("{kind:?} - {text}")
                .replace("NOTFOUND", "NOT_FOUND")
                .replace("PRECONDITIONFAILED", "PRECONDITION_FAILED");
            declaring(refusal(kind, &text), ("queue `q`", declaration), "h:1").kind().clone()
        };
        for missing in ["no queue 'q' in vhost '/'", "no exchange 'q' in vhost '/'"] {
            assert_eq!(declared(Soft::NOTFOUND, missing, Passive), Kind::Config);
            assert_eq!(declared(Soft::NOTFOUND, missing, Active), Kind::Transient);
        }
        for stopped in [
            "home node 'rabbit@x' of durable queue 'no queue' in vhost '/' is down or inaccessible",
            "failed to perform operation on queue 'q' in vhost '/' due to timeout",
            "queue 'q' in vhost '/' has crashed and failed to restart",
            "queue 'q' in vhost '/' process is stopped by supervisor",
        ] {
            for declaration in [Active, Passive] {
                assert_eq!(declared(Soft::NOTFOUND, stopped, declaration), Kind::Transient);
            }
        }
        let other = "inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': received none";
        assert_eq!(declared(Soft::PRECONDITIONFAILED, other, Active), Kind::Config);
    }

    #[test]
    fn a_routing_key_is_not_shown() {
        let text = "ACCESS_REFUSED - access to topic 'hush' in exchange 'e' refused";
        let error = in_operation(refusal(Soft::ACCESSREFUSED, text), "h:1");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
