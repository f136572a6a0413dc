//! A damaged store made into a new one: what is whole is there, as it was; what is not is in the report; what was removed
//! stays away as long as anything tells that it was.

use crate::metric::examples::Manhattan;
use crate::support::data::Data;
use crate::support::files;
use crate::support::model::{Model, Rng, seed};
use lodestore::disk::Disk;
use lodestore::{Codes, Collection, Error, Loss, LossKind, Metric, RepairOptions, RepairReport, Store};
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const DIM: usize = 40;
const ROWS: u64 = 220;
const NAMES: [&str; 2] = ["glosses", "short notes"];

/// A store that was not closed, a copy of it that was, and what both hold.
struct Place {
    dir: TempDir,
    models: [Model; 2],
    /// The key of each log record: collection and key.
    written: BTreeMap<u64, (usize, u64)>,
    /// Keys of the first collection whose records are marked as deleted.
    marked: [u64; 2],
    repairs: usize,
}

fn options() -> lodestore::StoreOptions {
    Store::options().background(false).threads(1)
}

/// Real texts and the first numbers of their vectors; updates, removals, a checkpoint, and more of the same behind it.
fn place() -> Place {
    let Data { glosses, .. } = Data::load();
    let mut rng = Rng::new(11);
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut models = [Model::default(), Model::default()];
    let mut written = BTreeMap::new();
    let store = options().open(dir.path().join("open")).unwrap();
    let new = |name: &str, metric| store.collection::<u64>(name).dim(DIM).metric(metric).m(6).codes(Codes::Eight);
    let docs = [
        new(NAMES[0], Metric::Cosine).ef_construction(40).create().unwrap(),
        new(NAMES[1], Metric::L2).seed(5).create().unwrap(),
    ];
    for n in 0..3 * ROWS {
        let at = usize::from(n % 5 == 0);
        let key = rng.below(ROWS as usize / (at + 1)) as u64;
        if n % 7 == 3 {
            if docs[at].remove(key).unwrap() {
                models[at].remove(key);
                written.insert(store.stats().unwrap().last_lsn, (at, key));
            }
        } else {
            let row = rng.below(glosses.len());
            let vector = &glosses.vector(row)[..DIM];
            let payload = if n % 11 == 0 { vec![n as u8; 5000] } else { glosses.texts[row].as_bytes().to_vec() };
            docs[at].put(key, vector, &payload).unwrap();
            models[at].put(key, vector, &payload);
            written.insert(store.stats().unwrap().last_lsn, (at, key));
        }
        if n == 2 * ROWS {
            store.checkpoint().unwrap();
        }
    }
    // One that the checkpoint will have, one that only the log has; both keep their records.
    let mut keys = models[0].0.keys().copied();
    let marked = [keys.next().unwrap(), keys.next().unwrap()];
    assert!(docs[0].mark_deleted(marked[0]).unwrap());
    store.checkpoint().unwrap();
    assert!(docs[0].mark_deleted(marked[1]).unwrap());
    written.insert(store.stats().unwrap().last_lsn, (0, marked[1]));
    for n in 0..60 {
        let (key, row) = (marked[1] + 1 + rng.below(100) as u64, rng.below(glosses.len()));
        let (vector, payload) = (&glosses.vector(row)[..DIM], glosses.texts[row].as_bytes());
        docs[n % 2].put(key, vector, payload).unwrap();
        models[n % 2].put(key, vector, payload);
        written.insert(store.stats().unwrap().last_lsn, (n % 2, key));
    }
    files::copy(&dir.path().join("open"), &dir.path().join("killed"));
    drop(docs);
    store.close().unwrap();
    std::fs::rename(dir.path().join("open"), dir.path().join("closed")).unwrap();
    Place { dir, models, written, marked, repairs: 0 }
}

impl Place {
    /// Copies one of the two, damages the copy, and repairs it. The damaged one is as it was afterwards.
    fn repair(&mut self, from: &str, damage: impl FnOnce(&Path)) -> (RepairReport, PathBuf) {
        self.repairs += 1;
        let at = self.dir.path().join(format!("damaged-{}", self.repairs));
        let to = self.dir.path().join(format!("new-{}", self.repairs));
        files::copy(&self.dir.path().join(from), &at);
        damage(&at);
        let before = all_bytes(&at);
        let report = lodestore::repair(&at, &to, RepairOptions::new()).unwrap();
        assert!(report.complete && all_bytes(&at) == before, "the damaged store was changed");
        std::fs::remove_dir_all(&at).unwrap();
        (report, to)
    }

