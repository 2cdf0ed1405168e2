//! Finds similar names.

use strsim::osa_distance;

use crate::bounds::LONGEST_KEY_NAME;

/// Maximum number of containers to compare a misspelled name with. Nobody types container names for larger pods.
const MOST_CANDIDATES: usize = 100;

/// The candidate that a user most likely meant by `name`: one or two letters are different, missing, extra or swapped.
pub(crate) fn meant<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // Two names of two letters are similar by chance.
    let most = match name.len() {
        0..=2 => return None,
        3..=4 => 1,
        _ => 2,
    };
    let comparable = candidates.take(MOST_CANDIDATES).filter(|candidate| {
        candidate.len().abs_diff(name.len()) <= most && candidate.len().max(name.len()) <= LONGEST_KEY_NAME
    });
    let distances = comparable.map(|candidate| (osa_distance(name, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= most).min().map(|(_, candidate)| candidate)
}

/// The most similar of a few candidates, even if it is not very similar.
pub(crate) fn closest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> &'c str {
    candidates.min_by_key(|candidate| osa_distance(name, candidate)).unwrap_or_default()
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
    }
}
