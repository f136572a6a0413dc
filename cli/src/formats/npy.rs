//! The head of a NumPy file: magic, version, and a Python dictionary that says what follows.

use super::{Element, MAX_DIM};

/// NumPy writes 128 bytes; a head longer than this is damage, or meant to do harm.
pub(crate) const MAX_HEAD: u64 = 64 * 1024;
pub(crate) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The beginning of a file of rows, as NumPy writes it, up to the first of them; as long for any number of rows.
pub(crate) fn head(descr: &str, rows: u64, dim: usize) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    // 10 bytes of magic, version and length; a newline at the end; 128 bytes hold the largest numbers.
    text.push_str(&" ".repeat(128 - 10 - 1 - text.len()));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) element: Element,
    pub(crate) rows: u64,
    pub(crate) dim: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Mark(char),
    Text(String),
    Word(String),
}

impl Head {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (30, 4), }`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = tokens(text)?.into_iter().peekable();
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        expect(&mut tokens, '{')?;
        while tokens.next_if_eq(&Token::Mark('}')).is_none() {
            let Some(Token::Text(key)) = tokens.next() else { return Err("a key is not a string".into()) };
            expect(&mut tokens, ':')?;
            match (key.as_str(), tokens.next()) {
                ("descr", Some(Token::Text(value))) => descr = Some(value),
                ("descr", _) => return Err("the elements are records; plain numbers are expected".into()),
                ("fortran_order", Some(Token::Word(value))) => fortran = Some(value),
                ("shape", Some(Token::Mark('('))) => shape = Some(tuple(&mut tokens)?),
                (other, _) => return Err(format!("the entry {other:?} is not understood")),
            }
            if tokens.next_if_eq(&Token::Mark(',')).is_none() && tokens.peek() != Some(&Token::Mark('}')) {
                return Err("the head ends too early".into());
            }
        }
        match fortran.as_deref() {
            Some("False") => {}
            Some("True") => return Err("the array is in Fortran order; save it as np.ascontiguousarray(x)".into()),
            _ => return Err("fortran_order is missing".into()),
        }
        let element = element(&descr.ok_or("descr is missing")?)?;
        let (rows, dim) = match shape.ok_or("shape is missing")?[..] {
            [dim] => (1, dim),
            [rows, dim] => (rows, dim),
            ref other => return Err(format!("the array has {} dimensions, expected 2", other.len())),
        };
        match usize::try_from(dim) {
            Ok(dim) if dim > 0 && dim as u64 <= MAX_DIM => Ok(Self { element, rows, dim }),
            _ => Err(format!("the rows have dimension {dim}, expected 1 to {MAX_DIM}")),
        }
    }
}

fn element(descr: &str) -> Result<Element, String> {
    Ok(match descr {
        "<f4" => Element::F32,
        "<f8" => Element::F64,
        "<f2" => Element::F16,
        "|i1" | "<i1" => Element::I8,
        "|u1" | "<u1" => Element::U8,
        _ => return Err(format!("elements of type {descr:?} are not read, only <f4, <f8, <f2, |i1 and |u1")),
    })
}

fn expect(tokens: &mut impl Iterator<Item = Token>, mark: char) -> Result<(), String> {
    match tokens.next() {
        Some(Token::Mark(found)) if found == mark => Ok(()),
        _ => Err(format!("{mark:?} is missing in the head")),
    }
}

/// The numbers up to the closing bracket.
fn tuple(tokens: &mut impl Iterator<Item = Token>) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    for token in tokens {
        match token {
            Token::Mark(')') => return Ok(numbers),
            Token::Mark(',') => {}
            // Python 2 wrote 30L.
            Token::Word(word) => match word.trim_end_matches('L').parse() {
                Ok(number) => numbers.push(number),
                Err(_) => return Err(format!("{word:?} in shape is not a size")),
            },
            _ => break,
        }
    }
    Err("shape is not a tuple of sizes".into())
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\n' | '\t' => {}
            '{' | '}' | '(' | ')' | '[' | ']' | ':' | ',' => tokens.push(Token::Mark(c)),
            '\'' | '"' => {
                let mut word = String::new();
                loop {
                    match chars.next() {
                        Some(end) if end == c => break,
                        Some(other) => word.push(other),
                        None => return Err("a string does not end".into()),
                    }
                }
                tokens.push(Token::Text(word));
            }
            c if c.is_ascii_alphanumeric() => {
                let mut word = String::from(c);
                while let Some(more) = chars.next_if(char::is_ascii_alphanumeric) {
                    word.push(more);
                }
                tokens.push(Token::Word(word));
            }
            other => return Err(format!("the character {other:?} is not expected in the head")),
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(descr: &str, order: &str, shape: &str) -> Result<Head, String> {
        Head::parse(&format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}  \n"))
    }

    #[test]
    fn what_numpy_writes() {
        assert_eq!(head("<f4", "False", "(30, 4)"), Ok(Head { element: Element::F32, rows: 30, dim: 4 }));
        assert_eq!(head("|u1", "False", "(30L, 4L)"), Ok(Head { element: Element::U8, rows: 30, dim: 4 }));
        assert_eq!(head("<f8", "False", "(4,)"), Ok(Head { element: Element::F64, rows: 1, dim: 4 }));
        assert_eq!(head("<f2", "False", "(0, 4)"), Ok(Head { element: Element::F16, rows: 0, dim: 4 }));
    }

    #[test]
    fn what_is_refused() {
        for (descr, order, shape) in [
            (">f4", "False", "(3, 4)"),
            ("<c8", "False", "(3, 4)"),
            ("<f4", "True", "(3, 4)"),
            ("<f4", "Maybe", "(3, 4)"),
            ("<f4", "False", "()"),
            ("<f4", "False", "(3, 4, 5)"),
            ("<f4", "False", "(3, 0)"),
            ("<f4", "False", "(3, 65537)"),
            ("<f4", "False", "(3, 99999999999999999999999)"),
            ("<f4", "False", "(-3, 4)"),
            ("<f4", "False", "(3, 4"),
            ("<f4", "False", "[3, 4]"),
        ] {
            assert!(head(descr, order, shape).is_err(), "{descr} {order} {shape} was accepted");
        }
        for text in ["", "{", "{}", "{'descr': '<f4'}", "{'descr'", "{'descr: 1}", "{'descr': [('a', '<f4')]}", "\u{0}"]
        {
            assert!(Head::parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
