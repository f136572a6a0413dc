//! The pool against plain sorted lists.

use super::*;
use proptest::prelude::*;

#[test]
fn a_node_is_new_once_a_search() {
    let mut visited = Visited::default();
    for round in 0..300usize {
        let slots = 1000 + round % 7 * 5000;
        visited.reset(slots);
        let mut seen = std::collections::HashSet::new();
        for n in 0..round * 3 % 500 {
            let slot = (n * n * 31 + round) % slots;
            let new = visited.insert(slot as u32);
            assert_eq!(new, seen.insert(slot), "round {round}, {n}");
            if new {
                visited.note(&[slot as u32]);
            }
        }
    }
}

proptest! {
    /// Against a sorted list: the pool holds the ef nearest live nodes, and every node between them.
    #[test]
    fn the_pool_keeps_the_nearest(
        ef in 1usize..12,
        nodes in prop::collection::vec((0u8..20, any::<bool>()), 0..80),
    ) {
        let mut pool = Pool::default();
        pool.reset(ef);
        for (slot, &(distance, live)) in nodes.iter().enumerate() {
            if f32::from(distance) <= pool.bound() {
                pool.insert(f32::from(distance), slot as u32, live);
            }
            if slot % 3 == 0 {
                pool.expand_next();
            }
        }
        check(&mut pool, ef, &nodes)?;
    }

    /// One that keeps all gives the nodes in their order, and none twice.
    #[test]
    fn a_pool_that_keeps_all_gives_all(
        ef in 1usize..6,
        nodes in prop::collection::vec((0u8..20, prop::bool::weighted(0.7)), 0..60),
        later in prop::collection::vec(0u8..20, 0..20),
    ) {
        let mut pool = Pool::default();
        pool.reset_keeping_all(ef);
        let new = |slot: usize| entry(f32::from(nodes[slot].0), slot as u32);
        for first in (0..nodes.len()).step_by(5) {
            let mut some: Vec<u64> = (first..nodes.len().min(first + 5)).map(new).collect();
            some.sort_unstable();
            pool.take(&some, &|slot| nodes[slot as usize].1);
            pool.expand_next();
            prop_assert!(pool.entries.is_sorted() && pool.entries[..pool.next].iter().all(|e| e & EXPANDED != 0));
        }
        let total = nodes.len() + later.len();
        let settled = later.iter().zip(nodes.len() as u32..);
        let settled = settled.map(|(&distance, slot)| Candidate { distance: f32::from(distance), slot });
        let mut given = Vec::new();
        if !nodes.is_empty() {
            given.extend(pool.pop_nearest());
        }
        pool.settle_all(settled);
        prop_assert!(pool.peek_next().is_none());
        while let Some(next) = pool.pop_nearest() {
            given.push(next);
            prop_assert!(pool.live <= ef);
        }
        prop_assert_eq!(given.len(), total);
        let rest = &given[usize::from(!nodes.is_empty())..];
        prop_assert!(rest.is_sorted_by(|a, b| a.0.nearer(&b.0).is_lt()));
        let mut slots: Vec<u32> = given.iter().map(|(node, _)| node.slot).collect();
        slots.sort_unstable();
        prop_assert_eq!(slots, (0..total as u32).collect::<Vec<_>>());
        for (node, live) in given {
            prop_assert_eq!(live, nodes.get(node.slot as usize).is_none_or(|node| node.1));
        }
    }

    /// The same, with several taken at once.
    #[test]
    fn the_pool_keeps_the_nearest_of_many(
        ef in 1usize..12,
        nodes in prop::collection::vec((0u8..20, prop::bool::weighted(0.9)), 0..80),
        all_live in any::<bool>(),
        at_once in 1usize..9,
    ) {
        let nodes: Vec<_> = nodes.into_iter().map(|(distance, live)| (distance, live || all_live)).collect();
        let mut pool = Pool::default();
        pool.reset(ef);
        for first in (0..nodes.len()).step_by(at_once) {
            let of = |slot: usize| (f32::from(nodes[slot].0), slot as u32);
            let mut new: Vec<u64> = (first..nodes.len().min(first + at_once))
                .map(of).filter(|&(d, _)| d <= pool.bound()).map(|(d, slot)| entry(d, slot)).collect();
            new.sort_unstable();
            let next = pool.peek_next();
            let is_next = new.first().is_some_and(|&first| pool.is_next(first));
            pool.take(&new, &|slot| nodes[slot as usize].1);
            prop_assert!(pool.entries.is_sorted());
            if let Some(next) = pool.peek_next().filter(|_| all_live) {
                prop_assert_eq!(is_next, new.first().map(|&e| slot_of(e)) == Some(next));
            } else {
                prop_assert!(!all_live || (next.is_none() && new.is_empty()));
            }
            if first % 3 == 0 {
                pool.expand_next();
            }
        }
        check(&mut pool, ef, &nodes)?;
    }
}

/// Whether the pool holds the `ef` nearest live nodes.
fn check(pool: &mut Pool, ef: usize, nodes: &[(u8, bool)]) -> Result<(), TestCaseError> {
    let mut expected: Vec<(u8, std::cmp::Reverse<u32>)> =
        nodes.iter().enumerate().filter(|(_, n)| n.1).map(|(s, n)| (n.0, std::cmp::Reverse(s as u32))).collect();
    expected.sort_unstable();
    expected.truncate(ef);
    let got: Vec<_> = pool.live().map(|c| (c.distance as u8, std::cmp::Reverse(c.slot))).collect();
    prop_assert_eq!(got, expected);
    let mut rest = 0;
    while pool.expand_next().is_some() {
        rest += 1;
    }
    prop_assert!(rest <= nodes.len());
    prop_assert!(pool.peek_next().is_none());
    Ok(())
}
