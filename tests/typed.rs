//! Payloads of a type of the program's own.

use crate::support::data::Data;
use lodestore::{Error, Metric, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Gloss {
    text: String,
    number: usize,
    weight: f64,
    #[serde(default)]
    tags: Vec<String>,
}

fn gloss(data: &Data, row: usize) -> Gloss {
    Gloss {
        text: data.glosses.texts[row].to_owned(),
        number: row,
        weight: (row as f64).sin(),
        tags: vec![format!("tag{}", row % 3)],
    }
}

#[test]
fn payloads_come_back_as_what_they_were() {
    let data = Data::load();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let docs = store.collection::<str>("docs").dim(data.glosses.dim).metric(Metric::Cosine).create().unwrap();
    let glosses = docs.typed::<Gloss>();
    let keys: Vec<String> = (0..200).map(|row| format!("gloss {row}")).collect();
    let payloads: Vec<Gloss> = (0..200).map(|row| gloss(&data, row)).collect();
    glosses.put_many(&keys, &data.glosses.vectors()[..200 * data.glosses.dim], &payloads).unwrap();
    glosses.put("one more", data.glosses.vector(200), &gloss(&data, 200)).unwrap();
    let changed = Gloss { number: 7, ..gloss(&data, 5) };
    assert!(glosses.set_payload("gloss 5", &changed).unwrap() && !glosses.set_payload("none", &changed).unwrap());
    let mut batch = store.batch();
    batch.put(&docs, "batched", data.glosses.vector(201), &glosses.encode(&gloss(&data, 201)).unwrap()).unwrap();
    batch.commit().unwrap();
    store.close().unwrap();

    let store = Store::open(dir.path()).unwrap();
    let docs = store.collection::<str>("docs").open().unwrap();
    let glosses = docs.typed::<Gloss>();
    for (row, key) in keys.iter().enumerate().filter(|&(row, _)| row != 5) {
        let record = glosses.get(key).unwrap().unwrap();
        assert_eq!((record.payload, &record.vector[..]), (gloss(&data, row), data.glosses.vector(row)));
    }
    assert_eq!(glosses.payload("gloss 5").unwrap(), Some(changed));
    assert_eq!(glosses.payload("batched").unwrap(), Some(gloss(&data, 201)));
    assert_eq!(glosses.payload("none").unwrap(), None);
    let hits = glosses.search(data.glosses.vector(200)).k(1).run().unwrap();
    assert_eq!(hits[0].payload_as::<Gloss>().unwrap(), gloss(&data, 200));
    docs.mark_deleted("one more").unwrap();
    assert!(glosses.get("one more").unwrap().is_none() && glosses.payload("one more").unwrap().is_none());
}

#[test]
fn a_payload_of_another_type_is_told() {
    let store = Store::in_memory().unwrap();
    let docs = store.collection::<str>("docs").dim(2).create().unwrap();
    docs.put("text", &[1.0, 2.0], b"no JSON").unwrap();
    docs.put("other", &[2.0, 1.0], br#"{"text": "x"}"#).unwrap();
    docs.put("more", &[2.0, 2.0], br#"{"text": "x", "number": 1, "weight": 0.5, "new": true}"#).unwrap();
    let glosses = docs.typed::<Gloss>();
    for (key, says) in [("text", "7 bytes"), ("other", "missing field `number`")] {
        let error = glosses.get(key).unwrap_err();
        assert!(matches!(error, Error::Payload { .. }), "{error}");
        assert!(error.to_string().contains(says) && error.to_string().contains(key), "{error}");
    }
    // A field that an older program does not know, and one that an older payload has not.
    assert_eq!(glosses.get("more").unwrap().unwrap().payload.number, 1);
    let hits = docs.search(&[1.0, 2.0]).k(1).run().unwrap();
    assert!(hits[0].payload_as::<Gloss>().unwrap_err().to_string().contains("with_payloads"));
    // JSON has no place for it: nothing is written.
    let odd = docs.typed::<BTreeMap<Vec<u8>, u8>>();
    let error = odd.put("text", &[5.0, 5.0], &BTreeMap::from([(vec![1], 2)])).unwrap_err();
    assert!(matches!(error, Error::Payload { .. }), "{error}");
    // It would be written, and never read again.
    let error = docs.typed::<f64>().put("text", &[5.0, 5.0], &f64::NAN).unwrap_err();
    assert!(matches!(error, Error::Payload { .. }), "{error}");
    assert_eq!(docs.payload("text").unwrap().unwrap(), b"no JSON");
}
