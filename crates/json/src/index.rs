//! Positions of the values in a JSON text.
//!
//! As strict as RFC 8259: the whole text is checked. Nodes are created only for values that a [`Shape`] names, because
//! most of a pod is never read, and because a caller must not control how much memory its text takes.

use std::ops::Range;

use super::escapes::unescape;

/// Maximum nesting depth. A Deployment with its managed fields is about 30 deep, a custom resource definition 50. Go's
/// decoder accepts 10,000, but an API server only sends values decoded into types, which are not deep.
pub(super) const DEEPEST: u32 = 128;

/// As many bytes as 31 bits can count.
pub(super) const LONGEST_TEXT: usize = (1 << 31) - 1;

const HAS_ESCAPES: u32 = 1 << 31;

/// How much of a key with escapes is read, in bytes as written: six for each byte of the longest name or prefix in any
/// shape, which are shorter than 64.
const LONGEST_ESCAPED_KEY: usize = 6 * 64;

/// Selects the values of a text that get a node. A value whose type differs from its shape gets one node, and none
/// inside.
#[derive(Debug)]
pub enum Shape {
    /// The value itself, without its content.
    Leaf,
    /// Everything.
    Whole,
    /// The object members with these names.
    Object(&'static [Member]),
    /// The object members with these names, and the first other member that is not `null`, as a leaf, to show that
    /// there are others.
    OpenObject(&'static [Member]),
    /// The entries of a string map whose keys have one of these prefixes, and those whose values are not strings.
    Entries(&'static [&'static str]),
    /// The elements of a list.
    List(&'static Shape),
}

/// An object member, by its key.
pub type Member = (&'static str, &'static Shape);

/// One value, or one key of an object, in the order of the text.
///
/// Twelve bytes, because a pod has hundreds of them: a text is at most [`LONGEST_TEXT`] bytes long.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Node {
    start: u32,
    end: u32,
    /// [`Node::next`], and [`Node::has_escapes`] in the highest bit.
    next: u32,
}

impl Node {
    /// The value's position in the text.
    pub(crate) fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Position of a string's content, without its quotes.
    pub(crate) fn quoted(&self) -> Range<usize> {
        self.start as usize + 1..(self.end as usize).saturating_sub(1)
    }

    /// Index of the first node after this one and all its content.
    pub(crate) fn next(&self) -> u32 {
        self.next & !HAS_ESCAPES
    }

    /// Whether this is a string with a backslash.
    pub(crate) fn has_escapes(&self) -> bool {
        self.next & HAS_ESCAPES != 0
    }
}

/// Why a text cannot be indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not JSON; the byte offset of the first invalid value.
    Syntax(usize),
    /// Nested deeper than [`DEEPEST`].
    TooDeep,
    /// More values of its shape than allowed.
    TooManyNodes,
}

/// The nodes of a text, at most `most`.
pub(super) fn index(text: &[u8], shape: &Shape, most: usize) -> Result<Vec<Node>, Fault> {
    let mut index = Index { text, at: 0, depth: 0, nodes: Vec::new(), most, limit: None };
    match index.read(shape) {
        Some(()) => Ok(index.nodes),
        None => Err(index.limit.unwrap_or(Fault::Syntax(index.at))),
    }
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// The shape of an object member whose value starts with `first`; `None` if it gets no node.
fn shape_of_member(object: &Shape, key: &[u8], first: u8, is_alone: &mut bool) -> Option<&'static Shape> {
    let named = |members: &'static [Member]| {
        members.iter().find(|(name, _)| name.as_bytes() == key).map(|(_, shape)| *shape)
    };
    let is_string = first == b'"';
    match object {
        Shape::Object(members) => named(members),
        Shape::OpenObject(members) => named(members).or_else(|| {
            let counts = first != b'n' && std::mem::take(is_alone);
            counts.then_some(&Shape::Leaf)
        }),
        Shape::Entries(prefixes) => {
            let counts = !is_string || prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()));
            counts.then_some(&Shape::Leaf)
        }
        Shape::Leaf | Shape::Whole | Shape::List(_) => Some(&Shape::Whole),
    }
}

struct Index<'t> {
    text: &'t [u8],
    /// Position of the next byte.
    at: usize,
    /// Number of open objects and lists.
    depth: u32,
    nodes: Vec<Node>,
    most: usize,
    /// The limit that ended the reading, unless it was a syntax error.
    limit: Option<Fault>,
}

