use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;

fn file(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn fvecs(rows: &[&[f32]]) -> Vec<u8> {
    let row = |row: &&[f32]| {
        let head = (row.len() as i32).to_le_bytes();
        head.into_iter().chain(row.iter().flat_map(|x| x.to_le_bytes())).collect::<Vec<_>>()
    };
    rows.iter().flat_map(row).collect()
}

fn npy(version: u8, head: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = npy::MAGIC.to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((head.len() as u16).to_le_bytes()),
        _ => bytes.extend((head.len() as u32).to_le_bytes()),
    }
    bytes.extend(head.as_bytes());
    bytes.extend(data);
    bytes
}

fn all(mut rows: Rows, block: u64) -> Result<Vec<f32>, FormatError> {
    let mut out = rows.block();
    while rows.read(block, &mut out)? > 0 {}
    Ok(match out {
        Block::F32(all) => all,
        Block::F16(all) => all.into_iter().map(f32::from).collect(),
        Block::I8(all) => all.into_iter().map(f32::from).collect(),
        Block::U8(all) => all.into_iter().map(f32::from).collect(),
    })
}

#[test]
fn texmex_rows_come_in_blocks_of_any_size() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "a.fvecs", &fvecs(&[&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]]));
    for block in 1..5 {
        let rows = vectors(&path).unwrap();
        assert_eq!((rows.dim(), rows.count()), (2, 3));
        assert_eq!(all(rows, block).unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
    let mut rows = vectors(&path).unwrap();
    rows.skip_to(2);
    assert_eq!(all(rows, 10).unwrap(), [5.0, 6.0]);
    let mut rows = vectors(&path).unwrap();
    rows.skip_to(9);
    assert!(all(rows, 10).unwrap().is_empty());
    let bytes = file(&dir, "b.BVECS", &[2, 0, 0, 0, 7, 255]);
    assert_eq!(all(vectors(&bytes).unwrap(), 10).unwrap(), [7.0, 255.0]);
}

#[test]
fn every_cut_of_a_texmex_file_is_an_error_or_fewer_rows() {
    let dir = TempDir::new().unwrap();
    let whole = fvecs(&[&[1.0, 2.0], &[3.0, 4.0]]);
    for cut in 0..whole.len() {
        let path = file(&dir, "cut.fvecs", &whole[..cut]);
        match vectors(&path) {
            Ok(rows) => assert_eq!((cut, rows.count()), (12, 1)),
            Err(FormatError::Empty { .. }) => assert_eq!(cut, 0),
            Err(FormatError::Truncated { row, offset, got, .. }) => {
                assert_eq!(row, (cut / 12) as u64);
                assert_eq!(offset + got, cut as u64);
            }
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn hostile_dimensions_are_named_with_their_place() {
    let dir = TempDir::new().unwrap();
    for dim in [0, -1, i32::MIN, 65_537, i32::MAX] {
        let mut bytes = i32::to_le_bytes(dim).to_vec();
        bytes.extend([0; 64]);
        let error = vectors(&file(&dir, "bad.fvecs", &bytes)).unwrap_err();
        assert!(matches!(error, FormatError::Dimension { row: 0, offset: 0, got, .. } if got == i64::from(dim)));
    }
    let mut bytes = fvecs(&[&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]]);
    bytes[12] = 3;
    let error = all(vectors(&file(&dir, "mixed.fvecs", &bytes)).unwrap(), 2).unwrap_err();
    assert!(matches!(error, FormatError::MixedDimension { row: 1, offset: 12, got: 3, expected: 2, .. }), "{error}");
    assert!(error.to_string().ends_with("row 1 at byte 12 has dimension 3, expected 2 as in row 0"));
}

#[test]
fn a_file_that_shrinks_while_it_is_read() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "a.fvecs", &fvecs(&[&[1.0], &[2.0], &[3.0]]));
    let rows = vectors(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(20).unwrap();
    let error = all(rows, 10).unwrap_err();
    assert!(matches!(error, FormatError::Truncated { row: 2, offset: 16, got: 4, expected: 8, .. }), "{error}");
}

#[test]
fn keys_are_cut_to_the_width_asked_for() {
    let dir = TempDir::new().unwrap();
    let ints = |rows: &[[i32; 4]]| rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    let path = file(&dir, "t.ivecs", &ints(&[[3, 7, 8, 9], [3, 4, 5, 6]]));
    let mut out = Vec::new();
    assert_eq!(keys(&path).unwrap().read_keys(10, 2, &mut out).unwrap(), 2);
    assert_eq!(out, [7, 8, 4, 5]);
    let path = file(&dir, "n.ivecs", &ints(&[[3, 7, -8, 9]]));
    let error = keys(&path).unwrap().read_keys(10, 3, &mut out).unwrap_err();
    assert!(matches!(error, FormatError::Key { row: 0, got: -8, .. }));
    assert!(matches!(keys(&file(&dir, "t.fvecs", &[])), Err(FormatError::Ending { .. })));
    assert!(matches!(vectors(&path), Err(FormatError::Ending { .. })));
}

#[test]
fn numpy_files_of_every_version() {
    let dir = TempDir::new().unwrap();
    let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n";
    let data: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    for version in 1..=3 {
        let rows = vectors(&file(&dir, "a.npy", &npy(version, head, &data))).unwrap();
        assert_eq!((rows.dim(), rows.count()), (2, 2));
        assert_eq!(all(rows, 1).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }
    let version = vectors(&file(&dir, "v.npy", &npy(4, head, &data)));
    assert!(matches!(version, Err(FormatError::Npy { offset: 6, .. })));
    let long = [data.as_slice(), &[0; 3]].concat();
    let long = vectors(&file(&dir, "long.npy", &npy(1, head, &long)));
    assert!(matches!(long, Err(FormatError::Trailing { extra: 3, .. })));
    let none = "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }\n";
    assert!(matches!(vectors(&file(&dir, "none.npy", &npy(1, none, &[]))), Err(FormatError::Empty { .. })));
}

#[test]
fn every_cut_and_every_flipped_byte_of_a_numpy_file_is_survived() {
    let dir = TempDir::new().unwrap();
    let whole = npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }\n", &[0; 16]);
    for cut in 0..whole.len() {
        assert!(vectors(&file(&dir, "cut.npy", &whole[..cut])).is_err(), "cut at {cut}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, b'9', b'(', 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            if let Ok(rows) = vectors(&file(&dir, "flip.npy", &bytes)) {
                assert!(all(rows, 1).unwrap().len() <= 16, "byte {at} = {value}");
            }
        }
    }
    let huge = "{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551615, 65536), }\n";
    assert!(matches!(vectors(&file(&dir, "huge.npy", &npy(1, huge, &[0; 16]))), Err(FormatError::Truncated { .. })));
    let head = [npy::MAGIC.as_slice(), &[2, 0], &u32::MAX.to_le_bytes(), &[b' '; 100]].concat();
    assert!(matches!(vectors(&file(&dir, "head.npy", &head)), Err(FormatError::Npy { offset: 8, .. })));
}
