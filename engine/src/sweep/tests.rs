//! What a sweep and those who write meanwhile must not do to each other, step by step on one thread. (With threads:
//! `tests/concurrency.rs`, `models/`.)

use super::*;
use crate::element::{Element, Query};
use crate::geometry::Geometry;
use crate::ids::Id;
use crate::insert::Ways;
use crate::keys::KeyType;
use crate::metric::Metric;
use crate::pending::Replayed;
use crate::reuse::FREE;
use crate::scratch::Dropped;
use crate::search::END;
use crate::seeded::Seeded;
use crate::slots::{SlotBytes, vector_crc};
use lodestore_wal::{Disk, MemDisk, names};
use std::sync::atomic::Ordering;

const UUID: [u8; 16] = [7; 16];

fn index() -> Index {
    let disk = MemDisk::new();
    disk.create_dir(names::COLLECTIONS_DIR).unwrap();
    let (element, metric) = (Element::F32, Metric::L2);
    let geometry =
        Geometry { dim: 4, element, metric, m: 4, ef_construction: 16, seed: 1, codes: 0, key: KeyType::U64 };
    Index::create(&disk, UUID, 0, &geometry).unwrap();
    Index::open(&disk, UUID, 0, 1, None).unwrap()
}

fn floats(n: u64) -> [f32; 4] {
    let mut seeded = Seeded::new(n);
    std::array::from_fn(|_| seeded.below(1000) as f32)
}

/// Gives out a slot with the `n`th vector, as recovery and the first half of a put do.
fn place(index: &Index, n: u64) -> u32 {
    let place = index.places(1)[0];
    let next = index.next_slot();
    index.reserve(u64::from(place.slot) + 1, u64::from(place.upper) + u64::from(place.level)).unwrap();
    if place.slot < next {
        index.announce(place.slot).unwrap();
    }
    let (mut vector, mut bytes) = (Vec::new(), SlotBytes::default());
    Element::F32.encode(&floats(n), &mut vector).unwrap();
    index.encode(&vector, &mut bytes);
    let id = Id { key: n, lsn: n, vector_crc: vector_crc(&vector), upper: place.upper, level: place.level };
    index.write_slots(&[place.slot], &bytes, &[id]).unwrap();
    index.advance(place);
    place.slot
}

fn put(index: &Index, n: u64) -> u32 {
    let slot = place(index, n);
    index.link(slot).unwrap();
    slot
}

fn sweep_all(index: &Index, sweep: &mut Sweep) {
    while index.sweep(sweep, 7).unwrap() {}
}

/// A whole sweep; its slots can be used when this returns.
fn swept(index: &Index) {
    let mut sweep = index.begin_sweep(u64::MAX);
    sweep_all(index, &mut sweep);
    index.relink(&index.end_sweep(sweep).unwrap()).unwrap();
    index.settle_free(1, u64::MAX);
}

fn is_sound(index: &Index) {
    let findings = index.verify();
    assert_eq!(findings.problems, [""; 0]);
    assert_eq!((findings.unreachable[0], findings.no_in_links), (0, 0));
}

/// Two hundred, of which every third is dead.
fn third_dead() -> Index {
    let index = index();
    for n in 0..200 {
        put(&index, n);
    }
    (0..200).step_by(3).for_each(|slot| assert!(index.bury(slot).unwrap()));
    index
}

#[test]
fn slots_go_and_come_back() {
    let index = third_dead();
    swept(&index);
    is_sound(&index);
    assert_eq!((index.dead(), index.free()), (0, 67));
    let slots: Vec<u32> = (0..67).map(|n| put(&index, 1000 + n)).collect();
    assert_eq!((slots[0], slots[66], index.free(), index.next_slot()), (0, 198, 0, 200));
    is_sound(&index);
}

