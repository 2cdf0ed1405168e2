//! An index over a JSON text, for reading fields and inserting text without copying the rest.
//!
//! One pass checks that the text is JSON and records where each value starts and ends. Typed deserialisation would be
//! enough for reading, but it makes the wasm three times as large (`docs/wasm-size.md`) and has no positions, which
//! insertion needs.

mod escapes;
mod index;
mod text;

use std::borrow::Cow;
use std::fmt::Write as _;

use escapes::{is_escaped, unescape};
use index::{DEEPEST, Fault, LONGEST_TEXT, Node, index};
pub use index::{Member, Shape};
pub use text::printable;

/// Longest string that [`JsonValue::short_text`] returns as a whole, in bytes: the longest name of any Kubernetes
/// object.
pub const SHORT: usize = 253;

/// A JSON text and the positions of its values.
#[derive(Debug)]
pub struct JsonText<'a> {
    text: &'a str,
    nodes: Vec<Node>,
}

impl<'a> JsonText<'a> {
    /// Indexes a whole text, for settings and manifests, which come from the program's own users.
    ///
    /// # Errors
    /// The text is not JSON, or is nested too deep.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        Self::parse_shaped(text, &Shape::Whole, usize::MAX)
    }

    /// Indexes the values that `shape` names, with at most `most_values` keys and values of twelve bytes each. The
    /// whole text is checked.
    ///
    /// # Errors
    /// The text is not JSON, is nested too deep, or has more values of its shape than that.
    pub fn parse_shaped(text: &'a str, shape: &Shape, most_values: usize) -> Result<Self, String> {
        if text.len() > LONGEST_TEXT {
            return Err("larger than 2 GiB".to_owned());
        }
        match index(text.as_bytes(), shape, most_values) {
            Ok(nodes) => Ok(Self { text, nodes }),
            Err(Fault::Syntax(at)) if at < text.len() => {
                Err(format!("not JSON: unexpected text at byte {at}"))
            }
            Err(Fault::Syntax(_)) => Err("not JSON: it ends too early".to_owned()),
            Err(Fault::TooDeep) => Err(format!("nested deeper than {DEEPEST} levels")),
            Err(Fault::TooManyNodes) => {
                Err(format!("too large: it has more than {most_values} keys and values"))
            }
        }
    }

    /// Memory of the index, in bytes.
    pub fn index_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    /// The outermost value.
    pub fn root(&self) -> JsonValue<'_> {
        JsonValue { json: self, index: 0 }
    }

    /// Whether a string node equals `wanted`.
    fn is_string(&self, node: &Node, wanted: &str) -> bool {
        if node.has_escapes() {
            // An escape has at most six bytes per byte, so a much longer text need not be decoded.
            return node.quoted().len() <= 6 * wanted.len()
                && self.text.get(node.quoted()).is_some_and(|quoted| is_escaped(quoted, wanted));
        }
        // Most keys do not match, so their lengths are compared first.
        node.quoted().len() == wanted.len()
            && self.text.as_bytes().get(node.quoted()) == Some(wanted.as_bytes())
    }
}

/// Adds a member with the value `json` to an object's text, without rewriting the object.
pub fn with_member(mut object: String, key: &str, json: &str) -> String {
    push_member(&mut object, key, |text| text.push_str(json));
    object
}

/// Adds a member to the text of a newly serialised object; `write` appends its value. A large value is written in
/// place, without a copy.
pub fn push_member(object: &mut String, key: &str, write: impl FnOnce(&mut String)) {
    let closed = object.pop();
    debug_assert_eq!(closed, Some('}'));
    if !object.ends_with('{') {
        object.push(',');
    }
    object.push('"');
    object.push_str(key);
    object.push_str("\":");
    write(object);
    object.push('}');
}

/// A value in an indexed text.
#[derive(Debug, Clone, Copy)]
pub struct JsonValue<'a> {
    json: &'a JsonText<'a>,
    index: u32,
}

/// Iterator over sibling values.
#[derive(Debug)]
pub struct Inner<'a> {
    next: JsonValue<'a>,
    end: u32,
}

impl<'a> Iterator for Inner<'a> {
    type Item = JsonValue<'a>;

