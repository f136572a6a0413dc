//! What there is of a key before a change of it.

use super::Action;

/// What there is of a key's record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Existing {
    pub(super) record: Record,
    /// It is marked as deleted.
    pub(super) marked: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    None,
    /// From an earlier write.
    Slot(u32),
    /// From an earlier change of the same batch.
    PutBy(usize),
}

impl Existing {
    pub(super) const NONE: Self = Self { record: Record::None, marked: false };

    /// As change `at` leaves it.
    pub(super) fn after(self, action: Action<'_>, at: usize) -> Self {
        match action {
            Action::Put { .. } => Self { record: Record::PutBy(at), marked: false },
            Action::Remove => Self::NONE,
            Action::SetPayload { .. } | Action::SetTags { .. } => self,
            Action::Mark | Action::Unmark => {
                let there = !matches!(self.record, Record::None);
                Self { marked: there && matches!(action, Action::Mark), ..self }
            }
        }
    }

    /// Whether there is something to change: to replace or remove, to mark or unmark.
    pub(super) fn is_changed_by(self, action: Action<'_>) -> bool {
        let there = !matches!(self.record, Record::None);
        match action {
            Action::Put { .. } | Action::Remove => there,
            Action::Mark | Action::SetPayload { .. } | Action::SetTags { .. } => there && !self.marked,
            Action::Unmark => self.marked,
        }
    }
}
