//! The change to a pod: RFC 6902 operations that only add, or replace what an earlier run injected.

mod apply;

use std::fmt::{self, Write as _};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ProjectedVolumeSource;
use serde::Serialize;

pub use apply::PatchError;

/// Operations in the order in which they must be applied. Equal input gives equal bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    operations: Vec<PatchOperation>,
    /// Length of [`Patch`]'s JSON text without its brackets.
    length: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatchOperation {
    pub kind: PatchKind,
    pub place: Pointer,
    /// The value as JSON text. Containers share it, because most get the same one.
    pub value: Fragment,
}

/// An injected part of a pod, as JSON text.
pub(crate) type Fragment = Arc<str>;

/// The two operations that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchKind {
    /// Sets a member, inserts before an index, or appends.
    Add,
    /// Replaces the existing value.
    Replace,
}

/// A position in a pod, displayed as a JSON Pointer (RFC 6901). None of its parts needs escaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// Member of the spec; `None` for the whole spec.
    pub list: Option<List>,
    /// Member of the list's container at this index.
    pub field: Option<(u32, Field)>,
    /// Position in the list or field; `None` for all of it.
    pub element: Option<Element>,
}

/// A list of the spec, as an enum instead of its name, to keep pointers small: a pod has up to four operations for each
/// container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    InitContainers,
    Containers,
    Volumes,
}

/// A list of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Env,
    VolumeMounts,
}

impl List {
    /// Key in the spec.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::InitContainers => "initContainers",
            Self::Containers => "containers",
            Self::Volumes => "volumes",
        }
    }
}

impl Field {
    /// Key in the container.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::VolumeMounts => "volumeMounts",
        }
    }
}

/// A position in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    At(u32),
    End,
}

impl Pointer {
    pub(crate) const SPEC: Self = Self { list: None, field: None, element: None };

    /// A list of the spec.
    pub(crate) const fn list(list: List) -> Self {
        Self { list: Some(list), field: None, element: None }
    }

    /// A field of the container at `index` of a list.
    pub(crate) const fn field(list: List, index: u32, field: Field) -> Self {
        Self { list: Some(list), field: Some((index, field)), element: None }
    }

    /// An element of the list at this position.
    pub(crate) const fn at(self, index: u32) -> Self {
        Self { element: Some(Element::At(index)), ..self }
    }

    /// After the last element of the list at this position.
    pub(crate) const fn end(self) -> Self {
        Self { element: Some(Element::End), ..self }
    }
}

/// Number of decimal digits.
fn digits(number: u32) -> usize {
    number.checked_ilog10().unwrap_or_default() as usize + 1
}

impl Pointer {
    /// Length of the JSON Pointer. Counted instead of displayed, because it is needed for every operation.
    fn length(self) -> usize {
        let list = self.list.map_or(0, |list| 1 + list.key().len());
        let field = self.field.map_or(0, |(index, field)| 2 + digits(index) + field.key().len());
        let element = match self.element {
            Some(Element::At(index)) => 1 + digits(index),
            Some(Element::End) => 2,
            None => 0,
        };
        "/spec".len() + list + field + element
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/spec")?;
        if let Some(list) = self.list {
            f.write_char('/')?;
            f.write_str(list.key())?;
        }
        if let Some((index, field)) = self.field {
            write!(f, "/{index}/{}", field.key())?;
        }
        match self.element {
            Some(Element::At(index)) => write!(f, "/{index}"),
            Some(Element::End) => f.write_str("/-"),
            None => Ok(()),
        }
    }
}

/// The one kind of `Volume` that is injected. The API's own type would pull the serialisation of every other kind into
/// the wasm, down to dates, and double its size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ProjectedVolume {
    pub name: String,
    pub projected: ProjectedVolumeSource,
}

/// The JSON text of an injected value.
pub(crate) fn fragment(value: &impl Serialize) -> Fragment {
    // Plain data, which cannot fail; an error would become `null`, which every patch test would notice.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()).into()
}

/// The JSON text of a list of these elements.
pub(crate) fn list_of(elements: &[Fragment]) -> Fragment {
    let mut list = String::with_capacity(2 + elements.iter().map(|element| element.len() + 1).sum::<usize>());
    for (index, element) in elements.iter().enumerate() {
        list.push(if index == 0 { '[' } else { ',' });
        list.push_str(element);
    }
    list.push(']');
    list.into()
}

