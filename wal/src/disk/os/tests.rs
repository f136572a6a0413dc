//! What only a real file system does.

use super::suite::{disk_suite, expect_err};
use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

fn with_disk(test: impl FnOnce(&dyn Disk)) {
    with_os_disk(|disk, _| test(disk));
}

fn with_os_disk(test: impl FnOnce(&OsDisk, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    let disk = OsDisk::new(dir.path()).unwrap();
    test(&disk, dir.path());
}

disk_suite!(with_disk);

/// One that is being started has all files of the process that starts it, until it runs its own program.
#[test]
fn a_lock_ends_though_another_process_has_its_file() {
    with_os_disk(|disk, dir| {
        let file = options().create(true).truncate(false).open(dir.join("LOCK")).unwrap();
        file.try_lock().unwrap();
        let elsewhere = file.try_clone().unwrap();
        let lock = OsLock { file, process: std::process::id() };
        assert!(matches!(disk.lock("LOCK", "second"), Err(Error::Locked { .. })));
        drop(lock);
        disk.lock("LOCK", "second").unwrap();
        drop(elsewhere);
        // Those that share it keep others out, and not each other.
        let both = [disk.lock_shared("LOCK").unwrap(), disk.lock_shared("LOCK").unwrap()];
        assert!(matches!(disk.lock("LOCK", "third"), Err(Error::Locked { .. })));
        drop(both);
        let third = disk.lock("LOCK", "third").unwrap();
        let refused = disk.lock_shared("LOCK").unwrap_err();
        assert!(matches!(&refused, Error::Locked { holder, .. } if holder == "third"), "{refused}");
        drop(third);
        assert!(disk.lock_shared("none").unwrap_err().is_not_found());
    });
}

#[test]
fn dropping_private_pages_shows_the_file_again() {
    with_disk(suite::dropping_private_pages_shows_the_file_again);
}

#[test]
fn what_is_no_regular_file_is_refused_and_named() {
    with_os_disk(|disk, dir| {
        std::fs::write(dir.join("outside"), "x").unwrap();
        symlink(dir.join("outside"), dir.join("link")).unwrap();
        symlink(dir.join("nowhere"), dir.join("dangling")).unwrap();
        let _listener = UnixListener::bind(dir.join("socket")).unwrap();
        for (name, found) in [("link", "a symbolic link"), ("dangling", "a symbolic link"), ("socket", "a socket")] {
            assert!(expect_err(disk.open(name)).contains(found));
            assert!(expect_err(disk.lock(name, "me")).contains(found));
            assert!(expect_err(disk.create(name)).contains("exists"));
        }
        assert!(!dir.join("nowhere").exists());
    });
}

#[test]
fn a_linked_directory_leads_nowhere() {
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("file"), "x").unwrap();
    with_os_disk(|disk, dir| {
        symlink(elsewhere.path(), dir.join("wal")).unwrap();
        let refused = "`wal` is a symbolic link, not a directory";
        assert!(expect_err(disk.open("wal/file")).contains(refused));
        assert!(expect_err(disk.create("wal/new")).contains(refused));
        assert!(expect_err(disk.remove("wal/file")).contains(refused));
        assert!(expect_err(disk.list("wal")).contains(refused));
        assert!(expect_err(disk.create_dir("wal")).contains(refused));
        assert!(expect_err(disk.sync_dir("wal")).contains(refused));
    });
    assert!(elsewhere.path().join("file").exists());
}

#[test]
fn nobody_else_may_read_what_is_made() {
    with_os_disk(|disk, dir| {
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let root = OsDisk::create_root(dir.join("store")).unwrap();
        disk.create_dir("wal").unwrap();
        disk.create("wal/1").unwrap();
        let _lock = disk.lock("LOCK", "me").unwrap();
        assert_eq!(mode(root.root()), 0o700);
        assert_eq!(mode(&dir.join("wal")), 0o700);
        assert_eq!(mode(&dir.join("wal/1")), 0o600);
        assert_eq!(mode(&dir.join("LOCK")), 0o600);
    });
}

#[test]
fn the_root_must_be_a_directory_and_can_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let (file, store) = (dir.path().join("file"), dir.path().join("store"));
    std::fs::write(&file, "x").unwrap();
    assert!(expect_err(OsDisk::new(&file)).contains("a regular file, not a directory"));
    assert!(expect_err(OsDisk::create_root(&file)).contains("a regular file, not a directory"));
    assert!(OsDisk::new(&store).unwrap_err().is_not_found());
    assert!(OsDisk::create_root(store.join("deeper")).unwrap_err().is_not_found());
    OsDisk::create_root(&store).unwrap().create("kept").unwrap();
    assert_eq!(OsDisk::create_root(&store).unwrap().list("").unwrap(), ["kept"]);
    assert_eq!(OsDisk::new(&store).unwrap().root(), store.canonicalize().unwrap());
}

#[test]
fn two_disks_of_one_directory_share_the_lock_and_the_loser_reads_a_clean_text() {
    with_os_disk(|one, dir| {
        std::fs::write(dir.join("LOCK"), "an older and much longer text").unwrap();
        let two = OsDisk::new(dir).unwrap();
        let lock = one.lock("LOCK", "pid 7\u{1b}[31m\n on host").unwrap();
        match two.lock("LOCK", "pid 8") {
            Err(Error::Locked { path, holder }) => {
                assert_eq!(path, dir.canonicalize().unwrap().join("LOCK"));
                assert_eq!(holder, "pid 7[31m on host");
            }
            other => panic!("{other:?}"),
        }
        std::fs::write(dir.join("LOCK"), "x".repeat(100_000)).unwrap();
        match two.lock("LOCK", "pid 8") {
            Err(Error::Locked { holder, .. }) => assert_eq!(holder.len(), HOLDER_MAX),
            other => panic!("{other:?}"),
        }
        drop(lock);
        let _lock = two.lock("LOCK", "pid 8").unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("LOCK")).unwrap(), "pid 8");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_with_the_bytes_that_found_no_room() {
    let full = OsFile::new(options().open("/dev/full").unwrap(), "wal/1");
    match full.write_at(0, &[1; 100]) {
        Err(Error::NoSpace { path, needed }) => assert_eq!((path.as_str(), needed), ("wal/1", 100)),
        other => panic!("{other:?}"),
    }
}

/// Memory file systems refuse at once what is more than they can ever hold, so nothing fills up here.
#[cfg(target_os = "linux")]
#[test]
fn allocating_more_than_there_is_keeps_the_length() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    let total = rustix::fs::statvfs(dir.path()).unwrap();
    let wanted = 1 << 45;
    if total.f_blocks == 0 || total.f_blocks.saturating_mul(total.f_frsize) >= wanted {
        return;
    }
    let file = OsDisk::new(dir.path()).unwrap().create("a").unwrap();
    file.write_at(0, b"some").unwrap();
    match file.allocate(wanted) {
        Err(Error::NoSpace { needed, .. }) => assert_eq!(needed, wanted - 4),
        other => panic!("{other:?}"),
    }
    assert_eq!(file.len().unwrap(), 4);
}

#[cfg(target_os = "linux")]
#[test]
fn allocated_space_is_reserved() {
    use std::os::unix::fs::MetadataExt;
    with_os_disk(|disk, dir| {
        let file = disk.create("a").unwrap();
        file.set_len(50_000).unwrap();
        file.allocate(100_000).unwrap();
        assert!(dir.join("a").metadata().unwrap().blocks() * 512 >= 100_000);
    });
}
