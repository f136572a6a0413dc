//! Graphs that are taken over as they are, and handed out; files of other libraries; neither is believed.

use crate::support::data::Data;
use crate::support::model::{Model, Rng, seed};
use lodestore::foreign::{chroma, hnswlib, voyager};
use lodestore::{Codes, Collection, Error, Graph, Metric, Store};
use lodestore_wal::disk::{CrashMode, SimDisk};
use std::sync::Arc;

const DIM: usize = 24;

/// Rows of the demo's vectors, the first components of each.
fn rows(data: &Data, count: usize) -> Vec<f32> {
    (0..count).flat_map(|row| data.glosses.vector(row)[..DIM].to_vec()).collect()
}

fn built(data: &Data, count: usize, metric: Metric, m: usize, codes: Codes) -> Collection<u64> {
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<u64>("docs").dim(DIM).metric(metric).m(m).ef_construction(60).codes(codes);
    let docs = docs.create().unwrap();
    let keys: Vec<u64> = (0..count as u64).map(|row| row * 3).collect();
    docs.put_many(&keys, &rows(data, count), None).unwrap();
    docs
}

/// What both find, which is the same, at the same cost.
fn same_answers(a: &Collection<u64>, b: &Collection<u64>, data: &Data) {
    for row in 0..50 {
        let query = &data.queries.vector(row)[..DIM];
        for ef in [10, 40] {
            let (a, b) = (a.search(query).ef(ef).run().unwrap(), b.search(query).ef(ef).run().unwrap());
            let hits = |hits: &lodestore::Hits<u64>| hits.iter().map(|hit| (hit.key, hit.distance)).collect::<Vec<_>>();
            assert_eq!(hits(&a), hits(&b), "row {row}");
            assert_eq!(a.stats().distances, b.stats().distances, "row {row}");
        }
    }
}

#[test]
fn a_graph_is_taken_over_as_it_is_and_lives_on() {
    let data = Data::load();
    let settings =
        [(Metric::L2, 16, Codes::None), (Metric::InnerProduct, 5, Codes::Eight), (Metric::Cosine, 48, Codes::Four)];
    for (metric, m, codes) in settings {
        let docs = built(&data, 2000, metric, m, codes);
        let graph = docs.graph().unwrap();
        assert_eq!((graph.len(), graph.m(), graph.ef_construction()), (2000, m, 60));
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (mut last, mut steps) = (0, 0);
        let load = store.collection::<u64>("docs").metric(metric).codes(codes).load(&graph).relink(false);
        let loaded = load.while_told(|done, all| {
            assert!(done >= last && done <= all && all == 4000);
            (last, steps) = (done, steps + 1);
            true
        });
        let loaded = loaded.run().unwrap();
        assert!(last == 4000 && steps > 2);
        assert_eq!((loaded.nodes, loaded.deleted, loaded.duplicates), (2000, 0, 0));
        let copy = loaded.collection;
        assert_eq!((copy.len(), copy.info().m, copy.graph().unwrap() == graph), (2000, m, true));
        same_answers(&docs, &copy, &data);
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        let again = store.collection::<u64>("docs").load(&graph).run();
        assert!(matches!(again, Err(Error::CollectionExists { .. })), "{again:?}");

        // It is a collection like any other.
        drop(copy);
        store.close().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let copy = store.collection::<u64>("docs").open().unwrap();
        same_answers(&docs, &copy, &data);
        let mut model = Model::default();
        (0..2000).for_each(|row| model.put(row * 3, graph.vector(row as u32), b""));
        for row in 0..700u64 {
            copy.remove(row * 3).unwrap();
            model.remove(row * 3);
            let vector = &data.glosses.vector(2000 + row as usize)[..DIM];
            copy.put(row * 3 + 1, vector, b"new").unwrap();
            model.put(row * 3 + 1, vector, b"new");
        }
        assert_eq!(model.difference(&copy, 6000), None);
        copy.compact().run().unwrap();
        assert_eq!(model.difference(&copy, 6000), None);
        let report = store.verify().unwrap();
        assert!(report.ok() && report.collections[0].unreachable == 0, "{report:?}");
    }
}

/// A small graph that is right.
fn ring() -> Graph {
    let mut graph = Graph::new(2, 4, 10);
    for node in 0..40u32 {
        let (before, after) = ((node + 39) % 40, (node + 1) % 40);
        let angle = node as f32 / 40.0 * std::f32::consts::TAU;
        let level0 = [before, after, after];
        let level1 = [(node + 10) % 40];
        let lists: &[&[u32]] = if node % 10 == 3 { &[&level0, &level1] } else { &[&level0] };
        graph.add(u64::from(node) + 100, &[angle.cos(), angle.sin()], lists).unwrap();
    }
    graph.set_entry(13);
    graph
}

