//! Properties of a certificate, for decisions and log messages. No keys are kept here.

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Common name of the webhook's own authorities.
pub(super) const AUTHORITY_NAME: &str = "azure-workload-identity-ca";
/// How far the start of an authority's validity is backdated, for clocks that are behind.
pub(super) const BACKDATED: Duration = Duration::HOUR;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

#[derive(Clone)]
pub struct Certificate {
    pem: String,
    der: Vec<u8>,
    /// Start of its validity.
    pub begins: OffsetDateTime,
    /// When it was made, as far as this can be determined.
    pub made: OffsetDateTime,
    /// End of its validity.
    pub ends: OffsetDateTime,
}

impl Certificate {
    /// Returns the certificates in a text, in order; ignores everything else.
    pub fn all_in(text: &str) -> Vec<Self> {
        // The library would take an incomplete last line, and other readers refuse it.
        let pieces = text.split_inclusive(END).filter(|piece| piece.ends_with(END));
        pieces.filter_map(|piece| Self::read(piece.get(piece.rfind(BEGIN)?..)?)).collect()
    }

    fn read(text: &str) -> Option<Self> {
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
        let parsed = pem.parse_x509().ok()?;
        let validity = parsed.validity();
        let (begins, ends) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        let is_ours = parsed
            .subject()
            .iter_common_name()
            .any(|name| name.as_str().is_ok_and(|it| it == AUTHORITY_NAME));
        // How far others backdate theirs is unknown, so these count as older rather than younger.
        let made = if is_ours { begins.saturating_add(BACKDATED) } else { begins };
        Some(Self { pem: format!("{}\n", text.trim()), begins, made, ends, der: pem.contents })
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn holds_at(&self, time: OffsetDateTime) -> bool {
        self.begins <= time && time < self.ends
    }
}

/// Compares the bytes, regardless of line breaks in the text.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.der, formatter)
    }
}

/// Writes a certificate's names, validity and fingerprint.
pub(super) fn describe(der: &[u8], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut certificate = formatter.debug_struct("Certificate");
    if let Ok((_, parsed)) = x509_parser::parse_x509_certificate(der) {
        let validity = parsed.validity();
        certificate
            .field("names", &names(&parsed))
            .field("not_before", &rfc_3339(validity.not_before.timestamp()))
            .field("not_after", &rfc_3339(validity.not_after.timestamp()));
    }
    certificate.field("sha256", &fingerprint(der)).finish()
}

/// Common names and DNS names of a certificate.
pub(super) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.iter().flat_map(|extension| &extension.value.general_names);
    let dns = alternatives.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    common.chain(dns).map(str::to_owned).collect()
}

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
fn fingerprint(der: &[u8]) -> String {
    // Uses the hash of a cipher suite, which saves a dependency.
    let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() else { return String::new() };
    let hash = suite.common.hash_provider.hash(der);
    let bytes: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// A time in the format that people and Kubernetes use.
pub(super) fn rfc_3339(seconds_since_1970: i64) -> String {
    Timestamp::from_second(seconds_since_1970)
        .map_or_else(|_| seconds_since_1970.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::Certificate;

    fn pem() -> String {
        rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn certificates_are_found_among_rubbish() {
        let (first, second) = (pem(), pem());
        let text = format!(
            "rubbish {first}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
             -----BEGIN CERTIFICATE-----\n{second}-----BEGIN CERTIFICATE-----\n"
        );
        let found = Certificate::all_in(&text);
        let texts: Vec<_> = found.iter().map(|certificate| certificate.pem().to_owned()).collect();
        assert_eq!(texts, [first.replace("\r\n", "\n"), second.replace("\r\n", "\n")]);
    }

    #[test]
    fn a_certificate_that_is_cut_off_is_none() {
        let text = pem();
        let cut = text.trim_end().strip_suffix("CERTIFICATE-----").unwrap();
        assert_eq!(Certificate::all_in(cut), []);
    }

    #[test]
    fn the_same_certificate_is_known_again_in_other_lines() {
        let text = pem();
        let other = text.replace('\n', "\r\n");
        assert_eq!(Certificate::all_in(&text), Certificate::all_in(&other));
    }

    #[test]
    fn people_see_names_times_and_a_fingerprint() {
        let shown = format!("{:?}", Certificate::all_in(&pem()));
        for part in ["a.example", "not_before: \"1975-01-01T00:00:00Z\"", "sha256: \""] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("BEGIN"), "{shown}");
    }
}
