//! Finds similar names.

use strsim::osa_distance;

use crate::bounds::LONGEST_KEY_NAME;

/// Maximum number of containers to compare a misspelled name with. Nobody types container names for larger pods.
const MOST_CANDIDATES: usize = 100;

/// The candidate that a user most likely meant by `name`: one or two letters are different, missing, extra or swapped, it
/// is in upper case, or is one of several names separated by white space.
pub(crate) fn meant<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let slips = candidates.take(MOST_CANDIDATES).map(|candidate| (slips(name, candidate), candidate));
    slips.filter_map(|(slips, candidate)| Some((slips?, candidate))).min().map(|(_, candidate)| candidate)
}

/// The number of slips between two names, if it is small enough for slips.
fn slips(name: &str, candidate: &str) -> Option<usize> {
    if name.split_whitespace().any(|word| word.eq_ignore_ascii_case(candidate)) {
        return Some(0);
    }
    let longer = name.len().max(candidate.len());
    // Two names of two letters are similar by chance.
    let most = match name.len() {
        0..=2 => return None,
        3..=4 => 1,
        _ => 2,
    };
    if longer > LONGEST_KEY_NAME || name.len().abs_diff(candidate.len()) > most {
        return None;
    }
    let distance = osa_distance(name, candidate);
    // `worker-1` and `worker-2` are two containers, and so are `app` and `api`.
    let is_sibling = of(name, u8::is_ascii_alphabetic).eq(of(candidate, u8::is_ascii_alphabetic))
        && of(name, u8::is_ascii_digit).ne(of(candidate, u8::is_ascii_digit));
    let is_other_word = longer <= 4 && name.len() == candidate.len() && !is_anagram(name, candidate);
    (distance <= most && !is_sibling && !is_other_word).then_some(distance)
}

fn of(name: &str, kind: fn(&u8) -> bool) -> impl Iterator<Item = u8> {
    name.bytes().filter(kind)
}

/// Whether two names of one length, which differ in one place, have the same letters.
fn is_anagram(name: &str, other: &str) -> bool {
    let sum = |name: &str| name.bytes().map(u32::from).sum::<u32>();
    sum(name) == sum(other)
}

/// The most similar of a few candidates, even if it is not very similar. One that contains a name of some length is.
pub(crate) fn closest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> &'c str {
    let is_part_of = |candidate: &str| name.len() > 3 && candidate.contains(name);
    let distance = |candidate: &&str| if is_part_of(candidate) { 0 } else { osa_distance(name, candidate) };
    candidates.min_by_key(distance).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{closest, meant};

    #[test]
    fn slips_are_told_from_other_names() {
        for (name, expected) in [
            ("sidecars", Some("sidecar")),
            ("side-car", Some("sidecar")),
            ("isdecar", Some("sidecar")),
            ("Sidecar", Some("sidecar")),
            ("sdcar", Some("sidecar")),
            ("istio-proxy", None),
            ("linkerd-proxy", None),
            ("daprd", None),
            ("webb", Some("web")),
            ("wabb", None),
            ("we", None),
            ("wbe", Some("web")),
            ("wet", None),
            ("WEB", Some("web")),
            ("web sidecar", Some("sidecar")),
            ("SIDE-CAR", None),
            ("my-proxy-2", None),
            ("my-proxy2", None),
            ("my-prox1", Some("my-proxy")),
        ] {
            assert_eq!(meant(name, ["web", "sidecar", "my-proxy"].into_iter()), expected, "{name}");
        }
    }

    #[test]
    fn something_is_always_closest() {
        let known = || ["client-id", "tenant-id", "use"].into_iter();
        assert_eq!(closest("client_id", known()), "client-id");
        assert_eq!(closest("tenantid", known()), "tenant-id");
        assert_eq!(closest("used", known()), "use");
        let known = ["tenant-id", "service-account-token-expiration"].into_iter();
        assert_eq!(closest("token-expiration", known), "service-account-token-expiration");
    }
}
