//! Mounts that conflict with the token's: at the same path, or above it if the runtime cannot create its folder there.

use std::borrow::Cow;
use std::collections::BinaryHeap;

use crate::view::{Container, Mount, Volume};

/// The volumes of a pod by name, and whether no mount points can be created in each.
#[derive(Debug)]
pub(crate) struct MountPoints<'a>(Vec<(&'a str, bool)>);

impl<'a> MountPoints<'a> {
    pub(crate) fn new(volumes: &'a [Volume<'_>]) -> Self {
        // A heap, as in the skip list: slice sorting would be a large part of the wasm.
        let mut sorted = BinaryHeap::new();
        for volume in volumes {
            sorted.push((&*volume.name, volume.takes_no_mount_points()));
        }
        Self(sorted.into_sorted_vec())
    }

    /// The mount that contains the token's path, if no mount point can be created in it. Mounts of `own` are ignored.
    pub(crate) fn obstacle<'c>(&self, container: &Container<'c>, path: &str, own: &str) -> Option<Mount<'c>> {
        let path = canonical(path);
        let mut deepest: Option<(usize, Mount<'c>)> = None;
        for mount in container.volume_mounts() {
            let above = mount.path();
            let above = canonical(&above);
            let is_above = path.strip_prefix(&*above).is_some_and(|rest| rest.starts_with('/'));
            let is_deeper = deepest.as_ref().is_none_or(|(length, _)| above.len() > *length);
            if is_above && is_deeper && !mount.is_of(own) {
                deepest = Some((above.len(), mount));
            }
        }
        let (_, mount) = deepest?;
        (mount.is_read_only() || self.takes_none(&mount.volume())).then_some(mount)
    }

    fn takes_none(&self, volume: &str) -> bool {
        let found = self.0.binary_search_by(|(name, _)| (*name).cmp(volume));
        found.ok().and_then(|found| self.0.get(found)).is_some_and(|(_, takes_none)| *takes_none)
    }
}

/// Whether two paths are the same in most images, in which `/var/run` is a link to `/run`.
pub(crate) fn is_same_place(path: &str, other: &str) -> bool {
    canonical(path) == canonical(other)
}

fn canonical(path: &str) -> Cow<'_, str> {
    let path = path.trim_end_matches('/');
    match path.strip_prefix("/run") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Cow::Owned(format!("/var/run{rest}")),
        _ => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::is_same_place;

    #[test]
    fn run_is_a_link() {
        assert!(is_same_place("/run/secrets/", "/var/run/secrets"));
        assert!(is_same_place("/run", "/var/run/"));
        assert!(!is_same_place("/runs", "/var/runs"));
        assert!(!is_same_place("/var/run", "/var"));
    }
}
