//! A JSON scanner that keeps values as the text they were sent in.
//!
//! An exported value must be byte for byte the one that came in (`1.0`, `1e400`, `\u0041`, key order,
//! doubled keys), white space between tokens apart. So nothing here is turned into numbers or maps:
//! one pass checks the grammar (RFC 8259) and notes where each value begins and ends, and whether
//! there is any white space to leave out.

use std::borrow::Cow;

/// A piece of JSON text could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanError {
    /// It is not JSON: what was expected, and the byte where it was not found.
    Syntax { expected: &'static str, at: usize },
    /// It is JSON, but not to be stored: why, as the end of a sentence.
    Refused(&'static str),
}

/// Where a value stands in the scanned text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// There is white space between its tokens.
    spaced: bool,
}

/// What kind of value comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Null,
    Other,
}

/// A cursor over one JSON text.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// White space was skipped since the last [`Scanner::begin`].
    spaced: bool,
}

/// The start of a value whose parts the caller reads itself; see [`Scanner::begin`].
#[derive(Debug)]
pub(super) struct Begin {
    start: usize,
    spaced_before: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            spaced: false,
        }
    }

    /// How far the text has been read, in bytes.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The text of a value as it was sent.
    pub(super) fn raw(&self, span: Span) -> &'a str {
        &self.text[span.start..span.end]
    }

    /// Appends a value to `out`, without the white space between its tokens.
    pub(super) fn append_compact(&self, span: Span, out: &mut String) {
        let raw = self.raw(span);
        if span.spaced {
            append_without_spaces(raw, out);
        } else {
            out.push_str(raw);
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn syntax<T>(&self, expected: &'static str) -> Result<T, ScanError> {
        Err(ScanError::Syntax {
            expected,
            at: self.at,
        })
    }

    pub(super) fn skip_spaces(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
            self.spaced = true;
        }
    }

    /// Whether the text is at its end, white space apart.
    pub(super) fn at_end(&mut self) -> bool {
        self.skip_spaces();
        self.at == self.text.len()
    }

    /// Takes `byte` if it is the next one.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), ScanError> {
        if self.take(byte) {
            Ok(())
        } else {
            self.syntax(expected)
        }
    }

    /// What the next value is, by its first byte.
    pub(super) fn kind(&self) -> Kind {
        match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b'n') => Kind::Null,
            _ => Kind::Other,
        }
    }

    /// Marks the start of a value that the caller takes apart; [`Scanner::end`] gives its span.
    pub(super) fn begin(&mut self) -> Begin {
        Begin {
            start: self.at,
            spaced_before: std::mem::replace(&mut self.spaced, false),
        }
    }

    /// Closes what [`Scanner::begin`] opened.
    pub(super) fn end(&mut self, begin: Begin) -> Span {
        let spaced = self.spaced;
        self.spaced |= begin.spaced_before;
        Span {
            start: begin.start,
            end: self.at,
            spaced,
        }
    }

    /// Goes through the members of an object: `member` gets each key and must read the value.
    ///
    /// Generic over the error, so that a caller's own findings come through unchanged.
    pub(super) fn object<E: From<ScanError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, Span) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{', "an object")?;
        self.skip_spaces();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            self.skip_spaces();
            let key = self.string()?;
            self.skip_spaces();
            self.expect(b':', "':' after a key")?;
            self.skip_spaces();
            member(self, key)?;
            self.skip_spaces();
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "',' or '}'")?;
        }
    }

    /// Goes through the elements of an array: `element` must read each one.
    pub(super) fn array<E: From<ScanError>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'[', "an array")?;
        self.skip_spaces();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.skip_spaces();
            element(self)?;
            self.skip_spaces();
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "',' or ']'")?;
        }
    }

    /// Reads any value which nests at most `levels` objects and arrays.
    pub(super) fn value(&mut self, levels: usize) -> Result<Span, ScanError> {
        let begin = self.begin();
        self.any(levels)?;
        Ok(self.end(begin))
    }

    fn any(&mut self, levels: usize) -> Result<(), ScanError> {
        let inner = || {
            levels
                .checked_sub(1)
                .ok_or(ScanError::Refused("is nested too deeply"))
        };
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') => {
                let levels = inner()?;
                self.object(|scanner, _| scanner.any(levels))
            }
            Some(b'[') => {
                let levels = inner()?;
                self.array(|scanner| scanner.any(levels))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.syntax("a value"),
        }
    }

    /// Reads `null`.
    pub(super) fn null(&mut self) -> Result<Span, ScanError> {
        let start = self.at;
        self.word("null")?;
        Ok(Span {
            start,
            end: self.at,
            spaced: false,
        })
    }

    fn word(&mut self, word: &'static str) -> Result<(), ScanError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.syntax("a value");
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            self.syntax("a digit")
        } else {
            Ok(())
        }
    }

    /// Reads a string; its span includes the quotes.
    pub(super) fn string(&mut self) -> Result<Span, ScanError> {
        let start = self.at;
        self.expect(b'"', "a string")?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Span {
                        start,
                        end: self.at,
                        spaced: false,
                    });
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) => return self.syntax("no bare control character in a string"),
                Some(_) => self.at += 1,
                None => return self.syntax("the end of a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ScanError> {
        const LONE: ScanError =
            ScanError::Refused("holds half of a surrogate pair, which is no character");
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => match self.code_unit()? {
                0 => return Err(ScanError::Refused("holds the character U+0000")),
                0xDC00..=0xDFFF => return Err(LONE),
                0xD800..=0xDBFF => {
                    let second_half = self.text.as_bytes()[self.at..].starts_with(b"\\u");
                    self.at += usize::from(second_half);
                    if !second_half || !(0xDC00..=0xDFFF).contains(&self.code_unit()?) {
                        return Err(LONE);
                    }
                }
                _ => {}
            },
            _ => return self.syntax("an escape that JSON knows"),
        }
        Ok(())
    }

    /// Reads `uXXXX`.
    fn code_unit(&mut self) -> Result<u32, ScanError> {
        self.at += 1;
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|b| char::from(b).to_digit(16)) else {
                return self.syntax("four hexadecimal digits");
            };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }
}

/// What the text of a scanned string, quotes included, means.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    let inner = &raw[1..raw.len() - 1];
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    // Scanned before, so it parses; were it not so, the text itself is the safe answer.
    serde_json::from_str(raw).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// Appends valid JSON without the white space outside its strings.
fn append_without_spaces(json: &str, out: &mut String) {
    let bytes = json.as_bytes();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\\' => at += 1,
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => {
                out.push_str(&json[copied..at]);
                copied = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    out.push_str(&json[copied..]);
}

#[cfg(test)]
mod tests;
