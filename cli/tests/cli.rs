//! The command as a person or a script meets it: what it prints, where, and how it ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const ROWS: usize = 600;
const QUERIES: usize = 40;
const DIM: usize = 12;

/// A folder with vectors, queries and their exact neighbours under squared distance.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: TempDir::new().unwrap() };
        let (base, queries) = (vectors(ROWS, 1), vectors(QUERIES, 2));
        fs::write(place.path("base.fvecs"), fvecs(&base)).unwrap();
        fs::write(place.path("queries.fvecs"), fvecs(&queries)).unwrap();
        let mut truth = Vec::new();
        for query in &queries {
            let distance = |row: &[f32]| row.iter().zip(query).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            let mut keys: Vec<usize> = (0..ROWS).collect();
            keys.sort_by(|&a, &b| distance(&base[a]).total_cmp(&distance(&base[b])));
            truth.extend(10i32.to_le_bytes());
            truth.extend(keys[..10].iter().flat_map(|&key| (key as i32).to_le_bytes()));
        }
        fs::write(place.path("truth.ivecs"), truth).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command line; words that start with `@` are files of this place.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lodestore"));
        for word in line.split_whitespace() {
            match word.strip_prefix('@') {
                Some(name) => command.arg(self.path(name)),
                None => command.arg(word),
            };
        }
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{line}: {}: {err}", output.status);
        out
    }

    fn json(&self, line: &str) -> Value {
        let out = self.ok(line);
        assert_eq!(out.lines().count(), 1, "{line}: one line of JSON is expected: {out}");
        serde_json::from_str(&out).unwrap()
    }

    /// Runs what must fail with status 1 and one sentence, and returns the sentence.
    fn error(&self, line: &str) -> String {
        let output = self.run(line);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {out}{err}");
        assert_eq!(err.lines().count(), 1, "{line}: {err}");
        err.strip_prefix("error: ").unwrap_or_else(|| panic!("{line}: {err}")).trim_end().to_owned()
    }

    fn import(&self) {
        self.ok("import @store words --input @base.fvecs --metric l2 --m 16 --seed 7");
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn vectors(rows: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..rows).map(|_| (0..DIM).map(|_| next()).collect()).collect()
}

fn fvecs(rows: &[Vec<f32>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend((row.len() as i32).to_le_bytes());
        bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
    }
    bytes
}

#[test]
fn import_then_search_finds_the_true_neighbours() {
    let place = Place::new();
    let summary = place.json("import @store words --input @base.fvecs --metric l2 --threads 2 --json");
    assert_eq!((summary["rows"].as_u64(), summary["interrupted"].as_bool()), (Some(ROWS as u64), Some(false)));
    for threads in ["", "--threads 3", "--warmup"] {
        let line = format!("search @store words --queries @queries.fvecs --groundtruth @truth.ivecs --json {threads}");
        let found = place.json(&line);
        for field in ["queries", "k", "ef", "threads", "recall", "qps", "mean_us", "p50_us", "p99_us"] {
            assert!(found[field].as_f64().is_some_and(|x| x > 0.0), "{field} in {found}");
        }
        assert_eq!((found["queries"].as_u64(), found["k"].as_u64()), (Some(QUERIES as u64), Some(10)));
        assert!(found["recall"].as_f64().unwrap() > 0.97, "{found}");
        assert!(found["p50_us"].as_f64() <= found["p99_us"].as_f64());
    }
    let blind = place.json("search @store words --queries @queries.fvecs --limit 7 --k 1 --ef 20 --json");
    assert_eq!((blind["queries"].as_u64(), blind["ef"].as_u64(), blind.get("recall")), (Some(7), Some(20), None));

    let report = place.ok("search @store words --queries @queries.fvecs --groundtruth @truth.ivecs");
    for word in ["words (l2, 12 dimensions, 600 records)", "recall@10", "queries/s", "p99", "query 2"] {
        assert!(report.contains(word), "{word} is missing in:\n{report}");
    }
}

