//! Whether a store is what it must be.

use crate::error::Result;
use crate::shared::Shared;
use lodestore_engine::Findings;
use std::collections::HashMap;

/// What [`Store::verify`](crate::Store::verify) found.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let report = store.verify()?;
/// for problem in &report.problems {
///     eprintln!("{problem}");
/// }
/// assert!(report.ok());
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What was looked at in each collection.
    pub collections: Vec<CollectionReport>,
    /// Everything that is wrong, one sentence each; the first hundred of each collection.
    pub problems: Vec<String>,
    /// How many things are wrong.
    pub problem_count: u64,
}

/// What was looked at in one collection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CollectionReport {
    /// Its name.
    pub name: String,
    /// Records.
    pub records: u64,
    /// Slots whose checksums were compared.
    pub slots: u64,
    /// Pages whose checksums were compared.
    pub pages: u64,
    /// Links that were looked at.
    pub links: u64,
    /// Records that no path of links leads to from the entry point. A fresh graph may have a few; they are not found
    /// by searches.
    pub unreachable: u64,
    /// The same for each level of the graph, from 0 up: records on it that no path of its links leads to from what is
    /// reached on the level above.
    pub unreachable_by_level: Vec<u64>,
    /// Records that no link points at.
    pub no_in_links: u64,
    /// Links that a record has on the lowest level, on average.
    pub mean_degree: f64,
    /// Slots of replaced and removed records that are still linked.
    pub dead: u64,
    /// Slots that wait to be used again.
    pub free: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn ok(&self) -> bool {
        self.problem_count == 0
    }

    pub(crate) fn of(shared: &Shared) -> Result<Self> {
        shared.check_open()?;
        let mut report = Self { collections: Vec::new(), problems: Vec::new(), problem_count: 0 };
        let names = shared.catalog.names();
        for name in names.keys() {
            if let Err(error) = shared.open_collection(name) {
                report.add(name, vec![error.to_string()], 1);
            }
        }
        // Pages are compared with what the last checkpoint wrote, so none may run; and nobody may change the graph.
        let _checkpointing = shared.checkpointing.lock();
        shared.link_pending()?;
        let _gate = shared.gate.write();
        let mut slots: HashMap<u32, Vec<(u64, u32)>> = HashMap::new();
        let listed = check_catalog(shared, &mut slots);
        if let Err(error) = &listed {
            report.problem_count += 1;
            report.problems.push(error.to_string());
        }
        let open: Vec<_> = shared.open.read().values().cloned().collect();
        for open in open {
            let index = open.index();
            let mut findings = index.verify();
            let rows = slots.remove(&open.id).unwrap_or_default();
            if listed.is_ok() {
                check_keys(&index, &rows, &mut findings);
            }
            report.add(&open.name, std::mem::take(&mut findings.problems), findings.problem_count);
            report.collections.push(CollectionReport {
                name: open.name.clone(),
                records: rows.len() as u64,
                slots: findings.slots,
                pages: findings.pages,
                links: findings.links,
                unreachable: findings.unreachable.first().copied().unwrap_or(0),
                unreachable_by_level: findings.unreachable,
                no_in_links: findings.no_in_links,
                mean_degree: findings.degrees as f64 / findings.live.max(1) as f64,
                dead: findings.dead,
                free: findings.free,
            });
        }
        report.collections.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(report)
    }

    fn add(&mut self, collection: &str, problems: Vec<String>, count: u64) {
        self.problem_count += count;
        self.problems.extend(problems.into_iter().map(|what| format!("collection '{collection}': {what}")));
    }
}

/// The catalogue's own checksums; then the slots of all keys, by collection.
fn check_catalog(shared: &Shared, slots: &mut HashMap<u32, Vec<(u64, u32)>>) -> Result<()> {
    // Of a store that has stopped writing, the catalogue's disk has not seen all that its memory holds.
    if shared.poison.reason().is_none() {
        let checked = shared.catalog.apply().and_then(|_| {
            shared.sync()?;
            shared.catalog.check()?;
            Ok(shared.poison.check()?)
        });
        // Going on would let the log go that can still replace what is damaged.
        checked.inspect_err(|error| shared.poison.set(error))?;
    }
    shared.catalog.for_each(|(id, key), slot| slots.entry(id).or_default().push((key, slot)))
}

/// The catalogue and the slots say the same: each key's slot is live and names the key, and no other slot is live.
fn check_keys(index: &lodestore_engine::Index, rows: &[(u64, u32)], findings: &mut Findings) {
    for &(key, slot) in rows {
        if slot >= index.next_slot() {
            findings.problem(format!("key {key} is in slot {slot} of {}", index.next_slot()));
        } else if index.is_dead(slot) {
            findings.problem(format!("key {key} is in slot {slot}, which is a removed one"));
        } else if index.id_of(slot).key != key {
            findings.problem(format!("key {key} is in slot {slot}, which says {}", index.id_of(slot).key));
        }
    }
    if rows.len() as u64 != findings.live {
        findings.problem(format!("{} keys, {} live slots", rows.len(), findings.live));
    }
}
