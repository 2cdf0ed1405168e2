//! The containers that get nothing.

/// Names from the skip-containers annotation, separated by `;` or `,`, white space trimmed.
///
/// Upstream separates by `;` only; neither character can be part of a container's name.
#[derive(Debug, Default)]
pub struct SkipList<'a>(Vec<&'a str>);

impl<'a> SkipList<'a> {
    /// Reads the annotation; absent and empty skip nothing.
    #[must_use]
    pub fn new(annotation: Option<&'a str>) -> Self {
        let mut names = Vec::new();
        if let Some(list) = annotation.filter(|list| !list.is_empty()) {
            for name in list.split([';', ',']) {
                names.push(name.trim());
            }
        }
        Self(names)
    }

    /// Whether the container gets nothing.
    #[must_use]
    pub fn contains(&self, container: &str) -> bool {
        self.0.contains(&container)
    }

    /// The names that were written, without the empty ones.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().copied().filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::SkipList;

    #[test]
    fn separators_and_white_space() {
        let list = SkipList::new(Some(" a ; b,c;\u{a0}"));
        assert!(["a", "b", "c"].iter().all(|name| list.contains(name)));
        assert!(!list.contains("A"));
        assert_eq!(list.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(!SkipList::new(Some("")).contains(""));
    }
}
