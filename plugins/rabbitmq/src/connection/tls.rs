use std::{fs, path::Path, sync::Arc};

use lapin::tcp::RustlsConnector;
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
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

/// What encrypts a connection as the setting `tls` says. Reads the files that it names.
///
/// # Errors
/// `Config`, about the key in `tls`.
pub(crate) fn connector(tls: &Tls) -> Result<RustlsConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::fatal("TLS cannot be set up").because(error))?;
    let builder = match tls.verify {
        Verify::Full => versions.with_root_certificates(roots(tls)?),
        Verify::Ca => {
            let verifier = WebPkiServerVerifier::builder_with_provider(roots(tls)?, provider)
                .build()
                .map_err(|error| Error::config("no authority can be used").because(error))?;
            let verifier = AnyName(Trust::Authorities(verifier));
            versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Verify::None => {
            let verifier = AnyName(Trust::Everybody(provider));
            versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(certificate, "certificate")?, private_key(key)?)
            .map_err(|error| wrong("the certificate and its key do not fit", "key", error))?,
        _ => builder.with_no_client_auth(),
    };
    Ok(RustlsConnector::from(Arc::new(config)))
}

fn roots(tls: &Tls) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for certificate in certificates(path, "ca")? {
                let added = roots.add(certificate);
                added.map_err(|error| wrong("not the certificate of an authority", "ca", error))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(path, key)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let message = format!("no certificates (PEM) in {}", path.display());
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Error::config(message).key(format!("tls.{key}"))),
        Err(error) => Err(wrong(&message, key, error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let pem = read(path, "key")?;
    let message = format!("no private key (PEM) in {}", path.display());
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| wrong(&message, "key", error))
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>> {
    let message = format!("failed to read {}", path.display());
    fs::read(path).map_err(|error| wrong(&message, key, error))
}

fn wrong(message: &str, key: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::config(message).key(format!("tls.{key}")).because(error)
}

/// Looks at who signed a certificate, if at anything, and not at whose it is.
#[derive(Debug)]
struct AnyName(Trust);

#[derive(Debug)]
enum Trust {
    Authorities(Arc<WebPkiServerVerifier>),
    Everybody(Arc<CryptoProvider>),
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Trust::Authorities(verifier) = &self.0 else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is what is looked at last.
        match verifier.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.0 {
            Trust::Authorities(verifier) => {
                verifier.verify_tls12_signature(message, certificate, signature)
            }
            Trust::Everybody(provider) => rustls::crypto::verify_tls12_signature(
                message,
                certificate,
                signature,
                &provider.signature_verification_algorithms,
            ),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.0 {
            Trust::Authorities(verifier) => {
                verifier.verify_tls13_signature(message, certificate, signature)
            }
            Trust::Everybody(provider) => rustls::crypto::verify_tls13_signature(
                message,
                certificate,
                signature,
                &provider.signature_verification_algorithms,
            ),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.0 {
            Trust::Authorities(verifier) => verifier.supported_verify_schemes(),
            Trust::Everybody(provider) => {
                provider.signature_verification_algorithms.supported_schemes()
            }
        }
    }
}
