//! Damaged and cut files: a prefix of whole batches or an error, never a wrong record, never a panic.

use super::format::{GroupHeader, Head};
use super::*;
use proptest::prelude::*;

const BATCHES: [usize; 5] = [1, 3, 2, 4, 1];
const TOTAL: u64 = 11;

/// One file with a group for each batch.
fn log_of(disk: &Arc<dyn Disk>, how: Commit) -> Log {
    let log = create(disk);
    for count in BATCHES {
        log.commit(append(&log, count).unwrap(), how).unwrap();
    }
    assert_eq!(log.last_lsn(), TOTAL);
    log
}

fn is_batch_end(lsn: u64) -> bool {
    let mut ends = BATCHES.iter().scan(0, |lsn, count| {
        *lsn += *count as u64;
        Some(*lsn)
    });
    lsn == 0 || ends.any(|end| end == lsn)
}

/// How many records of a [`log_of`] can be read; `None` if damage is reported.
fn survivors(disk: &Arc<dyn Disk>) -> Option<u64> {
    match read(disk, 1) {
        Ok(records) => {
            check(&records, 1);
            let count = records.len() as u64;
            assert!(is_batch_end(count), "{count} records are half a batch");
            Some(count)
        }
        Err(Error::Corrupt { .. } | Error::FormatTooNew { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

/// Calls `check` with the survivors for every place at which one byte is changed.
fn flip_each(disk: &Arc<dyn Disk>, no: u64, check: impl Fn(usize, Option<u64>)) {
    let file = open_file(disk, no);
    let bytes = content(&file);
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    // A little into the room behind the last group, too.
    for (at, byte) in bytes.into_iter().enumerate().take(used + 100) {
        let bit = 1 << (at % 8);
        for changed in [byte ^ bit, !byte] {
            file.write_at(at as u64, &[changed]).unwrap();
            check(at, survivors(disk));
        }
        file.write_at(at as u64, &[byte]).unwrap();
    }
    assert_eq!(survivors(disk), Some(TOTAL));
}

#[test]
fn a_file_cut_anywhere_gives_a_prefix_of_whole_batches() {
    for how in [Commit::Written, Commit::Synced] {
        let disk = mem();
        drop(log_of(&disk, how));
        let file = open_file(&disk, 1);
        let mut most = TOTAL;
        for cut in (0..file.len().unwrap()).rev() {
            file.set_len(cut).unwrap();
            match survivors(&disk) {
                Some(count) => {
                    assert!(cut >= 4096 && count <= most);
                    most = count;
                }
                None => assert!(cut < 4096),
            }
        }
        assert_eq!(most, 0);
    }
}

#[test]
fn appending_goes_on_after_a_file_was_cut_anywhere() {
    let whole = mem();
    drop(log_of(&whole, Commit::Written));
    let bytes = content(&open_file(&whole, 1));
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    for cut in 4096..=end + 1 {
        let disk = mem();
        disk.create_dir("wal").unwrap();
        disk.create(&names::wal(1)).unwrap().write_at(0, &bytes[..cut]).unwrap();
        let mut expected = survivors(&disk).unwrap();
        for _ in 0..2 {
            let log = reopen(&disk);
            assert_eq!(log.durable_lsn(), expected);
            expected = append(&log, 2).unwrap();
            log.commit(expected, Commit::Written).unwrap();
        }
        let records = read(&disk, 1).unwrap();
        assert_eq!(records.len() as u64, expected);
        check(&records, 1);
    }
}

#[test]
fn a_changed_byte_costs_at_most_the_last_synced_group() {
    let disk = mem();
    drop(log_of(&disk, Commit::Synced));
    let last = BATCHES[BATCHES.len() - 1] as u64;
    flip_each(&disk, 1, |at, left| {
        assert!(matches!(left, None | Some(TOTAL)) || left == Some(TOTAL - last), "byte {at}: {left:?}");
        // The header, and the first of the groups.
        assert!(left.is_none() || at > 4096 + 64, "byte {at}: {left:?}");
    });
}

#[test]
fn a_changed_byte_in_a_sealed_log_costs_nothing_unseen() {
    let disk = mem();
    let log = log_of(&disk, Commit::Synced);
    log.seal().unwrap();
    let stats = log.stats();
    log.seal().unwrap();
    assert_eq!(log.stats(), stats, "sealing again does nothing");
    flip_each(&disk, 1, |at, left| assert!(matches!(left, None | Some(TOTAL)), "byte {at}: {left:?}"));

    // And in one that goes on in another file.
    assert_eq!(log.rotate().unwrap(), TOTAL);
    flip_each(&disk, 1, |at, left| assert!(matches!(left, None | Some(TOTAL)), "byte {at}: {left:?}"));
    // A file that holds no record yet is no loss, unless it seems to be of another version.
    flip_each(&disk, 2, |at, left| assert!(left == Some(TOTAL) || at == 8 || at == 9, "byte {at}: {left:?}"));
}

#[test]
fn a_changed_byte_in_what_was_only_written_gives_a_prefix() {
    let disk = mem();
    drop(log_of(&disk, Commit::Written));
    flip_each(&disk, 1, |at, left| assert_eq!(left.is_none(), at < 4096, "byte {at}: {left:?}"));
}

#[test]
fn appending_goes_on_after_a_seal() {
    let disk = mem();
    let log = log_of(&disk, Commit::Written);
    for _ in 0..3 {
        log.seal().unwrap();
        append(&log, 2).unwrap();
    }
    log.seal().unwrap();
    drop(log);
    let log = reopen(&disk);
    log.seal().unwrap();
    assert_eq!(log.stats().groups, 0, "the file header is as good as a seal");
    append(&log, 1).unwrap();
    log.seal().unwrap();
    let records = read(&disk, 1).unwrap();
    assert_eq!(records.len() as u64, TOTAL + 7);
    check(&records, 1);
}

#[test]
fn a_damaged_record_says_where_it_is_and_who_vouched_for_it() {
    let disk = mem();
    drop(log_of(&disk, Commit::Synced));
    open_file(&disk, 1).write_at(2 * 4096 + 80, b"!!").unwrap();
    let said = corruption(read(&disk, 1));
    let expected = "wal/00000001.wal is damaged at byte 4205: record 2 cannot be read, but the group at byte 12288";
    assert!(said.starts_with(expected), "{said}");
}

/// An empty log, its first file, and the header of the group that could come first.
fn first_group() -> (Arc<dyn Disk>, Arc<dyn DiskFile>, GroupHeader) {
    let disk = mem();
    drop(create(&disk));
    let file = open_file(&disk, 1);
    let Head::Whole(header, chain) = FileHeader::decode(content(&file)[..4096].try_into().unwrap()) else { panic!() };
    let salt = header.salt;
    let group = GroupHeader { crc: 0, len: 0, records: 2, first_lsn: 1, durable_lsn: 0, chain, salt, file_no: 1 };
    (disk, file, group)
}

fn write_group(file: &Arc<dyn DiskFile>, header: &GroupHeader, records: &[u8]) {
    let mut bytes = vec![0; 64];
    bytes.extend_from_slice(records);
    header.seal_into(&mut bytes);
    file.write_at(4096, &bytes).unwrap();
}

#[test]
fn a_group_with_right_checksum_and_wrong_content_is_damage() {
    let (disk, file, group) = first_group();
    for records in [&b"\x01\0\0\0\x07\0\0\0x"[..], b"\xff\xff\xff\xff\0\0\0\0", b"", &[0; 17], &[0; 24]] {
        write_group(&file, &group, records);
        assert!(corruption(read(&disk, 1)).contains("records they should"));
    }
}

#[test]
fn a_whole_group_from_elsewhere_is_not_taken_for_the_next_one() {
    type Change = fn(&mut GroupHeader);
    let changes: [Change; 4] = [|h| h.chain ^= 1, |h| h.salt ^= 1, |h| h.file_no = 2, |h| h.first_lsn = 2];
    for change in changes {
        let (disk, file, group) = first_group();
        write_group(&file, &group, &[0; 16]);
        assert_eq!(read(&disk, 1).unwrap().len(), 2);
        let mut wrong = group.clone();
        change(&mut wrong);
        write_group(&file, &wrong, &[0; 16]);
        assert_eq!(read(&disk, 1).unwrap(), []);

        // Only a group of this file can vouch for a record that is missing.
        wrong.first_lsn = 9;
        wrong.durable_lsn = 1;
        write_group(&file, &wrong, &[0; 16]);
        let ours = (wrong.salt, wrong.file_no) == (group.salt, group.file_no);
        assert_eq!(read(&disk, 1).is_err(), ours);
    }
}

#[test]
fn a_size_beyond_the_file_or_the_limit_costs_no_memory() {
    let disk = mem();
    drop(log_of(&disk, Commit::Written));
    let file = open_file(&disk, 1);
    for len in [u32::MAX, MAX_GROUP as u32, MAX_GROUP as u32 - 64, 61 << 10] {
        file.write_at(4096 + 8, &len.to_le_bytes()).unwrap();
        assert_eq!(survivors(&disk), Some(0));
    }
}

fn bytes_as_files(files: &[Vec<u8>]) -> Arc<dyn Disk> {
    let disk = mem();
    disk.create_dir("wal").unwrap();
    for (no, bytes) in (1..).zip(files) {
        disk.create(&names::wal(no)).unwrap().write_at(0, bytes).unwrap();
    }
    disk
}

proptest! {
    #[test]
    fn random_bytes_are_no_log(files in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9000), 1..3)) {
        corruption(read(&bytes_as_files(&files), 1));
    }

    #[test]
    fn a_log_with_pieces_overwritten_is_a_prefix_or_refused(
        pieces in prop::collection::vec((0..6 * 4096usize, prop::collection::vec(any::<u8>(), 1..600)), 1..6),
        copies in prop::collection::vec((0..6usize, 0..6usize), 0..3),
        synced in any::<bool>(),
    ) {
        let disk = mem();
        drop(log_of(&disk, if synced { Commit::Synced } else { Commit::Written }));
        let mut bytes = content(&open_file(&disk, 1));
        for (from, to) in copies {
            bytes.copy_within(from * 4096..(from + 1) * 4096, to * 4096);
        }
        for (at, piece) in pieces {
            bytes[at..at + piece.len()].copy_from_slice(&piece);
        }
        survivors(&bytes_as_files(&[bytes]));
    }

    #[test]
    fn groups_with_right_checksums_and_any_numbers_never_panic(
        numbers in prop::collection::vec((any::<[u64; 3]>(), any::<[u32; 3]>(), 0..5u8), 1..6),
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let header = FileHeader {
            uuid: UUID, no: 1, first_lsn: numbers[0].0[0].max(1), prev_file: 0, prev_end: 0, prev_chain: 0, salt: 5,
        };
        let (bytes, mut chain) = header.encode();
        let mut bytes = bytes.to_vec();
        let mut lsn = header.first_lsn;
        for (wide, narrow, wrong) in numbers {
            let group = GroupHeader {
                crc: 0,
                len: 0,
                records: if wrong == 1 { narrow[0] } else { 0 },
                first_lsn: if wrong == 2 { wide[1] } else { lsn },
                durable_lsn: if wrong == 3 { wide[2] } else { lsn - 1 },
                chain: if wrong == 4 { narrow[1] } else { chain },
                salt: 5,
                file_no: 1,
            };
            lsn = group.first_lsn.max(1);
            let start = bytes.len();
            bytes.resize(start + 64, 0);
            bytes.extend_from_slice(&body);
            chain = group.seal_into(&mut bytes[start..]);
            bytes.resize(bytes.len().next_multiple_of(4096), 0);
        }
        let disk = bytes_as_files(&[bytes]);
        for from in [0, 1, header.first_lsn, u64::MAX] {
            let _ = read(&disk, from);
        }
    }
}