fn load(graph: &Graph) -> Result<Collection<u64>, Error> {
    let store = Store::in_memory().unwrap();
    let loaded = store.collection::<u64>("ring").load(graph).run();
    if loaded.is_err() {
        assert_eq!(store.collections().unwrap().iter().map(|info| info.len).sum::<u64>(), 0);
    }
    loaded.map(|loaded| {
        let report = store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        loaded.collection
    })
}

#[test]
fn a_graph_with_wrong_numbers_is_refused() {
    let ring = ring();
    let docs = load(&ring).unwrap();
    // A link that is there twice is taken once.
    assert_eq!(docs.links(100).unwrap().unwrap(), [[139, 101]]);
    for node in 0..40 {
        assert_eq!(docs.search(ring.vector(node)).k(1).run().unwrap()[0].key, u64::from(node) + 100);
    }
    let wrong = |what: &str, change: &dyn Fn(&mut Graph)| {
        let mut graph = ring.clone();
        change(&mut graph);
        let error = load(&graph).unwrap_err();
        assert!(matches!(&error, Error::Graph(text) if text.contains(what)), "{error}");
    };
    wrong("entry point", &|graph| graph.set_entry(14));
    wrong("entry point", &|graph| graph.set_entry(40));
    wrong("entry point", &|graph| graph.set_entry(None));
    wrong("which is itself", &|graph| graph.add(1, &[0.0, 1.0], &[&[40]]).unwrap());
    wrong("of 41 nodes", &|graph| graph.add(1, &[0.0, 1.0], &[&[41]]).unwrap());
    wrong("of 41 nodes", &|graph| graph.add(1, &[0.0, 1.0], &[&[u32::MAX]]).unwrap());
    wrong("on levels up to 0", &|graph| graph.add(1, &[0.0, 1.0], &[&[3], &[4]]).unwrap());
    wrong("the highest is 2", &|graph| graph.add(1, &[0.0, 1.0], &[&[3], &[], &[]]).unwrap());
    let mut graph = ring.clone();
    assert!(matches!(graph.add(1, &[0.0], &[&[]]), Err(Error::Graph(_))));
    assert!(matches!(graph.add(1, &[0.0, 1.0], &[]), Err(Error::Graph(_))));
    graph.add(1, &[f32::NAN, 1.0], &[&[0]]).unwrap();
    assert!(matches!(load(&graph), Err(Error::NotFinite { row: 40, component: 0, .. })));
    // More links than a list has room for: some are chosen. No link to a node: it is linked.
    let mut graph = ring.clone();
    let many: Vec<u32> = (0..40).collect();
    graph.add(1, &[0.5, 0.5], &[&many]).unwrap();
    let docs = load(&graph).unwrap();
    assert!((4..=8).contains(&docs.links(1).unwrap().unwrap()[0].len()));
    assert_eq!(docs.search(&[0.5, 0.5]).k(1).run().unwrap()[0].key, 1);
    assert!(load(&Graph::new(3, 16, 100)).unwrap().is_empty());
}

#[test]
fn of_several_nodes_with_one_key_the_last_that_is_not_deleted_counts() {
    let mut graph = ring();
    graph.set_deleted(5, true);
    graph.add(105, &[3.0, 3.0], &[&[3]]).unwrap();
    graph.add(107, &[4.0, 4.0], &[&[3]]).unwrap();
    graph.set_deleted(8, true);
    let docs = load(&graph).unwrap();
    assert_eq!((docs.len(), docs.info().marked, docs.info().dead), (39, 1, 2));
    assert_eq!(docs.get(105).unwrap().unwrap().vector, [3.0, 3.0]);
    assert_eq!(docs.get(107).unwrap().unwrap().vector, [4.0, 4.0]);
    assert!(docs.get(108).unwrap().is_none() && docs.is_marked_deleted(108).unwrap());
    let all = docs.search(&[1.0, 0.0]).k(50).run().unwrap();
    assert_eq!((all.len(), all.iter().filter(|hit| hit.key == 107).count()), (39, 1));
    assert!(docs.unmark_deleted(108).unwrap());
    assert_eq!(docs.search(graph.vector(8)).k(1).run().unwrap()[0].key, 108);
    // Duplicates are unlinked before the graph is handed out.
    docs.mark_deleted(120).unwrap();
    let out = docs.graph().unwrap();
    assert_eq!((out.len(), out.deleted().iter().filter(|&&deleted| deleted).count()), (40, 1));
}

