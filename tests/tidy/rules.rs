//! The rules: each returns its complaints, `file:line: what`.

use std::collections::HashMap;

use super::source::{File, words};

const LINES: usize = 600;
/// What a workspace crate is called in code.
const OURS: [&str; 4] = ["lodestore", "lodestore_wal", "lodestore_engine", "lodestore_cli"];

fn complaint(file: &File, at: usize, what: &str) -> String {
    format!("{}:{}: {what}", file.path, file.line(at))
}

fn for_tests(file: &File) -> bool {
    file.path.ends_with("/tests.rs") || file.path.contains("/tests/")
}

/// Code names no workspace crate but the `allowed` ones.
pub(super) fn crates<'a>(files: impl Iterator<Item = &'a File>, allowed: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        let code = file.code();
        // As a path: `lodestore` alone may be a name like any other.
        let path = |(at, word): &(usize, &str)| {
            code[at + word.len()..].starts_with("::") && OURS.contains(word) && !allowed.contains(word)
        };
        complaints.extend(words(&code).filter(path).map(|(at, word)| complaint(file, at, &format!("names {word}"))));
    }
    complaints
}

/// A manifest depends on no workspace crate but the `allowed` ones, and for tests on itself, with other features.
pub(super) fn dependencies(manifest: &File, allowed: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let (mut section, mut at) = ("", 0);
    let own = manifest.text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    for line in manifest.text.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default().replace('-', "_");
        let depends = section.ends_with("dependencies") && !section.starts_with("workspace");
        let itself = section == "dev-dependencies" && own == Some(name.as_str());
        if depends && !itself && OURS.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
            complaints.push(complaint(manifest, at, &format!("depends on {name}")));
        }
        at += line.len() + 1;
    }
    complaints
}

/// A file names `crate::x` only for an `x` that stands at or above its own module in the root file.
pub(super) fn modules<'a>(root: &File, files: impl Iterator<Item = &'a File>) -> Vec<String> {
    let folder = &root.path[..root.path.rfind('/').map_or(0, |at| at + 1)];
    let root_code = root.product_code();
    let order = declared(&root_code);
    let reexports = reexported(&root_code);
    let mut complaints = Vec::new();
    for file in files.filter(|file| file.path != root.path && !for_tests(file)) {
        let place: Vec<_> = file.path[folder.len()..].trim_end_matches(".rs").split('/').collect();
        let depth = place.len() - usize::from(place.last() == Some(&"mod"));
        let Some(own) = order.iter().position(|module| *module == place[0]) else {
            complaints.push(complaint(file, 0, &format!("no line of {} declares its module", root.path)));
            continue;
        };
        let code = file.product_code();
        for (at, name, sure) in root_names(&code, depth) {
            let module = reexports.get(name).copied().unwrap_or(name);
            match order.iter().position(|other| *other == module) {
                Some(other) if other > own => {
                    complaints.push(complaint(
                        file,
                        at,
                        &format!("{} names {module}, which stands below it", place[0]),
                    ));
                }
                None if sure => complaints.push(complaint(file, at, &format!("crate::{name} is in no module below"))),
                _ => {}
            }
        }
    }
    complaints
}

/// The modules that a root file declares, in its order.
fn declared(code: &str) -> Vec<&str> {
    let all: Vec<_> = words(code).collect();
    let declares = |pair: &&[(usize, &str)]| {
        pair[0].1 == "mod" && code[pair[1].0 + pair[1].1.len()..].trim_start().starts_with(';')
    };
    all.windows(2).filter(declares).map(|pair| pair[1].1).collect()
}

/// The names that a root file hands on from its modules, each with the module.
fn reexported(code: &str) -> HashMap<&str, &str> {
    let mut names = HashMap::new();
    for (at, _) in words(code).filter(|(_, word)| *word == "use") {
        let statement = code[at + 3..].split(';').next().unwrap_or_default();
        let mut path = words(statement).map(|(_, word)| word).skip_while(|word| ["crate", "self"].contains(word));
        if let Some(module) = path.next() {
            names.extend(path.map(|name| (name, module)));
        }
    }
    names
}