#[test]
fn keys_of_every_type() {
    let place = Place::new();
    let lines = |show: &dyn Fn(usize) -> String| (0..ROWS).map(|row| show(row) + "\n").collect::<String>();
    let words: Vec<String> = (0..ROWS).map(|row| format!("{}/{row}", ["straße", "b", "c"][row % 3])).collect();
    fs::write(place.path("words.txt"), lines(&|row| words[row].clone())).unwrap();
    fs::write(place.path("bytes.txt"), lines(&|row| format!("0x{:02x}ff{:04x}", row % 5, row))).unwrap();
    fs::write(place.path("uuids.txt"), lines(&|row| format!("67e55044-10b1-426f-9247-0000{row:08x}"))).unwrap();
    fs::write(place.path("few.txt"), "only\n").unwrap();

    let error = place.error("import @store docs --input @base.fvecs --metric l2 --keys @few.txt");
    assert!(error.contains("1 lines") && error.contains("600 rows") && !place.path("store").exists(), "{error}");
    let line = "import @store docs --input @base.fvecs --metric l2 --m 8 --keys @words.txt";
    place.ok(&format!("{line} --limit 400"));
    place.ok("import @store docs --input @base.fvecs --keys @words.txt --skip 400");
    place.ok("import @store bytes --input @base.fvecs --metric l2 --keys @bytes.txt --key bytes --limit 50");
    place.ok("import @store uuids --input @base.fvecs --metric l2 --keys @uuids.txt --key uuid --limit 50");
    place.ok("import @store wide --input @base.fvecs --metric l2 --key u128 --limit 50");
    let error = place.error("import @store docs --input @base.fvecs --key u64");
    assert!(error.contains("u64") && error.contains("str"), "{error}");

    let info = place.json("info @store --json");
    let types = info["collections"].as_array().unwrap().iter().map(|c| (c["name"].clone(), c["key"].clone()));
    let expected = [("bytes", "bytes"), ("docs", "str"), ("uuids", "uuid"), ("wide", "u128")];
    assert!(types.eq(expected.map(|(name, key)| (name.into(), key.into()))), "{info}");
    assert!(place.ok("info @store").contains("uuid"));

    let mut sorted = words.clone();
    sorted.sort();
    let listed = |line: &str| place.ok(line).lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(listed("keys @store docs"), sorted);
    assert_eq!(
        listed("keys @store docs --limit 3 --reverse"),
        [&sorted[599], &sorted[598], &sorted[597]].map(String::clone)
    );
    let long: Vec<_> = sorted.iter().filter(|key| key.starts_with("straße/1")).cloned().collect();
    assert_eq!(listed("keys @store docs --prefix straße/1"), long);
    assert_eq!(
        listed("keys @store docs --from c/1 --to c/2").len(),
        sorted.iter().filter(|k| k.starts_with("c/1")).count()
    );
    assert!(listed("keys @store docs --from z --to b").is_empty());
    assert_eq!(listed("keys @store wide --from 7 --to 9"), ["7", "8"]);
    assert_eq!(listed("keys @store bytes --prefix 0x04 --limit 1"), ["0x04ff0004"]);
    assert_eq!(listed("keys @store uuids --limit 1 --json"), ["\"67e55044-10b1-426f-9247-000000000000\""]);
    assert!(place.error("keys @store wide --prefix 7").contains("prefix"));
    assert!(place.error("keys @store wide --from x").contains("whole numbers"));

    place.ok("put @store docs straße/new --vector 1,2,3,4,5,6,7,8,9,10,11,12 --payload text");
    let record = place.json("get @store docs straße/new --json");
    assert_eq!((record["key"].as_str(), record["payload"].as_str()), (Some("straße/new"), Some("text")));
    assert!(place.ok("get @store bytes 0x00ff0000").contains("0x00ff0000"));
    place.ok("mark @store docs straße/new");
    assert!(place.error("mark @store docs straße/new").contains("already"));
    assert!(place.error("get @store docs straße/new").contains("no record"));
    assert_eq!(listed("keys @store docs --prefix straße/n").len(), 0);
    place.ok("unmark @store docs straße/new");
    assert!(place.error("unmark @store docs straße/new").contains("not marked"));
    assert_eq!(listed("keys @store docs --prefix straße/n"), ["straße/new"]);
    place.ok("remove @store docs straße/new");
    assert!(place.error("remove @store docs straße/new").contains("straße/new"));
    assert!(place.error("get @store wide straße/new").contains("whole numbers"));

    assert!(place.ok("search @store docs --queries @base.fvecs --k 1 --limit 4").contains(&words[0]));
    let error = place.error("search @store docs --queries @queries.fvecs --groundtruth @truth.ivecs");
    assert!(error.contains("ground truth"), "{error}");
    assert!(place.error("export-index @store docs --output @index.bin").contains("labels"));
    assert_eq!(place.json("recall @store docs --samples 20 --json")["samples"], 20);
    place.ok("compact @store docs --erase");
    assert!(place.ok("verify @store --absent straße/new --collection docs").contains("nothing is left"));
    place.ok("verify @store");
}

