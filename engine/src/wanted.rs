//! What a search is to find.

use crate::members::{Keep, Members};
use crate::search::Watch;

/// What a search is to find, and how.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// So many records, the nearest.
    pub k: usize,
    /// Candidates kept on the way, at least `k`.
    pub ef: usize,
    /// See [`Index::search`](crate::Index::search).
    pub ratio: f32,
    /// Which records may be found, if not all.
    pub keep: Option<&'a Keep<'a>>,
    /// Where those are that may be found, if that is known: no other may be.
    pub members: Option<&'a Members>,
    /// Whether not all of those may be: each has to be asked about.
    pub partial: bool,
    /// Asked instead of `keep` about what was put since `members` was made, and about what is found in the end.
    pub check: Option<&'a Keep<'a>>,
    /// Whether somebody wants it to end before it is done: with the nearest known so far.
    pub watch: Watch<'a>,
}

impl<'a> Wanted<'a> {
    /// What is asked about what is found in the end.
    pub(crate) fn last_word(&self) -> Option<&'a Keep<'a>> {
        self.check.or(self.keep)
    }

    /// The `k` nearest, with no more candidates than that.
    pub fn nearest(k: usize) -> Self {
        Self {
            k,
            ef: k,
            ratio: f32::INFINITY,
            keep: None,
            members: None,
            partial: false,
            check: None,
            watch: Watch::NOBODY,
        }
    }
}

impl std::fmt::Debug for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { k, ef, ratio, keep, members, partial, check, watch } = self;
        let mut debug = f.debug_struct("Wanted");
        debug.field("k", k).field("ef", ef).field("ratio", ratio).field("keep", &keep.is_some());
        debug
            .field("members", &members.map(Members::len))
            .field("partial", partial)
            .field("check", &check.is_some())
            .field("watch", watch)
            .finish()
    }
}
