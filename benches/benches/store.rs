//! The store from the outside: searching, putting, reopening, on the demo's sentence vectors.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lodestore::{Collection, Durability, Metric, Store};
use lodestore_benches::Vectors;
use std::path::Path;

fn open(path: &Path) -> Store {
    Store::options().durability(Durability::Buffered).open(path).expect("a store that only this benchmark uses")
}

fn docs(store: &Store, dim: usize) -> Collection<u64> {
    store.collection::<u64>("docs").dim(dim).metric(Metric::Cosine).open_or_create().expect("the same settings")
}

fn fill(docs: &Collection<u64>, vectors: &Vectors) {
    let keys: Vec<u64> = (0..vectors.count() as u64).collect();
    docs.put_many(&keys, &vectors.rows, None).expect("room for a few megabytes");
}

fn search(c: &mut Criterion) {
    let vectors = Vectors::load();
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let store = open(dir.path());
    let docs = docs(&store, vectors.dim);
    fill(&docs, &vectors);
    store.checkpoint().expect("room for a few megabytes");
    let mut queries = vectors.queries.chunks_exact(vectors.dim).cycle();
    let mut group = c.benchmark_group("search");
    group.throughput(Throughput::Elements(1));
    for ef in [16, 64] {
        group.bench_function(BenchmarkId::new("k10", format!("ef{ef}")), |b| {
            b.iter(|| {
                let query = queries.next().expect("they come round again");
                docs.search(query).k(10).ef(ef).run().expect("a good query")
            });
        });
    }
    group.finish();
}

/// Every store grows while it is measured, as stores do: compare runs of the same length.
fn put(c: &mut Criterion) {
    let vectors = Vectors::load();
    let mut rows = vectors.rows.chunks_exact(vectors.dim).cycle();
    let mut group = c.benchmark_group("put");
    group.sample_size(10);

    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let store = open(dir.path());
    let one = docs(&store, vectors.dim);
    fill(&one, &vectors);
    let mut key = vectors.count() as u64;
    group.throughput(Throughput::Elements(1));
    group.bench_function("one", |b| {
        b.iter(|| {
            key += 1;
            one.put(key, rows.next().expect("they come round again"), b"").expect("room on the disk");
        });
    });

    const MANY: usize = 1000;
    let keys: Vec<u64> = (0..MANY as u64).collect();
    group.throughput(Throughput::Elements(MANY as u64));
    group.bench_function("many-1000-into-an-empty-store", |b| {
        b.iter_batched(
            || {
                let dir = tempfile::tempdir().expect("a directory for temporary files");
                let store = open(dir.path());
                let docs = docs(&store, vectors.dim);
                (dir, store, docs)
            },
            |(dir, store, docs)| {
                docs.put_many(&keys, &vectors.rows[..MANY * vectors.dim], None).expect("room on the disk");
                // Closed after the clock has stopped.
                (dir, store, docs)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn reopen(c: &mut Criterion) {
    let vectors = Vectors::load();
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let store = open(dir.path());
    fill(&docs(&store, vectors.dim), &vectors);
    store.close().expect("room for a few megabytes");
    c.bench_function("reopen/first-answer", |b| {
        b.iter(|| {
            let store = open(dir.path());
            let docs = store.collection::<u64>("docs").open().expect("it was made above");
            docs.search(&vectors.queries[..vectors.dim]).run().expect("a good query")
        });
    });
}

criterion_group!(benches, search, put, reopen);
criterion_main!(benches);