#[test]
fn import_takes_limit_skip_and_stored_settings() {
    let place = Place::new();
    place.ok("import @store words --input @base.fvecs --metric l2 --m 8 --limit 100 --durability buffered");
    // What is not said again is taken as stored.
    place.ok("import @store words --input @base.fvecs --skip 100 --limit 50 --durability every:20");
    assert_eq!(place.json("info @store --json")["collections"][0]["records"], 150);
    let same = place.ok("import @store words --input @base.fvecs --limit 150");
    assert!(same.contains("it holds 150 records now"), "{same}");
    assert_eq!(place.json("get @store words 149 --json")["dim"], DIM);
    place.error("get @store words 150");

    let m = place.error("import @store words --input @base.fvecs --m 16");
    assert!(m.contains('8') && m.contains("16"), "{m}");
    place.error("import @store words --input @base.fvecs --metric cosine");
    place.error("import @store words --input @truth.ivecs");
    assert_eq!(place.json("info @store --json")["collections"][0]["records"], 150);
}

#[test]
fn a_wrong_file_leaves_nothing_behind() {
    let place = Place::new();
    let whole = fs::read(place.path("base.fvecs")).unwrap();
    fs::write(place.path("cut.fvecs"), &whole[..whole.len() - 5]).unwrap();
    let error = place.error("import @new words --input @cut.fvecs --metric l2");
    let row = 4 + 4 * DIM;
    let place_in_file = format!("row {} at byte {} is cut off", ROWS - 1, (ROWS - 1) * row);
    assert!(error.contains(&place_in_file) && error.contains("cut.fvecs"), "{error}");
    place.error("import @new words --input @none.fvecs --metric l2");
    place.error("import @new words --input @truth.ivecs --metric l2");
    let error = place.error("import @new words --input @base.fvecs");
    assert!(error.contains("--metric"), "{error}");
    for line in ["info @new", "verify @new", "checkpoint @new", "get @new words 1", "remove @new words 1"] {
        place.error(line);
    }
    assert!(!place.path("new").exists());

    let mut bad = whole.clone();
    let at = 450 * row;
    bad[at] = 13;
    fs::write(place.path("mixed.fvecs"), &bad).unwrap();
    let error = place.error("import @store words --input @mixed.fvecs --metric l2");
    assert!(error.contains("stopped after 0 of 600 rows") && error.contains(&format!("byte {at}")), "{error}");
    let mut bad = whole;
    bad[450 * row + 4..450 * row + 8].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(place.path("nan.fvecs"), &bad).unwrap();
    place.error("import @store words --input @nan.fvecs --metric l2");
    assert_eq!(place.json("info @store --json")["collections"][0]["records"], 0);
}

