//! The format, byte by byte. If one of these fails, logs written before can no longer be read.

use super::format::{GROUP_HEADER, GroupHeader, Head, MAJOR, put_record};
use super::*;

fn header() -> FileHeader {
    FileHeader {
        uuid: *b"0123456789abcdef",
        no: 0x11,
        first_lsn: 0x22,
        prev_file: 0x33,
        prev_end: 0x4444,
        prev_chain: 0x5555_5555,
        salt: 0x6666_6666,
    }
}

#[test]
fn the_file_header_has_these_bytes() {
    let (bytes, crc) = header().encode();
    let mut expected = vec![0; 4096];
    expected[..8].copy_from_slice(b"LODEWAL\0");
    expected[8] = 1;
    expected[16..32].copy_from_slice(b"0123456789abcdef");
    expected[32] = 0x11;
    expected[40] = 0x22;
    expected[48] = 0x33;
    expected[56..58].fill(0x44);
    expected[64..68].fill(0x55);
    expected[68..72].fill(0x66);
    let expected_crc = crc32fast::hash(&expected[..4092]);
    expected[4092..].copy_from_slice(&expected_crc.to_le_bytes());
    assert_eq!((&bytes[..], crc), (&expected[..], expected_crc));
    assert_eq!(FileHeader::decode(&bytes), Head::Whole(header(), crc));
}

#[test]
fn a_group_has_these_bytes() {
    let mut group = vec![0xEE; GROUP_HEADER];
    put_record(&mut group, 7, 1, 3, &[b"a", b"", b"bc"]);
    put_record(&mut group, 8, 0, 0, &[]);
    let header = GroupHeader {
        crc: 0,
        len: 0,
        records: 2,
        first_lsn: 0x22,
        durable_lsn: 0x21,
        chain: 0x3333_3333,
        salt: 0x4444_4444,
        file_no: 0x55,
    };
    let crc = header.seal_into(&mut group);
    let mut expected = vec![0; 64];
    expected[..4].copy_from_slice(b"GRP1");
    expected[8] = 19;
    expected[12] = 2;
    expected[16] = 0x22;
    expected[24] = 0x21;
    expected[32..36].fill(0x33);
    expected[36..40].fill(0x44);
    expected[40] = 0x55;
    expected.extend_from_slice(b"\x03\0\0\0\x07\x01\0\0abc\0\0\0\0\x08\0\0\0");
    let expected_crc = crc32fast::hash(&expected[8..]);
    expected[4..8].copy_from_slice(&expected_crc.to_le_bytes());
    assert_eq!((&group, crc), (&expected, expected_crc));

    let head = group.first_chunk().unwrap();
    assert_eq!(GroupHeader::decode(head), Some(GroupHeader { crc, len: 19, ..header }));
}

#[test]
fn a_newer_minor_version_is_read_and_another_major_one_named() {
    let mut newer = header().encode().0;
    for (at, value) in [(10, 9), (8, 0), (8, MAJOR + 1)] {
        newer[at..at + 2].copy_from_slice(&value.to_le_bytes());
        let crc = crc32fast::hash(&newer[..4092]);
        newer[4092..].copy_from_slice(&crc.to_le_bytes());
        match FileHeader::decode(&newer) {
            Head::Whole(read, _) => assert_eq!((at, read), (10, header())),
            Head::Other(found) => assert_eq!((at, found), (8, value)),
            Head::Torn => panic!("byte {at}"),
        }
    }
    newer[4000] ^= 1;
    assert_eq!(FileHeader::decode(&newer), Head::Other(MAJOR + 1), "whatever its checksum is");
}
