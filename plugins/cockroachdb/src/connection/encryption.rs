use std::{path::Path, sync::Arc};

use rowtide_core::{
    Error, Result,
    settings::{Tls, Verify},
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::config::SslMode;

/// Whether a connection is encrypted, and what is checked then.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Encryption {
    pub(super) mode: SslMode,
    pub(super) tls: Tls,
}

/// What of TLS the driver is given.
pub(super) fn client(tls: &Tls) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::fatal("failed to set up TLS").because(error))?;
    let verifier = Arc::new(Verifier::new(tls, provider)?);
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unreadable("tls.key", key).because(error))?;
    builder.with_client_auth_cert(certificates("tls.certificate", certificate)?, private).map_err(
        |error| {
            let message = "the certificate and its key do not belong together";
            Error::config(message).key("tls.certificate").because(error)
        },
    )
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(key, path).because(error))?;
    if found.is_empty() {
        return Err(Error::config(format!("no certificate is in {}", path.display())).key(key));
    }
    Ok(found)
}

fn unreadable(key: &str, path: &Path) -> Error {
    Error::config(format!("failed to read {}", path.display())).key(key)
}

/// Checks what `verify` asks for, and no more.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// Without it nothing is checked.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    checks_name: bool,
}

impl Verifier {
    fn new(tls: &Tls, provider: Arc<CryptoProvider>) -> Result<Self> {
        let authorities = match tls.verify {
            Verify::None => None,
            Verify::Full | Verify::Ca => {
                let roots = Arc::new(roots(tls.ca.as_deref())?);
                let built =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                Some(built.build().map_err(|error| {
                    Error::config("there is no authority to trust").key("tls.ca").because(error)
                })?)
            }
        };
        Ok(Self { provider, authorities, checks_name: tls.verify == Verify::Full })
    }
}

/// The authorities in a file, or else those that the system trusts.
fn roots(ca: Option<&Path>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found = match ca {
        Some(path) => certificates("tls.ca", path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(found);
    Ok(roots)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The name is checked last, so that all the rest is right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
