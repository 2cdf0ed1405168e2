//! The containers that are not injected.

use std::collections::BinaryHeap;

/// The containers of one pod, and which of them the skip-containers annotation names.
///
/// The list may be as long as an annotation and a pod may have many containers, so each name in the list is looked up
/// once in the sorted container names, instead of looking up each container in the list.
#[derive(Debug, Default)]
pub(crate) struct SkipList<'a> {
    /// Sorted container names, and whether each is in the list.
    containers: Vec<(&'a str, bool)>,
    list: &'a str,
}

impl<'a> SkipList<'a> {
    /// Reads the annotation; if absent or empty, no container is skipped.
    pub(crate) fn new(annotation: Option<&'a str>, containers: impl Iterator<Item = &'a str>) -> Self {
        let list = annotation.unwrap_or_default();
        if list.is_empty() {
            return Self::default();
        }
        // A heap, because slice sorting would add four percent to the wasm.
        let mut names = BinaryHeap::new();
        for container in containers {
            names.push((container, false));
        }
        let mut containers = names.into_sorted_vec();
        // Containers may share a name, at least the empty one.
        containers.dedup();
        let mut skip_list = Self { containers, list };
        // An empty name in the list skips a container without a name, as in upstream.
        for name in list.split(SEPARATORS).map(str::trim) {
            let found = skip_list.containers.binary_search_by(|(container, _)| (*container).cmp(name));
            if let Some((_, is_skipped)) = found.ok().and_then(|found| skip_list.containers.get_mut(found)) {
                *is_skipped = true;
            }
        }
        skip_list
    }

    /// Whether the container is skipped.
    pub(crate) fn contains(&self, container: &str) -> bool {
        self.find(container).is_some_and(|is_skipped| is_skipped)
    }

    /// The non-empty names in the annotation that no container has, in order.
    pub(crate) fn unknown_names(&self) -> impl Iterator<Item = &'a str> {
        let names = self.list.split(SEPARATORS).map(str::trim);
        names.filter(|name| !name.is_empty() && self.find(name).is_none())
    }

    /// The containers that the annotation does not name.
    pub(crate) fn others(&self) -> impl Iterator<Item = &'a str> {
        self.containers.iter().filter(|(_, is_skipped)| !is_skipped).map(|(name, _)| *name)
    }

    fn find(&self, container: &str) -> Option<bool> {
        let found = self.containers.binary_search_by(|(name, _)| (*name).cmp(container)).ok()?;
        self.containers.get(found).map(|(_, is_skipped)| *is_skipped)
    }
}

/// Upstream separates only by `;`; a container name can contain neither character.
const SEPARATORS: [char; 2] = [';', ','];

#[cfg(test)]
mod tests {
    use super::SkipList;

    fn list<'a>(annotation: &'a str, containers: &[&'a str]) -> SkipList<'a> {
        SkipList::new(Some(annotation), containers.iter().copied())
    }

    #[test]
    fn separators_and_white_space() {
        let list = list(" a ; b,c;\u{a0}", &["d", "c", "b", "a", "A", "a"]);
        for (container, is_skipped) in [("a", true), ("b", true), ("c", true), ("d", false), ("A", false)] {
            assert_eq!(list.contains(container), is_skipped, "{container}");
        }
        assert_eq!(list.unknown_names().count(), 0);
    }

    #[test]
    fn names_without_a_container_are_told_in_order() {
        let list = list("z;a;y;;z", &["a"]);
        assert_eq!(list.unknown_names().collect::<Vec<_>>(), ["z", "y", "z"]);
    }

    #[test]
    fn a_container_without_a_name_is_skipped_by_an_empty_name() {
        assert!(list("a;", &[""]).contains(""));
        assert!(!list("a", &[""]).contains(""));
        assert!(!list("", &[""]).contains(""));
    }
}
