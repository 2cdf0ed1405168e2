//! Where the values of a JSON text stand.
//!
//! Strict as RFC 8259 has it. Most of a pod is never looked at, so what counts is how fast this pass is.

/// One value, or one key of an object. The nodes of a text are in the order of the text.
///
/// Small numbers, because a pod has about a thousand of these: a text is at most 4 GiB long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// Index of the first node behind this one and all that it contains.
    pub next: u32,
    /// Whether this is a string with a backslash in it.
    pub has_escapes: bool,
}

/// The nodes of a text.
///
/// # Errors
/// The text is no JSON; the number is the place of the value at which that shows.
pub(super) fn index(text: &[u8]) -> Result<Vec<Node>, usize> {
    let mut index = Index { text, at: 0, nodes: Vec::with_capacity(text.len() / 8) };
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
        loop {
            let first = self.next_byte()?;
            match first {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    let opened = self.nodes.len();
                    self.node(1, false);
                    if self.next_byte()? == closing(first) {
                        self.close(opened);
                    } else {
                        open.push((opened, first));
                        self.key_of(first)?;
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.number()?,
            }
            // A value has ended; what follows belongs to what it stands in.
            loop {
                let Some((outer, bracket)) = open.last().copied() else {
                    return self.next_byte().is_none().then_some(());
                };
                match self.next_byte()? {
                    b',' => {
                        self.at += 1;
                        self.key_of(bracket)?;
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

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no white space.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// Notes a value of so many bytes, and goes behind it.
    fn node(&mut self, length: usize, has_escapes: bool) {
        let (start, end) = (self.at as u32, (self.at + length) as u32);
        self.nodes.push(Node { start, end, next: self.nodes.len() as u32 + 1, has_escapes });
        self.at += length;
    }

    /// Goes behind the bracket that closes an object or array.
    fn close(&mut self, opened: usize) {
        self.at += 1;
        let next = self.nodes.len() as u32;
        if let Some(node) = self.nodes.get_mut(opened) {
            (node.end, node.next) = (self.at as u32, next);
        }
    }

    /// In an object a key and a colon come before the value.
    fn key_of(&mut self, bracket: u8) -> Option<()> {
        if bracket == b'{' {
            if self.next_byte()? != b'"' {
                return None;
            }
            self.string()?;
            if self.next_byte()? != b':' {
                return None;
            }
            self.at += 1;
        }
        Some(())
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest().starts_with(literal).then(|| self.node(literal.len(), false))
    }

    fn number(&mut self) -> Option<()> {
        let text = self.rest();
        let digits = |from: usize| {
            text.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let mut length = usize::from(text.first() == Some(&b'-'));
        let whole = digits(length);
        if whole == 0 || (whole > 1 && text.get(length) == Some(&b'0')) {
            return None;
        }
        length += whole;
        if text.get(length) == Some(&b'.') {
            let fraction = digits(length + 1);
            if fraction == 0 {
                return None;
            }
            length += 1 + fraction;
        }
        if matches!(text.get(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
            let exponent = digits(length + 1 + sign);
            if exponent == 0 {
                return None;
            }
            length += 1 + sign + exponent;
        }
        self.node(length, false);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        let text = self.text;
        let (mut end, mut has_escapes) = (self.at + 1, false);
        loop {
            end += plain_length(text.get(end..)?);
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
        self.node(end + 1 - self.at, has_escapes);
        Some(())
    }
}

/// How many bytes come before the first quote, backslash or control character, looking at eight at a time.
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    /// The highest bit of the first byte that is below `limit`, which is at most 128, and maybe of later ones.
    fn first_below(limit: u8, word: u64) -> u64 {
        word.wrapping_sub(ONES * u64::from(limit)) & !word & (ONES << 7)
    }
    let (words, rest) = text.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quote = first_below(1, word ^ (ONES * u64::from(b'"')));
        let backslash = first_below(1, word ^ (ONES * u64::from(b'\\')));
        let found = quote | backslash | first_below(b' ', word);
        if found != 0 {
            return length + found.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    length + rest.iter().position(is_special).unwrap_or(rest.len())
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
