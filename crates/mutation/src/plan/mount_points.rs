//! Mounts that conflict with the token's: at the same path, above it if the runtime cannot create its folder there, or
//! below it, where it cannot create any.

use std::cell::{Cell, OnceCell};
use std::collections::BinaryHeap;

use crate::text::clean_path;
use crate::view::{Container, Mount, Volume};

/// The volumes of a pod, asked whether the token's mount point can be created in them.
#[derive(Debug)]
pub(crate) struct MountPoints<'a> {
    /// Where the token's volume is mounted, canonical.
    path: String,
    /// Path of the token itself, canonical.
    token_file: String,
    volumes: &'a [Volume<'a>],
    /// Sorted by name when it is first needed, which is rarely.
    by_name: OnceCell<Vec<(&'a str, Content)>>,
}

/// What is known of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Content {
    is_read_only: bool,
    /// Bit n is set if the volume has a folder at the token's mount path with the first n segments removed.
    folders: u64,
}

/// How another mount conflicts with the token's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// It hides the token, or the token hides it.
    SamePlace,
    /// It contains the token's mount path, and no mount point can be created in it.
    NoMountPoint,
    /// Its own mount point would have to be created in the token's volume, which is read-only.
    Below,
}

impl<'a> MountPoints<'a> {
    /// `path` is where the token's volume is mounted.
    pub(crate) fn new(volumes: &'a [Volume<'a>], path: &str, token_file: &str) -> Self {
        Self { path: canonical(path), token_file: canonical(token_file), volumes, by_name: OnceCell::new() }
    }

    /// Calls `conflict` with each mount that conflicts with the token's. Mounts of `own` are ignored.
    pub(crate) fn check<'c>(
        &self,
        container: &Container<'c>,
        own: &str,
        mut conflict: impl FnMut(Conflict, &Mount<'c>),
    ) {
        // The number of slashes in a canonical path is that of its segments.
        let mut deepest: Option<(usize, Mount<'c>)> = None;
        for mount in container.volume_mounts() {
            let other = canonical(&mount.path());
            if mount.is_of(own) {
                continue;
            }
            let depth = other.matches('/').count();
            if is_at_or_below(&other, &self.path) {
                let is_same = other == self.path || is_at_or_below(&self.token_file, &other);
                conflict(if is_same { Conflict::SamePlace } else { Conflict::Below }, &mount);
            } else if is_at_or_below(&self.path, &other)
                && deepest.as_ref().is_none_or(|(deepest, _)| depth > *deepest)
            {
                deepest = Some((depth, mount));
            }
        }
        let Some((depth, mount)) = deepest else { return };
        let content = self.content(&mount.volume());
        let has_folder = content.is_some_and(|content| content.folders >> depth & 1 == 1);
        let is_read_only = mount.is_read_only() || content.is_some_and(|content| content.is_read_only);
        if is_read_only && !has_folder {
            conflict(Conflict::NoMountPoint, &mount);
        }
    }

    fn content(&self, volume: &str) -> Option<Content> {
        let by_name = self.by_name.get_or_init(|| {
            // A heap, as in the skip list: slice sorting would be a large part of the wasm.
            let mut sorted = BinaryHeap::new();
            for volume in self.volumes {
                let content =
                    Content { is_read_only: volume.is_read_only(), folders: folders(volume, &self.path) };
                sorted.push((&*volume.name, content));
            }
            sorted.into_sorted_vec()
        });
        let found = by_name.binary_search_by(|(name, _)| (*name).cmp(volume)).ok()?;
        by_name.get(found).map(|(_, content)| *content)
    }
}

/// See [`Content::folders`].
fn folders(volume: &Volume<'_>, path: &str) -> u64 {
    let folders = Cell::new(0);
    volume.each_file(&|file| {
        let file = clean_path(file);
        for (depth, (start, _)) in (0..u64::BITS).zip(path.match_indices('/')) {
            let folder = path.get(start..).unwrap_or_default();
            if file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')) {
                folders.set(folders.get() | 1 << depth);
            }
        }
    });
    folders.get()
}

/// Whether a canonical path is `folder` or in it.
fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The cleaned path as most images have it: in them `/var/run` is a link to `/run`.
pub(super) fn canonical(path: &str) -> String {
    let path = clean_path(path);
    match path.strip_prefix("/run") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => ["/var", &*path].concat(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn run_is_a_link() {
        for (path, expected) in [
            ("/run/secrets/", "/var/run/secrets"),
            ("//run/./secrets", "/var/run/secrets"),
            ("/run", "/var/run"),
            ("/var/run/", "/var/run"),
            ("/runs", "/runs"),
            ("/", ""),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
    }
}
