//! Status codes, error texts, and that no panic leaves.
#![expect(unsafe_code, reason = "names that C can link to")]

use lodestore::Error;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a call went.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As asked.
    Ok = 0,
    /// A pointer that is NULL, a text that is no UTF-8, a number out of range.
    BadArgument = 1,
    /// A handle that is not open, or of something else.
    BadHandle = 2,
    /// There is no such store, collection or record.
    NotFound = 3,
    /// The collection is there already, or was made with other settings.
    Differs = 4,
    /// A vector that the collection cannot take: another dimension, not finite, without a direction under cosine.
    BadVector = 5,
    /// The store is open elsewhere.
    Locked = 6,
    /// The store was closed, or takes no more writes after a failure.
    Closed = 7,
    /// No room on the disk.
    NoSpace = 8,
    /// A file is damaged, or of a newer version of the library.
    Corrupt = 9,
    /// What the system says.
    Io = 10,
    /// Something else.
    Other = 11,
    /// A panic in the library: a bug. The store is as after a failed call; close it and open it again.
    Panic = 12,
    /// The room that was given is too small; how much is needed was said.
    NoRoom = 13,
    /// A store opened for reading is asked to write.
    ReadOnly = 14,
}

/// Why a call fails.
pub(crate) struct Failure(pub(crate) Status, pub(crate) String);

pub(crate) type Result<T> = std::result::Result<T, Failure>;

pub(crate) fn bad_argument<T>(what: impl Into<String>) -> Result<T> {
    Err(Failure(Status::BadArgument, what.into()))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NoCollection { .. } | Error::NotAStore { .. } | Error::NoRecord { .. } => Status::NotFound,
            Error::CollectionExists { .. } | Error::SettingDiffers { .. } => Status::Differs,
            Error::Dimension { .. }
            | Error::NotFinite { .. }
            | Error::NotRepresentable { .. }
            | Error::ZeroVector { .. }
            | Error::Magnitude { .. } => Status::BadVector,
            Error::Setting(_)
            | Error::RowCount { .. }
            | Error::PayloadTooLarge { .. }
            | Error::KeyTooLong { .. }
            | Error::TooLarge { .. }
            | Error::OtherStore { .. } => Status::BadArgument,
            Error::Locked { .. } | Error::Unsettled { .. } | Error::TooManyReaders { .. } => Status::Locked,
            Error::ReadOnly => Status::ReadOnly,
            Error::Closed | Error::Poisoned { .. } => Status::Closed,
            Error::NoSpace { .. } => Status::NoSpace,
            Error::Corrupt { .. } | Error::FormatTooNew { .. } => Status::Corrupt,
            Error::Io { .. } => Status::Io,
            _ => Status::Other,
        };
        Failure(status, error.to_string())
    }
}

thread_local! {
    static TEXT: RefCell<CString> = RefCell::default();
}

/// Runs a call: its failure, or its panic, becomes a status and a text.
pub(crate) fn call(f: impl FnOnce() -> Result<()>) -> Status {
    let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Failure(Status::Panic, format!("a panic in lodestore: {said}")))
    });
    let (status, text) = match result {
        Ok(()) => return Status::Ok,
        Err(Failure(status, text)) => (status, text),
    };
    TEXT.with_borrow_mut(|kept| *kept = CString::new(text.replace('\0', " ")).unwrap_or_default());
    status
}

/// What went wrong in this thread's last call that failed, in UTF-8; empty if none did. Valid until the thread's next
/// call that fails.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_error_text() -> *const c_char {
    TEXT.with_borrow(|text| text.as_ptr())
}

/// The library's version.
#[unsafe(no_mangle)]
pub extern "C" fn lodestore_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
