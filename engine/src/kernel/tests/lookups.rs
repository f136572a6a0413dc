//! Properties of what packed neighbourhoods are computed with.

use super::super::{ABREAST, CODE_BLOCK, Codes, Kernel, LINE, Line, Work};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

struct LookUp<'a>(&'a [u8], &'a [u8]);

impl Work for LookUp<'_> {
    type Out = [u16; ABREAST];

    #[inline(always)]
    fn run(self, codes: impl Codes) -> [u16; ABREAST] {
        codes.looked_up(self.0, self.1)
    }
}

/// Against sums in u32, with the largest and with random numbers, of every number of blocks, at every alignment.
pub(super) fn are_added_up_exactly(kernel: Kernel) {
    let mut state = 5u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    // 64 blocks are 256 places, nearly as many as stay exact.
    for blocks in [1, 2, 3, 7, 8, 16, 64] {
        for kind in 0..4 {
            let (length, offset) = (blocks * CODE_BLOCK, kind * 13 % CODE_BLOCK);
            let tables: Vec<u8> = (0..length + offset).map(|_| if kind == 0 { 255 } else { next() }).collect();
            let codes: Vec<u8> = (0..length + offset).map(|_| next()).collect();
            let (tables, codes) = (&tables[offset..], &codes[offset..]);
            let mut expected = [0u32; ABREAST];
            for (table, codes) in tables.chunks_exact(16).zip(codes.chunks_exact(16)) {
                for (n, sum) in expected.iter_mut().enumerate() {
                    *sum += u32::from(table[usize::from(codes[n % 16] >> (n / 16 * 4) & 15)]);
                }
            }
            assert_eq!(kernel.run(LookUp(tables, codes)).map(u32::from), expected, "{blocks} blocks, kind {kind}");
        }
    }
    for (tables, codes) in [(64, 128), (16, 16), (0, 64)] {
        let (tables, codes) = (vec![0; tables], vec![0; codes]);
        assert!(std::panic::catch_unwind(|| kernel.run(LookUp(&tables, &codes))).is_err());
    }
}

/// Words that may be stored to while they are copied.
#[repr(C, align(64))]
struct Shared([AtomicU32; 5 * LINE / 4]);

struct Snapshot<'a>(&'a Shared, usize);

impl Work for Snapshot<'_> {
    type Out = Vec<Line>;

    #[inline(always)]
    fn run(self, codes: impl Codes) -> Vec<Line> {
        let mut lines = vec![Line([7; LINE / 4]); self.1];
        super::super::snapshot_of(codes, &self.0.0, &mut lines);
        lines
    }
}

/// Every word as it was stored, also while another thread stores: then one of those that are stored by turns.
pub(super) fn snapshots_are_copies(kernel: Kernel) {
    let shared = Shared(std::array::from_fn(|n| AtomicU32::new(n as u32 * 0x0101_0101)));
    for count in 0..=5 {
        let lines = kernel.run(Snapshot(&shared, count));
        let words: Vec<u32> = lines.iter().flat_map(|line| line.0).collect();
        assert_eq!(words, (0..(count * LINE / 4) as u32).map(|n| n * 0x0101_0101).collect::<Vec<_>>());
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0u32;
            while !done.load(Ordering::Relaxed) {
                turn = !turn;
                shared.0.iter().for_each(|word| word.store(turn, Ordering::Relaxed));
            }
        });
        while shared.0[79].load(Ordering::Relaxed) == 79 * 0x0101_0101 {
            std::hint::spin_loop();
        }
        for _ in 0..if cfg!(miri) { 10 } else { 20_000 } {
            let lines = kernel.run(Snapshot(&shared, 5));
            assert!(lines.iter().flat_map(|line| line.0).all(|word| word == 0 || word == u32::MAX));
        }
        done.store(true, Ordering::Relaxed);
    });
}