#[test]
fn records_come_and_go() {
    let place = Place::new();
    place.import();
    let list = (0..DIM).map(|n| format!("{}", n as f32 - 2.5)).collect::<Vec<_>>().join(",");
    let stored = place.command(&format!("put @store words 7000 --vector {list} --payload")).arg("a text, ü").output();
    assert!(texts(&stored.unwrap()).0.starts_with("stored key 7000"));
    let record = place.json("get @store words 7000 --json");
    assert_eq!((record["payload"].as_str(), record["payload_encoding"].as_str()), (Some("a text, ü"), Some("utf-8")));
    assert_eq!((record["vector"][0].as_f64(), record["dim"].as_u64()), (Some(-2.5), Some(DIM as u64)));
    let shown = place.ok("get @store words 7000");
    assert!(shown.contains("a text, ü") && shown.contains("-2.5, -1.5") && shown.contains("4 more"), "{shown}");

    fs::write(place.path("one.fvecs"), fvecs(&vectors(1, 9))).unwrap();
    let replaced = place.ok("put @store words 7000 --vector @one.fvecs");
    assert!(replaced.starts_with("replaced key 7000"), "{replaced}");
    assert_eq!(place.json("get @store words 7000 --json")["payload"], "");

    assert!(place.ok("mark @store words 7000").contains("key 7000"));
    assert!(place.error("mark @store words 7000").contains("already"));
    for line in ["get @store words 7000", "mark @store words 7001", "unmark @store words 7001"] {
        assert!(place.error(line).contains("holds no record"), "{line}");
    }
    assert_eq!(place.json("info @store --json")["collections"][0]["marked"], 1);
    assert_eq!(place.json("verify @store --json")["collections"][0]["marked"], 1);
    assert!(place.ok("info @store").contains("marked as deleted"));
    assert!(place.ok("unmark @store words 7000").contains("there again"));
    assert!(place.error("unmark @store words 7000").contains("not marked"));
    assert!(place.ok("remove @store words 7000").starts_with("removed key 7000"));
    for line in ["get @store words 7000", "remove @store words 7000"] {
        assert!(place.error(line).contains("7000"), "{line}");
    }
    for vector in ["1,2", "nan,1,1,1,1,1,1,1,1,1,1,1", "one,two", "@base.fvecs", "@none.npy"] {
        place.error(&format!("put @store words 1 --vector {vector}"));
    }
    assert!(place.error("get @store nowhere 1").contains("nowhere"));
    assert_eq!(place.json("verify @store --json")["ok"], true);
}

#[test]
fn the_store_as_a_whole() {
    let place = Place::new();
    place.import();
    let info = place.json("info @store --json");
    let words = &info["collections"][0];
    assert_eq!((words["name"].as_str(), words["metric"].as_str()), (Some("words"), Some("l2")));
    assert_eq!((words["records"].as_u64(), words["dim"].as_u64()), (Some(ROWS as u64), Some(DIM as u64)));
    assert_eq!((words["m"].as_u64(), words["seed"].as_u64()), (Some(16), Some(7)));
    let shown = place.ok("info @store");
    assert!(shown.contains("words") && shown.contains("600"), "{shown}");
    assert!(place.ok("checkpoint @store").contains("checkpoint"));
    assert!(place.ok("verify @store").contains("\nok: every checksum"));
    for (level, held) in [("headers", "every header"), ("checksums", "every checksum"), ("graph", "every graph")] {
        assert!(place.ok(&format!("verify @store --level {level}")).contains(held), "{level}");
    }
    assert_eq!(place.run("verify @store --level all").status.code(), Some(2));
    let report = place.json("verify @store --json");
    let files = report["files"].as_array().unwrap();
    assert!(files.len() > 10 && files.iter().all(|file| file["checked"] == file["bytes"]), "{report}");
    assert_eq!((&report["level"], &report["complete"]), (&Value::from("full"), &Value::from(true)));
    assert_eq!(place.json("verify @store --json")["ok"], true);
}

#[test]
fn damage_is_told_with_its_place() {
    let place = Place::new();
    place.import();
    let vectors = place.path("store/c/0/vectors");
    let mut bytes = fs::read(&vectors).unwrap();
    bytes[640] ^= 8;
    fs::write(&vectors, bytes).unwrap();
    place.ok("verify @store --level headers");
    let output = place.run("verify @store --level checksums --json");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&texts(&output).0).unwrap();
    let files = report["files"].as_array().unwrap();
    let damaged: Vec<_> = files.iter().filter(|file| file["damage_count"] != 0).collect();
    assert_eq!(damaged.len(), 1, "{report}");
    assert_eq!((&damaged[0]["name"], &damaged[0]["damage"][0]["offset"]), (&"c/0/vectors".into(), &640.into()));

    // Slots of 64 bytes, one for each key.
    let output = place.run("repair @store --to @mended --json");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&texts(&output).0).unwrap();
    assert_eq!(
        (&report["records"], &report["collections"][0]["lost"]),
        (&(ROWS as u64 - 1).into(), &1.into()),
        "{report}"
    );
    let loss = &report["losses"][0];
    assert_eq!(
        (&loss["kind"], &loss["key"], &loss["offset"]),
        (&"record".into(), &"10".into(), &640.into()),
        "{report}"
    );
    place.ok("verify @mended");
    assert!(place.error("get @mended words 10").contains("10"));
    assert!(place.error("repair @store --to @mended").contains("mended"));
    assert!(place.ok("repair @mended --to @again").contains("599 records in"));
}

