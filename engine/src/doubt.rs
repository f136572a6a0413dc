//! How many nodes were linked while others were being linked, too.
//!
//! Alone, a writer leaves every node within reach (`paths`). Two at once may each give up a link for the sake of the
//! other's. That is rare, and looked for afterwards (`reach`); here it is counted whether there is anything to look for.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Doubt {
    active: AtomicU64,
    started: AtomicU64,
    nodes: AtomicU64,
}

impl Doubt {
    /// Someone begins to change links; [`end`](Self::end) gets what this returns.
    pub(crate) fn begin(&self) -> (u64, bool) {
        // In this order: whoever comes later finds us active, or we find that they have started.
        let others = self.active.fetch_add(1, Ordering::SeqCst) > 0;
        (self.started.fetch_add(1, Ordering::SeqCst) + 1, others)
    }

    /// They have linked so many nodes. `anyway` says that something else has changed links meanwhile.
    pub(crate) fn end(&self, (started, others): (u64, bool), nodes: usize, anyway: bool) {
        let later = self.started.load(Ordering::SeqCst) != started;
        self.active.fetch_sub(1, Ordering::SeqCst);
        if others || later || anyway {
            self.nodes.fetch_add(nodes as u64, Ordering::AcqRel);
        }
    }

    /// Nodes of which it is open whether they have put others out of reach.
    pub(crate) fn nodes(&self) -> u64 {
        self.nodes.load(Ordering::Acquire)
    }

    /// All that there are are being looked after.
    pub(crate) fn take(&self) -> u64 {
        self.nodes.swap(0, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_is_in_no_doubt() {
        let doubt = Doubt::default();
        for _ in 0..3 {
            let alone = doubt.begin();
            doubt.end(alone, 5, false);
        }
        assert_eq!(doubt.nodes(), 0);
        let (first, second) = (doubt.begin(), doubt.begin());
        doubt.end(first, 1, false);
        let third = doubt.begin();
        doubt.end(second, 10, false);
        doubt.end(third, 100, false);
        assert_eq!(doubt.take(), 111);
        let swept = doubt.begin();
        doubt.end(swept, 1000, true);
        assert_eq!((doubt.nodes(), doubt.take(), doubt.nodes()), (1000, 1000, 0));
    }
}
