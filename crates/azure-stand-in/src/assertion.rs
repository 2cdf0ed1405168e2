//! Judges a service account token against an application's federated credentials.

use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation, decode, decode_header};
use serde::Deserialize;

use crate::aadsts::Refusal;
use crate::directory::{Application, Directory, FederatedCredential};

/// The signatures that Kubernetes makes.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384];
/// How far clocks may differ, in seconds.
const CLOCK_SKEW: i64 = 300;

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    nbf: i64,
    iat: Option<i64>,
}

/// An accepted token.
#[derive(Debug)]
pub(crate) struct Accepted<'d> {
    /// The federated credential that it matches.
    pub credential: &'d FederatedCredential,
    /// When it was issued, in seconds since 1970, if it says so.
    pub issued_at: Option<i64>,
}

/// One audience, or a list as Kubernetes writes it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn all(&self) -> &[String] {
        match self {
            Self::One(audience) => std::slice::from_ref(audience),
            Self::Many(audiences) => audiences,
        }
    }
}

/// Checks a token at a time (seconds since 1970).
///
/// Comparisons are exact, also in letter case, as in Entra ID.
///
/// # Errors
/// The first check that fails, in this order: form, issuer, subject, audience, signature, lifetime.
pub(crate) fn judge<'d>(
    token: &str,
    application: &'d Application,
    directory: &Directory,
    now: i64,
) -> Result<Accepted<'d>, Refusal> {
    let claims = claims_of(token, None)?.claims;
    let credentials = &application.federated_credentials;
    let of_issuer: Vec<_> = credentials.iter().filter(|credential| credential.issuer == claims.iss).collect();
    if of_issuer.is_empty() {
        return Err(Refusal::issuer_unmatched(&claims.iss));
    }
    let of_subject: Vec<_> =
        of_issuer.into_iter().filter(|credential| credential.subject == claims.sub).collect();
    if of_subject.is_empty() {
        return Err(Refusal::subject_unmatched(&claims.sub));
    }
    let has_audience = |credential: &&FederatedCredential| {
        credential.audiences.iter().any(|audience| claims.aud.all().contains(audience))
    };
    let Some(credential) = of_subject.into_iter().find(has_audience) else {
        return Err(Refusal::audience_unmatched(&claims.aud.all().join(", ")));
    };
    verify_signature(token, &claims.iss, directory)?;
    if now + CLOCK_SKEW < claims.nbf || claims.exp + CLOCK_SKEW < now {
        return Err(Refusal::outside_lifetime());
    }
    Ok(Accepted { credential, issued_at: claims.iat })
}

fn verify_signature(token: &str, issuer: &str, directory: &Directory) -> Result<(), Refusal> {
    let header = decode_header(token).map_err(|_| Refusal::assertion_malformed())?;
    let keys = directory.issuers.get(issuer);
    let key = keys.zip(header.kid).and_then(|(keys, id)| keys.find(&id));
    let key = key.and_then(|key| DecodingKey::from_jwk(key).ok()).ok_or_else(Refusal::signature_invalid)?;
    claims_of(token, Some(&key)).map(|_| ())
}

/// The claims, verified if there is a key.
fn claims_of(token: &str, key: Option<&DecodingKey>) -> Result<TokenData<Claims>, Refusal> {
    let header = decode_header(token).map_err(|_| Refusal::assertion_malformed())?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(Refusal::signature_invalid());
    }
    let mut validation = Validation::new(header.alg);
    // Judged one by one, so that each has its own refusal.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    if let Some(key) = key {
        return decode(token, key, &validation).map_err(|_| Refusal::signature_invalid());
    }
    validation.insecure_disable_signature_validation();
    let unused = DecodingKey::from_secret(&[]);
    decode(token, &unused, &validation).map_err(|_| Refusal::assertion_malformed())
}
