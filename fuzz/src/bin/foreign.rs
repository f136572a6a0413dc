//! Any bytes as an index file of another library: an error, or a graph that is refused, or one that makes a sound
//! collection in which every record is there.
#![cfg_attr(fuzzing, no_main)]

use lodestore::foreign::{chroma, hnswlib, voyager};
use lodestore::{Element, Graph, Store};
use lodestore_fuzz::{is_chosen, switch, with_switch};

lodestore_fuzz::target!(read, seeds);

/// Larger ones take long to load, and show nothing more.
const MOST: usize = 1 << 16;

fn read(input: &[u8]) {
    let Some((even, bytes)) = switch(input) else { return };
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let reading = hnswlib::Reading::default().element(if even { Element::F32 } else { Element::U8 });
    let graph = match kind % 4 {
        0 => hnswlib::read(bytes, "index", &reading).ok().map(|index| index.graph),
        1 => voyager::read(bytes, "index", &reading).ok().map(|read| read.index.graph),
        2 => {
            let (header, rest) = bytes.split_at(bytes.len().min(100));
            let (data_level0, link_lists) = rest.split_at(rest.len().min(usize::from(kind) * 16));
            chroma::read(&chroma::Segment { header, data_level0, link_lists }, &reading).ok().map(|index| index.graph)
        }
        _ => {
            if let Ok(exact) = hnswlib::read_exact(bytes, "exact", usize::from(kind) / 4) {
                assert_eq!(exact.vectors.len(), exact.keys.len() * (usize::from(kind) / 4));
            }
            None
        }
    };
    if let Some(graph) = graph.filter(|graph| graph.vectors().len() < MOST && is_chosen(input, 16)) {
        load(&graph, even);
    }
}

fn load(graph: &Graph, relink: bool) {
    let store = Store::in_memory().expect("a store in memory");
    let Ok(loaded) = store.collection::<u64>("taken").load(graph).relink(relink).run() else {
        assert_eq!(store.collections().expect("it is open").iter().map(|info| info.len).sum::<u64>(), 0);
        return;
    };
    let report = store.verify().expect("it is open");
    assert!(report.ok(), "{:?}", report.problems);
    assert_eq!(loaded.collection.len() + loaded.deleted + loaded.duplicates, loaded.nodes);
    let Some(node) = (0..graph.len()).rfind(|&node| !graph.deleted()[node]) else { return };
    let query = graph.vector(node as u32);
    let hits = loaded.collection.search(query).k(1).run().expect("a vector that was taken is a query");
    assert_eq!(hits.len(), 1);
    assert_eq!(loaded.collection.get(graph.keys()[node]).expect("it is open").expect("it was loaded").vector, query);
}

fn seeds() -> Vec<Vec<u8>> {
    let mut graph = Graph::new(2, 3, 10);
    for node in 0..6u32 {
        let level0 = [(node + 1) % 6, (node + 5) % 6];
        let lists: &[&[u32]] = if node % 3 == 0 { &[&level0, &[3 - node]] } else { &[&level0] };
        graph.add(u64::from(node), &[node as f32, 1.0], lists).expect("it fits");
    }
    graph.set_entry(3);
    graph.set_deleted(4, true);
    let mut file = Vec::new();
    hnswlib::write(&graph, 8, &mut file).expect("memory does not fail");
    let mut exact = hnswlib::Exact::default();
    (exact.keys, exact.vectors) = (vec![1, 2], vec![0.0; 4]);
    let mut exact_file = Vec::new();
    hnswlib::write_exact(&exact, 2, &mut exact_file).expect("memory does not fail");
    let header = [b'V', b'O', b'Y', b'A', 1, 0, 0, 0, 2, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0];
    let level0 = 6 * (4 + 24 + 8 + 8);
    // The elements of Chroma's file begin behind the header, and are as many 16s of bytes as the kind says.
    let kind = (level0 / 16 + 3) as u8 & !3 | 2;
    let mut parts = [&[1, 0, 0, 0], &file[..96 + level0]].concat();
    parts.resize(100 + usize::from(kind) * 16, 0);
    parts.extend_from_slice(&file[96 + level0..]);
    let all = [(0, file.clone()), (1, [&header[..], &file].concat()), (kind, parts), (2 * 4 + 3, exact_file)];
    all.into_iter()
        .flat_map(|(kind, bytes)| {
            let bytes = [&[kind][..], &bytes].concat();
            [with_switch(true, &bytes), with_switch(false, &bytes)]
        })
        .collect()
}

#[test]
fn the_seeds_are_read() {
    for input in seeds().iter().step_by(2) {
        let (_, bytes) = switch(input).unwrap();
        let reading = hnswlib::Reading::default();
        match bytes[0] % 4 {
            0 => assert_eq!(hnswlib::read(&bytes[1..], "index", &reading).unwrap().graph.len(), 6),
            1 => assert_eq!(voyager::read(&bytes[1..], "index", &reading).unwrap().index.graph.len(), 6),
            2 => {
                let (header, rest) = bytes[1..].split_at(100);
                let (data_level0, link_lists) = rest.split_at(usize::from(bytes[0]) * 16);
                let segment = chroma::Segment { header, data_level0, link_lists };
                assert_eq!(chroma::read(&segment, &reading).unwrap().graph.len(), 6);
            }
            _ => assert_eq!(hnswlib::read_exact(&bytes[1..], "exact", 2).unwrap().keys, [1, 2]),
        }
        read(input);
    }
}
