//! Whether a collection's vectors have to be read from the disk.
//!
//! Walks run on codes; vectors are looked at for what a walk has found, a few dozen here and there. Where memory is short
//! they are not in it, and each that is looked at through a map costs a fault that waits for the disk, one after the other.
//! So then they are read by calls: those that are missing are all asked for before the first is waited for, a read that
//! fails is an error of the search and no signal, and pages that are used once do not push out what every walk needs.
//!
//! Where everything is in memory such calls would only cost: 2 µs each, as much as a search's walk altogether. Nobody can
//! tell beforehand; but a search that has met the disk takes so long that it shows. So what searches wait for the disk is
//! estimated, and they make calls while that is more than the calls cost.

use lodestore_wal::Error;
use parking_lot::Mutex;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Comparing takes no longer than this for each vector, on top of so much, if all are in memory: the fastest disks take
/// 10 µs for one read, memory 1 µs for a long vector.
const EACH: Duration = Duration::from_micros(1);
const ALL: Duration = Duration::from_micros(40);

/// Whether comparing, or reading, so many took longer than if all are in memory.
pub(crate) fn is_slow(count: usize, took: Duration) -> bool {
    took > ALL + EACH * count as u32
}

/// What one vector that is not in memory costs a search through the map, about.
const READ: Duration = Duration::from_micros(100);
/// One search counts for no more than this: the CPU may have been taken from it.
const MOST: Duration = Duration::from_micros(800);
/// Waiting for the disk so long, on average, is dearer than calls for all vectors are.
const WORTH_IT: Duration = Duration::from_micros(100);
/// A mean goes by this part of the way to each new number.
const SHARE: u32 = 16;

/// What is known of where a collection's vectors are.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    /// Nanoseconds that a search waits for the disk if it compares through the map: the mean of the last ones.
    waits: AtomicU32,
    /// Vectors are read by calls in any case.
    always: AtomicBool,
    /// Some search has read from the disk since this was asked.
    met: AtomicBool,
    /// Walks meet the disk: what they are about to read is to be asked for.
    walks: AtomicBool,
    /// How many more than `k` vectors searches have compared lately, times [`SHARE`].
    more: AtomicU32,
    told: OnceLock<()>,
    failed: Mutex<Option<Failed>>,
}

#[derive(Debug)]
struct Failed {
    kind: io::ErrorKind,
    path: String,
    offset: u64,
    what: String,
}

impl Cold {
    /// Whether a search is to read vectors by calls.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.waits.load(Ordering::Relaxed) > WORTH_IT.as_nanos() as u32 || self.always.load(Ordering::Relaxed)
    }

    /// Whether vectors are read by calls whether or not they are in memory.
    pub(crate) fn set_always(&self, always: bool) {
        self.always.store(always, Ordering::Relaxed);
    }

    /// Whether walks are to ask the disk for what they are about to read.
    #[inline(always)]
    pub(crate) fn walks_ask(&self) -> bool {
        self.walks.load(Ordering::Relaxed)
    }

    pub(crate) fn set_walks_ask(&self, ask: bool) {
        self.walks.store(ask, Ordering::Relaxed);
    }

    /// A search has compared `count` vectors through the map in that time.
    #[inline]
    pub(crate) fn compared(&self, count: usize, took: Duration) {
        let slow = is_slow(count, took);
        if slow || self.waits.load(Ordering::Relaxed) > 0 {
            self.waited(if slow { took } else { Duration::ZERO });
        }
    }

    /// A search has read vectors by calls, so many of them from the disk, and compared `more` than `k`.
    pub(crate) fn read(&self, missed: u64, more: usize) {
        if missed > 0 {
            self.met.store(true, Ordering::Relaxed);
        }
        self.waited(READ * missed.min(SHARE.into()) as u32);
        let mean = self.more.load(Ordering::Relaxed);
        self.more.store(mean - mean / SHARE + more.min(1 << 16) as u32, Ordering::Relaxed);
    }

    /// Of two at once one may not count.
    fn waited(&self, time: Duration) {
        let (mean, new) = (self.waits.load(Ordering::Relaxed), time.min(MOST).as_nanos() as u32);
        self.waits.store(mean - mean.div_ceil(SHARE) + new / SHARE, Ordering::Relaxed);
    }

    /// How many more than `k` a search will likely compare.
    pub(crate) fn expected(&self) -> usize {
        (self.more.load(Ordering::Relaxed) / SHARE) as usize
    }

    /// Whether a search has met the disk since this was asked last.
    pub(crate) fn take_met(&self) -> bool {
        self.met.swap(false, Ordering::Relaxed)
    }

    /// Runs `tell` once.
    pub(crate) fn tell_once(&self, tell: impl FnOnce()) {
        self.told.get_or_init(tell);
    }

    /// Keeps what went wrong with a read.
    pub(crate) fn fail(&self, path: &str, offset: u64, error: &Error) {
        let kind = match error {
            Error::Io { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        *self.failed.lock() = Some(Failed { kind, path: path.to_owned(), offset, what: error.to_string() });
    }

    /// What went wrong last.
    pub(crate) fn failure(&self) -> Option<Error> {
        let failed = self.failed.lock();
        let Failed { kind, path, offset, what } = failed.as_ref()?;
        Some(match kind {
            io::ErrorKind::UnexpectedEof => Error::corrupt(path, *offset, "a vector expected, the file ends before"),
            kind => Error::io("read", path, io::Error::new(*kind, what.clone())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_searches_are_noticed_and_fast_ones_forgotten() {
        let cold = Cold::default();
        let (fast, slow) = (Duration::from_micros(20), Duration::from_millis(5));
        // One may have had to wait for the CPU.
        for took in [fast, slow, fast, fast] {
            cold.compared(20, took);
            assert!(!cold.is_on());
        }
        (0..4).for_each(|_| cold.compared(20, slow));
        assert!(cold.is_on() && !cold.take_met());
        cold.read(9, 4);
        assert!(cold.is_on() && cold.take_met() && !cold.take_met());
        (0..SHARE).for_each(|_| cold.read(2, 4));
        assert!(cold.is_on(), "two from the disk for each are worth calls for all");
        (0..2 * SHARE).for_each(|_| cold.read(0, 4));
        assert!(!cold.is_on());
        (0..1000).for_each(|_| cold.compared(20, fast));
        assert_eq!(cold.waits.load(Ordering::Relaxed), 0);
        cold.set_always(true);
        assert!(cold.is_on());
    }

    #[test]
    fn what_searches_compare_is_learnt() {
        let cold = Cold::default();
        for _ in 0..200 {
            cold.read(0, 12);
        }
        assert!((11..=12).contains(&cold.expected()), "{}", cold.expected());
    }

    #[test]
    fn a_failure_says_where() {
        let cold = Cold::default();
        assert!(cold.failure().is_none());
        cold.fail("c/0/vectors", 512, &Error::io("read", "c/0/vectors", io::ErrorKind::UnexpectedEof.into()));
        assert!(matches!(cold.failure(), Some(Error::Corrupt { offset: 512, .. })));
        cold.fail("c/0/vectors", 512, &Error::io("read", "c/0/vectors", io::Error::from_raw_os_error(5)));
        assert!(matches!(cold.failure(), Some(Error::Io { op: "read", .. })));
    }
}
