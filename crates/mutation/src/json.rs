//! An index over a JSON text, so that fields can be read and text spliced in without copying the rest.
//!
//! `serde_json` checks that the text is JSON; the index then notes where each value begins and ends, in one pass. Typed
//! deserialisation would do for reading, but it makes the wasm three times as large (`docs/wasm-size.md`), and it
//! knows no positions, which the splicing needs.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::IgnoredAny;

use crate::text::printable;

/// A JSON text and where its values stand.
#[derive(Debug)]
pub struct Json<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

/// One value, or one key of an object. The nodes of a text are in the order of the text.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// First byte.
    start: usize,
    /// Behind the last byte.
    end: usize,
    /// Index of the first node behind this one and all that it contains.
    next: usize,
}

impl<'a> Json<'a> {
    /// Indexes a text.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(IgnoredAny) => Ok(Self { text, nodes: index(text.as_bytes()) }),
            Err(error) => Err(format!("not JSON: {error}")),
        }
    }

    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Value<'_> {
        Value { json: self, index: 0 }
    }
}

/// Notes where the values of a text that is known to be JSON stand.
fn index(text: &[u8]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::with_capacity(text.len() / 8);
    let mut open = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let length = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {
                at += 1;
                continue;
            }
            b'}' | b']' => {
                at += 1;
                let next = nodes.len();
                if let Some(node) = open.pop().and_then(|opened: usize| nodes.get_mut(opened)) {
                    (node.end, node.next) = (at, next);
                }
                continue;
            }
            b'{' | b'[' => {
                open.push(nodes.len());
                1
            }
            b'"' => string_length(text.get(at..).unwrap_or_default()),
            _ => {
                let rest = text.get(at..).unwrap_or_default();
                let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                rest.iter().position(is_end).unwrap_or(rest.len())
            }
        };
        nodes.push(Node { start: at, end: at + length, next: nodes.len() + 1 });
        at += length;
    }
    nodes
}

/// Bytes of the string that `text` begins with, quotes included.
fn string_length(text: &[u8]) -> usize {
    let mut length = 1;
    loop {
        match text.get(length) {
            Some(b'\\') => length += 2,
            Some(b'"') => return length + 1,
            Some(_) => length += 1,
            None => return text.len(),
        }
    }
}

/// A value in an indexed text.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    json: &'a Json<'a>,
    index: usize,
}

/// Iterator over values that stand side by side.
#[derive(Debug)]
pub struct Inner<'a> {
    next: Value<'a>,
    end: usize,
}

impl<'a> Iterator for Inner<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let value = self.next;
        if value.index >= self.end {
            return None;
        }
        self.next = value.at(value.node().next);
        Some(value)
    }
}

/// Iterator over the keys and values of an object.
#[derive(Debug)]
pub struct Members<'a>(Inner<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?;
        Some((unquote(key.raw()), self.0.next()?))
    }
}

/// A value has another type than is needed.
#[derive(Debug, Clone, Copy)]
pub struct TypeError<'a> {
    value: Value<'a>,
    /// What is needed, for example `a string`.
    pub expected: &'static str,
}

impl<'a> Value<'a> {
    fn node(&self) -> Node {
        self.json.nodes.get(self.index).copied().unwrap_or(Node { start: 0, end: 0, next: 0 })
    }

    fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }

    /// First byte of the value in the text.
    #[must_use]
    pub fn start(&self) -> usize {
        self.node().start
    }

    /// Behind the last byte of the value in the text.
    #[must_use]
    pub fn end(&self) -> usize {
        self.node().end
    }

    /// The value's own text.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        let node = self.node();
        self.json.text.get(node.start..node.end).unwrap_or_default()
    }

    fn starts_with(&self, byte: u8) -> bool {
        self.raw().as_bytes().first() == Some(&byte)
    }

    /// Whether this is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        self.starts_with(b'{')
    }

    /// Whether this is an array.
    #[must_use]
    pub fn is_array(&self) -> bool {
        self.starts_with(b'[')
    }

    fn wrong<T>(self, expected: &'static str) -> Result<T, TypeError<'a>> {
        Err(TypeError { value: self, expected })
    }

    /// The nodes directly inside: the elements of an array, or the keys and values of an object in turn.
    fn inner(self) -> Inner<'a> {
        Inner { next: self.at(self.index + 1), end: self.node().next }
    }

    fn nothing(self) -> Inner<'a> {
        Inner { next: self, end: 0 }
    }

    /// Keys and values of an object in order; nothing for other values.
    #[must_use]
    pub fn members(self) -> Members<'a> {
        Members(if self.is_object() { self.inner() } else { self.nothing() })
    }

    /// Elements of an array in order; nothing for other values.
    #[must_use]
    pub fn elements(self) -> Inner<'a> {
        if self.is_array() { self.inner() } else { self.nothing() }
    }

    /// The member of an object, `null` or not. Of repeated keys the last counts; API servers
    /// send none.
    #[must_use]
    pub fn member(self, key: &str) -> Option<Self> {
        let mut found = None;
        for (name, value) in self.members() {
            if name == key {
                found = Some(value);
            }
        }
        found
    }

    /// The member of an object that is there and not `null`; to the API server both mean the same.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        self.member(key).filter(|value| value.raw() != "null")
    }

    /// This value if it is an object.
    ///
    /// # Errors
    /// It is something else.
    pub fn object(self) -> Result<Self, TypeError<'a>> {
        if self.is_object() { Ok(self) } else { self.wrong("an object") }
    }

    /// This value if it is an array.
    ///
    /// # Errors
    /// It is something else.
    pub fn array(self) -> Result<Self, TypeError<'a>> {
        if self.is_array() { Ok(self) } else { self.wrong("a list") }
    }

    /// The string.
    ///
    /// # Errors
    /// It is something else.
    pub fn text(self) -> Result<Cow<'a, str>, TypeError<'a>> {
        if self.starts_with(b'"') { Ok(unquote(self.raw())) } else { self.wrong("a string") }
    }

    /// The string under `key`, if there is one.
    ///
    /// # Errors
    /// The member is something else.
    pub fn optional_text(self, key: &str) -> Result<Option<Cow<'a, str>>, TypeError<'a>> {
        self.get(key).map(Self::text).transpose()
    }

    /// The string under `key`, empty if there is none.
    ///
    /// # Errors
    /// The member is something else.
    pub fn text_or_empty(self, key: &str) -> Result<Cow<'a, str>, TypeError<'a>> {
        Ok(self.optional_text(key)?.unwrap_or_default())
    }

    /// The boolean under `key`, if there is one.
    ///
    /// # Errors
    /// The member is something else.
    pub fn optional_flag(self, key: &str) -> Result<Option<bool>, TypeError<'a>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.raw() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => value.wrong("true or false"),
        }
    }

    /// The integer under `key`, if there is one.
    ///
    /// # Errors
    /// The member is something else, or does not fit 64 bits.
    pub fn optional_integer(self, key: &str) -> Result<Option<i64>, TypeError<'a>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.raw().parse().map(Some).or_else(|_| value.wrong("an integer"))
    }

    /// The object under `key`, if there is one.
    ///
    /// # Errors
    /// The member is something else.
    pub fn optional_object(self, key: &str) -> Result<Option<Self>, TypeError<'a>> {
        self.get(key).map(Self::object).transpose()
    }

    /// The array under `key`, if there is one.
    ///
    /// # Errors
    /// The member is something else.
    pub fn optional_array(self, key: &str) -> Result<Option<Self>, TypeError<'a>> {
        self.get(key).map(Self::array).transpose()
    }

    /// The objects in the array under `key`; empty if there is none.
    ///
    /// # Errors
    /// The member is no array, or an element is no object.
    pub fn objects(self, key: &str) -> Result<Vec<Self>, TypeError<'a>> {
        let mut objects = Vec::new();
        if let Some(array) = self.optional_array(key)? {
            for element in array.elements() {
                objects.push(element.object()?);
            }
        }
        Ok(objects)
    }

    /// Whether both say the same: objects in any order, numbers by their text.
    #[must_use]
    pub fn is_equal_to(self, other: Value<'_>) -> bool {
        if self.is_object() && other.is_object() {
            self.members().count() == other.members().count()
                && self
                    .members()
                    .all(|(key, value)| other.member(&key).is_some_and(|other| value.is_equal_to(other)))
        } else if self.is_array() && other.is_array() {
            self.elements().count() == other.elements().count()
                && self.elements().zip(other.elements()).all(|(value, other)| value.is_equal_to(other))
        } else if self.starts_with(b'"') && other.starts_with(b'"') {
            unquote(self.raw()) == unquote(other.raw())
        } else {
            self.raw() == other.raw()
        }
    }

    /// Path of this value inside `base`, such as `spec.containers[0].env`; empty for `base` itself.
    #[must_use]
    pub fn path_in(&self, base: Self) -> String {
        let mut path = String::new();
        let mut here = base;
        let contains = |outer: &Self| (outer.index..outer.node().next).contains(&self.index);
        while here.index != self.index {
            if let Some((position, element)) =
                here.elements().enumerate().find(|(_, element)| contains(element))
            {
                // Writing to a String cannot fail.
                _ = write!(path, "[{position}]");
                here = element;
            } else if let Some((key, value)) = here.members().find(|(_, value)| contains(value)) {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&printable(&key, 63));
                here = value;
            } else {
                break;
            }
        }
        path
    }
}