/// Names looked up in the crate's root by a file `depth` modules deep: `crate::x`, `crate::{x, y::z}`, and `super::x`
/// from far enough down. The flag says that the name is surely one of the root: `super` in an inner module is not.
fn root_names(code: &str, depth: usize) -> Vec<(usize, &str, bool)> {
    let mut names = Vec::new();
    let mut supers = 0;
    for (at, word) in words(code) {
        let Some(rest) = code[at + word.len()..].strip_prefix("::") else {
            supers = 0;
            continue;
        };
        supers = if word == "super" { supers + 1 } else { 0 };
        let surely = word == "crate";
        if !surely && supers != depth || rest.starts_with("super::") {
            continue;
        }
        let start = code.len() - rest.len();
        let list = match rest.strip_prefix('{') {
            Some(list) => top_level(list),
            None if rest.starts_with('*') && surely => vec![(0, "*")],
            None => words(rest).take(1).filter(|(at, _)| *at == 0).collect(),
        };
        let inner = usize::from(rest.starts_with('{'));
        names.extend(list.into_iter().map(|(at, name)| (start + inner + at, name, surely)));
    }
    names
}

/// The first word of each entry of a `{a, b::{c, d}, e}` list whose opening brace is already read.
fn top_level(list: &str) -> Vec<(usize, &str)> {
    let (mut depth, mut fresh, mut names) = (0, true, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                fresh = false;
                names.extend(words(&list[at..]).next().map(|(_, name)| (at, name)));
            }
            _ => {}
        }
    }
    names
}

pub(super) fn length(file: &File) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > LINES).then(|| format!("{}: {lines} lines, at most {LINES}", file.path))
}

/// `unsafe` stands in the `listed` files only, and in each of them.
pub(super) fn unsafe_code<'a>(files: impl Iterator<Item = &'a File>, listed: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut unused: Vec<_> = listed.to_vec();
    for file in files {
        let code = file.code();
        let found = words(&code).find(|(_, word)| *word == "unsafe");
        match (found, listed.contains(&file.path.as_str())) {
            (Some((at, _)), false) => complaints.push(complaint(file, at, "unsafe outside the listed files")),
            (Some(_), true) => unused.retain(|path| *path != file.path),
            _ => {}
        }
    }
    complaints.extend(unused.iter().map(|path| format!("{path}: listed, but it holds no unsafe")));
    complaints
}

