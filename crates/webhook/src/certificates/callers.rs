//! Authenticates callers: their certificate must be signed by an authority in a file and have one of the allowed names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError as Rejection, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::names;
use super::{CertificateError, pem_problem};

/// Checks the certificates of callers. The authorities can be replaced while connections are being made.
#[derive(Debug)]
pub struct CallerVerifier {
    file: PathBuf,
    /// Common names or DNS names; if empty, any name is allowed.
    allowed_names: Vec<String>,
    authorities: ArcSwap<Authorities>,
}

/// The authorities in the file.
struct Authorities {
    text: Vec<u8>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl CallerVerifier {
    /// Trusts the authorities in `file`, which is in PEM.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn load(file: PathBuf, allowed_names: Vec<String>) -> Result<Self, CertificateError> {
        let text = std::fs::read(&file).map_err(|source| unreadable(&file, source))?;
        let authorities = ArcSwap::from_pointee(Authorities::from_pem(text)?);
        Ok(Self { file, allowed_names, authorities })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the file again. Returns `None` if it has not changed.
    pub async fn reload(&self) -> Result<Option<()>, CertificateError> {
        let text = tokio::fs::read(&self.file).await.map_err(|source| unreadable(&self.file, source))?;
        if self.authorities.load().text == text {
            return Ok(None);
        }
        self.authorities.store(Arc::new(Authorities::from_pem(text)?));
        Ok(Some(()))
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.authorities.load().verifier)
    }

    fn is_allowed(&self, certificate: &CertificateDer<'_>) -> bool {
        self.allowed_names.is_empty()
            || x509_parser::parse_x509_certificate(certificate)
                .is_ok_and(|(_, parsed)| names(&parsed).iter().any(|name| self.allowed_names.contains(name)))
    }
}

/// Without the text, because the file may contain secrets by mistake.
impl fmt::Debug for Authorities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authorities").finish_non_exhaustive()
    }
}

impl Authorities {
    fn from_pem(text: Vec<u8>) -> Result<Self, CertificateError> {
        let problem = |error: &dyn std::fmt::Display| CertificateError::NoAuthority(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|error| problem(&pem_problem(&error)))?;
            roots.add(certificate).map_err(|error| problem(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { text, verifier: verifier.map_err(|error| problem(&error))? })
    }
}

fn unreadable(file: &Path, source: std::io::Error) -> CertificateError {
    CertificateError::Unreadable { path: file.display().to_string(), source }
}

impl ClientCertVerifier for CallerVerifier {
    /// Empty: the authorities may change, and an API server has only one certificate to present.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier().verify_client_cert(certificate, intermediates, now)?;
        if self.is_allowed(certificate) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(Rejection::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier().supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{Authorities, CertificateError};

    #[test]
    fn a_file_without_authorities_is_refused() {
        for text in ["", "half a file", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let refused = Authorities::from_pem(text.into());
            assert!(matches!(refused, Err(CertificateError::NoAuthority(_))), "{text}: {refused:?}");
        }
    }
}
