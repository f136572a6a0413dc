//! Places a store cannot be in, or should not spread in.

use lodestore::{Error, Store};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

const ROLE: &str = "LODESTORE_TEST_READ_ONLY";

/// Every file below a directory, with its content.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_symlink() || path.is_file() {
                all.insert(name, std::fs::read(&path).unwrap_or_default());
            } else if path.is_dir() {
                all.insert(format!("{name}/"), Vec::new());
                directories.push(path);
            }
        }
    }
    all
}

fn expect_io(result: lodestore::Result<Store>, kind: ErrorKind, names: &str) {
    match result {
        Err(Error::Io { ref source, .. }) if source.kind() == kind => {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(names), "{text} names {names}");
        }
        other => panic!("{kind:?} expected, not {other:?}"),
    }
}

#[test]
fn a_path_that_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "content").unwrap();
    for create in [true, false] {
        expect_io(Store::options().create(create).open(&file), ErrorKind::NotADirectory, "file");
        expect_io(Store::options().create(create).open(file.join("below")), ErrorKind::NotADirectory, "below");
    }
    expect_io(Store::open("/dev/null"), ErrorKind::NotADirectory, "/dev/null");
    expect_io(Store::open(dir.path().join("no/parent")), ErrorKind::NotFound, "no/parent");
    assert!(Store::open("").is_err());
    let dangling = dir.path().join("dangling");
    symlink(dir.path().join("gone"), &dangling).unwrap();
    assert!(matches!(Store::open(&dangling), Err(Error::Io { .. })));
    assert_eq!(tree(dir.path()).len(), 2, "{:?}", tree(dir.path()));
    assert_eq!(std::fs::read(&file).unwrap(), b"content");
}

#[test]
fn a_directory_without_a_store_stays_as_it_is_unless_one_is_to_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Store::options().create(false);
    assert!(matches!(options().open(dir.path()), Err(Error::NotAStore { .. })));
    assert!(matches!(options().open(dir.path().join("missing")), Err(Error::NotAStore { .. })));
    assert!(tree(dir.path()).is_empty(), "{:?}", tree(dir.path()));
    std::fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    assert!(matches!(options().open(dir.path()), Err(Error::NotAStore { .. })));
    assert_eq!(tree(dir.path()).len(), 1);
    Store::open(dir.path()).unwrap().close().unwrap();
    options().open(dir.path()).unwrap();
}

/// Also such files as happen to have the name of one of ours.
#[test]
fn other_files_in_the_directory_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str| std::fs::write(dir.path().join(name), format!("foreign {name}")).unwrap();
    for directory in ["wal", "ckpt", "c", "c/src", ".git"] {
        std::fs::create_dir(dir.path().join(directory)).unwrap();
    }
    let names = [
        ".DS_Store",
        "letter.txt",
        "wal/notes.txt",
        "wal/1.wal",
        "ckpt/7",
        "c/main.c",
        "c/src/x.c",
        "SUPER.bak",
        ".git/x",
    ];
    names.into_iter().for_each(write);
    symlink("letter.txt", dir.path().join("link")).unwrap();
    let before = tree(dir.path());
    for round in 0..3 {
        let store = Store::open(dir.path()).unwrap();
        let docs = store.collection::<u64>("docs").dim(2).open_or_create().unwrap();
        docs.put(round, &[1.0, round as f32], b"").unwrap();
        store.checkpoint().unwrap();
        assert!(store.verify().unwrap().ok());
        assert!(store.stats().unwrap().bytes > 0);
        drop((docs, store));
        let after = tree(dir.path());
        for (name, content) in &before {
            assert_eq!(after.get(name), Some(content), "{name}");
        }
    }
}

#[test]
fn a_directory_with_files_of_our_names_but_no_store_is_refused_with_nothing_lost() {
    for name in ["heads", "catalog.redb", "c/0/meta", "SUPER"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(name), "not ours").unwrap();
        let opened = Store::open(dir.path());
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "{name}: {opened:?}");
        assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), b"not ours", "{name}");
    }
}

/// Run again as a user whom modes bind; does nothing otherwise.
#[test]
fn as_another_user() {
    let Some(root) = std::env::var_os(ROLE) else { return };
    let root = Path::new(&root);
    let before = tree(root);
    expect_io(Store::open(root.join("empty")), ErrorKind::PermissionDenied, "LOCK");
    expect_io(Store::open(root.join("empty/new")), ErrorKind::PermissionDenied, "new");
    assert!(matches!(Store::options().create(false).open(root.join("empty")), Err(Error::NotAStore { .. })));
    expect_io(Store::open(root.join("store")), ErrorKind::PermissionDenied, "SUPER");
    assert_eq!(tree(root), before);
}

#[test]
fn a_read_only_directory() {
    if !can_be_somebody_else() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    std::fs::create_dir(root.join("empty")).unwrap();
    let store = Store::open(root.join("store")).unwrap();
    store.collection::<u64>("docs").dim(2).create().unwrap().put(1, &[1.0, 2.0], b"").unwrap();
    store.close().unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let mut paths = vec![root.to_owned()];
    paths.extend(tree(root).keys().map(|name| root.join(name)));
    paths.iter().for_each(|path| mode(path, if path.is_dir() { 0o555 } else { 0o444 }));
    let (passed, text) = as_somebody_else("input::places::as_another_user", (ROLE, root));
    paths.iter().for_each(|path| mode(path, if path.is_dir() { 0o755 } else { 0o644 }));
    assert!(passed, "{text}");
    // And the store is as it was.
    let store = Store::open(root.join("store")).unwrap();
    assert_eq!(store.collection::<u64>("docs").open().unwrap().len(), 1);
}

/// Whether this process can become a user whom modes bind; says so if not.
pub(crate) fn can_be_somebody_else() -> bool {
    let can = Command::new("setpriv").arg("--version").output().is_ok();
    if !can {
        println!("skipped: there is no setpriv to become a user whom modes bind");
    }
    can
}

/// The user that root becomes.
pub(crate) const SOMEBODY: u32 = 65534;

/// Runs one test of this binary as a user whom modes bind, with a variable that tells it where to look. Whether it
/// passed, and what it printed.
pub(crate) fn as_somebody_else(test: &str, (variable, root): (&str, &Path)) -> (bool, String) {
    // The other user may not be able to reach the place where this binary was built.
    let place = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let binary = place.path().join("lodestore-test");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    [place.path(), &binary].into_iter().for_each(mode);
    let mut command = Command::new("setpriv");
    // Only root can become somebody else; anybody else is bound already.
    if is_root() {
        command.args([format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}"), "--clear-groups".into()]);
    }
    let output = command.arg(&binary).args([test, "--exact", "--nocapture"]).env(variable, root).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success() && text.contains("1 passed"), text)
}

pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
}
