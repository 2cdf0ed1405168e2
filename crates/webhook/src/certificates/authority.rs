//! The certificate authority that signs the replicas' certificates: pure decisions, no I/O.
//!
//! A change of authority has two steps, so that callers trust the new one before anybody shows a certificate of it, and
//! the old one while somebody still does: `next` joins the bundle, then takes over, and the old one stays as `previous`.

use std::collections::BTreeMap;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use thiserror::Error;
use time::OffsetDateTime;

use super::{CertificateError, ServingCertificate};

/// How long before now a certificate is said to begin, for clocks that are behind.
const BACKDATED: Duration = Duration::from_hours(1);

/// How long things last.
#[derive(Debug, Clone, Copy)]
pub struct Lives {
    /// An authority.
    pub authority: Duration,
    /// A replica's certificate.
    pub leaf: Duration,
    /// How long an authority is in the bundle before it signs.
    pub overlap: Duration,
}

/// Why an authority cannot be used.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A certificate cannot be made or read.
    #[error("the certificate authority cannot be used: {0}")]
    Rcgen(#[from] rcgen::Error),
    /// A certificate cannot be put in use.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The Secret holds something else.
    #[error("the Secret holds no certificate authority: {0}")]
    Content(String),
}

/// What the Secret holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    current: Signer,
    next: Option<Signer>,
    /// The certificate of the one before, in PEM.
    previous: Option<String>,
}

/// A certificate that signs, and its key, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signer {
    certificate: String,
    key: String,
}

impl Authority {
    /// A new authority. What callers trust already, in PEM, stays trusted: replicas of upstream's webhook, or of this one
    /// before somebody deleted the Secret, go on being called while they are replaced.
    ///
    /// # Errors
    /// None that is known; the question is the library's.
    pub fn new(lives: Lives, now: OffsetDateTime, trusted: &str) -> Result<Self, AuthorityError> {
        const END: &str = "-----END CERTIFICATE-----";
        let mut previous = String::new();
        for certificate in trusted.split_inclusive(END).map(str::trim) {
            if times_of(certificate).is_ok_and(|(_, ends)| now < ends) {
                previous.push_str(certificate);
                previous.push('\n');
            }
        }
        Ok(Self {
            current: Signer::new(lives, now)?,
            next: None,
            previous: (!previous.is_empty()).then_some(previous),
        })
    }

    /// Reads what the Secret holds; none when it holds nothing.
    ///
    /// # Errors
    /// It holds half an authority, or text that is none.
    pub fn read(data: &BTreeMap<String, Vec<u8>>) -> Result<Option<Self>, AuthorityError> {
        let text = |key: &str| {
            let bytes = data.get(key).filter(|bytes| !bytes.is_empty()).cloned();
            let text = bytes.map(String::from_utf8).transpose();
            text.map_err(|_| AuthorityError::Content(format!("{key} is not UTF-8")))
        };
        let signer = |certificate: &str, key: &str| match (text(certificate)?, text(key)?) {
            (Some(certificate), Some(key)) => Ok(Some(Signer { certificate, key })),
            (None, None) => Ok(None),
            _ => Err(AuthorityError::Content(format!("{certificate} and {key} must be there together"))),
        };
        let Some(current) = signer("ca.crt", "ca.key")? else { return Ok(None) };
        Ok(Some(Self {
            current,
            next: signer("next-ca.crt", "next-ca.key")?,
            previous: text("previous-ca.crt")?,
        }))
    }

    /// What the Secret is to hold.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: &str| data.insert(key.to_owned(), text.as_bytes().to_vec());
        put("ca.crt", &self.current.certificate);
        put("ca.key", &self.current.key);
        if let Some(next) = &self.next {
            put("next-ca.crt", &next.certificate);
            put("next-ca.key", &next.key);
        }
        if let Some(previous) = &self.previous {
            put("previous-ca.crt", previous);
        }
        data
    }

    /// The next state, if it is time for one.
    ///
    /// # Errors
    /// A certificate cannot be read or made.
    pub fn step(&self, lives: Lives, now: OffsetDateTime) -> Result<Option<Self>, AuthorityError> {
        let (created, ends) = self.current.times()?;
        if now >= ends {
            return Ok(Some(Self::new(lives, now, "")?));
        }
        if let Some(next) = &self.next {
            let is_trusted = now >= next.times()?.0 + lives.overlap;
            let previous = Some(self.current.certificate.clone());
            return Ok(is_trusted.then(|| Self { current: next.clone(), next: None, previous }));
        }
        if now >= created + (ends - created) * 2 / 3 {
            return Ok(Some(Self { next: Some(Signer::new(lives, now)?), ..self.clone() }));
        }
        let is_previous_over = match &self.previous {
            Some(previous) => now >= times_of(previous)?.1,
            None => false,
        };
        Ok(is_previous_over.then(|| Self { previous: None, ..self.clone() }))
    }

    /// Everything that callers are to trust, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map_or("", |next| next.certificate.as_str());
        format!("{}{next}{}", self.current.certificate, self.previous.as_deref().unwrap_or_default())
    }

    /// A certificate for a replica that is called by `names`, and when to make another.
    ///
    /// # Errors
    /// The authority cannot sign.
    pub fn leaf(&self, names: &[String], lives: Lives, now: OffsetDateTime) -> Result<Leaf, AuthorityError> {
        let issuer =
            Issuer::from_ca_cert_pem(&self.current.certificate, KeyPair::from_pem(&self.current.key)?)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names)?;
        let ends = (now + lives.leaf).min(self.current.times()?.1);
        (params.not_before, params.not_after) = (now - BACKDATED, ends);
        params.distinguished_name = name(names.first().map_or("azwi-webhook", String::as_str));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Leaf {
            certificate: ServingCertificate::from_pem(
                certificate.pem().as_bytes(),
                key.serialize_pem().as_bytes(),
            )?,
            renew_at: now + (ends - now) * 2 / 3,
            signed_by: self.current.certificate.clone(),
        })
    }

    /// Whether a certificate is to be replaced: its time has come, or another authority signs now.
    #[must_use]
    pub fn is_due(&self, leaf_renew_at: OffsetDateTime, signed_by: &str, now: OffsetDateTime) -> bool {
        now >= leaf_renew_at || signed_by != self.current.certificate
    }
}

