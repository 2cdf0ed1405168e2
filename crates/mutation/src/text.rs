//! Object names in messages, and file paths.

use azwi_json::printable;

/// `namespace/name`, truncated so that a message stays one readable line.
pub(crate) fn object_name(namespace: &str, name: &str) -> String {
    [&*printable(namespace, 63), "/", &*printable(name, 63)].concat()
}

/// The path as an absolute one without empty, `.` and `..` segments; empty for the root.
pub(crate) fn clean_path(path: &str) -> String {
    let mut cleaned = String::with_capacity(path.len() + 1);
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => cleaned.truncate(cleaned.rfind('/').unwrap_or_default()),
            segment => {
                cleaned.push('/');
                cleaned.push_str(segment);
            }
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::clean_path;

    #[test]
    fn paths_are_cleaned_as_runtimes_do() {
        for (path, expected) in [
            ("/var/run/", "/var/run"),
            ("//var/./run", "/var/run"),
            ("./a", "/a"),
            ("a/../b", "/b"),
            ("/a/b/../../..", ""),
            ("/", ""),
            ("/a..b/.c", "/a..b/.c"),
        ] {
            assert_eq!(clean_path(path), expected, "{path}");
        }
    }
}