    fn next(&mut self) -> Option<JsonValue<'a>> {
        let value = self.next;
        if value.index >= self.end {
            return None;
        }
        self.next = value.at(value.node().next());
        Some(value)
    }
}

/// Iterator over the keys and values of an object.
#[derive(Debug)]
pub struct Members<'a>(Inner<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, JsonValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?;
        Some((key.unquoted(), self.0.next()?))
    }
}

/// A value has the wrong type, or exceeds a bound.
#[derive(Debug, Clone, Copy)]
pub struct TypeError<'a> {
    value: JsonValue<'a>,
    /// The expected value, for example `a string`.
    pub expected: &'static str,
}

impl<'a> JsonValue<'a> {
    fn node(&self) -> Node {
        self.json.nodes.get(self.index as usize).copied().unwrap_or_default()
    }

    fn at(self, index: u32) -> Self {
        Self { index, ..self }
    }

    /// Offset of the value's first byte in the text.
    pub fn start(&self) -> usize {
        self.node().range().start
    }

    /// Offset after the value's last byte in the text.
    pub fn end(&self) -> usize {
        self.node().range().end
    }

    /// The value as written in the text.
    pub fn raw(&self) -> &'a str {
        self.json.text.get(self.node().range()).unwrap_or_default()
    }

    /// The decoded string.
    fn unquoted(&self) -> Cow<'a, str> {
        let node = self.node();
        let quoted = self.json.text.get(node.quoted()).unwrap_or_default();
        if node.has_escapes() { Cow::Owned(unescape(quoted)) } else { Cow::Borrowed(quoted) }
    }

    fn starts_with(&self, byte: u8) -> bool {
        self.json.text.as_bytes().get(self.start()) == Some(&byte)
    }

    pub fn is_null(&self) -> bool {
        self.starts_with(b'n')
    }

    pub fn is_object(&self) -> bool {
        self.starts_with(b'{')
    }

    pub fn is_array(&self) -> bool {
        self.starts_with(b'[')
    }

    /// Whether this is an empty object or list, regardless of what was indexed.
    pub fn is_empty(&self) -> bool {
        let inside = self.raw().get(1..).unwrap_or_default().trim_start_matches([' ', '\t', '\n', '\r']);
        inside.len() == 1
    }

    /// The error for a value that is not the expected one, for example `a string`.
    pub fn wrong<T>(self, expected: &'static str) -> Result<T, TypeError<'a>> {
        Err(TypeError { value: self, expected })
    }

    /// The direct child nodes: the elements of an array, or the keys and values of an object in turn.
    fn inner(self) -> Inner<'a> {
        Inner { next: self.at(self.index + 1), end: self.node().next() }
    }

    fn nothing(self) -> Inner<'a> {
        Inner { next: self, end: 0 }
    }

    /// Keys and values of an object in order; empty for other values.
    pub fn members(self) -> Members<'a> {
        Members(if self.is_object() { self.inner() } else { self.nothing() })
    }

    /// Elements of an array in order; empty for other values.
    pub fn elements(self) -> Inner<'a> {
        if self.is_array() { self.inner() } else { self.nothing() }
    }

    /// The object member with this key, even if `null`. The last of repeated keys counts; API servers send none.
    pub fn member(self, key: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        let nodes = self.json.nodes.get(..self.node().next() as usize).unwrap_or_default();
        let mut index = self.index + 1;
        let mut found = None;
        while let Some([name, value]) = nodes.get(index as usize..).and_then(<[Node]>::first_chunk) {
            if self.json.is_string(name, key) {
                found = Some(self.at(index + 1));
            }
            index = value.next();
        }
        found
    }

    /// The object member with this key unless it is missing or `null`, which the API server does not distinguish.
    pub fn get(self, key: &str) -> Option<Self> {
        self.member(key).filter(|value| !value.is_null())
    }

    /// This value if it is an object.
    pub fn object(self) -> Result<Self, TypeError<'a>> {
        if self.is_object() { Ok(self) } else { self.wrong("an object") }
    }

    /// This value if it is an array.
    pub fn array(self) -> Result<Self, TypeError<'a>> {
        if self.is_array() { Ok(self) } else { self.wrong("a list") }
    }

    /// This value if it is a string.
    pub fn string(self) -> Result<Self, TypeError<'a>> {
        if self.starts_with(b'"') { Ok(self) } else { self.wrong("a string") }
    }

    pub fn text(self) -> Result<Cow<'a, str>, TypeError<'a>> {
        if self.starts_with(b'"') { Ok(self.unquoted()) } else { self.wrong("a string") }
    }

    /// The string, if it is short. For one that cannot be as short as [`SHORT`], returns its beginning as written,
    /// which is longer than that: no name is, and a megabyte of escapes is not worth decoding.
    ///
    /// # Errors
    /// The value is not a string.
    pub fn short_text(self) -> Result<Cow<'a, str>, TypeError<'a>> {
        let written = self.string()?.raw();
        // Its quotes, and at most six bytes for each byte of the string.
        if written.len() <= 2 + 6 * SHORT {
            return self.text();
        }
        Ok(Cow::Borrowed(written.get(1..written.floor_char_boundary(SHORT + 6)).unwrap_or_default()))
    }

    /// Like [`JsonValue::short_text`], for the string under `key`; empty if there is none.
    ///
    /// # Errors
    /// The member is not a string.
    pub fn short_text_or_empty(self, key: &str) -> Result<Cow<'a, str>, TypeError<'a>> {
        Ok(self.get(key).map(Self::short_text).transpose()?.unwrap_or_default())
    }

    /// Whether this is the string `wanted`. A much longer one is not decoded.
    pub fn is_text(self, wanted: &str) -> bool {
        self.starts_with(b'"') && self.json.is_string(&self.node(), wanted)
    }

    /// Whether an object has a non-`null` member with none of these keys.
    pub fn has_others_than(self, keys: &[&str]) -> bool {
        let mut inner = if self.is_object() { self.inner() } else { self.nothing() };
        while let (Some(key), Some(value)) = (inner.next(), inner.next()) {
            if !value.is_null() && !keys.iter().any(|wanted| key.is_text(wanted)) {
                return true;
            }
        }
        false
    }

    /// The boolean under `key`, if there is one.
    pub fn optional_flag(self, key: &str) -> Result<Option<bool>, TypeError<'a>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.raw() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => value.wrong("true or false"),
        }
    }

    /// The integer under `key`, if there is one.
    pub fn optional_integer(self, key: &str) -> Result<Option<i64>, TypeError<'a>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.raw().parse().map(Some).or_else(|_| value.wrong("an integer"))
    }

    /// The object under `key`, if there is one.
    pub fn optional_object(self, key: &str) -> Result<Option<Self>, TypeError<'a>> {
        self.get(key).map(Self::object).transpose()
    }

    /// The array under `key`, if there is one.
    pub fn optional_array(self, key: &str) -> Result<Option<Self>, TypeError<'a>> {
        self.get(key).map(Self::array).transpose()
    }

    /// Whether both are equal: object members in any order, numbers compared by their text.
    pub fn is_equal_to(self, other: JsonValue<'_>) -> bool {
        if self.is_object() && other.is_object() {
            self.members().count() == other.members().count()
                && self
                    .members()
                    .all(|(key, value)| other.member(&key).is_some_and(|other| value.is_equal_to(other)))
        } else if self.is_array() && other.is_array() {
            self.elements().count() == other.elements().count()
                && self.elements().zip(other.elements()).all(|(value, other)| value.is_equal_to(other))
        } else if self.starts_with(b'"') && other.starts_with(b'"') {
            self.unquoted() == other.unquoted()
        } else {
            self.raw() == other.raw()
        }
    }

    /// Path of this value inside `base`, such as `spec.containers[0].env`; empty for `base` itself.
    pub fn path_in(&self, base: Self) -> String {
        let mut path = String::new();
        let mut here = base;
        let contains = |outer: &Self| (outer.index..outer.node().next()).contains(&self.index);
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

impl TypeError<'_> {
    /// Path of the value inside `base`.
    pub fn path_in(&self, base: JsonValue<'_>) -> String {
        self.value.path_in(base)
    }

    /// The value's text, truncated to a readable length.
    pub fn shown(&self) -> String {
        printable(self.value.raw(), 100)
    }

    /// One sentence about a field of `base`; `subject` is the name of `base`.
    pub fn sentence(&self, subject: &str, base: JsonValue<'_>) -> String {
        self.sentence_below(subject, "", base)
    }

    /// Like [`TypeError::sentence`], if `base` itself is the field `parent` of the subject.
    pub fn sentence_below(&self, subject: &str, parent: &str, base: JsonValue<'_>) -> String {
        let path = self.path_in(base);
        let dot = if parent.is_empty() || path.is_empty() { "" } else { "." };
        let path = printable(&[parent, dot, &path].concat(), 200);
        let field = if path.is_empty() { subject.to_owned() } else { format!("{subject} field {path}") };
        format!("{field} must be {}, not {}", self.expected, self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_null_is_absent() {
        let text = r#" {"a" : [1, {"b\u0041": "x\"\\", "c": null}, []], "d": true, "d": false, "e": -3 } "#;
        let json = JsonText::parse(text).unwrap();
        let root = json.root();
        let a = root.get("a").unwrap();
        assert_eq!(a.elements().map(|element| element.raw().to_owned()).collect::<Vec<_>>().len(), 3);
        let object = a.elements().nth(1).unwrap();
        assert_eq!(object.short_text_or_empty("bA").unwrap(), "x\"\\");
        assert!(object.get("c").is_none());
        assert_eq!(object.member("c").unwrap().raw(), "null");
        assert_eq!(root.optional_flag("d").unwrap(), Some(false));
        assert_eq!(root.optional_integer("e").unwrap(), Some(-3));
        assert_eq!(root.raw(), text.trim());
    }

    #[test]
    fn wrong_types_are_named_with_path_and_value() {
        let json = JsonText::parse(r#"{"pod":{"spec":{"list":[{},{"env":"x"}],"n":1.5}}}"#).unwrap();
        let pod = json.root().get("pod").unwrap();
        let spec = pod.get("spec").unwrap();
        let list = spec.optional_array("list").unwrap().unwrap();
        let error = list.elements().nth(1).unwrap().optional_array("env").unwrap_err();
        assert_eq!(error.sentence("pod", pod), "pod field spec.list[1].env must be a list, not \"x\"");
        assert_eq!(spec.optional_integer("n").unwrap_err().path_in(pod), "spec.n");
        assert_eq!(
            spec.text().unwrap_err().sentence("spec", spec),
            format!("spec must be a string, not {}", spec.raw())
        );
    }

    fn string(raw: &str) -> String {
        JsonText::parse(raw).unwrap().root().text().unwrap().into_owned()
    }

    #[test]
    fn a_string_ends_at_its_quote_however_long_it_is() {
        for length in 0..40 {
            for (inside, stands_for) in [("", ""), ("\\\"", "\""), ("é\\\\", "é\\")] {
                let plain = "x".repeat(length);
                let text = format!("[\"{plain}{inside}{plain}\",\"next\"]");
                let json = JsonText::parse(&text).unwrap();
                let strings: Vec<_> = json.root().elements().map(|element| element.text().unwrap()).collect();
                assert_eq!(strings, [format!("{plain}{stands_for}{plain}"), "next".to_owned()], "{text}");
            }
        }
    }

    #[test]
    fn keys_are_compared_by_what_they_stand_for() {
        let json = JsonText::parse(r#"{"\n":1,"\\n":2,"\u0061":3}"#).unwrap();
        for (key, value) in [("\n", Some("1")), ("\\n", Some("2")), ("a", Some("3")), ("\\u0061", None)] {
            assert_eq!(json.root().member(key).map(|value| value.raw()), value, "{key:?}");
        }
    }

    #[test]
    fn strings_are_what_serde_json_reads() {
        for raw in [r#""""#, r#""\b\f\n\r\t\/\\\"""#, r#""a\u00e9\ud83d\ude00b""#, r#""é😀""#, r#""\u0000""#]
        {
            assert_eq!(string(raw), serde_json::from_str::<String>(raw).unwrap(), "{raw}");
        }
        assert_eq!(string(r#""\ud83dx\ude00""#), "\u{fffd}x\u{fffd}");
        assert_eq!(string(r#""\ud83d\u0041""#), "\u{fffd}A");
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for text in ["", "{", "{\"a\":}", "[1 2]", "\"\\x\"", "nul", "{} {}"] {
            assert!(JsonText::parse(text).is_err(), "{text}");
        }
    }
}
