//! What every disk must do, whatever it is made of.
#![expect(unsafe_code, reason = "maps give out addresses; each test is alone with its map")]

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::map::{Map, Mapping, PAGE};
use std::fmt::Debug;
use std::io::ErrorKind;

/// Makes a test of every function named here, each on a new disk.
macro_rules! disk_suite {
    ($with_disk:path) => {
        $crate::disk::os::suite::disk_suite! { $with_disk:
            a_shared_map_and_reads_show_what_was_written
            a_private_map_never_changes_the_file
            a_map_beyond_the_end_works_once_the_file_has_grown
            maps_must_start_at_a_page
            writes_past_the_end_leave_zeros_between
            reading_past_the_end_says_so
            what_is_cached_is_what_is_read
            allocate_grows_with_zeros_and_never_shrinks
            set_len_cuts_and_grows_with_zeros
            rename_replaces_and_open_files_stay_usable
            a_removed_file_stays_usable_while_open
            lists_are_sorted_and_of_one_directory
            missing_names_are_not_found
            an_existing_name_cannot_be_created
            directories_and_files_are_not_mistaken_for_each_other
            paths_out_of_the_store_are_refused
            the_lock_excludes_and_names_its_holder
            syncing_and_evicting_change_nothing
        }
    };
    ($with_disk:path: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $with_disk($crate::disk::os::suite::$name);
            }
        )*
    };
}
pub(in crate::disk) use disk_suite;

/// What a call that must fail says.
pub(in crate::disk) fn expect_err<T: Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

/// A copy of mapped bytes.
pub(in crate::disk) fn mapped(map: &Map, offset: usize, len: usize) -> Vec<u8> {
    assert!(offset + len <= map.len());
    // SAFETY: inside the map, and the test lets the file reach that far; volatile because the bytes change under it.
    (offset..offset + len).map(|at| unsafe { map.as_ptr().add(at).read_volatile() }).collect()
}

fn poke(map: &Map, offset: usize, byte: u8) {
    assert!(offset < map.len());
    // SAFETY: inside a writable map that nobody else uses.
    unsafe { map.as_mut_ptr().unwrap().add(offset).write_volatile(byte) }
}

fn kind<T: Debug>(result: Result<T>) -> ErrorKind {
    match result {
        Err(Error::Io { source, .. }) => source.kind(),
        other => panic!("{other:?}"),
    }
}

pub(in crate::disk) fn a_shared_map_and_reads_show_what_was_written(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    file.write_at(0, &[1; 2 * PAGE]).unwrap();
    let map = file.map(0, 2 * PAGE, Mapping::Shared).unwrap();
    let second = disk.open("a").unwrap().map(PAGE as u64, PAGE, Mapping::Shared).unwrap();
    assert!(map.as_mut_ptr().is_none());
    assert_eq!(mapped(&map, 0, 2 * PAGE), [1; 2 * PAGE]);
    file.write_at(PAGE as u64 - 2, &[2; 4]).unwrap();
    assert_eq!(mapped(&map, PAGE - 3, 6), [1, 2, 2, 2, 2, 1]);
    assert_eq!(mapped(&second, 0, 3), [2, 2, 1]);
    let mut read = [0; 6];
    disk.open("a").unwrap().read_at(PAGE as u64 - 3, &mut read).unwrap();
    assert_eq!(read, [1, 2, 2, 2, 2, 1]);
}

pub(in crate::disk) fn a_private_map_never_changes_the_file(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    file.allocate(2 * PAGE as u64).unwrap();
    let map = file.map(0, 2 * PAGE, Mapping::Private).unwrap();
    assert_eq!(mapped(&map, 10, 2), [0, 0]);
    poke(&map, 10, 7);
    file.sync().unwrap();
    drop(file.map(0, PAGE, Mapping::Private));
    assert_eq!(mapped(&map, 10, 2), [7, 0]);
    let mut read = [9; 2];
    file.read_at(10, &mut read).unwrap();
    assert_eq!(read, [0, 0]);
    assert_eq!(mapped(&file.map(0, PAGE, Mapping::Shared).unwrap(), 10, 1), [0]);
}

/// Not for disks in memory, whose private maps have no file under them.
pub(in crate::disk) fn dropping_private_pages_shows_the_file_again(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    file.write_at(0, &[1; 2 * PAGE]).unwrap();
    let map = file.map(0, 2 * PAGE, Mapping::Private).unwrap();
    poke(&map, 0, 7);
    poke(&map, PAGE, 7);
    file.write_at(1, &[2]).unwrap();
    assert_eq!(mapped(&map, 0, 2), [7, 1], "a private page no longer follows the file");
    // SAFETY: nobody else uses the map, and its content is to be forgotten.
    unsafe { map.drop_pages(0..PAGE) };
    assert_eq!(mapped(&map, 0, 2), [1, 2]);
    assert_eq!(mapped(&map, PAGE, 2), [7, 1]);
}