/// As after opening, when the slots that are free are looked for as they are needed: those that become free meanwhile must
/// wait until a checkpoint has them unlinked.
#[test]
fn what_is_just_becoming_free_is_not_given_out() {
    const SLOTS: u32 = 3000;
    let index = index();
    for n in 0..SLOTS {
        place(&index, n.into());
    }
    let (mut before, mut now): (Vec<u32>, Vec<u32>) =
        ((0..SLOTS).step_by(3).collect(), (1..SLOTS).step_by(3).collect());
    before.iter().chain(&now).for_each(|&slot| assert!(index.bury(slot).unwrap()));
    index.set_free(&before).unwrap();
    for round in 0..200 {
        *index.free_slots.lock() = crate::free::FreeSlots::below(SLOTS);
        index.free_slots.lock().opened(1, u64::MAX);
        // They are not free yet.
        now.iter().for_each(|&slot| index.links.words(slot)[0].store(END, Ordering::Release));
        let start = std::sync::Barrier::new(2);
        let taken = std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                index.set_free(&now).unwrap();
            });
            start.wait();
            let mut taken = Vec::new();
            while let Some(place) = index.reusable(1).pop() {
                index.free_slots.lock().take(place.slot);
                taken.push(place.slot);
            }
            taken
        });
        assert_eq!(taken, before, "round {round}");
        std::mem::swap(&mut before, &mut now);
        before.iter().for_each(|&slot| assert!(index.free_place(slot).is_some()));
    }
}

#[test]
fn a_new_top_puts_nothing_out_of_reach() {
    let index = third_dead();
    let mut sweep = index.begin_sweep(u64::MAX);
    sweep_all(&index, &mut sweep);
    let level = index.entry().unwrap().level;
    for n in 1000.. {
        put(&index, n);
        if index.entry().unwrap().level > level {
            break;
        }
    }
    assert!(index.entry().unwrap().slot >= 200);
    assert_eq!(index.end_sweep(sweep).unwrap(), []);
    is_sound(&index);
}

/// The dead lie side by side, so whoever follows them comes to a third of all nodes; few are wanted.
#[test]
fn no_more_dead_are_looked_through_than_it_takes() {
    let index = index();
    for n in 0..2000 {
        put(&index, n);
    }
    (0..2000).step_by(3).for_each(|slot| assert!(index.bury(slot).unwrap()));
    let sweep = index.begin_sweep(u64::MAX);
    let near = |slot: u32, wanted: usize| {
        let through: Vec<u32> = index.neighbours(slot, 0).filter(|&n| sweep.condemned.has(n)).take(1).collect();
        index.scratch.with(|scratch| {
            scratch.visited.reset(2000);
            scratch.visited.note(&through);
            through.iter().for_each(|&n| {
                scratch.visited.insert(n);
            });
            index.near_by(0, &sweep.condemned, (through, wanted), &ExactPairs(&index), slot, scratch).len()
        })
    };
    for slot in (1..2000).step_by(3) {
        assert!(near(slot, 10) <= 10 + index.cap(0), "of node {slot}");
    }
    let most = (1..2000).step_by(3).map(|slot| near(slot, 10_000)).max();
    assert!(most > Some(10 + index.cap(0)), "the dead do not lie side by side");
}

/// A list gave up a dead node; before the writer asks whether anybody else links to it, a sweep has seen to it that
/// nobody does.
#[test]
fn what_is_unlinked_is_not_given_back_to_a_list() {
    let index = third_dead();
    let (node, level, lost) = (1, 0, Candidate { distance: 1.0, slot: 99 });
    let dropped = Dropped { node, level, lost };
    let paths = index.paths(std::iter::empty());
    let ways = Ways { paths: &paths, walk: &[] };
    let mut sweep = index.begin_sweep(u64::MAX);
    sweep_all(&index, &mut sweep);
    assert!(!index.is_lost(&dropped, ways), "it is being unlinked");
    index.end_sweep(sweep).unwrap();
    assert!(!index.is_lost(&dropped, ways), "it is free");
    let lost = Candidate { distance: 1.0, slot: index.next_slot() };
    assert!(index.is_lost(&Dropped { node: 1, level: 0, lost }, ways));
}

/// A new node's only link must not be in a list that goes with its node.
#[test]
fn what_is_being_unlinked_gets_no_links() {
    let index = third_dead();
    let sweep = index.begin_sweep(u64::MAX);
    // A full list of condemned nodes, to each of which it is the only link.
    for (word, slot) in index.list(1, 0).iter().zip((0..200).step_by(3)) {
        word.store(slot, Ordering::Release);
        index.list(slot, 0)[0].store(END, Ordering::Release);
    }
    let new = place(&index, 5000);
    let link = crate::insert::Link { node: 1, level: 0, new, distance: 0.0 };
    // They all lead there.
    let walk = [sweep.slots.clone()];
    let paths = index.paths(std::iter::once(&walk[..]));
    index.attach_anyway(link, Ways { paths: &paths, walk: &walk }).unwrap();
    for &slot in &sweep.slots {
        assert!(index.neighbours(slot, 0).all(|n| n != new), "{slot} has a link to the new node");
    }
}