/// After a crash at any step of loading, a collection is there with all, or empty, or not at all.
#[test]
fn loading_survives_a_crash_at_every_step() {
    let seed = seed("loading_survives_a_crash_at_every_step");
    let mut graph = ring();
    graph.set_deleted(20, true);
    graph.add(130, &[2.0, 2.0], &[&[3]]).unwrap();
    graph.set_deleted(30, true);
    let open = |sim: &Arc<SimDisk>| Store::options().background(false).open_on(sim.clone(), "simulated");
    // Says how many records must be there whatever happens next.
    let life = |sim: &Arc<SimDisk>, acked: &mut u64| -> Result<(), Error> {
        let store = open(sim)?;
        store.collection::<u64>("ring").codes(Codes::Eight).load(&graph).run()?;
        *acked = 39;
        store.collection::<u64>("ring").open()?.put(7, &[1.0, 1.0], b"seven")?;
        *acked = 40;
        store.close()
    };
    let whole = SimDisk::new(seed);
    let mut all = 0;
    life(&whole, &mut all).unwrap();
    assert_eq!(all, 40);
    let mut found = [0; 3];
    for (step, mode) in (1..=whole.steps()).flat_map(|step| CrashMode::ALL.map(|mode| (step, mode))) {
        let sim = SimDisk::new(seed);
        sim.crash_at(step);
        let mut acked = 0;
        // Closing may not say that the catalogue could not save what lets it open faster.
        let _ = life(&sim, &mut acked);
        let sim = sim.reboot(mode, seed ^ step);
        let step = format!("step {step}, {mode:?}");
        let store = open(&sim).unwrap_or_else(|error| panic!("{step}: {error}"));
        let report = store.verify().unwrap();
        assert!(report.ok(), "{step}: {:?}", report.problems);
        let records = store.collections().unwrap().first().map(|info| info.len);
        assert!(records.unwrap_or(0) >= acked, "{step}: {records:?} records, {acked} were acknowledged");
        match records {
            None => found[0] += 1,
            Some(0) => found[1] += 1,
            Some(39 | 40) => {
                found[2] += 1;
                let docs = store.collection::<u64>("ring").open().unwrap();
                let seven = docs.get(7).unwrap().map(|record| (record.vector, record.payload));
                let due = (records == Some(40)).then(|| (vec![1.0, 1.0], b"seven".to_vec()));
                assert_eq!(seven, due, "{step}");
                for node in (0..41).filter(|&node| node != 20 && node != 30) {
                    let key = graph.keys()[node as usize];
                    assert_eq!(docs.get(key).unwrap().unwrap().vector, graph.vector(node), "{step}");
                    assert_eq!(docs.search(graph.vector(node)).k(1).run().unwrap()[0].key, key);
                }
                assert_eq!(docs.get_marked(120).unwrap().unwrap().vector, graph.vector(20), "{step}");
            }
            other => panic!("{step}: {other:?} records"),
        }
        // An empty one can be loaded again.
        if records.is_none_or(|records| records == 0) {
            let loaded = store.collection::<u64>("ring").codes(Codes::Eight).load(&graph).run().unwrap();
            assert_eq!(loaded.collection.len(), 39);
        }
        store.close().unwrap();
    }
    assert!(found.iter().all(|&found| found > 0), "{found:?}");
}

#[test]
fn a_load_into_a_collection_of_another_dimension_is_refused() {
    let store = Store::in_memory().unwrap();
    for dim in [1, 3, 4096] {
        let error = store.collection::<u64>("ring").dim(dim).load(&ring()).run().unwrap_err();
        let says = |text: &str| text.contains("2 components") && text.contains(&dim.to_string());
        assert!(matches!(&error, Error::Graph(text) if says(text)), "{error:?}");
        assert!(store.collections().unwrap().is_empty());
    }
    assert_eq!(store.collection::<u64>("ring").dim(2).load(&ring()).run().unwrap().collection.len(), 40);
}

#[test]
fn a_stopped_load_leaves_nothing() {
    let store = Store::in_memory().unwrap();
    let graph = ring();
    let stopped = store.collection::<u64>("ring").load(&graph).while_told(|done, _| done < 40).run();
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    let docs = store.collection::<u64>("ring").load(&graph).run().unwrap().collection;
    assert_eq!(docs.len(), 40);
}

fn file_of(graph: &Graph) -> Vec<u8> {
    let mut file = Vec::new();
    hnswlib::write(graph, 50, &mut file).unwrap();
    assert_eq!(file.len() as u64, hnswlib::size(graph));
    file
}

fn read(file: &[u8]) -> Result<hnswlib::Index, Error> {
    hnswlib::read(file, "index.bin", &hnswlib::Reading::default())
}