// `None` means that the text is not JSON, or that a limit was reached.
#[allow(clippy::cast_possible_truncation)] // The text's length was checked, and there are no more nodes than bytes.
impl Index<'_> {
    fn read(&mut self, shape: &Shape) -> Option<()> {
        self.value(shape)?;
        self.next_byte().is_none().then_some(())
    }

    /// Records the value that starts here and moves past it.
    fn value(&mut self, shape: &Shape) -> Option<()> {
        let first = self.next_byte()?;
        match (first, shape) {
            (b'"', _) => {
                let start = self.at;
                let has_escapes = self.string()?;
                self.node(start, has_escapes)?;
                Some(())
            }
            (b'{', Shape::Object(_) | Shape::OpenObject(_) | Shape::Entries(_) | Shape::Whole)
            | (b'[', Shape::List(_) | Shape::Whole) => self.inner(first, shape),
            _ => {
                let start = self.at;
                self.skip()?;
                self.node(start, false)?;
                Some(())
            }
        }
    }

    /// Records an object or a list, and the content that its shape selects.
    fn inner(&mut self, bracket: u8, shape: &Shape) -> Option<()> {
        self.limit_depth(1)?;
        self.depth += 1;
        let opened = self.node(self.at, false)?;
        self.at += 1;
        if self.next_byte()? != closing(bracket) {
            let mut is_alone = true;
            loop {
                match shape {
                    _ if bracket == b'{' => self.member(shape, &mut is_alone)?,
                    Shape::List(element) => self.value(element)?,
                    _ => self.value(&Shape::Whole)?,
                }
                match self.next_byte()? {
                    b',' => self.at += 1,
                    byte if byte == closing(bracket) => break,
                    _ => return None,
                }
            }
        }
        self.at += 1;
        self.depth -= 1;
        let next = self.nodes.len() as u32;
        if let Some(node) = self.nodes.get_mut(opened) {
            (node.end, node.next) = (self.at as u32, next);
        }
        Some(())
    }

    /// Records an object member. `is_alone` until a member is recorded of which only the first counts.
    fn member(&mut self, object: &Shape, is_alone: &mut bool) -> Option<()> {
        if self.next_byte()? != b'"' {
            return None;
        }
        let start = self.at;
        let has_escapes = self.string()?;
        let end = self.at;
        if self.next_byte()? != b':' {
            return None;
        }
        self.at += 1;
        let first = self.next_byte()?;
        let key = self.text.get(start + 1..end - 1)?;
        let shape = if has_escapes {
            let key = std::str::from_utf8(key).ok()?;
            let key = key.get(..key.floor_char_boundary(LONGEST_ESCAPED_KEY)).unwrap_or(key);
            let key = unescape(key);
            shape_of_member(object, key.as_bytes(), first, is_alone)
        } else {
            shape_of_member(object, key, first, is_alone)
        };
        let Some(shape) = shape else { return self.skip() };
        let value = std::mem::replace(&mut self.at, end);
        self.node(start, has_escapes)?;
        self.at = value;
        self.value(shape)
    }

    /// Moves past a value without recording anything.
    fn skip(&mut self) -> Option<()> {
        // Whether each open bracket is an object, the innermost in the lowest bit.
        let mut objects: u128 = 0;
        let mut open = 0;
        // Whether a key comes next, rather than a value. One loop handles both, so that strings are read in one place
        // and the compiler keeps the variables for that in registers.
        let mut key_is_due = false;
        loop {
            let first = self.next_byte()?;
            match first {
                b'"' => {
                    self.string()?;
                    if key_is_due {
                        if self.next_byte()? != b':' {
                            return None;
                        }
                        self.at += 1;
                        key_is_due = false;
                        continue;
                    }
                }
                _ if key_is_due => return None,
                b'{' | b'[' => {
                    self.at += 1;
                    if self.next_byte()? != closing(first) {
                        open += 1;
                        self.limit_depth(open)?;
                        key_is_due = first == b'{';
                        objects = objects << 1 | u128::from(key_is_due);
                        continue;
                    }
                    self.at += 1;
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.at = number_end(self.text, self.at)?,
            }
            // A value has ended; the next byte belongs to its parent.
            loop {
                if open == 0 {
                    return Some(());
                }
                let is_object = objects & 1 == 1;
                match self.next_byte()? {
                    b',' => {
                        self.at += 1;
                        key_is_due = is_object;
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                self.at += 1;
                open -= 1;
                objects >>= 1;
            }
        }
    }

    /// Returns `None` if `more` open brackets would be too many.
    fn limit_depth(&mut self, more: u32) -> Option<()> {
        if self.depth + more > DEEPEST {
            self.limit = Some(Fault::TooDeep);
            return None;
        }
        Some(())
    }

    /// The next byte that is not white space.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            // API servers write none, so one comparison is usually enough.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Records a value that started at `start` and ends here; returns its index.
    fn node(&mut self, start: usize, has_escapes: bool) -> Option<usize> {
        let index = self.nodes.len();
        if index >= self.most {
            self.limit = Some(Fault::TooManyNodes);
            return None;
        }
        if index == self.nodes.capacity() {
            self.nodes.reserve_exact(index.max(64).min(self.most - index));
        }
        let next = index as u32 + 1;
        let next = if has_escapes { next | HAS_ESCAPES } else { next };
        self.nodes.push(Node { start: start as u32, end: self.at as u32, next });
        Some(index)
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        rest.starts_with(literal).then(|| self.at += literal.len())
    }

    /// Moves past a string. Returns whether it contains a backslash.
    fn string(&mut self) -> Option<bool> {
        let text = self.text;
        let (mut end, mut has_escapes) = (self.at + 1, false);
        loop {
            end = special_byte(text, end)?;
            match text.get(end)? {
                b'"' => break,
                b'\\' => {
                    has_escapes = true;
                    end += match text.get(end + 1)? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
                        b'u' if text.get(end + 2..end + 6)?.iter().all(u8::is_ascii_hexdigit) => 6,
                        _ => return None,
                    };
                }
                // A control character.
                _ => return None,
            }
        }
        self.at = end + 1;
        Some(has_escapes)
    }
}
/// The first quote, backslash or control character at or after `at`, checking eight bytes at a time.
fn special_byte(text: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*word);
        // In each difference, the highest bit of a byte is set if the byte was too small, and possibly after one that
        // was. Bytes beyond ASCII have it too, but are not searched for.
        let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        let control = word.wrapping_sub(ONES * u64::from(b' '));
        let found = (quote | backslash | control) & !word & (ONES << 7);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    Some(at + text.get(at..)?.iter().position(is_special)?)
}