pub(in crate::disk) fn a_map_beyond_the_end_works_once_the_file_has_grown(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    file.write_at(0, b"x").unwrap();
    let shared = file.map(0, 64 * PAGE, Mapping::Shared).unwrap();
    let private = file.map(16 * PAGE as u64, 8 * PAGE, Mapping::Private).unwrap();
    file.allocate(32 * PAGE as u64).unwrap();
    assert_eq!(mapped(&shared, 32 * PAGE - 1, 1), [0]);
    poke(&private, 8 * PAGE - 1, 5);
    assert_eq!(mapped(&private, 8 * PAGE - 1, 1), [5]);
    file.write_at(20 * PAGE as u64, b"y").unwrap();
    assert_eq!(mapped(&shared, 20 * PAGE, 1), b"y");
}

pub(in crate::disk) fn maps_must_start_at_a_page(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    for mapping in [Mapping::Shared, Mapping::Private] {
        assert_eq!(kind(file.map(100, PAGE, mapping)), ErrorKind::InvalidInput);
    }
}

pub(in crate::disk) fn writes_past_the_end_leave_zeros_between(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(1000, b"end").unwrap();
    assert_eq!(file.len().unwrap(), 1003);
    let mut read = [1; 1003];
    file.read_at(0, &mut read).unwrap();
    assert!(read[..1000].iter().all(|&byte| byte == 0));
    assert_eq!(&read[1000..], b"end");
}

pub(in crate::disk) fn reading_past_the_end_says_so(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    file.write_at(0, b"four").unwrap();
    assert_eq!(kind(file.read_at(0, &mut [0; 5])), ErrorKind::UnexpectedEof);
    assert_eq!(kind(file.read_at(4, &mut [0; 1])), ErrorKind::UnexpectedEof);
    file.read_at(4, &mut []).unwrap();
}

pub(in crate::disk) fn what_is_cached_is_what_is_read(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    let bytes: Vec<u8> = (0..3 * PAGE).map(|n| (n % 251) as u8).collect();
    file.write_at(0, &bytes).unwrap();
    file.expect_random();
    let mut read = vec![0; PAGE];
    for offset in [0, 100, 2 * PAGE] {
        file.request(offset as u64, PAGE as u64);
        // What was just written is there, where the system tells and has not needed the memory since.
        if file.read_cached(offset as u64, &mut read).unwrap() != Some(true) {
            file.read_at(offset as u64, &mut read).unwrap();
        }
        assert_eq!(read, bytes[offset..offset + PAGE]);
    }
    assert!(!matches!(file.read_cached(2 * PAGE as u64 + 1, &mut read), Ok(Some(true))), "behind the end");
}

pub(in crate::disk) fn allocate_grows_with_zeros_and_never_shrinks(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    file.write_at(0, b"data").unwrap();
    file.allocate(10_000).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    file.allocate(100).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    let mut read = [1; 6];
    file.read_at(0, &mut read).unwrap();
    assert_eq!(&read, b"data\0\0");
    file.read_at(9_994, &mut read).unwrap();
    assert_eq!(read, [0; 6]);
}

pub(in crate::disk) fn set_len_cuts_and_grows_with_zeros(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    file.write_at(0, b"abcdef").unwrap();
    file.set_len(3).unwrap();
    assert_eq!(file.len().unwrap(), 3);
    file.set_len(6).unwrap();
    let mut read = [1; 6];
    file.read_at(0, &mut read).unwrap();
    assert_eq!(&read, b"abc\0\0\0");
}

pub(in crate::disk) fn rename_replaces_and_open_files_stay_usable(disk: &dyn Disk) {
    let (new, old) = (disk.create("a.tmp").unwrap(), disk.create("a").unwrap());
    new.write_at(0, b"new").unwrap();
    old.write_at(0, b"old").unwrap();
    disk.rename("a.tmp", "a").unwrap();
    assert_eq!(disk.list("").unwrap(), ["a"]);
    let mut read = [0; 3];
    disk.open("a").unwrap().read_at(0, &mut read).unwrap();
    assert_eq!(&read, b"new");
    old.read_at(0, &mut read).unwrap();
    assert_eq!(&read, b"old");
    new.write_at(0, b"NEW").unwrap();
    disk.rename("a", "a").unwrap();
    disk.open("a").unwrap().read_at(0, &mut read).unwrap();
    assert_eq!(&read, b"NEW");
}

pub(in crate::disk) fn a_removed_file_stays_usable_while_open(disk: &dyn Disk) {
    let file = disk.create("a").unwrap();
    disk.remove("a").unwrap();
    assert!(disk.open("a").unwrap_err().is_not_found());
    file.write_at(0, b"still").unwrap();
    assert_eq!(file.len().unwrap(), 5);
    file.sync().unwrap();
    assert!(disk.create("a").unwrap().is_empty().unwrap());
}

