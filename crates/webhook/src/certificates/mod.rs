//! The certificate that the server shows, swapped without a pause.

mod authority;
mod clients;
mod files;
mod self_managed;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

pub use authority::{Authority, AuthorityError, Leaf, Lives};
pub use clients::ClientVerifier;
pub use files::{keep_client_authorities, keep_from_files};
pub use self_managed::{Objects, keep_self_managed};

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no certificate in the PEM text.
    #[error("tls.crt holds no certificate in PEM: {0}")]
    NoCertificate(String),
    /// There is no key in the PEM text.
    #[error("tls.key holds no private key in PEM (PKCS#8, PKCS#1 or SEC1): {0}")]
    NoKey(String),
    /// There is no usable authority in the file that is to check callers.
    #[error("the client CA file holds no usable certificate in PEM: {0}")]
    NoAuthority(String),
    /// The key is of a kind that is not supported, or does not belong to the certificate.
    #[error("tls.key cannot be used with tls.crt: {0}")]
    WrongKey(rustls::Error),
}

/// A certificate chain with its key.
#[derive(Debug)]
pub struct ServingCertificate {
    key: Arc<CertifiedKey>,
    /// When the leaf ends, in seconds since 1970.
    pub not_after: i64,
}

impl ServingCertificate {
    /// Reads a chain and a key from PEM text.
    ///
    /// # Errors
    /// The text holds no chain or no key, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| CertificateError::NoCertificate(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| CertificateError::NoCertificate("it is empty".to_owned()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
            .map_err(|error| CertificateError::NoCertificate(error.to_string()))?;
        let not_after = parsed.validity().not_after.timestamp();
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| CertificateError::NoKey(error.to_string()))?;
        let key = any_supported_type(&key).map_err(CertificateError::WrongKey)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(CertificateError::WrongKey)?;
        Ok(Self { key: Arc::new(certified), not_after })
    }
}

/// The certificate in use. Connections take it at their handshake, so a swap disturbs none.
#[derive(Debug, Default)]
pub struct CertificateStore(ArcSwapOption<ServingCertificate>);

impl CertificateStore {
    /// Puts a certificate in use.
    pub fn set(&self, certificate: ServingCertificate) {
        self.0.store(Some(Arc::new(certificate)));
    }

    /// Whether there is a certificate that is valid at `now`, in seconds since 1970.
    #[must_use]
    pub fn is_valid_at(&self, now: i64) -> bool {
        self.0.load().as_ref().is_some_and(|certificate| now < certificate.not_after)
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|certificate| Arc::clone(&certificate.key))
    }
}

#[cfg(test)]
mod tests {
    use super::{CertificateError, CertificateStore, ServingCertificate};

    fn pair() -> (String, String) {
        let key = rcgen::generate_simple_self_signed(vec!["webhook.example".to_owned()]).unwrap();
        (key.cert.pem(), key.signing_key.serialize_pem())
    }

    #[test]
    fn a_chain_and_its_key_are_read() {
        let ((chain, key), (intermediate, _)) = (pair(), pair());
        let certificate =
            ServingCertificate::from_pem(format!("{chain}{intermediate}").as_bytes(), key.as_bytes());
        let store = CertificateStore::default();
        assert!(!store.is_valid_at(0));
        let certificate = certificate.unwrap();
        let end = certificate.not_after;
        store.set(certificate);
        assert!(store.is_valid_at(end - 1) && !store.is_valid_at(end));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let ((chain, _), (_, other_key)) = (pair(), pair());
        let wrong = ServingCertificate::from_pem(chain.as_bytes(), other_key.as_bytes());
        assert!(matches!(wrong, Err(CertificateError::WrongKey(_))), "{wrong:?}");
        let no_key = ServingCertificate::from_pem(chain.as_bytes(), b"");
        assert!(matches!(no_key, Err(CertificateError::NoKey(_))), "{no_key:?}");
        let nothing = ServingCertificate::from_pem(b"half a file", other_key.as_bytes());
        assert!(matches!(nothing, Err(CertificateError::NoCertificate(_))), "{nothing:?}");
    }
}