/// A free slot that is given out during a sweep has its old upper lists until its writer comes to them.
#[test]
fn what_is_put_during_a_sweep_is_its_writers_alone() {
    let index = third_dead();
    let tall = (0..200).step_by(3).find(|&slot| index.id_of(slot).level > 0).expect("one of 67");
    swept(&index);
    let dead: Vec<u32> = (1..200).step_by(3).collect();
    dead.iter().for_each(|&slot| assert!(index.bury(slot).unwrap()));
    index.list(tall, 1)[0].store(dead.iter().copied().find(|&n| index.id_of(n).level > 0).unwrap(), Ordering::Release);
    let words = || index.list(tall, 1).iter().map(|word| word.load(Ordering::Acquire)).collect::<Vec<_>>();
    let before = words();
    let mut sweep = index.begin_sweep(u64::MAX);
    let taken: Vec<u32> = (0..).map(|n| place(&index, 1000 + n)).take_while(|&slot| slot != tall).collect();
    sweep_all(&index, &mut sweep);
    assert_eq!(words(), before, "the lists of a slot that is being put were changed");
    taken.iter().chain([&tall]).for_each(|&slot| index.link(slot).unwrap());
    index.relink(&index.end_sweep(sweep).unwrap()).unwrap();
    is_sound(&index);
}

/// What recovery puts into a free slot and removes again is dead until it is linked and swept, not free.
#[test]
fn a_slot_of_the_log_is_not_free_though_it_was_removed_again() {
    let index = third_dead();
    swept(&index);
    let (slot, free) = (place(&index, 1000), index.free());
    index.bury(slot).unwrap();
    index.set_pending(Replayed { slots: vec![slot], buried: vec![(slot, 1)], writes: vec![(1, 200)] });
    assert_eq!(index.free_place(slot), None);
    assert_ne!(put(&index, 1001), slot, "given out twice");
    index.link_many(&[slot], 200, false).unwrap();
    assert_eq!(index.free(), free - 1);
    is_sound(&index);
}

/// What recovery knows of the order of the log does not hold for a slot's next life.
#[test]
fn a_slots_next_vector_does_not_take_the_dead_for_living() {
    let index = index();
    let slots: Vec<u32> = (0..20).map(|n| place(&index, n)).collect();
    index.set_pending(Replayed { slots: slots.clone(), buried: vec![(7, 20)], writes: vec![(20, 0)] });
    index.bury(7).unwrap();
    assert!(!index.was_dead(7, 3), "it was there when slot 3 was put");
    index.link_many(&slots, 0, false).unwrap();
    assert!(index.was_dead(7, 3), "slot 3 is linked, and may be another's by now");
}

/// Who is reading a list while its node becomes free comes upon no slot by it.
#[test]
fn the_list_of_a_free_slot_holds_no_number_of_a_slot() {
    let index = third_dead();
    let uppers: Vec<u32> = (0..200).step_by(3).map(|slot| index.id_of(slot).upper).collect();
    swept(&index);
    for (slot, upper) in (0..200).step_by(3).zip(uppers) {
        let words = index.links.words(slot);
        assert!((0..4).all(|at| words[at].load(Ordering::Acquire) >= crate::geometry::MAX_SLOTS), "slot {slot}");
        assert_eq!(words[0].load(Ordering::Acquire), FREE);
        assert_eq!(index.free_place(slot).unwrap().upper, upper);
    }
}

/// A node that is linked anew keeps its lists: another may be reached through it only.
#[test]
fn what_a_lost_node_links_to_stays() {
    let index = third_dead();
    let lost = (1..200).find(|&slot| slot % 3 != 0 && index.id_of(slot).level == 0).expect("most are");
    for slot in (0..200).filter(|&slot| slot != lost) {
        let others: Vec<u32> = index.neighbours(slot, 0).filter(|&n| n != lost).collect();
        for (word, value) in index.list(slot, 0).iter().zip(others.into_iter().chain(std::iter::repeat(END))) {
            word.store(value, Ordering::Release);
        }
    }
    let own: Vec<u32> = index.neighbours(lost, 0).collect();
    assert_eq!(index.unreached(200), [lost]);
    index.relink(&[lost]).unwrap();
    assert_eq!(index.unreached(200), []);
    assert!(index.neighbours(lost, 0).zip(own).all(|(now, before)| now == before));
    let (found, _) = index.search(Query::Floats(&floats(u64::from(lost))), 1, 20, f32::INFINITY);
    assert_eq!(found[0].slot, lost);
}
