//! Records out of a store and into another, by the command alone.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(folder: &Path, line: &str) -> Output {
    let args = line.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_lodestore")).current_dir(folder).args(args).output().unwrap()
}

fn ok(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&ok(folder, line)).unwrap()
}

fn error(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    assert_eq!(output.status.code(), Some(1), "{line}");
    String::from_utf8(output.stderr).unwrap()
}

/// Rows of whole numbers from 0 to 250, as `.npy` of bytes.
fn npy(rows: usize, dim: usize) -> Vec<u8> {
    let head = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {dim}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.as_bytes());
    bytes.extend((0..rows * dim).map(|at| (at * at * 7 % 251) as u8));
    bytes
}

#[test]
fn what_is_exported_is_imported_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("rows.npy"), npy(90, 7)).unwrap();
    let keys: String = (0..90).map(|row| format!("key \\\"{}\\\" {}\n", ["ä", "b", "c"][row % 3], row)).collect();
    fs::write(at.join("keys.txt"), &keys).unwrap();
    let lines = |of: &dyn Fn(u128) -> String| (0..90).map(|row| of(row) + "\n").collect::<String>();
    fs::write(at.join("u128.txt"), lines(&|row| (u128::MAX - row * 7).to_string())).unwrap();
    fs::write(at.join("uuid.txt"), lines(&|row| format!("67e55044-10b1-426f-9247-bb680e5f{row:04x}"))).unwrap();
    fs::write(at.join("bytes.txt"), lines(&|row| format!("0xff{row:02x}00"))).unwrap();
    for (keys, element, output) in [
        ("", "f32", "out.fvecs"),
        ("", "u8", "out.bvecs"),
        ("--keys keys.txt", "f32", "out.npy"),
        ("--keys keys.txt --key bytes", "u8", "out.npy"),
        ("--keys keys.txt", "f16", "out.npy"),
        ("--keys u128.txt --key u128", "bf16", "out.npy"),
        ("--keys uuid.txt --key uuid", "f32", "out.fvecs"),
        ("--keys bytes.txt --key bytes", "f32", "out.npy"),
    ] {
        let [a, b] = ["a.store", "b.store"];
        [a, b].iter().for_each(|store| drop(fs::remove_dir_all(at.join(store))));
        ok(at, &format!("import {a} docs --input rows.npy --metric l2 --element {element} {keys}"));
        if keys.is_empty() {
            ok(at, &format!("put {a} docs 7 --vector 1,2,3,4,5,6,7 --payload seven"));
            ok(at, &format!("remove {a} docs 11"));
            ok(at, &format!("mark {a} docs 12"));
        }
        let told = json(at, &format!("export {a} docs --output {output} --records out.jsonl --json"));
        let records = if keys.is_empty() { 88 } else { 90 };
        assert_eq!((told["rows"].as_u64(), told["dim"].as_u64()), (Some(records), Some(7)), "{told}");
        let import = format!("import {b} docs --input {output} --records out.jsonl --metric l2 --element {element}");
        ok(at, &import);
        let (listed, again) = (ok(at, &format!("keys {a} docs")), ok(at, &format!("keys {b} docs")));
        assert_eq!((listed.lines().count() as u64, &listed), (records, &again), "{output}");
        if keys.is_empty() {
            for key in [0, 7, 89] {
                let get = |store: &str| json(at, &format!("get {store} docs {key} --json"));
                assert_eq!(get(a), get(b));
            }
            assert_eq!(json(at, &format!("get {b} docs 7 --json"))["payload"], "seven");
        }
        let other = format!("export {b} docs --output again.{} --records again.jsonl", &output[4..]);
        ok(at, &other);
        for (one, two) in [(output, &*format!("again.{}", &output[4..])), ("out.jsonl", "again.jsonl")] {
            assert!(fs::read(at.join(one)).unwrap() == fs::read(at.join(two)).unwrap(), "{one} of {element} differs");
        }
        ok(at, &format!("verify {b}"));
    }
}

