//! The serving certificate, swapped without downtime.

mod authority;
mod bundle;
mod callers;
mod certificate;
mod files;
mod revocation;
mod secret;
mod self_managed;
mod source;
mod tls;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use certificate::{describe, rfc_3339};

pub use authority::{Authority, AuthorityError, Leaf, Lifetimes, Moment, Terms, Trust};
pub use callers::CallerVerifier;
pub use certificate::Certificate;
pub use files::{keep_caller_authorities, keep_from_files};
pub use self_managed::{SelfManaged, keep_self_managed};
pub(crate) use source::CertificateArguments;
pub use source::{CallerChecks, CertificateSource};
pub use tls::{TlsVersion, tls_config};

#[derive(Debug, Error)]
pub enum CertificateError {
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Path of the file.
        path: String,
        source: std::io::Error,
    },
    #[error("tls.crt holds no certificate in PEM: {0}")]
    NoCertificate(String),
    #[error("tls.key holds no private key in PEM (PKCS#8, PKCS#1 or SEC1): {0}")]
    NoKey(&'static str),
    /// The certificate is not valid now, and the one in use is.
    #[error("tls.crt holds only from {not_before} to {not_after}; the certificate in use is valid and stays")]
    NotNow {
        /// Start of its validity, in RFC 3339.
        not_before: String,
        /// End of its validity, in RFC 3339.
        not_after: String,
    },
    #[error("the client CA file holds no usable certificate in PEM: {0}")]
    NoAuthority(String),
    /// The key has an unsupported type, or does not belong to the certificate.
    #[error("the private key cannot be used with the certificate: {0}")]
    WrongKey(rustls::Error),
}

/// Describes a problem with PEM text. The library's own message repeats the text, which may be a key.
fn pem_problem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its END line is missing",
        pem::Error::IllegalSectionStart { .. } => "its BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "what is between the BEGIN and END lines is no base64",
        pem::Error::NoItemsFound => "there is none",
        _ => "it cannot be read",
    }
}

pub struct ServingCertificate {
    key: Arc<CertifiedKey>,
    /// Start of the leaf's validity, in seconds since 1970.
    pub not_before: i64,
    /// End of the leaf's validity, in seconds since 1970.
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
            .map_err(|error| CertificateError::NoCertificate(pem_problem(&error).to_owned()))?;
        let leaf = chain.first();
        let leaf = leaf.ok_or_else(|| CertificateError::NoCertificate("there is none".to_owned()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
            .map_err(|error| CertificateError::NoCertificate(error.to_string()))?;
        let validity = parsed.validity();
        let validity = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| CertificateError::NoKey(pem_problem(&error)))?;
        Self::new(chain, &key, validity)
    }

    /// Combines a chain with the key of its leaf, which is valid from one time to another, in seconds since 1970.
    ///
    /// # Errors
    /// The key does not belong to the leaf.
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        (not_before, not_after): (i64, i64),
    ) -> Result<Self, CertificateError> {
        let key = any_supported_type(key).map_err(CertificateError::WrongKey)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(CertificateError::WrongKey)?;
        Ok(Self { key: Arc::new(certified), not_before, not_after })
    }

    /// Whether it is valid at `now`, in seconds since 1970.
    pub fn is_valid_at(&self, now: i64) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// Explains why it does not replace the one in use.
    fn not_now(&self) -> CertificateError {
        CertificateError::NotNow {
            not_before: rfc_3339(self.not_before),
            not_after: rfc_3339(self.not_after),
        }
    }
}

/// Implemented by hand, so that fields added to the key later are not printed.
impl fmt::Debug for ServingCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.cert.first() {
            Some(leaf) => describe(leaf, formatter),
            None => formatter.write_str("no certificate"),
        }
    }
}

/// The certificate in use. Connections read it during the handshake, so a swap does not disturb them.
#[derive(Default)]
pub struct CertificateStore(ArcSwapOption<ServingCertificate>);

impl CertificateStore {
    pub fn set(&self, certificate: ServingCertificate) {
        self.0.store(Some(Arc::new(certificate)));
    }

    /// End of the validity of the certificate in use, in seconds since 1970; `None` if there is none.
    pub fn not_after(&self) -> Option<i64> {
        self.0.load().as_ref().map(|certificate| certificate.not_after)
    }

    /// Whether there is a certificate that is valid at `now`, in seconds since 1970.
    pub fn is_valid_at(&self, now: i64) -> bool {
        self.0.load().as_ref().is_some_and(|certificate| certificate.is_valid_at(now))
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("CertificateStore").field(&*self.0.load()).finish()
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
        let (begin, end) = (certificate.not_before, certificate.not_after);
        store.set(certificate);
        assert!(!store.is_valid_at(begin - 1) && store.is_valid_at(begin));
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

    /// Every run of a key's base64, as it appears in the text and as bytes printed as a list.
    fn parts_of(key: &str) -> Vec<String> {
        let lines = key.lines().filter(|line| !line.starts_with("-----"));
        lines.flat_map(|line| [line.to_owned(), format!("{:?}", line.as_bytes())]).collect()
    }

    fn show_nothing_of(key: &str, shown: &str) {
        for part in parts_of(key) {
            let part = part.trim_matches(['[', ']']);
            assert!(!shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn a_key_is_not_shown_with_its_certificate() {
        let (chain, key) = pair();
        let certificate = ServingCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        let store = CertificateStore::default();
        assert_eq!(format!("{store:?}"), "CertificateStore(None)");
        let shown = format!("{certificate:?}");
        assert!(shown.contains("webhook.example") && shown.contains("sha256"), "{shown}");
        show_nothing_of(&key, &shown);
        store.set(certificate);
        assert_eq!(format!("{store:?}"), format!("CertificateStore(Some({shown}))"));
    }

    #[test]
    fn a_key_is_not_shown_when_its_text_is_spoilt() {
        let (chain, key) = pair();
        let lines: Vec<&str> = key.lines().collect();
        for spoilt in [
            key.replace('\n', ""),
            key.replace('\n', " "),
            key.replace("\n-----END", "-----END"),
            key.replace("KEY-----", "KEY "),
            key.replace("BEGIN PRIVATE", "BEGIN PUBLIC"),
            key.replace("END", "BEGIN"),
            key.replace("MI", "!!"),
            lines[..2].join("\n"),
            format!("{}{}", lines[1], key),
        ] {
            let refused = ServingCertificate::from_pem(chain.as_bytes(), spoilt.as_bytes());
            let Err(error) = refused else { panic!("this is a key: {spoilt}") };
            show_nothing_of(&key, &format!("{error} {error:?}"));
            // Both in the wrong file.
            let error = ServingCertificate::from_pem(spoilt.as_bytes(), chain.as_bytes()).unwrap_err();
            show_nothing_of(&key, &format!("{error} {error:?}"));
        }
    }
}
