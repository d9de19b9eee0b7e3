//! From text to tokens.

use super::MatchError;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// `(`, `)`, `{`, `}`, `,`, `[`, `&&`, `||`, `!`, `==`, `!=`, `<`, `<=`, `>`, `>=`.
    Sign(&'static str),
    /// A field, predicate or function.
    Name(String),
    /// A text in quotes.
    Text(String),
    /// A number, with a mask if it has one.
    Number(u128, Option<u128>),
    /// An address or a block, without host bits.
    Net(IpNet),
    /// An Ethernet address, with or without a mask.
    Ethernet,
    /// `$name`.
    AddressSet(String),
    /// `@name`.
    PortGroup(String),
}

/// A token and where it starts, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

/// The signs, longer ones first.
const SIGNS: [&str; 17] =
    ["&&", "||", "==", "!=", "<=", ">=", "(", ")", "{", "}", ",", "[", "]", "!", "<", ">", "="];

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'
}

fn syntax(at: usize, problem: impl Into<String>) -> MatchError {
    MatchError::Syntax { at, problem: problem.into() }
}

/// The tokens of a match.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, MatchError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The length of the run of bytes at the cursor that satisfy a test. Only ASCII bytes do, so
    /// the end is at a character.
    fn span(&self, from: usize, test: impl Fn(u8) -> bool) -> usize {
        self.text.as_bytes()[from..].iter().take_while(|byte| test(**byte)).count()
    }

    fn next_token(&mut self) -> Result<Option<Token>, MatchError> {
        self.skip_space_and_comments()?;
        let at = self.at;
        let Some(first) = self.rest().bytes().next() else {
            return Ok(None);
        };
        let kind = match first {
            b'"' => self.quoted()?,
            b'$' => TokenKind::AddressSet(self.sigil_name("an address set")?),
            b'@' => TokenKind::PortGroup(self.sigil_name("a port group")?),
            b'^' => {
                return Err(MatchError::Unsupported { at, what: "a template variable".into() });
            }
            b':' => self.constant()?,
            byte if is_name_byte(byte) => self.word()?,
            _ => self.sign()?,
        };
        Ok(Some(Token { at, kind }))
    }

    fn skip_space_and_comments(&mut self) -> Result<(), MatchError> {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if self.rest().starts_with("//") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if self.rest().starts_with("/*") {
                let end = self.rest().find("*/");
                self.at += end.ok_or_else(|| syntax(self.at, "the comment has no end"))? + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn sign(&mut self) -> Result<TokenKind, MatchError> {
        for sign in SIGNS {
            if self.rest().starts_with(sign) {
                self.at += sign.len();
                return Ok(TokenKind::Sign(sign));
            }
        }
        let character = self.rest().chars().next().unwrap_or(' ');
        Err(syntax(self.at, format!("unexpected {character:?}")))
    }

    fn quoted(&mut self) -> Result<TokenKind, MatchError> {
        let bytes = self.rest().as_bytes();
        let mut end = 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        if end >= bytes.len() {
            return Err(syntax(self.at, "the text has no closing quote"));
        }
        // OVN reads the escapes of JSON.
        let text = serde_json::from_str(&self.rest()[..=end])
            .map_err(|error| syntax(self.at, format!("bad text in quotes: {error}")))?;
        self.at += end + 1;
        Ok(TokenKind::Text(text))
    }

    fn sigil_name(&mut self, what: &str) -> Result<String, MatchError> {
        let length = self.span(self.at + 1, is_name_byte);
        if length == 0 {
            return Err(syntax(self.at, format!("the name of {what} is missing")));
        }
        let name = self.text[self.at + 1..self.at + 1 + length].to_owned();
        self.at += 1 + length;
        Ok(name)
    }

    /// A name, or a constant that starts with a letter or digit: `fd00::1` is an address and
    /// `ip4` is not.
    fn word(&mut self) -> Result<TokenKind, MatchError> {
        let length = self.span(self.at, is_name_byte);
        let next = self.text.as_bytes().get(self.at + length);
        if next == Some(&b':') || self.rest().as_bytes()[0].is_ascii_digit() {
            return self.constant();
        }
        let name = self.rest()[..length].to_owned();
        self.at += length;
        Ok(TokenKind::Name(name))
    }

    fn constant(&mut self) -> Result<TokenKind, MatchError> {
        let at = self.at;
        let part = |byte: u8| is_name_byte(byte) || byte == b':';
        let value = &self.text[at..at + self.span(at, part)];
        self.at += value.len();
        // A comment may follow at once; a mask cannot start with `/` or `*`.
        let mask = if self.rest().starts_with('/') && !self.rest()[1..].starts_with(['/', '*']) {
            let mask = &self.text[self.at + 1..self.at + 1 + self.span(self.at + 1, part)];
            self.at += 1 + mask.len();
            Some(mask)
        } else {
            None
        };
        constant(value, mask)
            .ok_or_else(|| {
                let text = &self.text[at..self.at];
                syntax(
                    at,
                    format!(
                        "{text:?} is no number, address or block (whose bits outside of the mask \
                     must be 0)"
                    ),
                )
            })?
            .map_err(|what| MatchError::Unsupported { at, what })
    }
}

/// A constant and its mask. The outer `None` means that it is none, the inner error that it is one
/// that cannot be carried over.
fn constant(value: &str, mask: Option<&str>) -> Option<Result<TokenKind, String>> {
    if let Some(ethernet) = is_ethernet(value) {
        return (ethernet && mask.is_none_or(|mask| is_ethernet(mask) == Some(true)))
            .then_some(Ok(TokenKind::Ethernet));
    }
    if let Ok(address) = value.parse::<IpAddr>() {
        return parse_net(address, mask).map(|net| net.map(TokenKind::Net));
    }
    let value = number(value)?;
    match mask {
        None => Some(Ok(TokenKind::Number(value, None))),
        Some(mask) => {
            let mask = number(mask)?;
            (value & !mask == 0).then_some(Ok(TokenKind::Number(value, Some(mask))))
        }
    }
}

/// Whether a text has the six parts of an Ethernet address, and if so whether it is one.
fn is_ethernet(text: &str) -> Option<bool> {
    let parts: Vec<&str> = text.split(':').take(7).collect();
    let six = parts.len() == 6 && parts.iter().all(|part| (1..=2).contains(&part.len()));
    six.then(|| parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit())))
}

fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u128::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// An address with a prefix length or a mask of its family, as a block. As in OVN, bits outside of
/// the mask must be 0.
fn parse_net(address: IpAddr, mask: Option<&str>) -> Option<Result<IpNet, String>> {
    let width = if address.is_ipv4() { 32 } else { 128 };
    let Some(mask) = mask else {
        return IpNet::new(address, width).ok().map(Ok);
    };
    let prefix = if let Ok(prefix) = mask.parse::<u8>() {
        prefix
    } else {
        let bits = match (address, mask.parse::<IpAddr>().ok()?) {
            (IpAddr::V4(_), IpAddr::V4(mask)) => u128::from(u32::from(mask)) << 96,
            (IpAddr::V6(_), IpAddr::V6(mask)) => u128::from(mask),
            _ => return None,
        };
        let prefix = bits.leading_ones();
        if prefix + (bits << prefix.min(127)).leading_zeros() < 128 || bits.count_ones() != prefix {
            return Some(Err(format!("the mask {mask}, whose ones are not all on the left,")));
        }
        prefix as u8
    };
    IpNet::new(address, prefix).ok().filter(|net| net.trunc() == *net).map(Ok)
}

/// An address, a block with a prefix length, or a block with a mask, as an address set has them.
pub(in crate::ovn) fn parse_block(text: &str) -> Option<IpNet> {
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let address = address
        .parse::<Ipv4Addr>()
        .map(IpAddr::V4)
        .or_else(|_| address.parse::<Ipv6Addr>().map(IpAddr::V6))
        .ok()?;
    parse_net(address, mask)?.ok()
}