impl Patch {
    pub(crate) fn operations(&self) -> &[PatchOperation] {
        &self.operations
    }

    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Length of the patch as JSON text, in bytes.
    pub fn json_length(&self) -> usize {
        // Its brackets; a comma is counted with each operation, including the first.
        2 + self.length.saturating_sub(1)
    }

    /// Writes the patch as JSON text, piece by piece.
    pub fn write_json(&self, mut write: impl FnMut(&str)) {
        write("[");
        let mut head = String::with_capacity(96);
        for (index, operation) in self.operations.iter().enumerate() {
            head.clear();
            if index > 0 {
                head.push(',');
            }
            let kind = operation.kind.word();
            for piece in [r#"{"op":""#, kind, r#"","path":""#] {
                head.push_str(piece);
            }
            // Writing to a String cannot fail.
            _ = write!(head, "{}", operation.place);
            head.push_str(r#"","value":"#);
            write(&head);
            write(&operation.value);
            write("}");
        }
        write("]");
    }

    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.json_length());
        self.write_json(|piece| json.push_str(piece));
        json
    }

    pub(crate) fn add(&mut self, place: Pointer, value: Fragment) {
        self.push(PatchOperation { kind: PatchKind::Add, place, value });
    }

    pub(crate) fn replace(&mut self, place: Pointer, value: Fragment) {
        self.push(PatchOperation { kind: PatchKind::Replace, place, value });
    }

    fn push(&mut self, operation: PatchOperation) {
        self.length += operation.json_length();
        self.operations.push(operation);
    }

    /// Returns the spare capacity.
    pub(crate) fn shrink(&mut self) {
        self.operations.shrink_to_fit();
    }

    /// The same change for a pod without a spec: one operation that adds a spec with all the lists.
    pub(crate) fn into_new_spec(self) -> Self {
        let mut spec = String::from("{");
        for operation in self.operations {
            if spec.len() > 1 {
                spec.push(',');
            }
            // Writing to a String cannot fail.
            _ = write!(spec, r#""{}":{}"#, operation.place.list.map_or("", List::key), operation.value);
        }
        spec.push('}');
        let mut patch = Self::default();
        patch.add(Pointer::SPEC, spec.into());
        patch
    }

    /// Appends to the list at `place`: as a new list if it is empty, otherwise element by element.
    pub(crate) fn append(&mut self, place: Pointer, is_empty: bool, elements: &[Fragment]) {
        if elements.is_empty() {
            return;
        }
        if is_empty {
            self.add(place, list_of(elements));
        } else {
            for element in elements {
                self.add(place.end(), Arc::clone(element));
            }
        }
    }
}

impl PatchKind {
    fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Replace => "replace",
        }
    }
}

impl PatchOperation {
    /// Length as JSON text, and a comma.
    fn json_length(&self) -> usize {
        r#"{"op":"","path":"","value":},"#.len()
            + self.kind.word().len()
            + self.place.length()
            + self.value.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, List, Patch, Pointer, fragment};

    #[test]
    fn the_text_is_as_long_as_it_says() {
        let mut patch = Patch::default();
        assert_eq!((patch.to_json().as_str(), patch.json_length()), ("[]", 2));
        patch.append(Pointer::field(List::Containers, 10, Field::Env), true, &[fragment(&1), fragment(&"x")]);
        patch.append(Pointer::list(List::Volumes), false, &[fragment(&2)]);
        patch.replace(Pointer::list(List::Volumes).at(3), fragment(&"y"));
        let expected = r#"[{"op":"add","path":"/spec/containers/10/env","value":[1,"x"]},{"op":"add","path":"/spec/volumes/-","value":2},{"op":"replace","path":"/spec/volumes/3","value":"y"}]"#;
        assert_eq!(patch.to_json(), expected);
        assert_eq!(patch.json_length(), expected.len());
    }

    #[test]
    fn lists_of_a_new_spec_are_its_members() {
        let mut patch = Patch::default();
        patch.append(Pointer::list(List::Volumes), true, &[fragment(&1)]);
        patch.append(Pointer::list(List::Containers), true, &[fragment(&2)]);
        let expected = r#"[{"op":"add","path":"/spec","value":{"volumes":[1],"containers":[2]}}]"#;
        assert_eq!(patch.into_new_spec().to_json(), expected);
    }
}
