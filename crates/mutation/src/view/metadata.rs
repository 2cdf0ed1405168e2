//! Labels and annotations whose keys have the project's prefix.

use std::borrow::Cow;
use std::fmt;

use azwi_json::{JsonValue, Shape, TypeError};

use crate::bounds::LONGEST_ENTRIES;
use crate::names::{ANNOTATION_PREFIX, MIRROR_POD_ANNOTATION};

/// The parts of an object's metadata to index.
pub(crate) static METADATA: Shape = Shape::Object(&[
    ("name", &Shape::Leaf),
    ("generateName", &Shape::Leaf),
    ("labels", &Shape::Entries(&[ANNOTATION_PREFIX])),
    ("annotations", &Shape::Entries(&[ANNOTATION_PREFIX, MIRROR_POD_ANNOTATION])),
]);

#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    pub name: Cow<'a, str>,
    pub generate_name: Cow<'a, str>,
    pub labels: PrefixedEntries<'a>,
    pub annotations: PrefixedEntries<'a>,
    /// Whether this is the mirror pod of a static pod.
    pub is_mirror: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Label,
    Annotation,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label => "label",
            Self::Annotation => "annotation",
        })
    }
}

/// The labels or annotations with the project's prefix, in order.
#[derive(Debug, Default)]
pub(super) struct PrefixedEntries<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Metadata<'a> {
    pub(super) fn read(metadata: JsonValue<'a>) -> Result<Self, TypeError<'a>> {
        Ok(Self {
            name: metadata.short_text_or_empty("name")?,
            generate_name: metadata.short_text_or_empty("generateName")?,
            labels: PrefixedEntries::read(metadata, "labels")?,
            annotations: PrefixedEntries::read(metadata, "annotations")?,
            is_mirror: match metadata.optional_object("annotations")? {
                // Any value counts, as in the API server.
                Some(annotations) => annotations.member(MIRROR_POD_ANNOTATION).is_some(),
                None => false,
            },
        })
    }
}

impl<'a> PrefixedEntries<'a> {
    /// Reads the map of strings under `key`.
    pub(super) fn read(metadata: JsonValue<'a>, key: &str) -> Result<Self, TypeError<'a>> {
        let mut entries = Vec::new();
        let mut length = 0;
        if let Some(map) = metadata.optional_object(key)? {
            for (key, value) in map.members() {
                // An escape takes up to six bytes per byte; a longer text is not decoded.
                if value.raw().len() > 6 * LONGEST_ENTRIES {
                    return map.wrong("at most 262144 bytes long in all");
                }
                let value = if value.is_null() { Cow::default() } else { value.text()? };
                if key.starts_with(ANNOTATION_PREFIX) {
                    length += key.len() + value.len();
                    if length > LONGEST_ENTRIES {
                        return map.wrong("at most 262144 bytes long in all");
                    }
                    entries.push((key, value));
                }
            }
        }
        Ok(Self(entries))
    }

    /// The value of `key`; the last of repeated keys counts.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| &**value)
    }

    /// Keys and values in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.0.into_iter()
    }

    /// Memory besides the request's text, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let owned = |text: &Cow<'_, str>| if let Cow::Owned(text) = text { text.capacity() } else { 0 };
        let entries: usize = self.0.iter().map(|(key, value)| owned(key) + owned(value)).sum();
        entries + self.0.capacity() * size_of::<(Cow<'_, str>, Cow<'_, str>)>()
    }
}