#[test]
fn compacting_gives_space_back_and_erases() {
    let place = Place::new();
    place.import();
    for key in 0..20 {
        place.ok(&format!("remove @store words {key}"));
    }
    let absent = "verify @store --absent 7 --collection words";
    assert!(place.error(absent).contains("key 7"));
    let report = place.json("compact @store words --samples 20 --json");
    let words = &report["collections"][0];
    let number = |name: &str| words[name].as_u64().unwrap();
    assert_eq!((number("slots_before"), number("slots_after")), (ROWS as u64, ROWS as u64 - 20));
    assert!(
        words["recall_before"].as_f64().unwrap() > 0.9 && words["recall_after"].as_f64().unwrap() > 0.9,
        "{report}"
    );
    let shown = place.ok("compact @store --erase");
    assert!(shown.contains("collection 'words': 580 records, 580 slots before, 580 now"), "{shown}");
    assert!(place.ok(absent).contains("nothing is left of key 7"));
    assert_eq!(place.json("verify @store --absent 7 --json")["absent"], true);
    assert!(place.error("verify @store --absent 400").contains("key 400"));
    assert!(place.error("compact @store nowhere").contains("nowhere"));
    place.error("compact @new");
    assert_eq!(place.json("verify @store --json")["ok"], true);
}

#[test]
fn every_element_is_imported_and_found() {
    let place = Place::new();
    // Whole numbers from 0 to 255, as bytes and in an .npy; and 0 or 1.
    let bytes: Vec<u8> = vectors(200, 5).concat().iter().map(|x| ((x + 0.5) * 255.0) as u8).collect();
    let npy = |descr: &str, data: Vec<u8>| {
        let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (200, {DIM}), }}\n");
        [b"\x93NUMPY\x01\0".as_slice(), &(head.len() as u16).to_le_bytes(), head.as_bytes(), &data].concat()
    };
    let bvecs: Vec<u8> =
        bytes.chunks(DIM).flat_map(|row| (DIM as i32).to_le_bytes().into_iter().chain(row.iter().copied())).collect();
    fs::write(place.path("bytes.bvecs"), bvecs).unwrap();
    fs::write(place.path("signed.npy"), npy("|i1", bytes.iter().map(|x| x ^ 0x80).collect())).unwrap();
    // A binary16 of 1.0 or more, with whatever fraction.
    fs::write(place.path("half.npy"), npy("<f2", bytes.iter().flat_map(|x| [*x, 0x3c]).collect())).unwrap();
    fs::write(place.path("bits.npy"), npy("|u1", bytes.iter().map(|x| x & 1).collect())).unwrap();
    for (element, metric, file) in [
        ("u8", "--metric l2", "bytes.bvecs"),
        ("i8", "--metric cosine", "signed.npy"),
        ("f16", "--metric ip", "half.npy"),
        ("bf16", "--metric l2", "bytes.bvecs"),
        ("f32", "--metric l2", "half.npy"),
        ("bits", "", "bits.npy"),
    ] {
        let store = format!("@{element}");
        place.ok(&format!("import {store} words --input @{file} {metric} --element {element}"));
        let info = place.json(&format!("info {store} --json"));
        assert_eq!((info["collections"][0]["element"].as_str(), info["records"].as_u64()), (Some(element), Some(200)));
        assert!(place.ok(&format!("info {store}")).contains(&format!(" {element} ")));
        let found = place.json(&format!("search {store} words --queries @{file} --k 1 --threads 2 --json"));
        assert_eq!((found["element"].as_str(), found["queries"].as_u64()), (Some(element), Some(200)));
        let report = place.ok(&format!("search {store} words --queries @{file} --limit 1"));
        let named = if element == "f32" { "(l2, ".to_owned() } else { format!(" of {element}, ") };
        assert!(report.contains(&named), "{report}");
        place.ok(&format!("verify {store}"));
        // What was stored is what the file says.
        let vector = place.json(&format!("get {store} words 7 --json"))["vector"].clone();
        let expected: Vec<f32> = bytes[7 * DIM..8 * DIM]
            .iter()
            .map(|&x| match file {
                "bytes.bvecs" => x.into(),
                "signed.npy" => f32::from(x) - 128.0,
                "half.npy" => 1.0 + f32::from(x) / 1024.0,
                _ => f32::from(x & 1),
            })
            .collect();
        assert_eq!(serde_json::from_value::<Vec<f32>>(vector).unwrap(), expected, "{element}");
    }
    let error = place.error("import @u8 words --input @half.npy");
    assert!(error.contains("row 0, component 0") && error.contains("u8"), "{error}");
    let error = place.error("import @u8 words --input @bytes.bvecs --element i8");
    assert!(error.contains("element") && error.contains("u8") && error.contains("i8"), "{error}");
    place.error("import @wrong words --input @bits.npy --metric l2 --element bits");
    place.error("import @wrong words --input @bits.npy --metric hamming --element u8");
}

