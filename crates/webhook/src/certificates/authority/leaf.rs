//! The replicas' certificates: issued by an authority, and replaced in time.

use std::fmt;

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use time::OffsetDateTime;

use super::super::ServingCertificate;
use super::super::certificate::Certificate;
use super::{Authority, AuthorityError, Lifetimes, Moment, Signer, later, name};

impl Authority {
    /// Issues a certificate for a replica that is called by `names`.
    ///
    /// # Errors
    /// The authority cannot sign.
    pub fn leaf(
        &self,
        names: &[String],
        lives: Lifetimes,
        now: OffsetDateTime,
    ) -> Result<Leaf, AuthorityError> {
        let Signer { certificate: authority, key } = &self.current;
        // The library's error text may repeat its input.
        let unusable = |what: &str| AuthorityError::Content(format!("{what} cannot be used to sign"));
        let key = KeyPair::from_pem(key).map_err(|_| unusable("ca.key"))?;
        let issuer = Issuer::from_ca_cert_pem(authority.pem(), key).map_err(|_| unusable("ca.crt"))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names)?;
        let ends = later(now, lives.leaf).min(authority.ends);
        // Valid from the same time as its authority, so that callers accept it even if this replica's clock is ahead.
        (params.not_before, params.not_after) = (authority.begins, ends);
        params.distinguished_name = name(names.first().map_or("azwi-webhook", String::as_str));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        let validity = (authority.begins.unix_timestamp(), ends.unix_timestamp());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let serving = ServingCertificate::new(vec![certificate.der().clone()], &key, validity)?;
        let renew_at = now.saturating_add((ends - now) * 2 / 3);
        Ok(Leaf { certificate: serving, terms: Terms { renew_at, ends, signed_by: authority.clone() } })
    }
}

/// A replica's certificate, which is never stored.
pub struct Leaf {
    /// The certificate presented to callers.
    pub certificate: ServingCertificate,
    /// Kept to decide when to replace it.
    pub terms: Terms,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Leaf")
            .field("certificate", &self.certificate)
            .field("terms", &self.terms)
            .finish()
    }
}

/// Decides when a replica's certificate is replaced.
#[derive(Debug, Clone)]
pub struct Terms {
    /// When to make a new one.
    pub renew_at: OffsetDateTime,
    ends: OffsetDateTime,
    signed_by: Certificate,
}

impl Terms {
    /// Whether the certificate must be replaced: it is due for renewal, or another authority signs.
    pub fn is_due(&self, authority: &Authority, now: OffsetDateTime) -> bool {
        now >= self.renew_at || self.signed_by != *authority.signer()
    }

    /// Whether a certificate from `authority` serves callers at least as well as this one: the same authority signed
    /// it, callers already trust the other one, this one is not valid now, or its authority is revoked and removed from
    /// the bundle.
    pub fn may_go(&self, authority: &Authority, moment: &Moment, is_bundle_right: bool) -> bool {
        let signer = authority.signer();
        self.signed_by == *signer
            || moment.trust.has(signer)
            || moment.now >= self.ends
            // It is valid from the same time as its authority, which is in the future if the clock was set back.
            || moment.now < self.signed_by.begins
            || (is_bundle_right && moment.revokes(&self.signed_by))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{LIVES, after, at, made_at, revoking, start, terms};
    use super::{Authority, Moment};
    use crate::certificates::Trust;

    #[test]
    fn a_leaf_is_renewed_in_time_and_within_its_authoritys() {
        let first = made_at(start());
        let leaf = terms(&first, start());
        assert!(!leaf.is_due(&first, after(19)) && leaf.is_due(&first, after(20)));
        assert!(leaf.is_due(&made_at(start()), start()), "another authority signs");
        let late = first.leaf(&["a.svc".to_owned()], LIVES, after(299)).unwrap().certificate;
        assert_eq!(late.not_after, after(300).unix_timestamp());
        assert_eq!(late.not_before, first.signer().begins.unix_timestamp());
    }

    #[test]
    fn a_leaf_gives_way_to_one_that_callers_accept_no_less() {
        let (old, new) = (made_at(start()), made_at(after(1)));
        let leaf = terms(&old, after(1));
        let bundle_of_both = format!("{}{}", old.bundle(), new.bundle());
        let trusting = |trusted: &str| at(after(2), trusted);
        assert!(leaf.may_go(&old, &trusting("somebody else's"), false), "the same authority");
        assert!(!leaf.may_go(&new, &trusting(&old.bundle()), true), "callers do not know it yet");
        assert!(leaf.may_go(&new, &trusting(&bundle_of_both), false), "callers know it");
        let ended = at(after(31), &old.bundle());
        assert!(leaf.may_go(&new, &ended, false), "there is nothing to lose");
        let set_back = at(start() - Duration::from_hours(2), &old.bundle());
        assert!(leaf.may_go(&new, &set_back, false), "there is nothing to lose before it begins");
        let revoked = revoking(after(1), trusting(&old.bundle()));
        assert!(leaf.may_go(&new, &revoked, true) && !leaf.may_go(&new, &revoked, false));
        let both = [bundle_of_both.as_bytes(), old.pem_of_signer()];
        let half = Moment { trust: Trust::of(both.into_iter()), ..trusting("") };
        assert!(!leaf.may_go(&new, &half, true), "one entry does not know it yet");
        let unknown = Moment { trust: Trust::default(), ..trusting("") };
        assert!(!leaf.may_go(&new, &unknown, false) && leaf.may_go(&old, &unknown, false));
    }

    impl Authority {
        fn pem_of_signer(&self) -> &[u8] {
            self.signer().pem().as_bytes()
        }
    }
}
