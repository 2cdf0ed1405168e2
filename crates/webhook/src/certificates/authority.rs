//! The certificate authority that signs the replicas' certificates: pure decisions, no I/O.
//!
//! An authority is replaced in two steps, so that callers trust the new one before any replica presents a certificate
//! from it, and trust the old one as long as any replica still does: `next` joins the bundle, then takes over, and the
//! old one stays as `previous`.

mod leaf;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use thiserror::Error;
use time::OffsetDateTime;

use super::CertificateError;
use super::certificate::{AUTHORITY_NAME, BACKDATED, Certificate};

pub use leaf::{Leaf, Terms};

/// Maximum number of older authorities that stay trusted. Replicas whose clocks are years apart would keep making new
/// ones.
const MOST_PREVIOUS: usize = 8;

#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    pub authority: Duration,
    pub leaf: Duration,
    /// How long an authority is in the bundle before it signs.
    pub overlap: Duration,
}

/// Certificates that callers trust, per entry of the webhook configuration.
#[derive(Debug, Default)]
pub struct Trust {
    /// `None` if the configuration could not be read.
    entries: Option<Vec<Vec<Certificate>>>,
}

impl Trust {
    /// Reads the bundle of each entry and ignores everything that is not a certificate.
    pub fn of<'a>(bundles: impl Iterator<Item = &'a [u8]>) -> Self {
        let entries = bundles.map(|bundle| Certificate::all_in(&String::from_utf8_lossy(bundle)));
        Self { entries: Some(entries.collect()) }
    }

    /// Whether every entry contains this certificate.
    pub fn has(&self, certificate: &Certificate) -> bool {
        self.entries.as_ref().is_some_and(|entries| entries.iter().all(|entry| entry.contains(certificate)))
    }

    fn all(&self) -> impl Iterator<Item = &Certificate> {
        self.entries.iter().flatten().flatten()
    }
}

/// The inputs of one check of authorities and certificates.
#[derive(Debug)]
pub struct Moment {
    /// The time, by this replica's clock.
    pub now: OffsetDateTime,
    /// Authorities made before this time are revoked: neither used nor trusted.
    pub revoke_before: Option<OffsetDateTime>,
    /// Certificates that callers trust, as read for this check.
    pub trust: Trust,
}

impl Moment {
    pub fn revokes(&self, certificate: &Certificate) -> bool {
        self.revoke_before.is_some_and(|time| certificate.made < time)
    }

    /// Whether an authority may sign. One that is not valid yet was made by a clock that is ahead of this one.
    fn may_sign(&self, certificate: &Certificate) -> bool {
        certificate.holds_at(self.now) && !self.revokes(certificate)
    }

    /// Whether an authority may stay trusted. One that is not valid yet may: this clock may be the wrong one, and other
    /// replicas may present certificates from it.
    fn may_stay(&self, certificate: &Certificate) -> bool {
        self.now < certificate.ends && !self.revokes(certificate)
    }
}

#[derive(Debug, Error)]
pub enum AuthorityError {
    #[error("no certificate can be made: {0}")]
    Rcgen(#[from] rcgen::Error),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the Secret holds no certificate authority: {0}")]
    Content(String),
}

/// Contents of the Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    current: Signer,
    next: Option<Signer>,
    /// Earlier authorities, which stay trusted.
    previous: Vec<Certificate>,
}

/// A signing certificate and its key in PEM.
#[derive(Clone, PartialEq, Eq)]
struct Signer {
    certificate: Certificate,
    key: String,
}

impl Authority {
    /// Makes a new authority. Everything that callers already trust stays trusted: replicas of upstream's webhook, or
    /// of this one before the Secret was emptied, are still called while they are being replaced.
    pub fn new(lives: Lifetimes, moment: &Moment) -> Result<Self, AuthorityError> {
        Ok(Self {
            current: Signer::new(lives, moment.now)?,
            next: None,
            previous: older(moment.trust.all(), moment),
        })
    }

