use std::{fs::File, path::PathBuf, sync::OnceLock};

use rowtide_core::{Error, Result, settings::Tls};

/// The files that `tls` names, once each can be opened: the driver's own error names none.
pub(crate) fn files(tls: &Tls) -> Result<()> {
    readable("ca", tls.ca.as_ref())?;
    readable("certificate", tls.certificate.as_ref())?;
    readable("key", tls.key.as_ref())
}

fn readable(key: &str, path: Option<&PathBuf>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    File::open(path).map(drop).map_err(|error| {
        Error::config(format!("failed to read `{}`", path.display()))
            .key(format!("tls.{key}"))
            .because(error)
    })
}

/// Chooses the cryptography of this process, unless another plugin has. The driver needs that for
/// `verify = "ca"` alone, where it panics if several are linked and none was chosen.
pub(crate) fn choose_provider() {
    static CHOSEN: OnceLock<()> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        // An error says that there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}