/// The same answers to all queries, from two stores.
fn same_answers(place: &Place, stores: [&str; 2]) {
    let [a, b] = stores.map(|store| {
        let line = format!("search @{store} docs --queries @queries.fvecs --groundtruth @truth.ivecs --ef 20 --json");
        let found = place.json(&line);
        (found["recall"].clone(), found["distances"].clone())
    });
    assert_eq!(a, b);
    assert!(a.0.as_f64().unwrap() > 0.8);
}

#[test]
fn an_index_goes_out_and_comes_back() {
    let place = Place::new();
    place.ok("import @store docs --input @base.fvecs --metric l2");
    let out = place.json("export-index @store docs --output @index.bin --max-elements 700 --json");
    assert_eq!((out["space"].as_str(), out["records"].as_u64()), (Some("l2"), Some(600)));
    let file = fs::read(place.path("index.bin")).unwrap();
    assert_eq!(out["bytes"].as_u64(), Some(file.len() as u64));
    assert_eq!(u64::from_le_bytes(file[8..16].try_into().unwrap()), 700);
    let said = place.ok("export-index @store docs --output @index.bin");
    assert!(said.contains("hnswlib.Index(\"l2\", 12)"), "{said}");

    assert!(place.error("import-index @other docs --input @index.bin").contains("--metric"));
    assert!(place.error("import-index @other docs --input @index.bin --metric l2 --dim 13").contains("dimension 12"));
    fs::write(place.path("cut.bin"), &file[..file.len() - 1]).unwrap();
    assert!(place.error("import-index @other docs --input @cut.bin --metric l2").contains("is damaged at byte"));
    fs::write(place.path("wild.bin"), &file[1..]).unwrap();
    assert!(place.error("import-index @other docs --input @wild.bin --metric l2").contains("hnswlib-exact"));
    assert!(!place.path("other").exists());

    let back = place.json("import-index @other docs --input @index.bin --metric l2 --as-is --json");
    let numbers = ["nodes", "records", "deleted", "duplicates", "unreachable"].map(|name| back[name].as_u64().unwrap());
    assert_eq!(numbers, [600, 600, 0, 0, 0]);
    same_answers(&place, ["store", "other"]);
    place.ok("verify @other");
    assert!(place.error("import-index @other docs --input @index.bin --metric l2").contains("exists already"));

    let header = [&b"VOYA"[..], &[1, 0, 0, 0, 12, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0]].concat();
    fs::write(place.path("index.voy"), [&header[..], &file].concat()).unwrap();
    assert!(place.error("import-index @voyager docs --input @index.voy --metric ip").contains("its metric is l2"));
    place.ok("import-index @voyager docs --input @index.voy");
    same_answers(&place, ["store", "voyager"]);

    let level0 = 96 + 600 * (4 + 128 + 48 + 8);
    let segment = place.path("chroma").join("0a1b");
    fs::create_dir_all(&segment).unwrap();
    assert!(place.error("import-index @taken docs --input @chroma --metric l2").contains("no header.bin"));
    fs::write(segment.join("header.bin"), [&[1, 0, 0, 0], &file[..96]].concat()).unwrap();
    fs::write(segment.join("data_level0.bin"), &file[96..level0]).unwrap();
    fs::write(segment.join("link_lists.bin"), &file[level0..]).unwrap();
    place.ok("import-index @taken docs --input @chroma --metric l2");
    same_answers(&place, ["store", "taken"]);

    place.ok("export-index @store docs --exact --output @exact.bin");
    assert!(
        place.error("import-index @exact docs --input @exact.bin --format hnswlib-exact --metric l2").contains("--dim")
    );
    let exact =
        place.json("import-index @exact docs --input @exact.bin --format hnswlib-exact --dim 12 --metric l2 --json");
    assert_eq!(exact["records"].as_u64(), Some(600));
}

