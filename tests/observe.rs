//! What an observer sees: spans and events of `tracing`, numbers of `metrics`.

use lodestore::{Durability, Store};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata as Source, Recorder, SharedString, Unit};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io::{Seek, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Notes all that is told, as text.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(Level, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Told {
    fn note(&self, metadata: &Metadata<'_>, name: &str, fields: impl FnOnce(&mut Text)) {
        let mut text = Text(name.to_owned());
        fields(&mut text);
        self.0.lock().unwrap().push((*metadata.level(), text.0));
    }

    fn count(&self, level: Level, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(at, text)| *at == level && text.contains(what)).count()
    }
}

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("lodestore")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.note(span.metadata(), span.metadata().name(), |text| span.record(text));
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        self.note(event.metadata(), "event", |text| event.record(text));
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Counters by name, and how many values histograms have got.
#[derive(Default)]
struct Numbers(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

struct Values(Arc<AtomicU64>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        assert!((0.0..1000.0).contains(&value), "{value} seconds");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Numbers {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        self.0.lock().unwrap().entry(key.name().to_owned()).or_default().clone()
    }

    fn get(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).unwrap_or_else(|| panic!("no {name}")).load(Ordering::Relaxed)
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Source<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Source<'_>) -> Gauge {
        panic!("{key} is a gauge, and there are none")
    }

    fn register_histogram(&self, key: &Key, _: &Source<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Values(self.of(key))))
    }
}

#[test]
fn an_observer_sees_what_is_done() {
    let (told, numbers) = (Told::default(), Numbers::default());
    let dir = tempfile::tempdir().unwrap();
    let options = || Store::options().durability(Durability::Buffered).background(false).threads(1);
    let work = |path: &Path| {
        let store = options().open(path).unwrap();
        let docs = store.collection::<u64>("docs").dim(4).create().unwrap();
        let vectors: Vec<f32> = (0..400).map(|x| (x % 37) as f32).collect();
        docs.put_many(&(0..100).collect::<Vec<u64>>(), &vectors, None).unwrap();
        docs.put(100, &[1.0; 4], b"one").unwrap();
        docs.remove(100).unwrap();
        let hits = docs.search(&[3.0; 4]).run().unwrap();
        let many = docs.search_many(&vectors[..40]).run().unwrap();
        let distances = hits.stats().distances + many.stats().distances;
        docs.measure_recall(5).run().unwrap();
        store.checkpoint().unwrap();
        store.compact().run().unwrap();
        store.backup(path.with_extension("backup")).run().unwrap();
        assert!(store.verify().unwrap().ok());
        assert!(store.scrub().unwrap().ok());
        store.close().unwrap();
        distances
    };
    // A place in the code that is come to for the first time while an observer comes may miss it (tracing-core 0.1.36 enters
    // it into its list after it has asked the observers there are). So all are come to before, and asked again.
    work(&dir.path().join("unobserved"));
    let path = dir.path().join("store");
    let observed = || {
        tracing::callsite::rebuild_interest_cache();
        metrics::with_local_recorder(&numbers, || work(&path))
    };
    let distances = tracing::subscriber::with_default(told.clone(), observed);
    for (level, name) in [
        (Level::INFO, "lodestore.open"),
        (Level::DEBUG, "lodestore.checkpoint"),
        (Level::INFO, "lodestore.compact"),
        (Level::INFO, "lodestore.backup"),
        (Level::INFO, "lodestore.verify"),
        (Level::DEBUG, "lodestore.scrub"),
        (Level::INFO, "lodestore.recall"),
    ] {
        let of = format!("{name} store={}", path.display());
        assert!(told.count(level, &of) >= 1, "no {of} among {:?}", told.0.lock().unwrap());
    }
    assert_eq!(told.count(Level::ERROR, ""), 0);
    let get = |name: &str| numbers.get(&format!("lodestore_{name}"));
    assert_eq!((get("searches_total"), get("search_seconds"), get("search_distances_total")), (11, 2, distances));
    assert_eq!((get("rows_written_total"), get("writes_total"), get("write_seconds")), (102, 3, 3));
    for work in ["open", "backup", "scrub", "verification", "compaction", "recall_measurement"] {
        assert_eq!((get(&format!("{work}s_total")), get(&format!("{work}_seconds"))), (1, 1), "{work}");
    }
}

#[test]
fn damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().background(false).open(dir.path()).unwrap();
    let docs = store.collection::<u64>("docs").dim(4).create().unwrap();
    docs.put(1, &[1.0; 4], b"one").unwrap();
    store.checkpoint().unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(dir.path().join("c/0/vectors")).unwrap();
    file.seek(SeekFrom::Start(5)).unwrap();
    file.write_all(&[0xA5]).unwrap();
    // As above.
    assert!(!store.scrub().unwrap().ok());
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), || {
        tracing::callsite::rebuild_interest_cache();
        assert!(!store.scrub().unwrap().ok());
    });
    assert_eq!(told.count(Level::ERROR, "c/0/vectors"), 1, "{:?}", told.0.lock().unwrap());
}
