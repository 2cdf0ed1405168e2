//! Applies a patch to the text of an object, leaving every byte that it does not touch as it was.
//!
//! Key order, number texts, white space and fields that nobody knows survive, because they are never taken apart.

use std::fmt;

use crate::json::Value;
use crate::patch::{Patch, PatchKind, PatchOperation};
use crate::text::printable;

/// The patch does not fit the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchError {
    path: String,
    problem: &'static str,
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot patch {}: {}", printable(&self.path, 200), self.problem)
    }
}

impl std::error::Error for PatchError {}

/// A replacement of a piece of text; empty pieces are insertions.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

impl Patch {
    /// The object's text with the patch applied.
    ///
    /// All paths are looked up in the object as it is. That is what applying the operations one after the other comes
    /// to, because the plan puts containers in front of others last and never reaches into what it has put in.
    ///
    /// # Errors
    /// A place that the patch names does not exist.
    pub fn apply_to(&self, object: Value<'_>) -> Result<String, PatchError> {
        let mut edits: Vec<Edit> = Vec::with_capacity(self.operations().len());
        for operation in self.operations() {
            let edit = edit(operation, object, &edits).ok_or_else(|| PatchError {
                path: operation.path.clone(),
                problem: "the place does not exist",
            })?;
            // In the order of the text; insertions at one place stay in the order of their operations.
            let position = edits.partition_point(|earlier| earlier.start <= edit.start);
            edits.insert(position, edit);
        }
        let text = object.raw();
        let mut patched =
            String::with_capacity(text.len() + edits.iter().map(|edit| edit.text.len()).sum::<usize>());
        let mut copied = 0;
        for edit in &edits {
            let (start, end) = (edit.start - object.start(), edit.end - object.start());
            patched.push_str(text.get(copied..start).unwrap_or_default());
            patched.push_str(&edit.text);
            copied = end;
        }
        patched.push_str(text.get(copied..).unwrap_or_default());
        Ok(patched)
    }
}

fn edit(operation: &PatchOperation, object: Value<'_>, earlier: &[Edit]) -> Option<Edit> {
    let value = serde_json::to_string(&operation.value).ok()?;
    let (parent, last) = operation.path.rsplit_once('/')?;
    // The paths that are planned hold field names and indices, so there is nothing to unescape.
    let parent = parent.split('/').skip(1).try_fold(object, child)?;
    let existing = child(parent, last);
    let is_array = parent.is_array();
    match (operation.op, existing) {
        (PatchKind::Replace, existing) => existing.map(|value| (value.start(), value.end())),
        (PatchKind::Add, Some(existing)) if !is_array => Some((existing.start(), existing.end())),
        (PatchKind::Add, Some(existing)) => {
            return Some(Edit { start: existing.start(), end: existing.start(), text: format!("{value},") });
        }
        (PatchKind::Add, None) => {
            let at = parent.end().checked_sub(1).filter(|_| is_array || parent.is_object())?;
            let is_first = parent.elements().next().is_none() && parent.members().next().is_none();
            let comma = if is_first && !earlier.iter().any(|edit| edit.start == at) { "" } else { "," };
            let key = if is_array { String::new() } else { format!("\"{last}\":") };
            return Some(Edit { start: at, end: at, text: format!("{comma}{key}{value}") });
        }
    }
    .map(|(start, end)| Edit { start, end, text: value })
}

/// The element or member that a token of a JSON Pointer leads to.
fn child<'a>(parent: Value<'a>, token: &str) -> Option<Value<'a>> {
    if parent.is_array() { parent.elements().nth(token.parse().ok()?) } else { parent.member(token) }
}

#[cfg(test)]
mod tests {
    use crate::json::Json;
    use crate::patch::{Fragment, Patch};

    fn variable(name: &str) -> Fragment {
        Fragment::EnvVar(crate::environment::variable(name, "v"))
    }

    fn applied(object: &str, patch: &Patch) -> Result<String, String> {
        patch.apply_to(Json::parse(object).unwrap().root()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_touched_places_change() {
        let mut patch = Patch::default();
        patch.add("/list/-", variable("a"));
        patch.add("/list/-", variable("b"));
        patch.add("/new", variable("c"));
        patch.add("/empty/x", variable("d"));
        patch.add("/empty/y", variable("e"));
        patch.replace("/old/0", variable("f"));
        patch.add("/null", variable("g"));
        patch.add("/list/0", variable("h"));
        let object = r#"{ "list" : [ 1e2 ], "empty":{ }, "old":[ [] ,2.50], "null":null }"#;
        let v = |name: &str| format!(r#"{{"name":"{name}","value":"v"}}"#);
        let expected = format!(
            r#"{{ "list" : [ {},1e2 ,{},{}], "empty":{{ "x":{},"y":{}}}, "old":[ {} ,2.50], "null":{} ,"new":{}}}"#,
            v("h"),
            v("a"),
            v("b"),
            v("d"),
            v("e"),
            v("f"),
            v("g"),
            v("c"),
        );
        assert_eq!(applied(object, &patch), Ok(expected));
    }

    #[test]
    fn a_place_that_does_not_exist_is_an_error() {
        for path in ["/a/b/c", "/a/-", "/list/x/y", "no-pointer"] {
            let mut patch = Patch::default();
            patch.add(path, variable("a"));
            let error = applied(r#"{"a":5,"list":[]}"#, &patch).unwrap_err();
            assert_eq!(error, format!("cannot patch {path}: the place does not exist"));
        }
    }
}
