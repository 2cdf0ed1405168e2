//! Labels and annotations with the project's prefix that are never read: misspelled, or in the wrong place.

use super::spelling::closest;
use crate::bounds::LONGEST_KEY_NAME;
use crate::config::Config;
use crate::names::{
    ANNOTATION_PREFIX, CLIENT_ID_ANNOTATION, INJECT_PROXY_ANNOTATION, OPT_IN_LABEL, PROXY_PORT_ANNOTATION,
    SKIP_CONTAINERS_ANNOTATION, TENANT_ID_ANNOTATION, TOKEN_ENDPOINT_ANNOTATION_PREFIX,
    TOKEN_EXPIRATION_ANNOTATION,
};
use crate::view::KeyKind;
use crate::warning::Warning;

/// Maximum number of warnings for the keys of one object.
const MOST_TOLD: usize = 4;

/// The object from which a key is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Pod,
    ServiceAccount,
    /// The workload object around a pod template.
    Workload,
}

/// The annotations, and the kind of object from which each is read; `None` for both.
const ANNOTATIONS: [(&str, Option<Holder>); 6] = [
    (CLIENT_ID_ANNOTATION, Some(Holder::ServiceAccount)),
    (TENANT_ID_ANNOTATION, Some(Holder::ServiceAccount)),
    (TOKEN_EXPIRATION_ANNOTATION, None),
    (SKIP_CONTAINERS_ANNOTATION, Some(Holder::Pod)),
    (INJECT_PROXY_ANNOTATION, Some(Holder::Pod)),
    (PROXY_PORT_ANNOTATION, Some(Holder::Pod)),
];

/// The object with these keys, and those to which they may belong, as named in a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub holder: Holder,
    pub subject: &'a str,
    pub pod: &'a str,
    pub account: &'a str,
}

/// Warns about keys that are never read. Other warnings cover the opt-in label written as an annotation.
pub(crate) fn of_keys<'k>(
    keys: impl Iterator<Item = (KeyKind, &'k str)>,
    place: Place<'_>,
    config: &Config,
    warnings: &mut Vec<Warning>,
) {
    warnings.extend(keys.filter_map(|(kind, key)| of_key(kind, key, place, config)).take(MOST_TOLD));
}

fn of_key(kind: KeyKind, key: &str, place: Place<'_>, config: &Config) -> Option<Warning> {
    if key == OPT_IN_LABEL {
        return None;
    }
    let endpoint = config.token_endpoint.as_ref().map(|endpoint| (&*endpoint.annotation, Some(Holder::Pod)));
    let mut annotations = ANNOTATIONS.into_iter().chain(endpoint);
    let Place { holder, subject, pod, account } = place;
    let name = without_prefix(key);
    match annotations.clone().find(|(known, _)| *known == key) {
        Some((_, Some(Holder::ServiceAccount))) if holder != Holder::ServiceAccount => {
            Some(Warning::annotation_elsewhere(kind, name, subject, account))
        }
        Some((_, Some(Holder::Pod))) if holder != Holder::Pod => {
            Some(Warning::annotation_elsewhere(kind, name, subject, pod))
        }
        Some(_) if holder == Holder::Workload => {
            Some(Warning::annotation_elsewhere(kind, name, subject, pod))
        }
        Some(_) if kind == KeyKind::Label => Some(Warning::annotation_is_label(name, subject)),
        Some(_) => None,
        None if endpoint.is_none() && key.starts_with(TOKEN_ENDPOINT_ANNOTATION_PREFIX) => {
            Some(Warning::token_endpoint_not_set(kind, key, subject))
        }
        None => {
            // Nobody means a known key by one that is longer than keys may be, and comparing takes time by its length.
            let name = name.get(..name.floor_char_boundary(LONGEST_KEY_NAME)).unwrap_or(name);
            let known = match endpoint {
                Some((endpoint, _)) if key.starts_with(TOKEN_ENDPOINT_ANNOTATION_PREFIX) => {
                    without_prefix(endpoint)
                }
                _ => {
                    let known = annotations.by_ref().map(|(known, _)| known).chain([OPT_IN_LABEL]);
                    closest(name, known.map(without_prefix))
                }
            };
            Some(Warning::unknown_key(kind, key, subject, known))
        }
    }
}

fn without_prefix(key: &str) -> &str {
    key.strip_prefix(ANNOTATION_PREFIX).unwrap_or(key)
}
