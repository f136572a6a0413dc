//! Who is reading, so that a slot is written anew only when everyone who may still look at its old content is gone.
//!
//! Readers are counted, on one of two sides and in one of several stripes. Something that no reader can come upon any
//! more is safe to change once each count has been seen at zero since: whoever was there before has left by then, and
//! whoever came later never saw it. New readers are sent to the side that has been seen empty, so that the other one
//! empties, however many come (the idea of two sides is that of sleepable read-copy-update, McKenney 2006).

use crate::sync::{AtomicU32, AtomicUsize, Ordering, fence};
use std::cell::Cell;

/// Counts of a side: threads share them in turns.
const STRIPES: usize = 16;

/// A count with cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicU32);

/// The readers of one collection.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// Where new readers go.
    side: AtomicUsize,
    counts: [[Count; STRIPES]; 2],
}

/// A reader; gone when this is dropped.
#[derive(Debug)]
pub struct Reading<'a> {
    readers: &'a Readers,
    seat: Seat,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.readers.leave(&self.seat);
    }
}

/// Where a reader is counted.
#[derive(Debug)]
pub(crate) struct Seat {
    side: usize,
    stripe: usize,
}

/// Which counts have been seen at zero since something was taken out of every reader's way.
#[derive(Debug, Default)]
pub(crate) struct Gone([u16; 2]);

/// The stripe of this thread.
fn stripe() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
    }
    OWN.with(Cell::get)
}

impl Readers {
    /// Counts the caller as a reader. Never waits.
    pub(crate) fn begin(&self) -> Reading<'_> {
        Reading { readers: self, seat: self.enter() }
    }

    /// As [`begin`](Self::begin), for a reader that keeps the index itself and [leaves](Self::leave) on its own.
    pub(crate) fn enter(&self) -> Seat {
        let seat = Seat { side: self.side.load(Ordering::Relaxed), stripe: stripe() };
        self.counts[seat.side][seat.stripe].0.fetch_add(1, Ordering::Relaxed);
        // Either `all_gone` sees this reader, or this reader sees all that was done before `all_gone` looked.
        fence(Ordering::SeqCst);
        seat
    }

    /// Uncounts a reader, who looks at nothing any more.
    pub(crate) fn leave(&self, seat: &Seat) {
        self.counts[seat.side][seat.stripe].0.fetch_sub(1, Ordering::Release);
    }

    /// Whether all readers are gone that were there when `gone` was made. Does not wait: ask again later.
    pub(crate) fn all_gone(&self, gone: &mut Gone) -> bool {
        fence(Ordering::SeqCst);
        for (seen, counts) in gone.0.iter_mut().zip(&self.counts) {
            for (stripe, count) in counts.iter().enumerate() {
                *seen |= u16::from(count.0.load(Ordering::Acquire) == 0) << stripe;
            }
        }
        let empty = gone.0.map(|seen| seen == u16::MAX);
        match empty {
            [true, true] => true,
            [first, second] => {
                if first != second {
                    self.side.store(usize::from(second), Ordering::Relaxed);
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn who_was_there_is_waited_for_and_who_comes_later_is_not() {
        let readers = Readers::default();
        let early = readers.begin();
        let mut gone = Gone::default();
        assert!(!readers.all_gone(&mut gone) && !readers.all_gone(&mut gone));
        let late = readers.begin();
        assert!(!readers.all_gone(&mut gone));
        drop(early);
        assert!(readers.all_gone(&mut gone));
        // For what is taken away now, the late one counts.
        let mut gone = Gone::default();
        assert!(!readers.all_gone(&mut gone));
        drop(late);
        assert!(readers.all_gone(&mut gone) || readers.all_gone(&mut gone));
    }

    /// Readers that follow each other without a gap hold nothing up, and none finds what was changed after it came.
    #[test]
    fn an_endless_stream_of_readers_is_outwaited() {
        let (readers, stop) = (Readers::default(), AtomicBool::new(false));
        // Which of two cells readers are to look at, and what is in them: the number of the round, while it may be read.
        let (current, cells) = (AtomicUsize::new(0), [AtomicUsize::new(1), AtomicUsize::new(0)]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut before = readers.begin();
                    while !stop.load(Ordering::Relaxed) {
                        let next = readers.begin();
                        drop(std::mem::replace(&mut before, next));
                        let at = current.load(Ordering::Acquire);
                        assert!((0..50).all(|_| cells[at].load(Ordering::Acquire) != 0), "read after it was cleared");
                    }
                });
            }
            for round in 0..2000 {
                let (old, new) = (round % 2, (round + 1) % 2);
                cells[new].store(round + 2, Ordering::Release);
                current.store(new, Ordering::Release);
                let mut gone = Gone::default();
                while !readers.all_gone(&mut gone) {
                    std::thread::yield_now();
                }
                cells[old].store(0, Ordering::Release);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
