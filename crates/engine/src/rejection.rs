use rowtide_core::{Error, ErrorKind};

/// Only a flush may reject changes: anywhere else nobody could tell which ones are meant.
pub(crate) fn never_rejected(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Rejected { .. } => {
            Error::fatal("changes were rejected outside of a flush, where they have no index")
                .help("this is a defect of the plugin; report it")
                .because(error)
        }
        _ => error,
    }
}