#[test]
fn hnswlib_files_are_read_as_they_were_written() {
    let data = Data::load();
    let mut graph = built(&data, 500, Metric::L2, 5, Codes::None).graph().unwrap();
    graph.set_deleted(17, true);
    let file = file_of(&graph);
    // By the format: M 5 and 24 components.
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    assert_eq!([0, 8, 16, 24, 32, 40].map(word), [0, 500, 500, 4 + 40 + 96 + 8, 4 + 40 + 96, 4 + 40]);
    assert_eq!(([56, 64, 72, 88].map(word), f64::from_bits(word(80))), ([5, 10, 5, 60], 1.0 / 5f64.ln()));
    assert_eq!(file[96 + 17 * 148 + 2], 1);
    let index = read(&file).unwrap();
    assert_eq!((&index.graph, index.max_elements), (&graph, 500));
    assert_eq!(read(&file_of(&Graph::new(3, 16, 200))).unwrap().graph.len(), 0);
    assert!(hnswlib::read(&file, "index.bin", &hnswlib::Reading::default().dim(25)).is_err());
    assert!(hnswlib::is_index(&file) && !hnswlib::is_index(&file[1..]));

    let mut header = b"VOYA".to_vec();
    for word in [1u32, 24] {
        header.extend_from_slice(&word.to_le_bytes());
    }
    header.extend_from_slice(&[2, 0x20, 0, 0, 0, 0, 0]);
    let read = voyager::read(&[&header[..], &file[..]].concat(), "a.voy", &hnswlib::Reading::default()).unwrap();
    assert_eq!((&read.index.graph, read.metric), (&graph, Some(Metric::Cosine)));

    // Chroma's files have room for more elements.
    let elements = 96 + 500 * 148;
    let mut level0 = file[96..elements].to_vec();
    level0.resize(1000 * 148, 0);
    let head = [&1u32.to_le_bytes()[..], &file[..96]].concat();
    let segment = chroma::Segment { header: &head, data_level0: &level0, link_lists: &file[elements..] };
    assert_eq!(chroma::read(&segment, &hnswlib::Reading::default()).unwrap().graph, graph);
    let short = chroma::Segment { link_lists: &file[elements..file.len() - 1], ..segment };
    assert!(
        matches!(chroma::read(&short, &hnswlib::Reading::default()), Err(Error::Corrupt { file, .. }) if file == "link_lists.bin")
    );
}

#[test]
fn exact_files_are_read_as_they_were_written() {
    let mut file = Vec::new();
    for word in [3u64, 16, 2] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (vector, label) in [([1.0f32, 2.0], 7u64), ([3.0, 4.0], 8), ([0.0, 0.0], 0)] {
        vector.iter().for_each(|x| file.extend_from_slice(&x.to_le_bytes()));
        file.extend_from_slice(&label.to_le_bytes());
    }
    let exact = hnswlib::read_exact(&file, "bf.bin", 2).unwrap();
    assert_eq!((&exact.keys[..], &exact.vectors[..], exact.max_elements), (&[7, 8][..], &[1.0, 2.0, 3.0, 4.0][..], 3));
    let mut again = Vec::new();
    hnswlib::write_exact(&exact, 2, &mut again).unwrap();
    assert_eq!(again, file);
    assert!((0..file.len()).all(|cut| hnswlib::read_exact(&file[..cut], "bf.bin", 2).is_err()));
    assert!([0, 1, 3, usize::MAX].iter().all(|&dim| hnswlib::read_exact(&file, "bf.bin", dim).is_err()));
    file[16] = 4;
    assert!(hnswlib::read_exact(&file, "bf.bin", 2).is_err());
}

#[test]
fn a_damaged_file_is_refused_or_makes_a_sound_collection() {
    let file = file_of(&ring());
    assert!((0..file.len()).all(|cut| matches!(read(&file[..cut]), Err(Error::Corrupt { .. }))));
    assert!(read(&[&file[..], &[0]].concat()).is_err());
    let mut rng = Rng::new(seed("a_damaged_file_is_refused_or_makes_a_sound_collection"));
    let (mut refused, mut not_taken) = (0, 0);
    for round in 0..1500 {
        let mut bad = file.clone();
        for _ in 0..rng.within(1..4) {
            let at = if round % 2 == 0 { rng.below(96) } else { rng.below(bad.len()) };
            match rng.within(0..3) {
                0 => bad[at] ^= 1 << rng.within(0..8),
                1 => bad[at] = 0xFF,
                _ => bad[at] = rng.next() as u8,
            }
        }
        match read(&bad) {
            Err(Error::Corrupt { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
            // What is sound is checked in there.
            Ok(index) => not_taken += i32::from(load(&index.graph).is_err()),
        }
    }
    assert!(refused > 100 && not_taken > 50, "{refused} {not_taken}");
}
