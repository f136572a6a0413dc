//! The repository's files, and just enough understanding of Rust text: what is code, what is comment, what is a test.

use std::{fs, ops::Range, path::Path};

pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

pub(super) struct Repo {
    pub(super) files: Vec<File>,
}

impl Repo {
    pub(super) fn read() -> Self {
        let mut files = Vec::new();
        walk(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
        files.sort_by(|a: &File, b| a.path.cmp(&b.path));
        assert!(files.len() > 20, "only {} files were found", files.len());
        Self { files }
    }

    pub(super) fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(super) fn file(&self, path: &str) -> &File {
        self.find(path).unwrap_or_else(|| panic!("{path} is missing"))
    }

    /// The Rust files in the folder of `root`.
    pub(super) fn under(&self, root: &str) -> impl Iterator<Item = &File> {
        let folder = root[..root.rfind('/').map_or(0, |at| at + 1)].to_owned();
        self.files.iter().filter(move |file| file.path.starts_with(&folder) && file.path.ends_with(".rs"))
    }
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        // Hidden folders belong to tools, except the one with the checks.
        let foreign = name.starts_with('.') && name != ".ci" || name == "target" || name == "__pycache__";
        if foreign {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{path}/"), files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File { path, text });
        }
    }
}

impl File {
    pub(super) fn sample(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(super) fn line(&self, at: usize) -> usize {
        1 + self.text[..at].bytes().filter(|&b| b == b'\n').count()
    }

    /// The code: comments and what stands in quotes are blank, offsets are unchanged.
    pub(super) fn code(&self) -> String {
        self.keep(false)
    }

    /// The comments: everything else is blank, offsets are unchanged.
    pub(super) fn comments(&self) -> String {
        self.keep(true)
    }

    /// The code without what is compiled for tests only.
    pub(super) fn product_code(&self) -> String {
        let mut code = self.code();
        let mut from = 0;
        while let Some(start) = code[from..].find("#[cfg(").map(|at| at + from) {
            let end = start + code[start..].find(']').unwrap_or(0) + 1;
            from = end;
            let condition = &code[start..end];
            if words(condition).any(|(_, word)| word == "test") && !words(condition).any(|(_, word)| word == "not") {
                let item = end + item_length(&code[end..]);
                blank(&mut code, start..item);
                from = item;
            }
        }
        code
    }

    fn keep(&self, comments: bool) -> String {
        let mut out = self.text.clone();
        let mut at = 0;
        let mut code_from = 0;
        while at < self.text.len() {
            let (length, comment) = quoted(&self.text[at..], self.text[..at].chars().next_back());
            if length > 0 {
                if comments {
                    blank(&mut out, code_from..at);
                }
                if !(comments && comment) {
                    blank(&mut out, at..at + length);
                }
                at += length;
                code_from = at;
            } else {
                at += self.text[at..].chars().next().map_or(1, char::len_utf8);
            }
        }
        if comments {
            blank(&mut out, code_from..self.text.len());
        }
        out
    }
}

/// The length of the comment or literal that `text` starts with (0: neither), and whether it is a comment.
fn quoted(text: &str, before: Option<char>) -> (usize, bool) {
    let until = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    let starts_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return (text.find('\n').unwrap_or(text.len()), true);
    }
    if text.starts_with("/*") {
        let (mut depth, mut at) = (1, 2);
        while depth > 0 && at < text.len() {
            match &text.as_bytes()[at..] {
                [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
        }
        return (at, true);
    }
    let raw = text.trim_start_matches(['b', 'c']);
    if starts_word && text.len() - raw.len() <= 1 && raw.starts_with('r') {
        let fence = raw[1..].len() - raw[1..].trim_start_matches('#').len();
        if raw[1 + fence..].starts_with('"') {
            let open = text.len() - raw.len() + 2 + fence;
            return (until(open, &format!("\"{}", "#".repeat(fence))), false);
        }
    }
    if let Some(rest) = text.strip_prefix('"') {
        let mut escaped = false;
        let end = rest.char_indices().find(|&(_, c)| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return (end.map_or(text.len(), |(at, _)| at + 2), false);
    }
    if let Some(rest) = text.strip_prefix('\'') {
        // A lifetime has no closing quote right after its first character.
        let mut chars = rest.chars();
        return match (chars.next(), chars.next()) {
            (Some('\\'), Some(escaped)) => (until(2 + escaped.len_utf8(), "'"), false),
            (Some(c), Some('\'')) => (2 + c.len_utf8(), false),
            _ => (0, false),
        };
    }
    (0, false)
}

fn blank(text: &mut String, range: Range<usize>) {
    let blanks: String = text[range.clone()].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(range, &blanks);
}

/// The length of the item that `code` starts with: to its `;`, or to the brace that closes its first one.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, b) in code.bytes().enumerate() {
        match b {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'}' => {
                depth -= 1;
                if depth <= 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Identifiers and keywords with their places.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
        at += code[at..].find(part_of_word)?;
        let start = at;
        at += code[at..].find(|c| !part_of_word(c)).unwrap_or(code.len() - at);
        Some((start, &code[start..at]))
    })
}

#[test]
fn code_and_comments_are_told_apart() {
    let text = "let a = \"x // y\"; // one \"two\"\nlet b = r#\"z\" /* */\"#; /* three /* four */ five */ let c = '\"';\n\
                fn d<'e>(f: &'e u8) -> char { '\\'' } // six";
    let file = File::sample("a.rs", text);
    let spaced = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(spaced(file.code()), "let a = ; let b = ; let c = ; fn d<'e>(f: &'e u8) -> char { }");
    assert_eq!(spaced(file.comments()), "// one \"two\" /* three /* four */ five */ // six");
    assert_eq!(file.code().len(), text.len());
}

#[test]
fn test_items_are_left_out() {
    let text = "use a;\n#[cfg(test)]\nmod tests { fn f() { if x { y } } }\nfn g() {}\n#[cfg(all(test, unix))]\nmod t;\n\
                #[cfg(not(test))]\nfn h() {}\n#[cfg(test)]\nuse b::{c, d};\nfn i() {}";
    let code = File::sample("a.rs", text).product_code();
    let names: Vec<_> = words(&code).map(|(_, word)| word).collect();
    assert_eq!(names, ["use", "a", "fn", "g", "cfg", "not", "test", "fn", "h", "fn", "i"]);
}