    /// The records of the undamaged store that are in slots of which `hit` takes bytes that matter: of `ids` all 32, of
    /// `vectors` the components, behind which lies what is made again.
    fn hit_records(&self, from: &str, file: &str, hit: &[Range<usize>]) -> BTreeSet<(usize, u64)> {
        let at = usize::from(file.starts_with("c/1/"));
        let (stride, matters) = if file.ends_with("ids") { (32, 32) } else { (192, 4 * DIM) };
        let ids = std::fs::read(self.dir.path().join(from).join(format!("c/{at}/ids"))).unwrap();
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        // Each key's newest slot. Where nothing was written yet there is no LSN.
        let mut newest = BTreeMap::new();
        for (slot, id) in ids.chunks(32).enumerate().filter(|(_, id)| id[8..16] != [0; 8]) {
            let found = (word(&id[8..16]), slot);
            newest.entry(word(&id[..8])).and_modify(|known| *known = found.max(*known)).or_insert(found);
        }
        let is_hit = |slot: usize| hit.iter().any(|hit| hit.start < slot * stride + matters && slot * stride < hit.end);
        self.models[at].0.keys().filter(|key| is_hit(newest[key].1)).map(|&key| (at, key)).collect()
    }

    /// What the new store holds otherwise than it should, by collection and key, with what the report says of these.
    fn differences(&self, report: &RepairReport, to: &Path) -> BTreeMap<(usize, u64), Vec<LossKind>> {
        let store = options().create(false).open(to).unwrap();
        let verified = store.verify().unwrap();
        assert!(verified.ok() && verified.notes.is_empty(), "{:?} {:?}", verified.problems, verified.notes);
        let mut different = BTreeMap::new();
        for (at, name) in NAMES.into_iter().enumerate() {
            // The name is lost with the catalogue, if the log does not have it any more.
            let unnamed = format!("collection-{at}");
            let is_there = |name: &str| report.collections.iter().any(|collection| collection.name == name);
            let name = if !is_there(name) && is_there(&unnamed) { &*unnamed } else { name };
            let docs = match store.collection::<u64>(name).open() {
                Ok(docs) => docs,
                Err(Error::NoCollection { .. }) => {
                    different.extend(self.models[at].0.keys().map(|&key| ((at, key), vec![LossKind::Record])));
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            assert!((docs.info().m, docs.info().codes) == (6, Codes::Eight), "{:?}", docs.info());
            for key in 0..ROWS {
                let found = docs.get(key).unwrap().or_else(|| docs.get_marked(key).unwrap());
                let found = found.map(|record| (record.vector, record.payload));
                let due = self.models[at].0.get(&key);
                let told: Vec<LossKind> = losses_of(report, name, key).map(|loss| loss.kind).collect();
                if found.as_ref() == due {
                    // Whatever is told of it may be, but not that it is gone.
                    assert!(!told.contains(&LossKind::Record), "{name} {key}: {:?}", report.losses);
                    continue;
                }
                // What is there without its payload has its own vector.
                if let (Some((vector, payload)), Some((right, _)), [LossKind::Payload]) = (&found, due, &told[..]) {
                    assert!(vector == right && payload.is_empty(), "{name} {key}");
                }
                different.insert((at, key), told);
            }
            let row = report.collections.iter().find(|collection| collection.name == name).unwrap();
            let marked = (0..ROWS).filter(|&key| docs.is_marked_deleted(key).unwrap()).count() as u64;
            assert_eq!(row.records, docs.len() + marked, "{name}");
        }
        store.close().unwrap();
        different
    }
}

fn losses_of<'a>(report: &'a RepairReport, name: &'a str, key: u64) -> impl Iterator<Item = &'a Loss> {
    let key = key.to_string();
    report.losses.iter().filter(move |loss| loss.collection.as_deref() == Some(name) && loss.key.as_ref() == Some(&key))
}

fn all_bytes(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(all_bytes(&entry.path()));
        } else if entry.file_type().unwrap().is_file() && entry.file_name() != "LOCK" {
            all.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

/// Overwrites `length` bytes from `at` on.
fn spoil(path: &Path, at: usize, length: usize, rng: &mut Rng) {
    let mut bytes = std::fs::read(path).unwrap();
    let end = (at + length).min(bytes.len());
    bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 + (rng.next() % 255) as u8);
    std::fs::write(path, bytes).unwrap();
}

fn of_records(report: &RepairReport) -> Vec<&Loss> {
    report.losses.iter().filter(|loss| loss.kind != LossKind::Unknown).collect()
}

#[test]
fn an_undamaged_store_is_repaired_without_loss() {
    let mut place = place();
    for from in ["closed", "killed"] {
        let (report, to) = place.repair(from, |_| {});
        assert!(report.lossless(), "{from}: {:?}", report.losses);
        assert!(place.differences(&report, &to).is_empty(), "{from}");
        let store = options().open(&to).unwrap();
        let docs = store.collection::<u64>(NAMES[0]).open().unwrap();
        for key in place.models[0].0.keys() {
            assert_eq!(docs.is_marked_deleted(key).unwrap(), place.marked.contains(key), "{from} {key}");
        }
    }
}

/// Files from which nothing is taken, or of which there is another source: no damage to one of them costs a record.
#[test]
fn damage_to_what_can_be_made_again_costs_nothing() {
    let mut rng = Rng::new(seed("repair, spare files"));
    let mut place = place();
    for from in ["closed", "killed"] {
        for file in ["SUPER", "heads", "c/0/links", "c/0/upper", "c/0/codes", "c/0/tombs", "c/0/sums", "c/1/tombs"] {
            let whole = rng.one_in(3);
            let (report, to) = place.repair(from, |store| {
                let path = store.join(file);
                let length = std::fs::metadata(&path).unwrap().len() as usize;
                match rng.below(3) {
                    0 => std::fs::remove_file(&path).unwrap(),
                    _ if whole => spoil(&path, 0, length, &mut rng),
                    _ => (0..3).for_each(|_| spoil(&path, rng.below(length), 64, &mut rng)),
                }
            });
            assert!(of_records(&report).is_empty(), "{from} {file}: {:?}", report.losses);
            let different = place.differences(&report, &to);
            assert!(different.is_empty(), "{from} {file}: {different:?}");
        }
    }
}

/// Slots: what was hit is named, and nothing else is missing.
#[test]
fn damaged_slots_are_named_and_all_others_saved() {
    let mut rng = Rng::new(seed("repair, slots"));
    let mut place = place();
    let (mut lost, mut saved_by_the_log) = (0, 0);
    for round in 0..16 {
        let from = ["closed", "killed"][round % 2];
        let file = ["c/0/vectors", "c/0/ids", "c/1/vectors", "c/1/ids"][round / 2 % 4];
        let mut hit = Vec::new();
        let (report, to) = place.repair(from, |store| {
            let path = store.join(file);
            let length = std::fs::metadata(&path).unwrap().len() as usize;
            for _ in 0..1 + rng.below(4) {
                let (at, bytes) = (rng.below(length), 1 + rng.below(200));
                // What was hit before may not be put right.
                let overlaps = |other: &Range<usize>| at < other.end && other.start < at + bytes;
                if !hit.iter().any(overlaps) {
                    spoil(&path, at, bytes, &mut rng);
                    hit.push(at..at + bytes);
                }
            }
        });
        let hit = place.hit_records(from, file, &hit);
        let different = place.differences(&report, &to);
        let named = of_records(&report);
        assert!(named.iter().all(|loss| loss.kind == LossKind::Record && loss.file == file && loss.slot.is_some()));
        for (at, told) in &different {
            assert_eq!(told, &[LossKind::Record], "{from} {file}: {at:?} {:?}", report.losses);
        }
        assert_eq!(named.len(), different.len(), "{from} {file}: {named:?} {different:?}");
        assert!(different.keys().all(|at| hit.contains(at)), "{from} {file}: {hit:?} hit, {different:?}");
        // Of a closed store the log holds nothing more.
        assert!(from == "killed" || different.len() == hit.len(), "{from} {file}: {hit:?} hit, {different:?}");
        lost += different.len();
        saved_by_the_log += hit.len() - different.len();
    }
    assert!(lost > 0 && saved_by_the_log > 0, "{lost} lost, {saved_by_the_log} not");
}

/// The catalogue: payloads of pages that are whole are saved, those of others are in the log or named. Removed records
/// stay removed, since tombstones tell.
#[test]
fn a_damaged_catalogue_costs_payloads_only() {
    let mut rng = Rng::new(seed("repair, catalogue"));
    let mut place = place();
    for round in 0..8 {
        let from = ["closed", "killed"][round % 2];
        let missing = round >= 6;
        let (report, to) = place.repair(from, |store| {
            let path = store.join("catalog.redb");
            let length = std::fs::metadata(&path).unwrap().len() as usize;
            match round / 2 {
                0 => (0..4).for_each(|_| spoil(&path, rng.below(length), 600, &mut rng)),
                1 => spoil(&path, 0, 8192, &mut rng),
                2 => std::fs::write(&path, &std::fs::read(&path).unwrap()[..length / 2]).unwrap(),
                _ => std::fs::remove_file(&path).unwrap(),
            }
        });
        let mut different = place.differences(&report, &to);
        // Without a catalogue, a mark is a removal.
        different.retain(|(at, key), _| *at != 0 || !place.marked.contains(key));
        for (at, told) in &different {
            assert_eq!(told, &[LossKind::Payload], "{from} {round}: {at:?}: {:?}", report.losses);
        }
        let all: usize = place.models.iter().map(|model| model.0.len()).sum();
        println!("{from} {round}: {} of {all} payloads lost", different.len());
        // Of a file that is cut in half, the other half is gone.
        let most = if round / 2 == 2 { all } else { all / 2 };
        assert!(missing || different.len() < most, "{from} {round}: {} of {all}", different.len());
        assert!(!missing || from == "killed" || different.len() == all - 2, "{from}: {} of {all}", different.len());
    }
}

/// When neither catalogue nor tombstones nor log can tell what was removed, it is kept, and the report says so.
#[test]
fn what_may_have_been_removed_is_said_to_be() {
    let mut place = place();
    let mut rng = Rng::new(3);
    let (report, to) = place.repair("closed", |store| {
        std::fs::remove_file(store.join("catalog.redb")).unwrap();
        spoil(&store.join("c/0/tombs"), 0, 4096, &mut rng);
    });
    let different = place.differences(&report, &to);
    let back: Vec<_> = different.keys().filter(|(at, key)| !place.models[*at].0.contains_key(key)).collect();
    assert!(back.iter().all(|(at, _)| *at == 0), "{back:?}");
    for (at, told) in different.iter().filter(|((at, _), _)| *at == 0) {
        assert!(told.contains(&LossKind::Removal), "{at:?}: {told:?}");
    }
    let glosses = report
        .collections
        .iter()
        .find(|collection| collection.name == "collection-0")
        .or_else(|| report.collections.iter().find(|collection| collection.name == NAMES[0]));
    assert!(glosses.unwrap().uncertain > 0, "{:?}", report.collections);
}

/// The middle of the log: what was written there is lost or found in its slot, everything before and behind is there.
#[test]
fn damage_to_the_log_costs_what_it_held() {
    let mut rng = Rng::new(seed("repair, log"));
    let mut place = place();
    for _ in 0..8 {
        let mut hit = BTreeSet::new();
        let written = place.written.clone();
        let (report, to) = place.repair("killed", |store| {
            let mut logs: Vec<_> =
                std::fs::read_dir(store.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
            logs.sort();
            let path = logs.last().unwrap();
            let bytes = std::fs::read(path).unwrap();
            // Each was synced before the next, so that each begins a block. Not the last one: it may be torn.
            let starts: Vec<usize> =
                (4096..bytes.len()).step_by(4096).filter(|&at| bytes[at..].starts_with(b"GRP1")).collect();
            for _ in 0..1 + rng.below(5) {
                let nth = rng.below(starts.len() - 1);
                let start = starts[nth];
                let length = u32::from_le_bytes(bytes[start + 8..start + 12].try_into().unwrap()) as usize + 64;
                spoil(path, start + rng.below(length), 1, &mut rng);
                let lsn = u64::from_le_bytes(bytes[start + 16..start + 24].try_into().unwrap());
                hit.insert(written[&lsn]);
            }
        });
        let different = place.differences(&report, &to);
        assert!(different.keys().all(|at| hit.contains(at)), "{hit:?} hit, {different:?} differ");
        let gap =
            |loss: &Loss| loss.kind == LossKind::Unknown && loss.file == "wal" && loss.why.contains("cannot be read");
        assert!(report.losses.iter().any(gap), "{:?}", report.losses);
    }
}

#[test]
fn without_meta_the_collection_is_lost_and_the_others_are_not() {
    let mut place = place();
    let (report, to) = place.repair("closed", |store| std::fs::remove_file(store.join("c/0/meta")).unwrap());
    let different = place.differences(&report, &to);
    assert!(different.keys().all(|(at, _)| *at == 0) && different.len() == place.models[0].0.len());
    let lost = report.losses.iter().find(|loss| loss.file == "c/0/meta" && loss.kind == LossKind::Record);
    assert!(lost.is_some_and(|loss| loss.collection.as_deref() == Some(NAMES[0])), "{:?}", report.losses);
}

#[test]
fn what_cannot_be_repaired_is_refused_and_left_alone() {
    let mut place = place();
    let (closed, new) = (place.dir.path().join("closed"), place.dir.path().join("new"));
    let store = options().open(&closed).unwrap();
    assert!(matches!(lodestore::repair(&closed, &new, RepairOptions::new()), Err(Error::Locked { .. })));
    store.close().unwrap();
    let nothing = place.dir.path().join("nothing");
    assert!(matches!(lodestore::repair(&nothing, &new, RepairOptions::new()), Err(Error::NotAStore { .. })));
    std::fs::create_dir(&nothing).unwrap();
    assert!(matches!(lodestore::repair(&nothing, &new, RepairOptions::new()), Err(Error::NotAStore { .. })));
    assert!(matches!(lodestore::repair(&closed, &closed, RepairOptions::new()), Err(Error::NotEmpty { .. })));
    assert!(!new.exists());
    // Stopped, it says so.
    let report = lodestore::repair(&closed, &new, RepairOptions::new().progress(|_, _| false)).unwrap();
    assert!(!report.complete && !report.lossless());
    let (report, to) = place.repair("closed", |_| {});
    assert!(place.differences(&report, &to).is_empty() && report.lossless());
}

/// The files of a simulated disk, in a directory.
fn lay_out(disk: &SimDisk, below: &str, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for name in disk.list(below).unwrap() {
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        match disk.open(&path) {
            Ok(file) => {
                let mut bytes = vec![0; file.len().unwrap() as usize];
                file.read_at(0, &mut bytes).unwrap();
                std::fs::write(to.join(name), bytes).unwrap();
            }
            Err(_) => lay_out(disk, &path, &to.join(name)),
        }
    }
}

/// Each key's vector, payload, and whether it is marked as deleted.
type Marked = BTreeMap<u64, (Vec<f32>, Vec<u8>, bool)>;

/// A store under a metric of the program's own, whose slots get other numbers while some of its records are marked as
/// deleted; the power fails at each step from there on. What is repaired has every record with its mark.
#[test]
fn marks_survive_renumbering_under_a_metric_of_ones_own() {
    let options = || options().metric(Manhattan);
    let marked = [3, 11, 12, 17, 25];
    let (mut crashes, mut renumbered) = (0, 0);
    for step in 1.. {
        let disk = SimDisk::new(step);
        let store = options().open_on(disk.clone(), "sim").unwrap();
        let docs = store.collection::<u64>("own").dim(3).user_metric("manhattan").m(4).create().unwrap();
        let mut states = vec![Marked::new()];
        for key in 0..30 {
            let (vector, payload) = (Rng::new(key).vector(3), key.to_le_bytes());
            docs.put(key, &vector, &payload).unwrap();
            states[0].insert(key, (vector, payload.to_vec(), marked.contains(&key)));
        }
        // So that the others move up.
        for key in 0..3 {
            docs.remove(key).unwrap();
            states[0].remove(&key);
        }
        marked.iter().for_each(|&key| assert!(docs.mark_deleted(key).unwrap()));
        store.checkpoint().unwrap();
        // Each of these is done, or it is not.
        type Change = (fn(&Collection<u64>) -> lodestore::Result<()>, fn(&mut Marked));
        let changes: [Change; 6] = [
            (|docs| docs.compact().run().map(drop), |_| {}),
            (|docs| docs.unmark_deleted(11).map(drop), |state| state.get_mut(&11).unwrap().2 = false),
            (
                |docs| docs.put(12, &[1.0, 2.0, 3.0], b"new"),
                |state| {
                    state.insert(12, (vec![1.0, 2.0, 3.0], b"new".to_vec(), false));
                },
            ),
            (|docs| docs.mark_deleted(20).map(drop), |state| state.get_mut(&20).unwrap().2 = true),
            (|docs| docs.remove(17).map(drop), |state| drop(state.remove(&17))),
            (
                |docs| docs.put(40, &[9.0, 2.0, 3.0], b"another"),
                |state| {
                    state.insert(40, (vec![9.0, 2.0, 3.0], b"another".to_vec(), false));
                },
            ),
        ];
        disk.crash_at(disk.steps() + step);
        let mut acked = 0;
        for (change, model) in changes {
            let mut next = states[states.len() - 1].clone();
            model(&mut next);
            states.push(next);
            if change(&docs).is_err() {
                break;
            }
            acked += 1;
        }
        let finished = acked == changes.len();
        drop((docs, store));
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (damaged, new) = (place.path().join("damaged"), place.path().join("new"));
        lay_out(&disk.reboot(CrashMode::KeepAll, step), "", &damaged);
        // What cannot be made again from elsewhere is left alone.
        std::fs::remove_file(damaged.join("heads")).unwrap();
        let report = lodestore::repair(&damaged, &new, RepairOptions::new().metric(Manhattan)).unwrap();
        assert!(of_records(&report).is_empty(), "step {step}: {:?}", report.losses);
        let store = options().open(&new).unwrap();
        let docs = store.collection::<u64>("own").open().unwrap();
        let found = (0..50).filter_map(|key| {
            let (live, hidden) = (docs.get(key).unwrap(), docs.get_marked(key).unwrap());
            let is_marked = hidden.is_some();
            live.or(hidden).map(|record| (key, (record.vector, record.payload, is_marked)))
        });
        let found: Marked = found.collect();
        assert!(states[acked..].contains(&found), "step {step}, {acked} done: {found:?}, not {:?}", states[acked]);
        assert!(store.verify().unwrap().ok());
        crashes += 1;
        renumbered += usize::from((1..changes.len()).contains(&acked));
        if finished {
            break;
        }
    }
    assert!(crashes > 40 && renumbered > 5, "{crashes} crashes, {renumbered} of them behind the compaction");
}

/// A collection of a metric that is not given is lost, and said to be; the others are not.
#[test]
fn a_metric_that_is_not_given_costs_its_collection() {
    let dir = tempfile::tempdir().unwrap();
    let (damaged, new) = (dir.path().join("damaged"), dir.path().join("new"));
    let store = options().metric(Manhattan).open(&damaged).unwrap();
    let own = store.collection::<u64>("own").dim(2).user_metric("manhattan").create().unwrap();
    let plain = store.collection::<u64>("plain").dim(2).create().unwrap();
    for docs in [&own, &plain] {
        docs.put(1, &[1.0, 2.0], b"one").unwrap();
    }
    drop((own, plain));
    store.close().unwrap();
    let report = lodestore::repair(&damaged, &new, RepairOptions::new()).unwrap();
    let lost: Vec<_> = report.losses.iter().map(|loss| (loss.kind, loss.collection.as_deref())).collect();
    assert_eq!(lost, [(LossKind::Record, Some("own"))], "{:?}", report.losses);
    assert!(report.losses[0].why.contains("manhattan") && !report.lossless(), "{:?}", report.losses);
    let store = options().open(&new).unwrap();
    assert_eq!(store.collection::<u64>("plain").open().unwrap().get(1).unwrap().unwrap().payload, b"one");
    assert!(matches!(store.collection::<u64>("own").open(), Err(Error::NoCollection { .. })));
}

/// What a whole catalogue says of a payload is newer than what is left of the log before it.
#[test]
fn a_whole_catalogue_knows_payloads_better_than_a_log_with_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (at, to) = (dir.path().join("store"), dir.path().join("new"));
    let store = options().open(&at).unwrap();
    let docs = store.collection::<u64>("docs").dim(1).create().unwrap();
    docs.put(1, &[1.0], b"put").unwrap();
    for payload in [&b"the first"[..], b"the second"] {
        assert!(docs.set_payload(1, payload).unwrap());
    }
    docs.put(2, &[2.0], b"behind them").unwrap();
    let wal = at.join("wal");
    let logs = files_in(&wal);
    drop(docs);
    store.close().unwrap();
    // As if the old log had not gone yet, and could not be read where it says the last.
    for (name, mut bytes) in logs {
        if let Some(found) = bytes.windows(10).position(|bytes| bytes == b"the second") {
            bytes[found] ^= 1;
        }
        std::fs::write(wal.join(name), bytes).unwrap();
    }
    lodestore::repair(&at, &to, RepairOptions::new()).unwrap();
    let repaired = options().open(&to).unwrap();
    let docs = repaired.collection::<u64>("docs").open().unwrap();
    assert_eq!(String::from_utf8_lossy(&docs.get(1).unwrap().unwrap().payload), "the second");
    assert_eq!(docs.get(2).unwrap().unwrap().payload, b"behind them");
}

/// Name and content of each file.
fn files_in(directory: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
}
