//! Object names in messages.

use azwi_json::printable;

/// `namespace/name`, truncated so that a message stays one readable line.
pub(crate) fn object_name(namespace: &str, name: &str) -> String {
    [&*printable(namespace, 63), "/", &*printable(name, 63)].concat()
}