/// The end of the number that starts at `at`.
fn number_end(text: &[u8], mut at: usize) -> Option<usize> {
    let digits = |from: usize| {
        text.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    at += usize::from(text.get(at) == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::{DEEPEST, Fault, Shape, index};

    const SHAPE: Shape = Shape::Object(&[
        ("a\u{e9}\\", &Shape::List(&Shape::Leaf)),
        ("", &Shape::OpenObject(&[("k", &Shape::Whole)])),
        ("é\"b", &Shape::Entries(&["x"])),
    ]);

    /// A text with one part copied over another, so that it may no longer be JSON.
    fn texts() -> impl Strategy<Value = String> {
        const WHOLE: &str = r#" {"a\u00e9\\":[-0.5e+10,0,{} ,[ ], "\ud83d", true,null,false,"x\ty"],"é\"b":1E2 , "":{"k":[[1]]}} "#;
        let place = || 0..WHOLE.len();
        (place(), place(), 0..8_usize, 0..8_usize, "[\\x00-\\x22\\\\\\[\\]{}:,.eE+u0-]{0,2}").prop_map(
            |(from, into, taken, replaced, new)| {
                let part = |start: usize, length: usize| {
                    let start = WHOLE.floor_char_boundary(start);
                    start..WHOLE.floor_char_boundary((start + length).min(WHOLE.len()))
                };
                let mut text = WHOLE.to_owned();
                text.replace_range(part(into, replaced), &format!("{}{new}", &WHOLE[part(from, taken)]));
                text
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn json_is_what_serde_json_takes(text in texts()) {
            let taken = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            for shape in [Shape::Whole, Shape::Leaf, SHAPE] {
                prop_assert_eq!(index(text.as_bytes(), &shape, usize::MAX).is_ok(), taken, "{}", text);
            }
        }
    }

    #[test]
    fn only_what_the_shape_names_gets_nodes() {
        const INNER: Shape = Shape::Object(&[("b", &Shape::Leaf)]);
        const OUTER: Shape = Shape::Object(&[
            ("a", &Shape::List(&INNER)),
            ("m", &Shape::Entries(&["p/"])),
            ("o", &Shape::OpenObject(&[])),
        ]);
        let text = r#"{"x":[1,[2,{"a":3}]],"a":[{"b":{"c":1},"d":2},5],"m":{"p/q":"1","r":"2","s":3},"o":{"t":[1,2]}}"#;
        let raw = |node: &super::Node| text.get(node.range()).unwrap();
        let nodes = index(text.as_bytes(), &OUTER, usize::MAX).unwrap();
        let inside: Vec<_> = nodes.iter().skip(1).map(raw).collect();
        assert_eq!(
            inside,
            [
                r#""a""#,
                r#"[{"b":{"c":1},"d":2},5]"#,
                r#"{"b":{"c":1},"d":2}"#,
                r#""b""#,
                r#"{"c":1}"#,
                "5",
                r#""m""#,
                r#"{"p/q":"1","r":"2","s":3}"#,
                r#""p/q""#,
                r#""1""#,
                r#""s""#,
                "3",
                r#""o""#,
                r#"{"t":[1,2]}"#,
                r#""t""#,
                "[1,2]",
            ]
        );
    }

    #[test]
    fn depth_and_nodes_have_limits() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let deepest = DEEPEST as usize;
        for shape in [Shape::Whole, Shape::Leaf] {
            assert!(index(deep(deepest).as_bytes(), &shape, usize::MAX).is_ok());
            // The innermost list is empty, so no memory is needed for it if nothing is recorded.
            let fault = index(deep(deepest + 2).as_bytes(), &shape, usize::MAX).unwrap_err();
            assert_eq!(fault, Fault::TooDeep);
        }
        assert!(index(b"[1,2,3]", &Shape::Whole, 4).is_ok());
        assert_eq!(index(b"[1,2,3]", &Shape::Whole, 3).unwrap_err(), Fault::TooManyNodes);
    }
}
