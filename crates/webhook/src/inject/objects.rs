//! The objects of a document, and their pods.

use azwi_json::{JsonValue, printable};
use azwi_mutation::pod_template_path;

pub(super) struct Item<'a> {
    pub object: JsonValue<'a>,
    pub kind: String,
    /// API group, empty for the core group.
    pub group: String,
}

/// The objects of a document: the items of a List, or the document itself.
pub(super) fn items(root: JsonValue<'_>) -> Vec<Item<'_>> {
    let kind = text_of(root, &["kind"]);
    let Some(items) = root.get("items").filter(|_| kind.ends_with("List")) else {
        return vec![Item { object: root, group: group_of(&text_of(root, &["apiVersion"])), kind }];
    };
    // The items of a PodList may omit kind and version.
    let or_lists = |own: String, lists: &str| if own.is_empty() { lists.to_owned() } else { own };
    let item = |object| Item {
        object,
        kind: or_lists(text_of(object, &["kind"]), kind.trim_end_matches("List")),
        group: group_of(&or_lists(text_of(object, &["apiVersion"]), &text_of(root, &["apiVersion"]))),
    };
    items.elements().map(item).collect()
}

fn group_of(api_version: &str) -> String {
    api_version.split_once('/').map_or_else(String::new, |(group, _)| group.to_owned())
}

impl<'a> Item<'a> {
    /// The object's pod or pod template, and the keys that lead to it.
    pub(super) fn pod(&self) -> Option<(JsonValue<'a>, Vec<&'static str>)> {
        let path: Vec<_> = match (self.group.as_str(), self.kind.as_str()) {
            ("", "Pod") => Vec::new(),
            (group, kind) => pod_template_path(group, kind)?.split('.').collect(),
        };
        let pod = path.iter().try_fold(self.object, |value, key| value.get(key))?;
        Some((pod, path))
    }
}

/// The text at a path, empty if there is none.
pub(super) fn text_of(object: JsonValue<'_>, path: &[&str]) -> String {
    let found = path.iter().try_fold(object, |value, key| value.get(key));
    found.and_then(|value| value.text().ok()).unwrap_or_default().into_owned()
}

/// Kind, namespace if the object sets one, and name, for messages.
pub(super) fn name_of(kind: &str, object: JsonValue<'_>) -> String {
    let name = text_of(object, &["metadata", "name"]);
    let name = if name.is_empty() { text_of(object, &["metadata", "generateName"]) } else { name };
    let namespace = match text_of(object, &["metadata", "namespace"]) {
        namespace if namespace.is_empty() => namespace,
        namespace => printable(&namespace, 63) + "/",
    };
    format!("{} {namespace}{}", printable(kind, 63), printable(&name, 63))
}
