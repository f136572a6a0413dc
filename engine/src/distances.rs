//! Distances from one point to the nodes of an index: exact, or of the codes.
//!
//! A walk asks for nothing but [`Distances`], a choice among neighbours for [`Pairs`]; both are compiled once for each
//! kind, so that the kind is decided once for each walk and not for each node. The vectors' element type is decided
//! even before, when the collection is opened: its `Space` holds the kernel for it, and vectors are bytes.

use crate::codes::CodeQuery;
use crate::index::{CodeSegment, Index};
use crate::kernel::{self, Codes, Kernel, LINE};
use crate::metric::Point;
use crate::search::{Distances, Pairs};
use crate::view;

/// Exact distances from a point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExactTo<'a> {
    pub(crate) index: &'a Index,
    pub(crate) query: Point<'a>,
}

impl Distances for ExactTo<'_> {
    #[inline(always)]
    fn kernel(&self) -> Kernel {
        self.index.space().kernel()
    }

    #[inline]
    fn limit(&self) -> u32 {
        self.index.next_slot()
    }

    #[inline]
    fn to(&self, slot: u32) -> f32 {
        self.index.space().distance(self.query, self.index.point(slot))
    }

    #[inline]
    fn to_4(&self, slots: [u32; 4]) -> [f32; 4] {
        self.index.space().distance_4(self.query, self.index.points(slots))
    }

    #[inline]
    fn many(&self, _kernel: impl Codes, slots: &[[u32; 4]], to: &mut [[f32; 4]]) {
        slots.iter().zip(to).for_each(|(&slots, to)| *to = self.to_4(slots));
    }

    #[inline(always)]
    fn prefetch(&self, slot: u32) {
        kernel::prefetch_lines(self.index.vector_hint(slot), self.index.prefetched_lines());
    }

    #[inline(always)]
    fn prefetched(&self) -> usize {
        self.index.prefetched_lines() * LINE
    }

    fn request(&self, slot: u32) {
        self.index.vectors.request(slot);
    }
}

/// Distances between what codes stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodesTo<'a> {
    pub(crate) codes: &'a CodeSegment,
    pub(crate) query: &'a CodeQuery,
    pub(crate) limit: u32,
}

impl Distances for CodesTo<'_> {
    #[inline(always)]
    fn kernel(&self) -> Kernel {
        self.codes.coder.kernel()
    }

    #[inline(always)]
    fn limit(&self) -> u32 {
        self.limit
    }

    #[inline(always)]
    fn to(&self, slot: u32) -> f32 {
        self.codes.coder.distance(self.query, view::bytes(&self.codes.windows, slot))
    }

    #[inline(always)]
    fn to_4(&self, slots: [u32; 4]) -> [f32; 4] {
        self.codes.coder.distance_4(self.query, view::bytes_4(&self.codes.windows, slots))
    }

    #[inline(always)]
    fn many(&self, kernel: impl Codes, slots: &[[u32; 4]], to: &mut [[f32; 4]]) {
        for (slots, to) in slots.chunks(view::CODES / 4).zip(to.chunks_mut(view::CODES / 4)) {
            self.codes.coder.distances(kernel, self.query, &self.codes.windows, slots, to);
        }
    }

    #[inline(always)]
    fn prefetch(&self, slot: u32) {
        kernel::prefetch_lines(self.codes.windows.hint(slot), self.codes.prefetched_lines);
    }

    #[inline(always)]
    fn prefetched(&self) -> usize {
        self.codes.prefetched_lines * LINE
    }

    fn request(&self, slot: u32) {
        self.codes.windows.request(slot);
    }
}

/// Exact distances between nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExactPairs<'a>(pub(crate) &'a Index);

impl Pairs for ExactPairs<'_> {
    type From<'b>
        = ExactTo<'b>
    where
        Self: 'b;

    fn from<'b>(&'b self, slot: u32, work: &'b mut CodeQuery) -> ExactTo<'b> {
        ExactTo { index: self.0, query: self.0.as_query(slot, work.floats()) }
    }

    fn are_copies(&self, a: u32, b: u32) -> bool {
        self.0.geometry().element.same(self.0.vector(a), self.0.vector(b))
    }
}

/// Distances between the codes of nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodePairs<'a> {
    pub(crate) codes: &'a CodeSegment,
    pub(crate) limit: u32,
}

impl Pairs for CodePairs<'_> {
    type From<'b>
        = CodesTo<'b>
    where
        Self: 'b;

    fn from<'b>(&'b self, slot: u32, work: &'b mut CodeQuery) -> CodesTo<'b> {
        self.codes.coder.query_of(view::bytes(&self.codes.windows, slot), work);
        CodesTo { codes: self.codes, query: work, limit: self.limit }
    }

    fn are_copies(&self, a: u32, b: u32) -> bool {
        // To a walk on codes, vectors of one code are copies of each other.
        view::bytes(&self.codes.windows, a) == view::bytes(&self.codes.windows, b)
    }
}
