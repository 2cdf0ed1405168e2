//! Mounts that conflict with the token's: at the same path, or above it if the runtime cannot create its folder there.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BinaryHeap;

use crate::view::{Container, Mount, TakesMountPoints, Volume};

/// The volumes of a pod, asked whether mount points can be created in them.
#[derive(Debug)]
pub(crate) struct MountPoints<'a> {
    volumes: &'a [Volume<'a>],
    /// Sorted by name when it is first needed, which is rarely.
    by_name: OnceCell<Vec<(&'a str, TakesMountPoints)>>,
}

impl<'a> MountPoints<'a> {
    pub(crate) fn new(volumes: &'a [Volume<'a>]) -> Self {
        Self { volumes, by_name: OnceCell::new() }
    }

    /// Returns the mount that contains the token's path, if no mount point can be created in it. `occupied` gets the mounts
    /// at the path itself. Mounts of `own` are ignored.
    pub(crate) fn obstacle<'c>(
        &self,
        container: &Container<'c>,
        path: &str,
        own: &str,
        mut occupied: impl FnMut(&Mount<'c>),
    ) -> Option<Mount<'c>> {
        let path = canonical(path);
        let mut deepest: Option<(usize, Mount<'c>)> = None;
        for mount in container.volume_mounts() {
            let other = mount.path();
            let other = canonical(&other);
            let Some(rest) = path.strip_prefix(&*other).filter(|_| !mount.is_of(own)) else { continue };
            let is_deeper = deepest.as_ref().is_none_or(|(length, _)| other.len() > *length);
            if rest.is_empty() {
                occupied(&mount);
            } else if rest.starts_with('/') && is_deeper {
                deepest = Some((other.len(), mount));
            }
        }
        let (_, mount) = deepest?;
        let is_obstacle = match self.of_volume(&mount.volume()) {
            Some(TakesMountPoints::HasFolders) => false,
            Some(TakesMountPoints::IfWritable) | None => mount.is_read_only(),
            Some(TakesMountPoints::No) => true,
        };
        is_obstacle.then_some(mount)
    }

    fn of_volume(&self, volume: &str) -> Option<TakesMountPoints> {
        let by_name = self.by_name.get_or_init(|| {
            // A heap, as in the skip list: slice sorting would be a large part of the wasm.
            let mut sorted = BinaryHeap::new();
            for volume in self.volumes {
                sorted.push((&*volume.name, volume.takes_mount_points()));
            }
            sorted.into_sorted_vec()
        });
        let found = by_name.binary_search_by(|(name, _)| (*name).cmp(volume)).ok()?;
        by_name.get(found).map(|(_, takes)| *takes)
    }
}

/// The path as most images have it: in them `/var/run` is a link to `/run`.
fn canonical(path: &str) -> Cow<'_, str> {
    let path = path.trim_end_matches('/');
    match path.strip_prefix("/run") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Cow::Owned(format!("/var/run{rest}")),
        _ => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn run_is_a_link() {
        for (path, expected) in [
            ("/run/secrets/", "/var/run/secrets"),
            ("/run", "/var/run"),
            ("/var/run/", "/var/run"),
            ("/runs", "/runs"),
            ("/", ""),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
    }
}