/// A replica's certificate. It is never stored.
#[derive(Debug)]
pub struct Leaf {
    /// What is shown to callers.
    pub certificate: ServingCertificate,
    /// When to make another.
    pub renew_at: OffsetDateTime,
    /// The authority's certificate.
    pub signed_by: String,
}

impl Signer {
    fn new(lives: Lives, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (now - BACKDATED, now + lives.authority);
        params.distinguished_name = name("azure-workload-identity-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
    }

    fn times(&self) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
        times_of(&self.certificate)
    }
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// When a certificate was made, and when it ends.
fn times_of(certificate: &str) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
    let unreadable =
        |error: String| AuthorityError::Content(format!("a certificate cannot be read: {error}"));
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|it| unreadable(it.to_string()))?;
    let parsed = pem.parse_x509().map_err(|error| unreadable(error.to_string()))?;
    let validity = parsed.validity();
    Ok((validity.not_before.to_datetime() + BACKDATED, validity.not_after.to_datetime()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::{Authority, AuthorityError, Lives};

    const LIVES: Lives = Lives {
        authority: Duration::from_hours(300),
        leaf: Duration::from_hours(30),
        overlap: Duration::from_hours(1),
    };

    fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn after(hours: u64) -> OffsetDateTime {
        start() + Duration::from_hours(hours)
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let first = Authority::new(LIVES, start(), "").unwrap();
        let second = first.step(LIVES, after(200)).unwrap().unwrap();
        let third = second.step(LIVES, after(201)).unwrap().unwrap();
        for authority in [first, second, third] {
            assert_eq!(Authority::read(&authority.data()).unwrap(), Some(authority));
        }
        assert_eq!(Authority::read(&std::collections::BTreeMap::new()).unwrap(), None);
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs_and_the_old_one_after() {
        let first = Authority::new(LIVES, start(), "").unwrap();
        assert_eq!(first.step(LIVES, after(199)).unwrap(), None);
        let second = first.step(LIVES, after(200)).unwrap().unwrap();
        assert!(second.bundle().starts_with(&first.bundle()) && second.current == first.current);
        assert_eq!(second.step(LIVES, start() + Duration::from_mins(200 * 60 + 59)).unwrap(), None);
        let third = second.step(LIVES, after(201)).unwrap().unwrap();
        assert_eq!(Some(&third.current), second.next.as_ref());
        assert!(third.bundle().contains(&first.bundle()));
        let fourth = third.step(LIVES, after(300)).unwrap().unwrap();
        assert!(!fourth.bundle().contains(&first.bundle()) && fourth.current == third.current);
    }

    #[test]
    fn an_authority_that_has_ended_is_replaced_at_once() {
        let first = Authority::new(LIVES, start(), "").unwrap();
        let second = first.step(LIVES, after(300)).unwrap().unwrap();
        assert_ne!(first.current, second.current);
    }

    #[test]
    fn a_leaf_is_renewed_in_time_and_never_outlives_its_authority() {
        let first = Authority::new(LIVES, start(), "").unwrap();
        let leaf = first.leaf(&["a.svc".to_owned()], LIVES, start()).unwrap();
        assert!(!first.is_due(leaf.renew_at, &leaf.signed_by, after(19)));
        assert!(first.is_due(leaf.renew_at, &leaf.signed_by, after(20)));
        let second = Authority::new(LIVES, start(), "").unwrap();
        assert!(second.is_due(leaf.renew_at, &leaf.signed_by, start()));
        let late = first.leaf(&["a.svc".to_owned()], LIVES, after(299)).unwrap();
        assert_eq!(late.certificate.not_after, after(300).unix_timestamp());
    }

    #[test]
    fn what_is_trusted_stays_trusted_and_rubbish_does_not() {
        let old = Authority::new(LIVES, start(), "").unwrap().bundle();
        let trusted =
            format!("rubbish {old}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{old}");
        let new = Authority::new(LIVES, start(), &trusted).unwrap();
        assert_eq!(
            new.bundle().matches("BEGIN").count(),
            2,
            "the old one once, after rubbish it cannot be told"
        );
        assert!(new.bundle().ends_with(&old));
        let late = Authority::new(LIVES, after(300), &old).unwrap();
        assert_eq!(late.bundle().matches("BEGIN").count(), 1);
    }

    #[test]
    fn half_an_authority_is_an_error() {
        let mut data = Authority::new(LIVES, start(), "").unwrap().data();
        data.remove("ca.key");
        assert!(matches!(Authority::read(&data), Err(AuthorityError::Content(_))));
    }
}