pub(in crate::disk) fn lists_are_sorted_and_of_one_directory(disk: &dyn Disk) {
    assert_eq!(disk.list("").unwrap(), [""; 0]);
    disk.create_dir("d").unwrap();
    disk.create_dir("d/sub").unwrap();
    disk.create_dir("d").unwrap();
    for name in ["b", "d/2", "d/10", "a", "d/sub/x", "d.a"] {
        disk.create(name).unwrap();
    }
    assert_eq!(disk.list("").unwrap(), ["a", "b", "d", "d.a"]);
    assert_eq!(disk.list("d").unwrap(), ["10", "2", "sub"]);
    assert_eq!(disk.list("d/sub").unwrap(), ["x"]);
    assert_eq!(kind(disk.remove_dir("d/sub")), ErrorKind::DirectoryNotEmpty);
    disk.remove("d/sub/x").unwrap();
    disk.remove_dir("d/sub").unwrap();
    assert_eq!(disk.list("d").unwrap(), ["10", "2"]);
}

pub(in crate::disk) fn missing_names_are_not_found(disk: &dyn Disk) {
    disk.create("a").unwrap();
    for error in [
        disk.open("b").map(drop),
        disk.remove("b"),
        disk.rename("b", "c"),
        disk.rename("a", "d/a"),
        disk.create("d/a").map(drop),
        disk.create_dir("d/e"),
        disk.list("d").map(drop),
        disk.sync_dir("d"),
        disk.remove_dir("d"),
    ] {
        let error = error.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
    assert_eq!(disk.list("").unwrap(), ["a"]);
}

pub(in crate::disk) fn an_existing_name_cannot_be_created(disk: &dyn Disk) {
    disk.create("a").unwrap().write_at(0, b"kept").unwrap();
    disk.create_dir("d").unwrap();
    assert_eq!(kind(disk.create("a")), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create("d")), ErrorKind::AlreadyExists);
    assert_eq!(disk.open("a").unwrap().len().unwrap(), 4);
}

pub(in crate::disk) fn directories_and_files_are_not_mistaken_for_each_other(disk: &dyn Disk) {
    disk.create("a").unwrap();
    disk.create_dir("d").unwrap();
    assert_eq!(kind(disk.open("d")), ErrorKind::IsADirectory);
    assert!(expect_err(disk.open("d")).contains("a directory, not a regular file"));
    assert_eq!(kind(disk.rename("a", "d")), ErrorKind::IsADirectory);
    disk.remove("d").unwrap_err();
    for error in [
        disk.create_dir("a"),
        disk.list("a").map(drop),
        disk.sync_dir("a"),
        disk.remove_dir("a"),
        disk.create("a/b").map(drop),
        disk.open("a/b").map(drop),
    ] {
        assert_eq!(kind(error), ErrorKind::NotADirectory);
    }
    assert_eq!(disk.list("").unwrap(), ["a", "d"]);
}

pub(in crate::disk) fn paths_out_of_the_store_are_refused(disk: &dyn Disk) {
    disk.create_dir("d").unwrap();
    disk.create("a").unwrap();
    for bad in ["/a", "../a", "d/../a", "d/..", "./a", "d//a", "d/", ".", ".."] {
        for result in [
            disk.create(bad).map(drop),
            disk.open(bad).map(drop),
            disk.rename("a", bad),
            disk.rename(bad, "b"),
            disk.remove(bad),
            disk.list(bad).map(drop),
            disk.create_dir(bad),
            disk.sync_dir(bad),
            disk.lock(bad, "me").map(drop),
        ] {
            assert_eq!(kind(result), ErrorKind::InvalidInput, "{bad}");
        }
    }
    for result in [disk.create("").map(drop), disk.create_dir(""), disk.remove("")] {
        assert_eq!(kind(result), ErrorKind::InvalidInput);
    }
}

pub(in crate::disk) fn the_lock_excludes_and_names_its_holder(disk: &dyn Disk) {
    for holder in ["pid 1 since today", "pid 2"] {
        // What a holder that was killed has left.
        if disk.open("LOCK").is_ok() {
            disk.open("LOCK").unwrap().write_at(0, b"pid 0 since the day before yesterday").unwrap();
        }
        let lock = disk.lock("LOCK", holder).unwrap();
        match disk.lock("LOCK", "pid 3") {
            Err(Error::Locked { path, holder: found }) => {
                assert!(path.ends_with("LOCK"));
                assert_eq!(found, holder);
            }
            other => panic!("{other:?}"),
        }
        let file = disk.open("LOCK").unwrap();
        let mut text = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut text).unwrap();
        assert_eq!(String::from_utf8_lossy(&text), holder, "all that the file holds");
        drop(lock);
    }
    assert_eq!(disk.open("LOCK").unwrap().len().unwrap(), 0, "no text is left of who let go");
}

pub(in crate::disk) fn syncing_and_evicting_change_nothing(disk: &dyn Disk) {
    disk.create_dir("d").unwrap();
    let file = disk.create("d/a").unwrap();
    file.write_at(0, b"data").unwrap();
    file.evict().unwrap();
    file.sync().unwrap();
    file.evict().unwrap();
    disk.sync_dir("d").unwrap();
    disk.sync_dir("").unwrap();
    let mut read = [0; 4];
    file.read_at(0, &mut read).unwrap();
    assert_eq!(&read, b"data");
    assert_eq!(file.path(), "d/a");
}