    /// Reads the contents of the Secret; returns `None` if it is empty.
    ///
    /// # Errors
    /// The Secret holds half an authority, or invalid text.
    pub fn read(data: &BTreeMap<String, Vec<u8>>) -> Result<Option<Self>, AuthorityError> {
        let text = |key: &str| {
            let bytes = data.get(key).filter(|bytes| !bytes.is_empty()).cloned();
            let text = bytes.map(String::from_utf8).transpose();
            text.map_err(|_| AuthorityError::Content(format!("{key} is not UTF-8")))
        };
        let signer = |name: &str, key: &str| match (text(name)?, text(key)?) {
            (Some(certificate), Some(key)) => {
                let certificate = Certificate::all_in(&certificate).into_iter().next().ok_or_else(|| {
                    AuthorityError::Content(format!("{name} holds no certificate that can be read"))
                })?;
                Ok(Some(Signer { certificate, key }))
            }
            (None, None) => Ok(None),
            _ => Err(AuthorityError::Content(format!("{name} and {key} must be there together"))),
        };
        let Some(current) = signer("ca.crt", "ca.key")? else { return Ok(None) };
        let next = signer("next-ca.crt", "next-ca.key")?;
        let previous = text("previous-ca.crt")?.as_deref().map(Certificate::all_in).unwrap_or_default();
        Ok(Some(Self { current, next, previous }))
    }

    /// The data to write to the Secret.
    pub fn data(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: &str| data.insert(key.to_owned(), text.as_bytes().to_vec());
        put("ca.crt", self.current.certificate.pem());
        put("ca.key", &self.current.key);
        if let Some(next) = &self.next {
            put("next-ca.crt", next.certificate.pem());
            put("next-ca.key", &next.key);
        }
        if !self.previous.is_empty() {
            put("previous-ca.crt", &self.previous.iter().map(Certificate::pem).collect::<String>());
        }
        data
    }

    /// Returns the next state, if it is time for one.
    ///
    /// # Errors
    /// A certificate cannot be made.
    pub fn step(&self, lives: Lifetimes, moment: &Moment) -> Result<Option<Self>, AuthorityError> {
        let mut stepped = self.clone();
        stepped.previous.retain(|certificate| moment.may_stay(certificate));
        stepped.next.take_if(|next| !moment.may_sign(&next.certificate));
        let certificate = &self.current.certificate;
        if !moment.may_sign(certificate) {
            let previous = older(moment.trust.all().chain(&self.previous), moment);
            // Callers know the next authority, if there is one, at least as well as they would know a new one.
            stepped = match stepped.next {
                Some(next) => Self { current: next, next: None, previous },
                None => Self { current: Signer::new(lives, moment.now)?, next: None, previous },
            };
            stepped.previous.retain(|previous| *previous != stepped.current.certificate);
        } else if let Some(next) = &stepped.next {
            let takes_over_at = later(next.certificate.made, lives.overlap);
            // As long as someone else keeps it out of the bundle, the trusted one continues.
            if moment.now >= takes_over_at && moment.trust.has(&next.certificate) {
                let previous = vec![certificate.clone()];
                stepped = Self { current: next.clone(), next: None, previous };
            }
        } else if moment.now >= certificate.made.saturating_add((certificate.ends - certificate.made) * 2 / 3)
        {
            stepped.next = Some(Signer::new(lives, moment.now)?);
        }
        Ok((stepped != *self).then_some(stepped))
    }

    pub fn signer(&self) -> &Certificate {
        &self.current.certificate
    }

    /// Whether it may sign, even if a step is due.
    pub fn is_usable(&self, moment: &Moment) -> bool {
        moment.may_sign(self.signer())
    }

    /// Whether any of its certificates is revoked.
    pub fn has_revoked(&self, moment: &Moment) -> bool {
        self.certificates().any(|certificate| moment.revokes(certificate))
    }

