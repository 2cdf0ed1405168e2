//! Applies a patch to an object's text, leaving every untouched byte as it was.
//!
//! Key order, number formats, white space and unknown fields are preserved, because they are never parsed and
//! rewritten.

use std::collections::BinaryHeap;
use std::fmt::{self, Write as _};

use super::{Element, List, Patch, PatchKind, PatchOperation, Pointer};
use crate::bounds::MOST_SPEC_VALUES;
use crate::view::SPEC;
use azwi_json::{JsonText, JsonValue};

/// The patch does not match the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchError {
    place: Pointer,
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot patch {}: the place does not exist", self.place)
    }
}

impl std::error::Error for PatchError {}

/// A change to part of the object's text.
struct Edit<'p> {
    start: usize,
    end: usize,
    insert: Insert,
    value: &'p str,
}

/// How a value is inserted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Insert {
    /// Replaces the existing value.
    Instead,
    /// Before an element.
    Before,
    /// At the end of a list, or of an object under a key.
    Last { key: Option<&'static str>, is_empty: bool },
}

/// Room for a key, its quotes, a colon and a comma around an inserted value.
const MOST_AROUND: usize = 32;

impl Patch {
    /// Returns the object's text with the patch applied.
    ///
    /// All positions are looked up in the original object. Applying the operations in sequence gives the same
    /// result: containers inserted before others come last in the patch, and no operation touches an inserted value.
    ///
    /// # Errors
    /// A position in the patch does not exist.
    pub fn apply_to(&self, object: JsonValue<'_>) -> Result<String, PatchError> {
        let mut patched = String::new();
        self.apply_onto(object, &mut patched)?;
        Ok(patched)
    }

    /// Like [`Patch::apply_to`], but appends to `patched`.
    pub fn apply_onto(&self, object: JsonValue<'_>, patched: &mut String) -> Result<(), PatchError> {
        let edits = self.edits(object)?;
        let text = object.raw();
        // In text order; edits at the same position in operation order. A heap, because slice sorting would add four
        // percent to the wasm.
        let mut order = BinaryHeap::with_capacity(edits.len());
        for (index, edit) in edits.iter().enumerate() {
            order.push((edit.start, index));
        }
        patched.reserve_exact(
            text.len() + edits.iter().map(|edit| edit.value.len() + MOST_AROUND).sum::<usize>(),
        );
        let mut copied = 0;
        // End of the last insertion, where more may follow.
        let mut last_end = None;
        for (_, index) in order.into_sorted_vec() {
            let Some(edit) = edits.get(index) else { continue };
            patched.push_str(text.get(copied..edit.start).unwrap_or_default());
            copied = edit.end;
            match edit.insert {
                Insert::Instead => patched.push_str(edit.value),
                Insert::Before => {
                    patched.push_str(edit.value);
                    patched.push(',');
                }
                Insert::Last { key, is_empty } => {
                    if !is_empty || last_end == Some(edit.start) {
                        patched.push(',');
                    }
                    last_end = Some(edit.start);
                    if let Some(key) = key {
                        // Writing to a String cannot fail.
                        _ = write!(patched, "\"{key}\":");
                    }
                    patched.push_str(edit.value);
                }
            }
        }
        patched.push_str(text.get(copied..).unwrap_or_default());
        Ok(())
    }

    /// The text changes, in operation order.
    fn edits<'p>(&'p self, object: JsonValue<'_>) -> Result<Vec<Edit<'p>>, PatchError> {
        let spec = object.get("spec").filter(JsonValue::is_object);
        // Planning did the same without an error; a patch for another object finds no position.
        let json = spec.and_then(|spec| JsonText::parse_shaped(spec.raw(), &SPEC, MOST_SPEC_VALUES).ok());
        let places = json.as_ref().map(|json| Places::new(json.root()));
        let mut edits = Vec::with_capacity(self.operations().len());
        for operation in self.operations() {
            let edit = match (&places, spec) {
                (Some(places), Some(spec)) => {
                    places.edit(operation).map(|edit| edit.moved_by(spec.start() - object.start()))
                }
                _ => new_spec(operation, object),
            };
            edits.push(edit.ok_or(PatchError { place: operation.place })?);
        }
        Ok(edits)
    }
}

impl Edit<'_> {
    fn moved_by(self, offset: usize) -> Self {
        Self { start: self.start + offset, end: self.end + offset, ..self }
    }
}

/// The edit that adds a spec to an object.
fn new_spec<'p>(operation: &'p PatchOperation, object: JsonValue<'_>) -> Option<Edit<'p>> {
    if operation.place != Pointer::SPEC {
        return None;
    }
    let value = &*operation.value;
    Some(match object.member("spec") {
        Some(nothing) => {
            let (start, end) = (nothing.start() - object.start(), nothing.end() - object.start());
            Edit { start, end, insert: Insert::Instead, value }
        }
        None => at_end_of(object, Some("spec"), value)?.moved_back_by(object.start()),
    })
}

impl Edit<'_> {
    fn moved_back_by(self, offset: usize) -> Self {
        Self { start: self.start - offset, end: self.end - offset, ..self }
    }
}

/// Inserts a value at the end of a list or object.
fn at_end_of<'p>(parent: JsonValue<'_>, key: Option<&'static str>, value: &'p str) -> Option<Edit<'p>> {
    let fits = if key.is_some() { parent.is_object() } else { parent.is_array() };
    let at = parent.end().checked_sub(1).filter(|_| fits)?;
    Some(Edit { start: at, end: at, insert: Insert::Last { key, is_empty: parent.is_empty() }, value })
}