#[test]
fn usage_errors_end_with_status_2() {
    let place = Place::new();
    for line in [
        "",
        "no-such",
        "import @store words",
        "import @store words --input @base.fvecs --metric l3",
        "import @store words --input @base.fvecs --metric l2 --durability every:0",
        "search @store words --queries @queries.fvecs --k 0",
        "search @store words --queries @queries.fvecs --threads 0",
        "get @store words",
        "keys @store words --prefix a --from b",
        "import @store words --input @base.fvecs --metric l2 --key u63",
    ] {
        assert_eq!(place.run(line).status.code(), Some(2), "{line}");
    }
    assert_eq!(place.run("--help").status.code(), Some(0));
}

#[test]
fn search_refuses_what_does_not_fit() {
    let place = Place::new();
    place.import();
    fs::write(place.path("narrow.fvecs"), fvecs(&[vec![1.0; DIM - 1]])).unwrap();
    let error = place.error("search @store words --queries @narrow.fvecs");
    assert!(error.contains("11") && error.contains("12"), "{error}");
    let deep = "search @store words --queries @queries.fvecs --groundtruth @truth.ivecs --k 11";
    assert!(place.error(deep).contains("10 keys"));
    let long = "search @store words --queries @base.fvecs --groundtruth @truth.ivecs";
    assert!(place.error(long).contains("40 rows for 600 queries"));
    place.error("search @store words --queries @queries.fvecs --groundtruth @base.fvecs");
}

#[test]
fn ctrl_c_ends_an_import_after_a_whole_batch() {
    let place = Place::new();
    fs::write(place.path("large.fvecs"), fvecs(&vectors(400_000, 3))).unwrap();
    let child = place
        .command("import @store words --input @large.fvecs --metric l2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let patience = Instant::now();
    while !has_entries(&place.path("store")) {
        assert!(patience.elapsed() < Duration::from_secs(30), "no store was made");
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(100));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(130), "{out}{err}");

    let stored = place.json("info @store --json")["collections"][0]["records"].as_u64().unwrap();
    assert!(stored.is_multiple_of(1000) && stored < 400_000, "{stored} rows are stored");
    assert!(err.contains(&format!("--skip {stored} ")), "{err}");
    place.ok(&format!("import @store words --input @large.fvecs --skip {stored} --limit 1000"));
    place.ok(&format!("get @store words {}", stored + 999));
}

fn has_entries(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

#[test]
fn what_is_backed_up_comes_back() {
    let place = Place::new();
    place.ok("import @store words --input @base.fvecs --metric l2");
    let first = place.json("backup @store @backups --json");
    place.ok("remove @store words 7");
    let second = place.json("backup @store @backups --json");
    assert_eq!((&first["number"], &second["number"]), (&Value::from(1), &Value::from(2)), "{second}");
    assert!(second["written"].as_u64() < first["written"].as_u64(), "{first} {second}");
    assert_eq!(place.json("backups @backups --verify --json").as_array().map(Vec::len), Some(2));
    place.ok("restore @backups @old --number 1");
    place.ok("get @old words 7");
    place.ok("restore @backups @new");
    assert!(place.error("get @new words 7").contains('7'));
    assert!(place.error("restore @backups @new").contains("not empty"));
    assert!(place.error("restore @backups @newer --number 3").contains("no backup 3"));
    fs::write(place.path("backups/00000001.blocks"), "").unwrap();
    let output = place.run("backups @backups --verify");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn the_demo_keeps_its_word() {
    let place = Place::new();
    let told = place.ok("demo --dir @demo");
    assert!(told.contains("nothing acknowledged was lost") && told.contains("SIGKILL"), "{told}");
    let info = place.json("info @demo --json");
    assert_eq!(info["collections"].as_array().map(Vec::len), Some(2), "{info}");
    assert!(place.error("demo --dir @demo").contains("not empty"));
}
