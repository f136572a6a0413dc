//! Distances: every kernel that this CPU has, one pair and four at a time. A time divided by four, and by the bytes
//! that a pair has, is comparable across them.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lodestore_benches::numbers;
use lodestore_engine::kernel::{CODE_BLOCK, Kernel, Tier};
use std::hint::black_box;

const DIMS: [usize; 3] = [128, 384, 768];

fn kernels(c: &mut Criterion) {
    // Read in turn, so that a vector is in the second-level cache but not in a register.
    const VECTORS: usize = 64;
    for dim in DIMS {
        let rows = numbers(dim * VECTORS);
        let query = numbers(dim);
        let row = |n: usize| &rows[n % VECTORS * dim..][..dim];
        for kernel in Tier::ALL.into_iter().filter_map(Kernel::of) {
            let mut n = 0;
            let mut next = move || {
                n += 1;
                n
            };
            let mut group = c.benchmark_group(format!("kernel-{}", kernel.tier()));
            group.throughput(Throughput::Bytes(dim as u64 * 4));
            group.bench_function(BenchmarkId::new("l2", dim), |b| {
                b.iter(|| kernel.l2(black_box(&query), row(next())));
            });
            group.bench_function(BenchmarkId::new("dot", dim), |b| {
                b.iter(|| kernel.dot(black_box(&query), row(next())));
            });
            group.throughput(Throughput::Bytes(dim as u64 * 16));
            let four = |n: usize| [row(4 * n), row(4 * n + 1), row(4 * n + 2), row(4 * n + 3)];
            group.bench_function(BenchmarkId::new("l2_4", dim), |b| {
                b.iter(|| kernel.l2_4(black_box(&query), four(next())));
            });
            group.bench_function(BenchmarkId::new("dot_4", dim), |b| {
                b.iter(|| kernel.dot_4(black_box(&query), four(next())));
            });
            // Bytes that mean small numbers in every type: of `f16` and `bf16` about 1 in size.
            let stored: Vec<u8> = (0..2 * dim * VECTORS).map(|n| if n % 2 == 0 { n as u8 } else { 0x3B }).collect();
            let asked: Vec<u8> = query.iter().flat_map(|x| x.to_le_bytes()).collect();
            let kinds = [
                ("f16", kernel.f16().l2, 4 * dim, 2 * dim),
                ("bf16", kernel.bf16().l2, 4 * dim, 2 * dim),
                ("i8", kernel.i8().l2, dim, dim),
                ("i8-dot", kernel.i8().dot, dim, dim),
                ("u8", kernel.u8().l2, dim, dim),
                ("bits", kernel.bits(), dim / 8, dim / 8),
            ];
            for (name, compare, wide, bytes) in kinds {
                let row = |n: usize| &stored[n % VECTORS * bytes..][..bytes];
                group.throughput(Throughput::Bytes(bytes as u64 * 4));
                group.bench_function(BenchmarkId::new(format!("{name}_4"), dim), |b| {
                    b.iter(|| {
                        let n = next() * 4;
                        compare.four(black_box(&asked[..wide]), [row(n), row(n + 1), row(n + 2), row(n + 3)])
                    });
                });
            }
            for per_byte in [1, 2] {
                let bytes = dim.div_ceil(per_byte * CODE_BLOCK) * CODE_BLOCK;
                let codes: Vec<u8> = (0..bytes * VECTORS).map(|n| (n * 37 % 251) as u8).collect();
                let query: Vec<i8> = (0..bytes * per_byte).map(|n| (n * 29 % 255) as u8 as i8).collect();
                let code = |n: usize| &codes[n % VECTORS * bytes..][..bytes];
                group.throughput(Throughput::Bytes(bytes as u64 * 4));
                group.bench_function(BenchmarkId::new(format!("codes{}_4", 8 / per_byte), dim), |b| {
                    b.iter(|| {
                        let n = next() * 4;
                        kernel.codes_4(per_byte, black_box(&query), [code(n), code(n + 1), code(n + 2), code(n + 3)])
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