#[test]
fn whatever_a_record_is_it_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let mut bits = npy(3, 9);
    let head = bits.len() - 27;
    bits[head..].iter_mut().for_each(|byte| *byte &= 1);
    fs::write(at.join("bits.npy"), bits).unwrap();
    let records = [
        r#"{"key":"","payload":"00ff80","payload_encoding":"hex"}"#,
        r#"{"key":"a\nb","payload":"two\nlines"}"#,
        r#"{"key":"7","payload":""}"#,
    ];
    // In the order of the keys.
    let sorted = [records[0], records[2], records[1]].join("\n") + "\n";
    fs::write(at.join("in.jsonl"), records.join("\n") + "\n").unwrap();
    ok(at, "import a docs --input bits.npy --records in.jsonl --element bits");
    let told = ok(at, "export a docs --output out.npy --records out.jsonl");
    assert!(told.contains("--metric hamming --element bits"), "{told}");
    assert_eq!(fs::read_to_string(at.join("out.jsonl")).unwrap(), sorted);
    ok(at, "import b docs --input out.npy --records out.jsonl --metric hamming --element bits");
    ok(at, "export b docs --output again.npy --records again.jsonl");
    assert!(fs::read(at.join("out.npy")).unwrap() == fs::read(at.join("again.npy")).unwrap());
    assert_eq!(fs::read_to_string(at.join("again.jsonl")).unwrap(), sorted);
    // The rest of what an import has left out.
    ok(at, "import c docs --input out.npy --records out.jsonl --element bits --limit 1");
    ok(at, "import c docs --input out.npy --records out.jsonl --skip 1 --limit 2");
    assert_eq!(ok(at, "keys c docs"), ok(at, "keys b docs"));
}

#[test]
fn what_cannot_be_written_or_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("rows.npy"), npy(4, 3)).unwrap();
    ok(at, "import a docs --input rows.npy --metric l2");
    assert!(error(at, "export a docs --output x.txt").contains(".npy, .fvecs and .bvecs can be written"));
    assert!(error(at, "export a docs --output x.bvecs").contains("numbers from 0 to 255"));
    assert!(error(at, "export a none --output x.npy").contains("none"));
    assert!(error(at, "export a docs --output x.npy --records ./x.npy").contains("the same file"));
    fs::create_dir(at.join("folder")).unwrap();
    fs::write(at.join("old.npy"), "old").unwrap();
    for records in ["folder", "/dev/null"] {
        let told = error(at, &format!("export a docs --output old.npy --records {records}"));
        assert!(told.contains("is not a file"), "{told}");
        assert_eq!(fs::read(at.join("old.npy")).unwrap(), b"old");
    }
    std::os::unix::fs::symlink("old.npy", at.join("link.npy")).unwrap();
    ok(at, "export a docs --output link.npy");
    assert!(fs::symlink_metadata(at.join("link.npy")).unwrap().is_symlink(), "a link was replaced by a file");
    assert!(fs::read(at.join("old.npy")).unwrap().starts_with(b"\x93NUMPY"));
    for key in 0..4 {
        ok(at, &format!("remove a docs {key}"));
    }
    assert!(error(at, "export a docs --output x.npy").contains("no records"));
    assert!(fs::read_dir(at).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with('x')));

    for (lines, says) in [
        ("{\"key\": 1}\n{\"key\": 2}\n", "2 lines"),
        ("{\"key\": 1}\n{\"key\": 2}\n{\"key\": 3}\n{\"kay\": 4}\n", "line 4"),
        ("{\"key\": 1}\n{\"key\": 2}\n{\"key\": 3}\n{\"key\": 4, \"title\": \"x\"}\n", "line 4"),
        ("{\"key\": 1}\n{\"key\": 2}\n{\"key\": 3}\n{\"key\": -4}\n", "line 4"),
        ("{\"key\": 1}\n{\"key\": \"two\"}\n{\"key\": 3}\n{\"key\": 4}\n", "line 2"),
        (
            "{\"key\": 1}\n{\"key\": 2}\n{\"key\": 3}\n{\"key\": 4, \"payload\": \"0g\", \"payload_encoding\": \"hex\"}\n",
            "line 4",
        ),
    ] {
        fs::write(at.join("bad.jsonl"), lines).unwrap();
        let told = error(at, "import b docs --input rows.npy --metric l2 --records bad.jsonl");
        assert!(told.contains(says) && told.contains("bad.jsonl"), "{told}");
    }
    assert!(!at.join("b").exists() || ok(at, "keys b docs").is_empty(), "a batch with a bad line was put");
}
