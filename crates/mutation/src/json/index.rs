//! Where the values of a JSON text stand.
//!
//! Strict as RFC 8259 has it. Most of a pod is never looked at, so what counts is how fast this pass is.

use std::ops::Range;

/// One value, or one key of an object. The nodes of a text are in the order of the text.
///
/// Twelve bytes, because a pod has about a thousand of these: a text is at most [`LONGEST_TEXT`] bytes long.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Node {
    start: u32,
    end: u32,
    /// [`Node::next`], and in the highest bit [`Node::has_escapes`].
    next: u32,
}

/// As many bytes as 31 bits can count.
pub(super) const LONGEST_TEXT: usize = (1 << 31) - 1;

const HAS_ESCAPES: u32 = 1 << 31;

impl Node {
    /// Where the value stands in the text.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Where a string's content stands: what is between its quotes.
    pub fn quoted(&self) -> Range<usize> {
        self.start as usize + 1..(self.end as usize).saturating_sub(1)
    }

    /// Index of the first node behind this one and all that it contains.
    pub fn next(&self) -> u32 {
        self.next & !HAS_ESCAPES
    }

    /// Whether this is a string with a backslash in it.
    pub fn has_escapes(&self) -> bool {
        self.next & HAS_ESCAPES != 0
    }
}

/// The nodes of a text.
///
/// # Errors
/// The text is no JSON; the number is the place of the value at which that shows.
pub(super) fn index(text: &[u8]) -> Result<Vec<Node>, usize> {
    let mut index = Index { text, at: 0, nodes: Vec::with_capacity(text.len() / 9) };
    match index.read() {
        Some(()) => Ok(index.nodes),
        None => Err(index.at),
    }
}

fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

struct Index<'t> {
    text: &'t [u8],
    /// The next byte to look at.
    at: usize,
    nodes: Vec<Node>,
}

#[allow(clippy::cast_possible_truncation)] // The text's length was checked, and it has no more nodes than bytes.
impl Index<'_> {
    /// Reads the whole text; nothing if it is no JSON.
    fn read(&mut self) -> Option<()> {
        // The objects and arrays that are not closed yet.
        let mut open: Vec<(usize, u8)> = Vec::with_capacity(16);
        // Whether a key comes next, rather than a value. Both stand in one loop, so that strings are read in one place
        // and the compiler keeps what it needs for that in registers.
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
                    let opened = self.nodes.len();
                    self.node(self.at + 1, false);
                    if self.next_byte()? != closing(first) {
                        open.push((opened, first));
                        key_is_due = first == b'{';
                        continue;
                    }
                    self.close(opened);
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => {
                    let end = number_end(self.text, self.at)?;
                    self.node(end, false);
                }
            }
            // A value has ended; what follows belongs to what it stands in.
            loop {
                let Some((outer, bracket)) = open.last().copied() else {
                    return self.next_byte().is_none().then_some(());
                };
                match self.next_byte()? {
                    b',' => {
                        self.at += 1;
                        key_is_due = bracket == b'{';
                        break;
                    }
                    byte if byte == closing(bracket) => {
                        self.close(outer);
                        open.pop();
                    }
                    _ => return None,
                }
            }
        }
    }

    /// The next byte that is no white space.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            // API servers write none, so one comparison mostly tells.
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Notes a value that begins here, and goes behind it.
    fn node(&mut self, end: usize, has_escapes: bool) {
        let next = self.nodes.len() as u32 + 1;
        let next = if has_escapes { next | HAS_ESCAPES } else { next };
        self.nodes.push(Node { start: self.at as u32, end: end as u32, next });
        self.at = end;
    }

    /// Goes behind the bracket that closes an object or array.
    fn close(&mut self, opened: usize) {
        self.at += 1;
        let next = self.nodes.len() as u32;
        if let Some(node) = self.nodes.get_mut(opened) {
            (node.end, node.next) = (self.at as u32, next);
        }
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        rest.starts_with(literal).then(|| self.node(self.at + literal.len(), false))
    }

    fn string(&mut self) -> Option<()> {
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
        self.node(end + 1, has_escapes);
        Some(())
    }
}

/// The first quote, backslash or control character at or behind `at`, looking at eight bytes at a time.
fn special_byte(text: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*word);
        // In each difference the highest bit of a byte is set where the byte was too small, and maybe behind such a one.
        // Bytes beyond ASCII have it too, but are none of those that are looked for.
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

/// Behind the number that begins at `at`.
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

    use super::index;

    /// The text with one part of it put in another place's stead, so that it may or may not be JSON any more.
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
            prop_assert_eq!(index(text.as_bytes()).is_ok(), taken, "{}", text);
        }
    }
}