impl<'a> TypeError<'a> {
    /// Path of the value inside `base`.
    #[must_use]
    pub fn path_in(&self, base: Value<'_>) -> String {
        self.value.path_in(base)
    }

    /// The value's text, cut to a readable length.
    #[must_use]
    pub fn shown(&self) -> String {
        printable(self.value.raw(), 100)
    }

    /// One sentence about a field of `base`, which `subject` names.
    #[must_use]
    pub fn sentence(&self, subject: &str, base: Value<'a>) -> String {
        let path = printable(&self.path_in(base), 200);
        let field = if path.is_empty() { subject.to_owned() } else { format!("{subject} field {path}") };
        format!("{field} must be {}, not {}", self.expected, self.shown())
    }
}

/// The string that a JSON string stands for.
fn unquote(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains('\\') { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) }
}

/// Resolves escapes. Half a surrogate pair becomes U+FFFD, as Go has it.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escaped)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut characters = escaped.chars();
        let character = characters.next();
        rest = characters.as_str();
        plain.push(match character {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = code_unit(&mut rest);
                let mut second = rest.strip_prefix("\\u").unwrap_or_default();
                match (first, code_unit(&mut second)) {
                    (0xd800..=0xdbff, low @ 0xdc00..=0xdfff) => {
                        rest = second;
                        let pair = 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00);
                        char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    _ => char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
                }
            }
            // A quote, a backslash or a slash stands for itself; nothing else can follow.
            Some(other) => other,
            None => char::REPLACEMENT_CHARACTER,
        });
    }
    plain.push_str(rest);
    plain
}

/// Takes four hexadecimal digits off the text.
fn code_unit(text: &mut &str) -> u32 {
    let Some((digits, rest)) = text.split_at_checked(4) else { return u32::MAX };
    *text = rest;
    u32::from_str_radix(digits, 16).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_null_is_absent() {
        let text = r#" {"a" : [1, {"b\u0041": "x\"\\", "c": null}, []], "d": true, "d": false, "e": -3 } "#;
        let json = Json::parse(text).unwrap();
        let root = json.root();
        let a = root.get("a").unwrap();
        assert_eq!(a.elements().map(|element| element.raw().to_owned()).collect::<Vec<_>>().len(), 3);
        let object = a.elements().nth(1).unwrap();
        assert_eq!(object.text_or_empty("bA").unwrap(), "x\"\\");
        assert!(object.get("c").is_none());
        assert_eq!(object.member("c").unwrap().raw(), "null");
        assert_eq!(root.optional_flag("d").unwrap(), Some(false));
        assert_eq!(root.optional_integer("e").unwrap(), Some(-3));
        assert_eq!(root.raw(), text.trim());
    }

    #[test]
    fn wrong_types_are_named_with_path_and_value() {
        let json = Json::parse(r#"{"pod":{"spec":{"list":[{},{"env":"x"}],"n":1.5}}}"#).unwrap();
        let pod = json.root().get("pod").unwrap();
        let spec = pod.get("spec").unwrap();
        let error = spec.objects("list").unwrap()[1].objects("env").unwrap_err();
        assert_eq!(error.sentence("pod", pod), "pod field spec.list[1].env must be a list, not \"x\"");
        assert_eq!(spec.optional_integer("n").unwrap_err().path_in(pod), "spec.n");
        assert_eq!(
            spec.text().unwrap_err().sentence("spec", spec),
            format!("spec must be a string, not {}", spec.raw())
        );
    }

    #[test]
    fn strings_are_what_serde_json_reads() {
        for raw in [r#""""#, r#""\b\f\n\r\t\/\\\"""#, r#""a\u00e9\ud83d\ude00b""#, r#""é😀""#, r#""\u0000""#]
        {
            assert_eq!(unquote(raw), serde_json::from_str::<String>(raw).unwrap(), "{raw}");
        }
        assert_eq!(unquote(r#""\ud83dx\ude00""#), "\u{fffd}x\u{fffd}");
        assert_eq!(unquote(r#""\ud83d\u0041""#), "\u{fffd}A");
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for text in ["", "{", "{\"a\":}", "[1 2]", "\"\\x\"", "nul", "{} {}"] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
    }
}