/// The positions in a spec. The containers are found once, not for each operation.
struct Places<'a> {
    spec: JsonValue<'a>,
    init_containers: Vec<JsonValue<'a>>,
    containers: Vec<JsonValue<'a>>,
}

impl<'a> Places<'a> {
    fn new(spec: JsonValue<'a>) -> Self {
        let list = |list: List| {
            let mut containers = Vec::new();
            if let Some(list) = spec.get(list.key()) {
                for container in list.elements() {
                    containers.push(container);
                }
            }
            containers
        };
        Self { spec, init_containers: list(List::InitContainers), containers: list(List::Containers) }
    }

    fn edit<'p>(&self, operation: &'p PatchOperation) -> Option<Edit<'p>> {
        let place = operation.place;
        let list = place.list?;
        let (parent, key) = match place.field {
            None => (self.spec, list.key()),
            Some((index, field)) => {
                let containers = match list {
                    List::InitContainers => &self.init_containers,
                    _ => &self.containers,
                };
                (*containers.get(index as usize)?, field.key())
            }
        };
        let value = &*operation.value;
        let existing = parent.member(key);
        let Some(element) = place.element else {
            return match existing {
                Some(existing) => Some(Edit {
                    start: existing.start(),
                    end: existing.end(),
                    insert: Insert::Instead,
                    value,
                }),
                None if operation.kind == PatchKind::Add => at_end_of(parent, Some(key), value),
                None => None,
            };
        };
        let existing = existing?;
        let Element::At(index) = element else { return at_end_of(existing, None, value) };
        let element = existing.elements().nth(index as usize)?;
        Some(match operation.kind {
            PatchKind::Replace => {
                Edit { start: element.start(), end: element.end(), insert: Insert::Instead, value }
            }
            PatchKind::Add => {
                Edit { start: element.start(), end: element.start(), insert: Insert::Before, value }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::patch::{Field, List, Patch, Pointer, fragment};
    use azwi_json::JsonText;

    fn applied(object: &str, patch: &Patch) -> Result<String, String> {
        patch.apply_to(JsonText::parse(object).unwrap().root()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_touched_places_change() {
        let mut patch = Patch::default();
        let (containers, env) =
            (Pointer::list(List::Containers), Pointer::field(List::Containers, 0, Field::Env));
        patch.add(env.end(), fragment(&"a"));
        patch.add(env.end(), fragment(&"b"));
        patch.add(Pointer::field(List::Containers, 0, Field::VolumeMounts), fragment(&"c"));
        patch.add(Pointer::field(List::Containers, 1, Field::Env), fragment(&"d"));
        patch.add(Pointer::field(List::Containers, 1, Field::VolumeMounts), fragment(&"e"));
        patch.replace(Pointer::list(List::Volumes).at(0), fragment(&"f"));
        patch.add(containers.end(), fragment(&"g"));
        patch.add(Pointer::list(List::InitContainers), fragment(&"h"));
        patch.add(containers.at(0), fragment(&"i"));
        let object = r#"{ "spec" : { "volumes":[ [] ,2.50], "x" : 1e2, "containers":[ {"env":[ 1 ]}, { } ] , "initContainers" : null }, "y":{} }"#;
        let expected = r#"{ "spec" : { "volumes":[ "f" ,2.50], "x" : 1e2, "containers":[ "i",{"env":[ 1 ,"a","b"],"volumeMounts":"c"}, { "env":"d","volumeMounts":"e"} ,"g"] , "initContainers" : "h" }, "y":{} }"#;
        assert_eq!(applied(object, &patch), Ok(expected.to_owned()));
    }

    #[test]
    fn members_that_are_not_indexed_are_not_forgotten() {
        let mut patch = Patch::default();
        patch.add(Pointer::field(List::Containers, 0, Field::Env), fragment(&"a"));
        patch.add(Pointer::list(List::Volumes), fragment(&"b"));
        let expected = r#"{"spec":{"containers":[{"x":1,"env":"a"}],"volumes":"b"}}"#;
        assert_eq!(applied(r#"{"spec":{"containers":[{"x":1}]}}"#, &patch), Ok(expected.to_owned()));
    }

    #[test]
    fn a_spec_comes_where_none_is() {
        let mut patch = Patch::default();
        patch.add(Pointer::SPEC, fragment(&"s"));
        for (object, expected) in [
            ("{ }", r#"{ "spec":"s"}"#),
            (r#"{"a":1}"#, r#"{"a":1,"spec":"s"}"#),
            (r#"{"spec":null,"a":1}"#, r#"{"spec":"s","a":1}"#),
        ] {
            assert_eq!(applied(object, &patch), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn a_place_that_does_not_exist_is_an_error() {
        for (place, path) in [
            (Pointer::field(List::Containers, 1, Field::Env), "/spec/containers/1/env"),
            (Pointer::list(List::Volumes).end(), "/spec/volumes/-"),
            (Pointer::list(List::Containers).at(3), "/spec/containers/3"),
        ] {
            let mut patch = Patch::default();
            patch.add(place, fragment(&"a"));
            let error = applied(r#"{"spec":{"containers":[{}],"volumes":5}}"#, &patch).unwrap_err();
            assert_eq!(error, format!("cannot patch {path}: the place does not exist"));
        }
    }
}
