use std::{io, path::Path, sync::Arc};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::TlsAcceptor;

use super::Certificate;

/// What takes encrypted connections.
pub(super) fn acceptor(certificate: &Certificate) -> io::Result<TlsAcceptor> {
    let key = PrivateKeyDer::from_pem_file(&certificate.key).map_err(pem(&certificate.key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = match &certificate.client_authority {
        Some(path) => config.with_client_cert_verifier(verifier(path)?),
        None => config.with_no_client_auth(),
    };
    let config =
        config.with_single_cert(chain(&certificate.chain)?, key).map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Checks the certificate of a client that has one.
fn verifier(authority: &Path) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain(authority)?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(io::Error::other)
}

fn chain(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    chain.map_err(pem(path))
}

fn pem(path: &Path) -> impl Fn(rustls::pki_types::pem::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::other(format!("{path}: {error}"))
}

/// The common name of who a certificate is of, as the first of those presented says it.
pub(super) fn common_name(presented: Option<&[CertificateDer<'_>]>) -> Option<String> {
    // The identifier of the attribute, 2.5.4.3.
    const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
    let certificate: &[u8] = presented?.first()?;
    let places = certificate.windows(COMMON_NAME.len()).enumerate();
    let mut found = places.filter(|(_, bytes)| *bytes == COMMON_NAME).map(|(place, _)| place);
    // First comes who signed it.
    let (_, own) = (found.next()?, found.next()?);
    let [_kind, length, text @ ..] = &certificate[own + COMMON_NAME.len()..] else { return None };
    String::from_utf8(text.get(..usize::from(*length))?.to_vec()).ok()
}
