//! `lodestore import-index` of directories that Chroma has made: `chroma/make.py` says how, and what is in them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

const VERSIONS: [&str; 2] = ["v04", "v15"];
const COLLECTIONS: [(&str, &str); 3] = [("glosses", "cosine"), ("few", "l2"), ("products", "ip")];

fn data(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chroma").join(version)
}

fn lodestore(line: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lodestore")).args(line).output().unwrap()
}

fn ok(line: &[&str]) -> String {
    let output = lodestore(line);
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The one sentence with which it fails.
fn error(line: &[&str]) -> String {
    let output = lodestore(line);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line:?}: {text}");
    assert!(text.starts_with("error: ") && text.trim_end().lines().count() == 1, "{line:?}: {text}");
    text
}

/// A copy that may be changed, and a place for stores.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new(version: &str) -> Self {
        let place = Self { dir: TempDir::new().unwrap() };
        copy(&data(version).join("store"), &place.path("chroma"));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn import(&self, store: &str, collection: &str, more: &[&str]) -> Vec<String> {
        let words = ["import-index", store, collection, "--input", "chroma"];
        let path = |word: &str| self.path(word).display().to_string();
        let mut line: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        (line[1], line[4]) = (path(store), path("chroma"));
        line.extend(more.iter().map(|word| word.to_string()));
        line
    }

    fn error(&self, collection: &str, more: &[&str]) -> String {
        let line = self.import("none", collection, more);
        let text = error(&line.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!self.path("none").exists(), "a store was made: {text}");
        text
    }

    fn ok(&self, collection: &str, more: &[&str]) -> String {
        let line = self.import("store", collection, more);
        ok(&line.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The index of the collection that has one.
    fn segment(&self) -> PathBuf {
        let all = fs::read_dir(self.path("chroma")).unwrap().map(|entry| entry.unwrap().path());
        all.into_iter().find(|path| path.is_dir()).unwrap()
    }

    fn sql(&self, sql: &str) {
        let database = rusqlite::Connection::open(self.path("chroma").join("chroma.sqlite3")).unwrap();
        database.execute_batch(&format!("PRAGMA foreign_keys = OFF; BEGIN; {sql}; COMMIT")).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

#[test]
fn collections_of_chroma_are_as_chroma_says() {
    for version in VERSIONS {
        let place = Place::new(version);
        let expected: Value = serde_json::from_slice(&fs::read(data(version).join("expected.json")).unwrap()).unwrap();
        for (name, metric) in COLLECTIONS {
            let imported: Value = serde_json::from_str(&place.ok(name, &["--json"])).unwrap();
            let expected = expected[name].as_object().unwrap();
            assert_eq!(imported["records"].as_u64(), Some(expected.len() as u64), "{version} {name}");
            let store = place.path("store").display().to_string();
            let keys = ok(&["keys", &store, name]);
            assert_eq!(keys.lines().collect::<Vec<_>>(), expected.keys().map(String::as_str).collect::<Vec<_>>());
            for (id, record) in expected {
                let got: Value = serde_json::from_str(&ok(&["get", &store, name, id, "--json"])).unwrap();
                let (vector, of_chroma) = (numbers(&got["vector"]), numbers(&record["vector"]));
                assert_eq!(vector.len(), 12);
                for (x, y) in vector.iter().zip(&of_chroma) {
                    // Under cosine 1.x has vectors multiplied by their lengths again; 0.4 gives them normalised.
                    let norm = |vector: &[f64]| vector.iter().map(|x| x * x).sum::<f64>().sqrt();
                    let scale = if metric == "cosine" { norm(&vector) / norm(&of_chroma) } else { 1.0 };
                    assert!((x - y * scale).abs() < 1e-5, "{version} {name} {id}: {vector:?}, {of_chroma:?}");
                }
                let payload = got["payload"].as_str().unwrap_or_default();
                let payload = if payload.is_empty() { Value::Null } else { serde_json::from_str(payload).unwrap() };
                assert_eq!(payload["document"], record["document"], "{version} {name} {id}");
                assert_eq!(payload["metadata"], record["metadata"], "{version} {name} {id}");
            }
        }
        let store = place.path("store").display().to_string();
        ok(&["verify", &store]);
        let info: Value = serde_json::from_str(&ok(&["info", &store, "--json"])).unwrap();
        for (name, metric) in COLLECTIONS {
            let all = info["collections"].as_array().unwrap();
            let one = all.iter().find(|one| one["name"] == name).unwrap();
            assert_eq!((one["metric"].as_str(), one["key"].as_str()), (Some(metric), Some("str")), "{version}");
        }
    }
}

/// What segments have seen of the queue is carried out by them as it is here.
#[test]
fn the_queue_alone_makes_the_same_records() {
    for version in VERSIONS {
        let place = Place::new(version);
        place.ok("few", &[]);
        let store = |name: &str| place.path(name).display().to_string();
        let records = |of: &str| {
            let keys = ok(&["keys", of, "few"]);
            let get = |id| ok(&["get", of, "few", id, "--json"]);
            keys.lines().map(get).collect::<Vec<_>>()
        };
        let before = records(&store("store"));
        assert_eq!(before.len(), 3);
        place.sql("DELETE FROM embedding_metadata; DELETE FROM embeddings; DELETE FROM max_seq_id");
        fs::remove_dir_all(place.path("store")).unwrap();
        place.ok("few", &[]);
        assert_eq!(records(&store("store")), before, "{version}");
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn collections_are_named() {
    let place = Place::new("v15");
    let text = place.error("docs", &[]);
    assert!(text.contains("4 collections") && text.contains("'empty', 'few', 'glosses', 'products'"), "{text}");
    assert!(place.error("docs", &["--source", "none"]).contains("no collection 'none'"));
    assert!(place.error("empty", &[]).contains("never had a record"));
    assert!(place.error("few", &["--metric", "ip"]).contains("its metric is l2"));
    assert!(place.error("few", &["--dim", "13"]).contains("dimension 12, not 13"));
    place.ok("docs", &["--source", "glosses", "--element", "f16"]);
    let line = place.import("store", "docs", &["--source", "glosses", "--element", "f16"]);
    assert!(error(&line.iter().map(String::as_str).collect::<Vec<_>>()).contains("exists already"));
    // The only one there is needs no name.
    place.sql("DELETE FROM collections WHERE name <> 'few'");
    place.ok("words", &[]);
}

#[test]
fn a_damaged_database_is_refused() {
    let place = Place::new("v15");
    let sound = fs::read(place.path("chroma").join("chroma.sqlite3")).unwrap();
    for (sql, what) in [
        ("UPDATE embeddings_queue SET vector = x'00000000' WHERE vector NOT NULL", "4 bytes, where 48 are expected"),
        ("UPDATE embeddings_queue SET operation = 9", "of kind 9"),
        ("UPDATE embeddings_queue SET encoding = 'FLOAT64' WHERE vector NOT NULL", "FLOAT64"),
        ("DELETE FROM max_seq_id; UPDATE embeddings_queue SET metadata = '{' WHERE operation = 2", "no JSON"),
        ("UPDATE embeddings_queue SET vector = NULL WHERE operation = 2", "without a vector"),
        ("UPDATE embeddings_queue SET id = x'ff' WHERE operation = 2", "not as expected"),
        ("UPDATE collections SET dimension = 100000", "dimension"),
        ("UPDATE collections SET dimension = 13", "13"),
        ("UPDATE collections SET config_json_str = '{', schema_str = NULL", "no JSON"),
        (
            "UPDATE collection_metadata SET str_value = 'l3' WHERE key = 'hnsw:space'; UPDATE collections SET schema_str = NULL",
            "'l3'",
        ),
        ("UPDATE segments SET id = '../' || id", "no UUID"),
        ("DELETE FROM segments", "no segment"),
        ("DELETE FROM embeddings WHERE embedding_id = 'gloss 2'", "'gloss 2' has a vector"),
        (
            "INSERT INTO embeddings (segment_id, embedding_id, seq_id) SELECT segment_id, 'more', 1 FROM embeddings WHERE embedding_id = 'made'",
            "vector",
        ),
        ("DROP TABLE embeddings; CREATE VIEW embeddings AS SELECT * FROM segments", "not a table"),
        ("DROP TABLE max_seq_id", "no table 'max_seq_id'"),
        (
            "UPDATE embedding_metadata SET string_value = NULL, int_value = NULL, float_value = 9e999",
            "has no place for",
        ),
        ("UPDATE embeddings SET embedding_id = x'ff' WHERE embedding_id = 'gloss 2'", "not as expected"),
    ] {
        fs::write(place.path("chroma").join("chroma.sqlite3"), &sound).unwrap();
        place.sql(sql);
        let text = place.error("glosses", &[]);
        assert!(text.contains(what), "{sql}: {text}");
    }
    // Bytes of the file itself: whatever is found in it, nothing ends but with an error or records.
    let pages = sound.len() / 512;
    for page in (0..pages).step_by(pages / 24) {
        let mut bytes = sound.clone();
        bytes[page * 512 + 7..][..64].fill(0xA5);
        fs::write(place.path("chroma").join("chroma.sqlite3"), &bytes).unwrap();
        let line = place.import(&format!("of-{page}"), "glosses", &[]);
        let output = lodestore(&line.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(matches!(output.status.code(), Some(0 | 1)), "{page}: {}", output.status);
    }
    fs::write(place.path("chroma").join("chroma.sqlite3"), &sound[..sound.len() / 2]).unwrap();
    assert!(place.error("glosses", &[]).contains("chroma.sqlite3"));
}

#[test]
fn a_damaged_index_is_refused() {
    let place = Place::new("v15");
    let segment = place.segment();
    for (file, what) in [
        ("index_metadata.pickle", "is missing"),
        ("header.bin", "cannot read"),
        ("data_level0.bin", "cannot read"),
        ("link_lists.bin", "cannot read"),
        ("length.bin", "cannot read"),
    ] {
        let sound = fs::read(segment.join(file)).unwrap();
        fs::remove_file(segment.join(file)).unwrap();
        let text = place.error("glosses", &[]);
        assert!(text.contains(what) && text.contains(file), "{file}: {text}");
        fs::write(segment.join(file), &sound[..sound.len() / 4]).unwrap();
        let text = place.error("glosses", &[]);
        assert!(text.contains(file), "{file}: {text}");
        fs::write(segment.join(file), &sound).unwrap();
    }
    let mut labels = fs::read(segment.join("index_metadata.pickle")).unwrap();
    // One label for two.
    let label = |id: &[u8]| labels.windows(id.len()).position(|bytes| bytes == id).unwrap() + id.len();
    let (two, three) = (label(b"gloss 2J"), label(b"gloss 3J"));
    let mut twice = labels.clone();
    twice.copy_within(two..two + 4, three);
    fs::write(segment.join("index_metadata.pickle"), twice).unwrap();
    assert!(place.error("glosses", &[]).contains("which another id has"));
    // Labels that the index does not have.
    let at = labels.windows(8).position(|bytes| bytes == b"gloss 2J").unwrap() + 8;
    labels[at..at + 4].copy_from_slice(&999i32.to_le_bytes());
    fs::write(segment.join("index_metadata.pickle"), &labels).unwrap();
    assert!(place.error("glosses", &[]).contains("label 999"));
}
