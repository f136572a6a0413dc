//! Everything that a call of this crate can complain of.

use std::path::PathBuf;

/// Result of a call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: each message says what was given, what was expected, and what to do.
///
/// ```
/// let store = lodestore::Store::in_memory()?;
/// let docs = store.collection::<u64>("docs").dim(2).open_or_create()?;
/// match docs.put(1, &[1.0, f32::NAN], b"") {
///     Err(lodestore::Error::NotFinite { row: 0, component: 1, .. }) => {}
///     other => panic!("NaN was not refused: {other:?}"),
/// }
/// # Ok::<(), lodestore::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A vector or query of another length than the collection's.
    #[error("row {row}: the vector has {got} components, collection '{collection}' has dimension {expected}")]
    Dimension {
        /// The collection.
        collection: String,
        /// The collection's dimension.
        expected: usize,
        /// Components given.
        got: usize,
        /// Which of several vectors; 0 for a single one.
        row: usize,
    },
    /// A component that is NaN or infinite.
    #[error("row {row}, component {component}: {value} is not a finite number")]
    NotFinite {
        /// Which of several vectors; 0 for a single one.
        row: usize,
        /// Which component.
        component: usize,
        /// Its value.
        value: f32,
    },
    /// A component that the collection's [`Element`](crate::Element) has no number for: not whole, not 0 or 1, or too
    /// large.
    #[error("row {row}, component {component}: the collection's element type, {element}, has no number for {value}")]
    NotRepresentable {
        /// Which of several vectors; 0 for a single one.
        row: usize,
        /// Which component.
        component: usize,
        /// Its value.
        value: f32,
        /// What it should be.
        element: lodestore_engine::Element,
    },
    /// A bit behind the last component of a vector of [`Bits`](crate::Bits).
    #[error("row {row}: bit {bit} is set, but the vector has {dim} components; the bits behind them must be 0")]
    SpareBit {
        /// Which of several vectors; 0 for a single one.
        row: usize,
        /// The highest bit that is set.
        bit: usize,
        /// The collection's dimension.
        dim: usize,
    },
    /// A zero vector under [`Metric::Cosine`](crate::Metric::Cosine): it has no direction.
    #[error("row {row}: a zero vector has no direction, which cosine needs")]
    ZeroVector {
        /// Which of several vectors; 0 for a single one.
        row: usize,
    },
    /// A vector so long, or under cosine so short, that its distances would overflow or vanish in f32.
    #[error(
        "row {row}: the squares of the components add up to {got:e}, allowed are {low:e} to {high:e}; scale the vectors"
    )]
    Magnitude {
        /// Which of several vectors; 0 for a single one.
        row: usize,
        /// The sum.
        got: f64,
        /// The least allowed.
        low: f64,
        /// The most allowed.
        high: f64,
    },
    /// Keys, vectors and payloads of one call that do not go together.
    #[error("{keys} keys need {keys} {what}, got {got}")]
    RowCount {
        /// Keys given.
        keys: usize,
        /// What there is another number of.
        what: &'static str,
        /// How many there are.
        got: usize,
    },
    /// A payload longer than [`MAX_PAYLOAD`](crate::MAX_PAYLOAD).
    #[error("row {row}: the payload has {got} bytes, the limit is {limit}")]
    PayloadTooLarge {
        /// Which of several rows; 0 for a single one.
        row: usize,
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A key longer than [`MAX_KEY`](crate::MAX_KEY).
    #[error("row {row}: the key has {got} bytes, the limit is {limit}")]
    KeyTooLong {
        /// Which of several rows; 0 for a single one.
        row: usize,
        /// Bytes given.
        got: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// A batch, or a collection, larger than can be.
    #[error("{got} is more than the limit of {limit}; split it")]
    TooLarge {
        /// Asked for.
        got: u64,
        /// Allowed.
        limit: u64,
    },
    /// A collection that is not there.
    #[error("there is no collection '{name}' in {store}; there are: {present}")]
    NoCollection {
        /// The name asked for.
        name: String,
        /// The store.
        store: String,
        /// Names that are there.
        present: String,
    },
    /// A collection that is there already.
    #[error("collection '{name}' exists already; open it instead")]
    CollectionExists {
        /// Its name.
        name: String,
    },
    /// A setting that differs from the one the collection was made with.
    #[error("collection '{collection}' was made with {setting} {stored}, not {asked}")]
    SettingDiffers {
        /// The collection.
        collection: String,
        /// Which setting.
        setting: &'static str,
        /// Its value in the store.
        stored: String,
        /// The value asked for.
        asked: String,
    },
    /// A payload that is not of the type that it was read as: see the feature `serde`.
    #[error("the payload of key {key}: {what}")]
    Payload {
        /// Whose.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// A setting outside of its range, or one that is missing.
    #[error("{0}")]
    Setting(String),
    /// [Tags](crate::Tags), or a [condition](crate::TagFilter) on them, that no record may have.
    #[error("{0}")]
    Tag(String),
    /// A batch that mixes collections of several stores.
    #[error("collection '{collection}' belongs to another store than the batch")]
    OtherStore {
        /// The collection.
        collection: String,
    },
    /// A [`Graph`](crate::Graph) with a number that cannot be right. Nothing was made of it.
    #[error("the graph is not taken over: {0}")]
    Graph(String),
    /// A directory without a store, when none was to be made.
    #[error("{path} holds no lodestore store")]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that holds backups of another store.
    #[error("{path} holds backups of another store than {store}; choose another directory")]
    OtherBackup {
        /// The directory.
        path: PathBuf,
        /// The store to be backed up.
        store: PathBuf,
    },
    /// A backup that is not there.
    #[error("there is no backup {number} in {path}; there are: {present}")]
    NoBackup {
        /// Its number.
        number: u64,
        /// The directory.
        path: PathBuf,
        /// Numbers that are there.
        present: String,
    },
    /// A directory that is not empty, when something new is to go there.
    #[error("{path} is not empty; choose a new directory")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The store was closed through another handle.
    #[error("the store was closed; open it again")]
    Closed,
    /// A collection of a [`UserMetric`](crate::UserMetric) that this program has not registered.
    #[error("{file} names the metric '{metric}', which is not registered; give it to StoreOptions::metric")]
    UnknownMetric {
        /// The collection's file that names it, or the collection that is to be made.
        file: String,
        /// The metric.
        metric: String,
    },
    /// A vector for which the collection's own metric has no distances.
    #[error("row {row}: the metric '{metric}' has no distances for this vector: {reason}")]
    NoDistance {
        /// Which of the vectors given; 0 if one was.
        row: usize,
        /// The metric.
        metric: String,
        /// What it says.
        reason: String,
    },
    /// The call was [cancelled](crate::Control::cancel), or its progress was answered with no. The call says what is left then.
    #[error("the call was cancelled")]
    Cancelled,
    /// A key without a record where one was needed.
    #[error("collection '{collection}' has no record of key {key}")]
    NoRecord {
        /// The collection.
        collection: String,
        /// The key.
        key: String,
    },
    /// Another handle, in this process or another, has the store open.
    #[error("{path} is open elsewhere ({holder}); close it there first")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder wrote about itself: process id, host, since when.
        holder: String,
    },
    /// A write to a store that was opened [for reading](crate::Store::open_read_only).
    #[error("the store was opened for reading only; open it with Store::open to write")]
    ReadOnly,
    /// What a [reader](crate::Store::open_read_only) looks at is not kept any more: the store has had another writer since.
    #[error("{file} has changed since this was opened; call Store::refresh, and open collections anew")]
    Stale {
        /// The file.
        file: String,
    },
    /// A writer was in the middle of a checkpoint all the time, or has ended there.
    #[error(
        "no whole checkpoint of {path} was found in {waited:?}: its writer was taking one all the time, or has failed or \
         crashed in one; then open the store for writing once"
    )]
    Unsettled {
        /// The store.
        path: PathBuf,
        /// How long was waited.
        waited: std::time::Duration,
    },
    /// Too many [readers](crate::Store::open_read_only) of one store.
    #[error("{seats} readers have the store open already; close one of them")]
    TooManyReaders {
        /// How many there can be.
        seats: usize,
    },
    /// A file is not what was written there.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// The file, relative to the store.
        file: String,
        /// Where.
        offset: u64,
        /// Expected and found.
        what: String,
    },
    /// A file of a format newer than this build.
    #[error("{file} has format version {found}; this build reads up to {supported}: use a newer lodestore")]
    FormatTooNew {
        /// The file.
        file: String,
        /// Its major version.
        found: u16,
        /// The newest understood.
        supported: u16,
    },
    /// No room on the disk. Nothing has changed; free some and try again.
    #[error("no space left on the disk for {needed} more bytes of {path}; free some and try again")]
    NoSpace {
        /// The file that was to grow.
        path: String,
        /// By how much.
        needed: u64,
    },
    /// An earlier write or sync failed. Reads go on; reopening the store makes it writable again.
    #[error("writing stopped after an earlier failure ({first}); reads still work, reopen the store to write again")]
    Poisoned {
        /// The failure.
        first: String,
    },
    /// The file system refused.
    #[error("{op} {path}: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// With which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The catalogue's database complained.
    #[error("catalog.redb: {0}")]
    Catalog(String),
}

impl Error {
    /// Whether a file was found damaged.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Error::Corrupt { .. })
    }
}

impl From<lodestore_wal::Error> for Error {
    fn from(error: lodestore_wal::Error) -> Self {
        use lodestore_wal::Error as Low;
        match error {
            Low::Corrupt { file, offset, what } => Error::Corrupt { file, offset, what },
            Low::Unregistered { file, metric } => Error::UnknownMetric { file, metric },
            Low::Locked { path, holder } => Error::Locked { path, holder },
            Low::NoSpace { path, needed } => Error::NoSpace { path, needed },
            Low::Poisoned { first } => Error::Poisoned { first },
            Low::ReadOnly { .. } => Error::ReadOnly,
            Low::Stale { path } => Error::Stale { file: path },
            Low::NoSeat { seats, .. } => Error::TooManyReaders { seats },
            Low::TooLarge { got, limit } => Error::TooLarge { got, limit },
            Low::FormatTooNew { file, found, supported } => Error::FormatTooNew { file, found, supported },
            Low::Io { op, path, source } => Error::Io { op, path, source },
            other => Error::Io { op: "use", path: String::new(), source: std::io::Error::other(other.to_string()) },
        }
    }
}