/// No placeholder and no debugging aid.
pub(super) fn leftovers(file: &File) -> Vec<String> {
    let (code, comments) = (file.code(), file.comments());
    let macros = words(&code)
        .filter(|(at, word)| {
            ["todo", "unimplemented", "dbg"].contains(word) && code[at + word.len()..].starts_with('!')
        })
        .map(|(at, word)| complaint(file, at, &format!("{word}! is left")));
    let notes = words(&comments)
        .filter(|(_, word)| [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X")].contains(word))
        .map(|(at, word)| complaint(file, at, &format!("{word} is left")));
    macros.chain(notes).collect()
}

/// The manifests of the workspace's members.
pub(super) fn members(root: &File) -> Vec<String> {
    let list = root.text.lines().find_map(|line| line.strip_prefix("members = [")).expect("members on one line");
    let names = list.split('"').skip(1).step_by(2);
    names.map(|name| if name == "." { "Cargo.toml".to_owned() } else { format!("{name}/Cargo.toml") }).collect()
}

pub(super) fn lints(manifest: &File) -> Option<String> {
    let declared = manifest.text.contains("\n[lints]\nworkspace = true\n");
    (!declared).then(|| format!("{}: [lints] workspace = true is missing", manifest.path))
}

/// The repository stands alone.
pub(super) fn outside(file: &File) -> Vec<String> {
    let places = [concat!("../", "shared"), concat!("/work", "/")];
    let found = places.iter().filter_map(|place| Some((file.text.find(place)?, place)));
    found.map(|(at, place)| complaint(file, at, &format!("names {place}"))).collect()
}

#[test]
fn a_crate_that_names_a_higher_one_is_found() {
    let file =
        File::sample("wal/src/a.rs", "// lodestore_engine::x\nuse lodestore_engine::Slot;\nlet lodestore = 1;\n");
    assert_eq!(crates([&file].into_iter(), &[]), ["wal/src/a.rs:2: names lodestore_engine"]);
    assert!(crates([&file].into_iter(), &["lodestore_engine"]).is_empty());
    let manifest =
        File::sample("wal/Cargo.toml", "[package]\nname = \"a\"\n[dev-dependencies]\nlodestore.workspace = true\n");
    assert_eq!(dependencies(&manifest, &[]), ["wal/Cargo.toml:4: depends on lodestore"]);
}

#[test]
fn a_module_that_looks_down_the_list_is_found() {
    let root = File::sample("wal/src/lib.rs", "pub mod a;\npub(crate) mod b;\nmod c;\npub use c::{D, e::F as G};\n");
    let complaints = |path: &str, text: &str| modules(&root, [&File::sample(path, text)].into_iter());
    for (path, text) in [
        ("wal/src/a.rs", "use crate::b::X;"),
        ("wal/src/b.rs", "use crate::{a::Y, c};"),
        ("wal/src/b/x.rs", "fn f() { crate::c::g() }"),
        ("wal/src/b/mod.rs", "use super::c;"),
        ("wal/src/b/x.rs", "use super::super::{a, c::d};"),
        ("wal/src/b.rs", "use crate::D;"),
        ("wal/src/a.rs", "use crate::G;"),
        ("wal/src/a.rs", "use crate::UNKNOWN;"),
        ("wal/src/c.rs", "use crate::*;"),
        ("wal/src/z.rs", ""),
    ] {
        assert_eq!(complaints(path, text).len(), 1, "{path}: {text}: {:?}", complaints(path, text));
    }
    for (path, text) in [
        ("wal/src/b.rs", "use crate::{a::{self, Y}, b::Z};"),
        ("wal/src/c/mod.rs", "use crate::{a, b}; use super::b::X;"),
        ("wal/src/b/x.rs", "use super::{y, c}; // crate::c"),
        ("wal/src/a.rs", "#[cfg(test)]\nmod tests { use crate::c; }"),
        ("wal/src/a/tests.rs", "use crate::c;"),
        ("wal/src/c.rs", "use crate::D;"),
    ] {
        assert_eq!(complaints(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn long_unsafe_and_unfinished_files_are_found() {
    let long = File::sample("a.rs", &"\n".repeat(LINES + 1));
    assert!(length(&long).is_some() && length(&File::sample("a.rs", &"\n".repeat(LINES))).is_none());

    let bad = File::sample("a.rs", "#![deny(unsafe_code)] // unsafe\nunsafe { x() }");
    let good = File::sample("b.rs", "#![deny(unsafe_code)] // unsafe\nlet x = \"unsafe\";");
    assert_eq!(unsafe_code([&bad, &good].into_iter(), &[]), ["a.rs:2: unsafe outside the listed files"]);
    assert!(unsafe_code([&bad, &good].into_iter(), &["a.rs"]).is_empty());
    assert_eq!(unsafe_code([&good].into_iter(), &["b.rs"]), ["b.rs: listed, but it holds no unsafe"]);

    let text =
        concat!("todo", "!(); dbg", "!(1); unimplemented", "!() // FIX", "ME later\nlet dbg = \"todo!\"; // todo");
    assert_eq!(leftovers(&File::sample("a.rs", text)).len(), 4);
}

#[test]
fn missing_lints_and_foreign_places_are_found() {
    let root = File::sample("Cargo.toml", "[workspace]\nmembers = [\".\", \"wal\"]\n");
    assert_eq!(members(&root), ["Cargo.toml", "wal/Cargo.toml"]);
    assert!(lints(&root).is_some());
    assert!(lints(&File::sample("Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n")).is_none());
    let text = concat!("a\ndata from ../", "shared and /work", "/x");
    assert_eq!(outside(&File::sample("a.md", text)).len(), 2);
}
