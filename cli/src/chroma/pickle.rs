//! Which id has which label: `index_metadata.pickle`, read without running what it says.
//!
//! A pickle is a program for a stack machine. Of its instructions those are known that Chroma's pickles have had: numbers,
//! texts, dictionaries, and an object with a dictionary for its state (until 1.0). Nothing is called, and nothing can
//! take more memory than the file has bytes, by more than a constant.

use std::collections::HashMap;

#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) of_ids: HashMap<String, u64>,
    /// Up to where the index has seen the queue; later versions say so in the database.
    pub(super) max_seq_id: Option<u64>,
}

/// What is wrong, and at which byte.
pub(super) type Wrong = (usize, String);

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Nothing,
    Number(i64),
    Text(&'a str),
    /// Its place among the dictionaries.
    Dictionary(usize),
    /// Its place among the objects.
    Object(usize),
    Mark,
}

type Pairs<'a> = Vec<(Value<'a>, Value<'a>)>;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    memo: Vec<Value<'a>>,
    dictionaries: Vec<Pairs<'a>>,
    /// Their states.
    objects: Vec<Value<'a>>,
}

impl<'a> Machine<'a> {
    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, Wrong> {
        Err((self.at, what.into()))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Wrong> {
        let Some(taken) = self.bytes.get(self.at..).and_then(|rest| rest.get(..count)) else {
            return self.wrong(format!("it ends where {count} bytes more are expected"));
        };
        self.at += count;
        Ok(taken)
    }

    /// A little-endian number without a sign.
    fn number(&mut self, width: usize) -> Result<u64, Wrong> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn length(&mut self, width: usize) -> Result<usize, Wrong> {
        Ok(usize::try_from(self.number(width)?).unwrap_or(usize::MAX))
    }

    fn text(&mut self, width: usize) -> Result<Value<'a>, Wrong> {
        let count = self.length(width)?;
        let bytes = self.take(count)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(text)),
            Err(_) => self.wrong("a text that is not UTF-8"),
        }
    }

    /// Two's complement of so many bytes.
    fn long(&mut self, width: usize) -> Result<Value<'a>, Wrong> {
        if width > 8 {
            return self.wrong(format!("a number of {width} bytes"));
        }
        let number = self.number(width)?;
        let unused = 64 - 8 * width as u32;
        let number = if width == 0 { 0 } else { (number << unused) as i64 >> unused };
        Ok(Value::Number(number))
    }

    fn line(&mut self) -> Result<(), Wrong> {
        while self.take(1)? != b"\n" {}
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>, Wrong> {
        match self.stack.pop() {
            Some(Value::Mark) | None => self.wrong("nothing is on the stack"),
            Some(value) => Ok(value),
        }
    }

    fn set(&mut self, pairs: &[Value<'a>]) -> Result<(), Wrong> {
        let Some(&Value::Dictionary(at)) = self.stack.last() else {
            return self.wrong("something is put into what is no dictionary");
        };
        if pairs.len() % 2 == 1 {
            return self.wrong("a key has no value");
        }
        self.dictionaries[at].extend(pairs.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    fn get(&self, at: u64) -> Result<Value<'a>, Wrong> {
        match usize::try_from(at).ok().and_then(|at| self.memo.get(at)) {
            Some(&value) => Ok(value),
            None => self.wrong(format!("number {at} is not remembered")),
        }
    }

    /// Pickles remember from 0 up.
    fn put(&mut self, at: u64) -> Result<(), Wrong> {
        let Some(&value) = self.stack.last() else { return self.wrong("nothing is on the stack") };
        if at != self.memo.len() as u64 {
            return self.wrong(format!("number {at} is to be remembered after {}", self.memo.len()));
        }
        self.memo.push(value);
        Ok(())
    }

    fn dictionary(&mut self) -> Value<'a> {
        self.dictionaries.push(Vec::new());
        Value::Dictionary(self.dictionaries.len() - 1)
    }

    /// Carries the pickle out; what it leaves on the stack.
    fn run(&mut self) -> Result<Value<'a>, Wrong> {
        loop {
            let value = match self.take(1)?[0] {
                0x80 => {
                    self.take(1)?;
                    continue;
                }
                // A frame.
                0x95 => {
                    self.take(8)?;
                    continue;
                }
                b'(' => Value::Mark,
                b'N' => Value::Nothing,
                0x88 => Value::Number(1),
                0x89 => Value::Number(0),
                b'K' => self.long_of_unsigned(1)?,
                b'M' => self.long_of_unsigned(2)?,
                b'J' => self.long(4)?,
                0x8A => {
                    let width = self.length(1)?;
                    self.long(width)?
                }
                0x8C => self.text(1)?,
                b'X' => self.text(4)?,
                0x8D => self.text(8)?,
                b'}' => self.dictionary(),
                b')' => Value::Nothing,
                b'h' => {
                    let at = self.number(1)?;
                    self.get(at)?
                }
                b'j' => {
                    let at = self.number(4)?;
                    self.get(at)?
                }
                // A class: its name does not matter.
                b'c' => {
                    self.line()?;
                    self.line()?;
                    Value::Nothing
                }
                0x93 => {
                    self.pop()?;
                    self.pop()?;
                    Value::Nothing
                }
                // An object of a class and arguments.
                0x81 | b'R' => {
                    self.pop()?;
                    self.pop()?;
                    self.objects.push(Value::Nothing);
                    Value::Object(self.objects.len() - 1)
                }
                b'b' => {
                    let state = self.pop()?;
                    let Some(&Value::Object(at)) = self.stack.last() else {
                        return self.wrong("a state is for what is no object");
                    };
                    self.objects[at] = state;
                    continue;
                }
                0x94 => {
                    self.put(self.memo.len() as u64)?;
                    continue;
                }
                b'q' => {
                    let at = self.number(1)?;
                    self.put(at)?;
                    continue;
                }
                b'r' => {
                    let at = self.number(4)?;
                    self.put(at)?;
                    continue;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set(&[key, value])?;
                    continue;
                }
                b'u' => {
                    let Some(mark) = self.stack.iter().rposition(|value| matches!(value, Value::Mark)) else {
                        return self.wrong("pairs have no mark");
                    };
                    let pairs = self.stack.split_off(mark);
                    self.set(&pairs[1..])?;
                    continue;
                }
                b'.' => return self.pop(),
                other => {
                    self.at -= 1;
                    return self.wrong(format!("the instruction {other:#04x}, which is not known here,"));
                }
            };
            self.stack.push(value);
        }
    }

    fn long_of_unsigned(&mut self, width: usize) -> Result<Value<'a>, Wrong> {
        Ok(Value::Number(self.number(width)? as i64))
    }

    fn pairs(&self, value: Value<'a>, what: &str) -> Result<&Pairs<'a>, Wrong> {
        match value {
            Value::Dictionary(at) => Ok(&self.dictionaries[at]),
            _ => self.wrong(format!("{what} is no dictionary")),
        }
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Labels, Wrong> {
    let (stack, memo, dictionaries, objects) = <_>::default();
    let mut machine = Machine { bytes, at: 0, stack, memo, dictionaries, objects };
    let mut all = machine.run()?;
    if let Value::Object(at) = all {
        all = machine.objects[at];
    }
    let fields = machine.pairs(all, "what it holds")?;
    let field = |name| fields.iter().rev().find(|(key, _)| matches!(key, Value::Text(text) if *text == name));
    let Some(&(_, labels)) = field("id_to_label") else { return machine.wrong("there is no id_to_label") };
    let mut read = Labels::default();
    if let Some(&(_, Value::Number(number))) = field("max_seq_id") {
        read.max_seq_id = u64::try_from(number).ok();
    }
    for pair in machine.pairs(labels, "id_to_label")? {
        let &(Value::Text(id), Value::Number(label)) = pair else {
            return machine.wrong("an id that is no text, or a label that is no number,");
        };
        let Ok(label) = u64::try_from(label) else { return machine.wrong(format!("the label {label}")) };
        read.of_ids.insert(id.to_owned(), label);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python's pickle writes `{"id_to_label": {"a": 1, "b": 300, "c": 70000}, "max_seq_id": 7}` in protocol 4.
    const PLAIN: &[u8] =
        b"\x80\x04\x95\x38\0\0\0\0\0\0\0}\x94(\x8c\x0bid_to_label\x94}\x94(\x8c\x01a\x94K\x01\x8c\x01b\x94M\
        \x2c\x01\x8c\x01c\x94J\x70\x11\x01\0u\x8c\nmax_seq_id\x94K\x07u.";

    #[test]
    fn ids_have_labels() {
        let labels = read(PLAIN).unwrap();
        assert_eq!((labels.max_seq_id, labels.of_ids.len()), (Some(7), 3));
        assert_eq!(["a", "b", "c"].map(|id| labels.of_ids[id]), [1, 300, 70_000]);
        let object = b"\x80\x04\x8c\x01m\x8c\x01C\x93)\x81}\x8c\x0bid_to_label}\x8c\x01x\x8a\x01\x05ssb.";
        assert_eq!(read(object).unwrap().of_ids["x"], 5);
    }

    #[test]
    fn a_damaged_pickle_is_refused() {
        for cut in 0..PLAIN.len() {
            assert!(read(&PLAIN[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..PLAIN.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = PLAIN.to_vec();
                bytes[at] = byte;
                // Whatever comes out, it comes out.
                let _ = read(&bytes);
            }
        }
        let calls = b"\x80\x04cos\nsystem\n(\x8c\x02ls\x85R.";
        let (offset, what) = read(calls).unwrap_err();
        assert!(offset == 18 && what.contains("0x85"), "{offset}: {what}");
        assert!(
            read(b"\x80\x04}\x8c\x0bid_to_label}\x8c\x01aJ\xff\xff\xff\xffss.").unwrap_err().1.contains("label -1")
        );
        assert!(read(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(read(b"}.").unwrap_err().1.contains("id_to_label"));
    }
}
