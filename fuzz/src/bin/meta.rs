//! Any bytes as a collection's `meta`: opening the collection must end in an error or in one that works.
#![cfg_attr(fuzzing, no_main)]

use lodestore_engine::{Element, Geometry, Id, Index, KeyType, Metric, NewKeys, Query, SlotBytes, vector_crc};
use lodestore_fuzz::{UUID, get, is_chosen, put, reseal, switch, with_switch};
use lodestore_wal::names::{self, Part};
use lodestore_wal::{Disk, MemDisk};

lodestore_fuzz::target!(open, seeds);

const META: usize = 128;

fn open(input: &[u8]) {
    let Some((reseal, mut bytes)) = switch(input) else { return };
    if reseal {
        reseal::block(&mut bytes, 0, META);
    }
    let disk = MemDisk::new();
    put(&disk, &names::part(0, 0, Part::Meta), &bytes);
    // A file that is not there is missed once `meta` is accepted.
    match Index::open(&disk, UUID, 0, 1, None) {
        Err(error) if error.is_not_found() && is_chosen(input, 16) => {}
        Err(_) => return,
        Ok(_) => unreachable!("it has no segments"),
    }
    for part in Part::SEGMENTS {
        put(&disk, &names::part(0, 0, part), b"");
    }
    let Ok(index) = Index::open(&disk, UUID, 0, 1, None) else { return };
    let geometry = *index.geometry();
    geometry.check().expect("a meta file that is accepted is within the limits");
    // Enough to link three slots, whatever the sizes.
    let (element, floats) = (geometry.element, vec![1.0; geometry.dim]);
    let mut vector = Vec::new();
    element.encode(&floats, &mut vector).expect("every type has a 1");
    let mut keys = NewKeys::after(0);
    let key = if geometry.key.in_id() { 7 } else { keys.add(b"seven").expect("an empty segment") };
    index.write_keys(&keys).expect("memory does not fail");
    index.advance_keys(keys.end());
    for place in index.places(3) {
        index
            .reserve(u64::from(place.slot) + 1, u64::from(place.upper) + u64::from(place.level))
            .expect("a little room");
        let (level, upper) = (place.level, place.upper);
        let id = Id { key, lsn: 1, vector_crc: vector_crc(&vector), upper, level };
        let mut bytes = SlotBytes::default();
        index.encode(&vector, &mut bytes);
        index.write_slots(&[place.slot], &bytes, &[id]).expect("memory does not fail");
        index.advance(place);
        index.link(place.slot).expect("nothing is damaged");
    }
    let query = if element.is_float() { Query::Floats(&floats) } else { Query::Stored(&vector) };
    let (found, _) = index.search(query, 3, 3, f32::INFINITY);
    assert_eq!(found.len(), 1, "three slots of one key");
    assert_eq!(index.verify().problems, [""; 0]);
}

fn seeds() -> Vec<Vec<u8>> {
    let elements = Element::ALL.into_iter().filter(|element| *element != Element::Bits);
    let numbers = elements.map(|element| (element, Metric::Cosine, 8));
    [(Element::F32, Metric::L2, 8), (Element::F32, Metric::InnerProduct, 8), (Element::Bits, Metric::Hamming, 0)]
        .into_iter()
        .chain(numbers)
        .zip(KeyType::ALL.into_iter().cycle())
        .flat_map(|((element, metric, codes), key)| {
            let disk = MemDisk::new();
            disk.create_dir(names::COLLECTIONS_DIR).expect("a directory in memory");
            let geometry = Geometry { dim: 3, element, metric, m: 4, ef_construction: 8, seed: 1, codes, key };
            Index::create(&disk, UUID, 0, &geometry).expect("memory does not fail");
            let bytes = get(&disk, &names::part(0, 0, Part::Meta));
            [with_switch(true, &bytes), with_switch(false, &bytes)]
        })
        .collect()
}

#[test]
fn the_seeds_are_opened() {
    for input in seeds() {
        let disk = MemDisk::new();
        put(&disk, &names::part(0, 0, Part::Meta), &switch(&input).unwrap().1);
        for part in Part::SEGMENTS {
            put(&disk, &names::part(0, 0, part), b"");
        }
        assert_eq!(Index::open(&disk, UUID, 0, 1, None).unwrap().geometry().dim, 3);
        open(&input);
    }
}
