//! Any bytes as a file of vectors to import, in each format: rows that are whole, or an error.
#![cfg_attr(fuzzing, no_main)]

#[allow(dead_code, unreachable_pub, reason = "as in the command line's crate")]
#[path = "../../../cli/src/formats/mod.rs"]
mod formats;

use std::path::PathBuf;
use std::sync::OnceLock;

lodestore_fuzz::target!(import, seeds);

/// A directory of this process's own, in memory where the system has one.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let directory = parent.join(format!("lodestore-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the inputs");
        directory
    })
}

const ENDINGS: [&str; 4] = ["fvecs", "bvecs", "npy", "ivecs"];

fn import(input: &[u8]) {
    let Some((&which, bytes)) = input.split_first() else { return };
    let ending = ENDINGS[usize::from(which) % ENDINGS.len()];
    let path = directory().join(format!("input.{ending}"));
    std::fs::write(&path, bytes).expect("room for an input");
    let opened = if ending == "ivecs" { formats::keys(&path) } else { formats::vectors(&path) };
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
        let path = directory().join(format!("whole.{ending}"));
        std::fs::write(&path, &seed[1..]).unwrap();
        let opened = if ending == "ivecs" { formats::keys(&path) } else { formats::vectors(&path) };
        assert!(opened.unwrap().count() > 0);
    }
}