    /// All certificates that callers should trust, in PEM.
    pub fn bundle(&self) -> String {
        self.certificates().map(Certificate::pem).collect()
    }

    fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let signers = std::iter::once(&self.current).chain(&self.next);
        signers.map(|signer| &signer.certificate).chain(&self.previous)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("current", &self.current)
            .field("next", &self.next)
            .field("previous", &self.previous)
            .finish()
    }
}

/// Prints only the certificate.
impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certificate.fmt(formatter)
    }
}

/// Deduplicated certificates that may stay trusted.
fn older<'a>(certificates: impl Iterator<Item = &'a Certificate>, moment: &Moment) -> Vec<Certificate> {
    let mut kept: Vec<Certificate> = Vec::new();
    for certificate in certificates.filter(|certificate| moment.may_stay(certificate)) {
        if kept.len() < MOST_PREVIOUS && !kept.contains(certificate) {
            kept.push(certificate.clone());
        }
    }
    kept
}

impl Signer {
    fn new(lives: Lifetimes, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (now.saturating_sub(BACKDATED), later(now, lives.authority));
        params.distinguished_name = name(AUTHORITY_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = Certificate::all_in(&params.self_signed(&key)?.pem()).into_iter().next();
        let certificate =
            certificate.ok_or_else(|| AuthorityError::Content("a new one cannot be read".to_owned()))?;
        Ok(Self { certificate, key: key.serialize_pem() })
    }
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Adds a duration, saturating instead of overflowing.
fn later(time: OffsetDateTime, by: Duration) -> OffsetDateTime {
    time.saturating_add(time::Duration::try_from(by).unwrap_or(time::Duration::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use time::OffsetDateTime;

    use super::super::certificate::Certificate;
    use super::{Authority, AuthorityError, Lifetimes, MOST_PREVIOUS, Moment, Terms, Trust};

    pub(super) const LIVES: Lifetimes = Lifetimes {
        authority: Duration::from_hours(300),
        leaf: Duration::from_hours(30),
        overlap: Duration::from_hours(1),
    };

    pub(super) fn start() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    pub(super) fn after(hours: i64) -> OffsetDateTime {
        start() + time::Duration::hours(hours)
    }

    /// A moment in which the only entry trusts this bundle.
    pub(super) fn at(now: OffsetDateTime, trusted: &str) -> Moment {
        let trust = Trust::of(std::iter::once(trusted.as_bytes()));
        Moment { now, revoke_before: None, trust }
    }

    pub(super) fn made_at(now: OffsetDateTime) -> Authority {
        Authority::new(LIVES, &at(now, "")).unwrap()
    }

    /// The next state of an authority whose bundle is trusted.
    fn step(authority: &Authority, now: OffsetDateTime) -> Option<Authority> {
        authority.step(LIVES, &at(now, &authority.bundle())).unwrap()
    }

    pub(super) fn revoking(time: OffsetDateTime, moment: Moment) -> Moment {
        Moment { revoke_before: Some(time), ..moment }
    }

    pub(super) fn terms(authority: &Authority, now: OffsetDateTime) -> Terms {
        authority.leaf(&["a.svc".to_owned()], LIVES, now).unwrap().terms
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let first = made_at(start());
        let second = step(&first, after(200)).unwrap();
        let third = step(&second, after(201)).unwrap();
        for authority in [first, second, third] {
            assert_eq!(Authority::read(&authority.data()).unwrap(), Some(authority));
        }
        assert_eq!(Authority::read(&BTreeMap::new()).unwrap(), None);
    }

    #[test]
    fn a_new_authority_is_trusted_before_it_signs_and_the_old_one_after() {
        let first = made_at(start());
        assert_eq!(step(&first, after(199)), None);
        let second = step(&first, after(200)).unwrap();
        assert!(second.bundle().starts_with(&first.bundle()) && second.current == first.current);
        assert_eq!(step(&second, start() + Duration::from_mins(200 * 60 + 59)), None);
        let third = step(&second, after(201)).unwrap();
        assert_eq!(Some(&third.current), second.next.as_ref());
        assert!(third.bundle().contains(&first.bundle()));
        let fourth = step(&third, after(300)).unwrap();
        assert!(!fourth.bundle().contains(&first.bundle()) && fourth.current == third.current);
    }

    #[test]
    fn an_authority_takes_over_only_once_callers_trust_it_or_there_is_no_other() {
        let first = made_at(start());
        let second = step(&first, after(200)).unwrap();
        let stuck = at(after(250), &first.bundle());
        assert_eq!(second.step(LIVES, &stuck).unwrap(), None, "somebody else writes the bundle");
        let unknown = Moment { trust: Trust::default(), ..at(after(250), "") };
        assert_eq!(second.step(LIVES, &unknown).unwrap(), None, "nobody knows what callers trust");
        let last = second.step(LIVES, &at(after(300), &first.bundle())).unwrap().unwrap();
        assert_eq!(Some(&last.current), second.next.as_ref());
        assert!(last.previous.is_empty(), "{last:?}");
    }

    #[test]
    fn an_authority_that_has_ended_is_replaced_at_once() {
        let first = made_at(start());
        let second = step(&first, after(300)).unwrap();
        assert_ne!(first.current, second.current);
        assert_eq!(second.bundle().matches("BEGIN").count(), 1);
    }

    #[test]
    fn an_authority_from_the_future_does_not_sign() {
        let (good, ahead) = (made_at(start()), made_at(after(10)));
        let trusted = format!("{}{}", ahead.bundle(), good.bundle());
        let moment = at(after(5), &trusted);
        assert!(!ahead.is_usable(&moment));
        let new = ahead.step(LIVES, &moment).unwrap().unwrap();
        assert!(new.is_usable(&moment));
        assert_eq!(new.previous, Certificate::all_in(&trusted), "what is trusted stays trusted");
        assert_eq!(new.step(LIVES, &at(after(5), &new.bundle())).unwrap(), None);
        // Clocks may differ a little.
        assert_eq!(step(&made_at(start() + Duration::from_mins(50)), start()), None);
    }

    #[test]
    fn a_next_authority_from_the_future_is_replaced_or_dropped() {
        let first = made_at(start());
        let odd = Authority { next: Some(made_at(after(220)).current), ..first.clone() };
        let dropped = step(&odd, after(100)).unwrap();
        assert_eq!(dropped, first);
        let replaced = step(&odd, after(210)).unwrap();
        assert_eq!(replaced.current, first.current);
        let next = &replaced.next.as_ref().unwrap().certificate;
        assert_eq!(next.made, after(210));
    }

    #[test]
    fn what_is_revoked_is_neither_used_nor_trusted() {
        let first = made_at(start());
        let second = step(&first, after(200)).unwrap();
        let third = step(&second, after(201)).unwrap();
        for (authority, now) in [(&first, 100), (&second, 200), (&third, 202)] {
            let leaf = terms(authority, after(now));
            let moment = revoking(after(now), at(after(now), &authority.bundle()));
            // Made in the same second as the revocation, which counts as after it.
            let may_stay = authority.next.clone().filter(|next| next.certificate.made == after(now));
            let new = authority.step(LIVES, &moment).unwrap().unwrap();
            assert!(new.is_usable(&moment) && moment.revokes(authority.signer()));
            assert_eq!(Certificate::all_in(&new.bundle()), [new.signer().clone()]);
            if let Some(next) = may_stay {
                assert_eq!(new.current, next);
            }
            assert!(leaf.is_due(&new, after(now)) && leaf.may_go(&new, &moment, true));
            let again = revoking(after(now), at(after(now), &new.bundle()));
            assert_eq!(new.step(LIVES, &again).unwrap(), None, "once is enough");
        }
        let previous_only = revoking(after(150), at(after(202), &third.bundle()));
        let kept = third.step(LIVES, &previous_only).unwrap().unwrap();
        assert_eq!((kept.current, kept.previous), (third.current, vec![]));
    }

    #[test]
    fn an_empty_secret_revokes_with_the_annotation_only() {
        let old = made_at(start());
        let moment = at(after(1), &old.bundle());
        assert!(Authority::new(LIVES, &moment).unwrap().bundle().contains(&old.bundle()));
        let moment = revoking(after(1), moment);
        assert!(!Authority::new(LIVES, &moment).unwrap().bundle().contains(&old.bundle()));
    }

    #[test]
    fn what_is_trusted_stays_trusted_each_once_and_not_without_end() {
        let old = made_at(start()).bundle();
        let trusted = format!("rubbish {old}{old}");
        let new = Authority::new(LIVES, &at(start(), &trusted)).unwrap();
        assert_eq!(new.previous, Certificate::all_in(&old));
        let late = Authority::new(LIVES, &at(after(300), &old)).unwrap();
        assert!(late.previous.is_empty());
        let many: String = (0..20).map(|_| made_at(start()).bundle()).collect();
        let new = Authority::new(LIVES, &at(start(), &many)).unwrap();
        assert_eq!(new.previous, Certificate::all_in(&many)[..MOST_PREVIOUS]);
    }

    #[test]
    fn half_an_authority_is_an_error() {
        for (key, value) in [("ca.key", None), ("ca.crt", None), ("ca.crt", Some("rubbish"))] {
            let mut data = made_at(start()).data();
            data.remove(key);
            if let Some(value) = value {
                data.insert(key.to_owned(), value.into());
            }
            assert!(matches!(Authority::read(&data), Err(AuthorityError::Content(_))));
        }
    }

    #[test]
    fn no_key_is_shown() {
        let second = step(&made_at(start()), after(200)).unwrap();
        let keys: Vec<String> = second
            .data()
            .into_iter()
            .filter(|(name, _)| name.ends_with("key"))
            .map(|(_, key)| String::from_utf8(key).unwrap())
            .collect();
        assert_eq!(keys.len(), 2);
        let leaf = second.leaf(&["a.svc".to_owned()], LIVES, after(200)).unwrap();
        let mut shown = vec![format!("{second:?} {:?} {leaf:?}", second.current)];
        assert!(shown[0].contains("azure-workload-identity-ca") && shown[0].contains("a.svc"), "{shown:?}");
        // A truncated or damaged key, or one swapped with the certificate.
        for spoilt in [
            keys[0].chars().take(120).collect(),
            keys[0].replace("MI", "!!"),
            second.current.certificate.pem().to_owned(),
        ] {
            let mut data = second.data();
            data.insert("ca.key".to_owned(), spoilt.into());
            let spoilt = Authority::read(&data).unwrap().unwrap();
            let error = spoilt.leaf(&["a.svc".to_owned()], LIVES, after(200)).unwrap_err();
            shown.push(format!("{spoilt:?} {error} {error:?}"));
        }
        let shown = shown.join(" ");
        for line in keys.iter().flat_map(|key| key.lines()).filter(|line| !line.starts_with("-----")) {
            assert!(!shown.contains(line) && !shown.contains(&format!("{:?}", line.as_bytes())), "{shown}");
        }
    }

    #[test]
    fn no_time_overflows() {
        let longest = Duration::from_hours(87_600);
        let lives = Lifetimes { authority: longest, leaf: longest, overlap: longest };
        let ends_of_time = [
            OffsetDateTime::UNIX_EPOCH,
            time::PrimitiveDateTime::MAX.assume_utc(),
            time::PrimitiveDateTime::MAX.assume_utc() - time::Duration::days(1),
        ];
        for now in ends_of_time {
            let authority = Authority::new(lives, &at(now, "")).unwrap();
            let _ = authority.step(lives, &at(now, &authority.bundle())).unwrap();
            authority.leaf(&["a.svc".to_owned()], lives, now).unwrap();
        }
    }
}
