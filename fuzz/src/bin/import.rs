//! Any bytes as a file of vectors to import, in each format: rows that are whole, or an error.
#![cfg_attr(fuzzing, no_main)]

#[allow(unused_imports, dead_code, unreachable_pub, reason = "as in the command line's crate")]
#[path = "../../../cli/src/formats/mod.rs"]
mod formats;

use std::io::Write;
use std::path::Path;
use tempfile::{Builder, NamedTempFile};

lodestore_fuzz::target!(import, seeds);

/// A file with these bytes, in memory where the system has room for files there; gone once it is dropped.
fn file(ending: &str, bytes: &[u8]) -> NamedTempFile {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let mut file = Builder::new().suffix(&format!(".{ending}")).tempfile_in(parent).expect("a place for an input");
    file.write_all(bytes).expect("room for an input");
    file
}

const ENDINGS: [&str; 4] = ["fvecs", "bvecs", "npy", "ivecs"];

fn import(input: &[u8]) {
    let Some((&which, bytes)) = input.split_first() else { return };
    let ending = ENDINGS[usize::from(which) % ENDINGS.len()];
    let file = file(ending, bytes);
    let opened = if ending == "ivecs" { formats::keys(file.path()) } else { formats::vectors(file.path()) };
    let Ok(mut rows) = opened else { return };
    // Nothing is promised that the file does not hold.
    assert!(rows.dim() > 0 && rows.count() > 0);
    assert!(rows.count().checked_mul(rows.dim() as u64).is_some_and(|elements| elements <= bytes.len() as u64));
    let mut read = 0;
    if ending == "ivecs" {
        let mut keys = Vec::new();
        while let Ok(more @ 1..) = rows.read_keys(7, 3, &mut keys) {
            read += more;
        }
        assert!(keys.len() as u64 <= 3 * rows.count());
    } else {
        let mut block = rows.block();
        while let Ok(more @ 1..) = rows.read(7, &mut block) {
            read += more;
            assert_eq!(block.len() as u64, read * rows.dim() as u64);
        }
    }
    assert!(read <= rows.count());
    rows.skip_to(u64::MAX);
    assert!(matches!(rows.read_keys(1, 1, &mut Vec::new()), Ok(0)));
}

fn seeds() -> Vec<Vec<u8>> {
    let texmex = |which: u8, element: &[u8]| {
        let row = [&2i32.to_le_bytes()[..], element, element].concat();
        [&[which][..], &row, &row, &row].concat()
    };
    let npy = |version: u8, descr: &str, shape: &str, body: &[u8]| {
        let head = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = head.len() as u32;
        let length = if version == 1 { length.to_le_bytes()[..2].to_vec() } else { length.to_le_bytes().to_vec() };
        [&[2][..], b"\x93NUMPY", &[version, 0], &length, head.as_bytes(), body].concat()
    };
    vec![
        texmex(0, &1.5f32.to_le_bytes()),
        texmex(1, &[7]),
        texmex(3, &5i32.to_le_bytes()),
        npy(1, "<f4", "(3, 2)", &[0; 24]),
        npy(2, "<f8", "(2,)", &[0; 16]),
        npy(3, "<f2", "(2, 2)", &[0; 8]),
        npy(1, "|i1", "(1L, 3L)", &[1, 2, 3]),
        npy(1, "|u1", "(2, 1)", &[1, 2]),
    ]
}

#[test]
fn the_seeds_are_whole() {
    for seed in seeds() {
        let ending = ENDINGS[usize::from(seed[0])];
        let file = file(ending, &seed[1..]);
        let opened = if ending == "ivecs" { formats::keys(file.path()) } else { formats::vectors(file.path()) };
        assert!(opened.unwrap().count() > 0);
    }
}
