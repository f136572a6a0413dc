//! Who removes what another is just putting waits until it is there: the real `src/flight.rs`.

use crate::model::check;
use crate::sync::Mutex;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

#[path = "../../src/flight.rs"]
#[allow(dead_code, unreachable_pub, reason = "as in its own crate")]
mod real;

use real::InFlight;

/// Three writes of one key, each of which replaces what the one before has put. With `waits` false none waits.
pub fn replace(waits: bool) {
    check(move || {
        let landed = std::array::from_fn::<_, 3, _>(|_| AtomicBool::new(false));
        // The sequencer: LSNs and flights are given out in one order.
        let store = Arc::new((InFlight::default(), Mutex::new(0), landed));
        let write = || {
            let store = store.clone();
            move || {
                let (all, sequencer, landed) = &*store;
                let mut next = sequencer.lock();
                let nth = *next;
                *next += 1;
                let lsn = |nth: usize| 2 * nth as u64 + 1;
                let flight = all.begin(lsn(nth), lsn(nth) + 1);
                drop(next);
                if let Some(before) = nth.checked_sub(1) {
                    if waits {
                        flight.wait_for(lsn(before) + 1);
                    }
                    assert!(landed[before].load(Ordering::Relaxed), "write {nth} came before what it replaces");
                }
                landed[nth].store(true, Ordering::Relaxed);
                drop(flight);
            }
        };
        let threads = [thread::spawn(write()), thread::spawn(write())];
        write()();
        threads.into_iter().for_each(|thread| thread.join().expect("a write failed"));
    });
}
