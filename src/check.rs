//! What keys, vectors and payloads must not be, looked for before anything is changed.

use crate::components::{Components, Queries, Shape, check_spare_bits};
use crate::error::{Error, Result};
use crate::key::{AsKey, Key};
use crate::shared::Open;
use lodestore_engine::metric::Space;
use lodestore_engine::{Element, Index, MAX_KEY, Metric, Query};
use lodestore_wal::names::{self, Part};

/// The longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// Sums of squares above this leave no room for the distance of two vectors.
const MOST_SQUARE: f32 = (1u128 << 125) as f32;
/// Sums of squares below this, 2⁻¹²⁰, leave no digits for a direction.
const LEAST_SQUARE: f32 = 1.0 / (1u128 << 120) as f32;

impl Open {
    /// What its vectors are.
    pub(crate) fn shape(&self) -> Shape<'_> {
        let index = self.index();
        let geometry = index.geometry();
        Shape { name: &self.name, dim: geometry.dim, element: geometry.element }
    }
}

/// # Errors
/// [`Error::Dimension`], [`Error::NotFinite`], [`Error::ZeroVector`], [`Error::Magnitude`], [`Error::SpareBit`]: what a
/// vector, as it is to be stored, must not be.
pub(crate) fn check_vector(target: &Open, stored: &[u8], row: usize) -> Result<()> {
    let (shape, width) = (target.shape(), target.index().geometry().vector_bytes());
    if stored.len() != width {
        let (expected, got) = (shape.dim, stored.len() * shape.dim / width);
        return Err(Error::Dimension { collection: target.name.clone(), expected, got, row });
    }
    check_query(target, Query::of(shape.element, stored, shape.dim, &mut Vec::new()), row)
}

/// As [`check_vector`], of a query of the right dimension.
pub(crate) fn check_query(target: &Open, query: Query<'_>, row: usize) -> Result<()> {
    let index = target.index();
    let space = index.space();
    let directed = space.metric() == Metric::Cosine;
    let vector = match query {
        Query::Floats(vector) => vector,
        // All numbers are finite, and none is large.
        Query::Stored(bytes) if directed && bytes.iter().all(|&x| x == 0) => return Err(Error::ZeroVector { row }),
        Query::Stored(bytes) if target.shape().element == Element::Bits => {
            check_spare_bits(bytes, target.shape().dim, row)?;
            return check_metric(space, query, row);
        }
        Query::Stored(_) => return check_metric(space, query, row),
    };
    // Whatever is wrong with a vector shows in this sum: NaN and infinities pass on to it.
    let square = space.kernel().dot(vector, vector);
    if square <= MOST_SQUARE && (square >= LEAST_SQUARE || !directed) {
        return check_metric(space, query, row);
    }
    if let Some(component) = vector.iter().position(|x| !x.is_finite()) {
        return Err(Error::NotFinite { row, component, value: vector[component] });
    }
    if directed && vector.iter().all(|&x| x == 0.0) {
        return Err(Error::ZeroVector { row });
    }
    let got = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let low = if directed { f64::from(LEAST_SQUARE) } else { 0.0 };
    Err(Error::Magnitude { row, got, low, high: f64::from(MOST_SQUARE) })
}

/// # Errors
/// [`Error::NoDistance`], of a metric of the program's own.
fn check_metric(space: &Space, query: Query<'_>, row: usize) -> Result<()> {
    match space.refuses(query) {
        Some(reason) => Err(Error::NoDistance { row, metric: space.metric().to_string(), reason }),
        None => Ok(()),
    }
}

/// Rows of queries, made ready and looked at.
///
/// # Errors
/// As [`check_vector`], with the row; [`Error::NotRepresentable`].
pub(crate) fn check_queries<'a>(target: &Open, components: Components<'a>) -> Result<Queries<'a>> {
    let shape = target.shape();
    let queries = Queries::new(components, shape)?;
    (0..components.rows(shape.dim).0).try_for_each(|row| check_query(target, queries.row(shape, row), row))?;
    Ok(queries)
}

/// # Errors
/// [`Error::PayloadTooLarge`].
pub(crate) fn check_payload(payload: &[u8], row: usize) -> Result<()> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Error::PayloadTooLarge { row, got: payload.len(), limit: MAX_PAYLOAD });
    }
    Ok(())
}

/// # Errors
/// [`Error::KeyTooLong`].
pub(crate) fn check_key<K: Key + ?Sized>(key: &impl AsKey<K>, row: usize) -> Result<()> {
    let got = key.with_key(|key| key.with_bytes(<[u8]>::len));
    if got > MAX_KEY {
        return Err(Error::KeyTooLong { row, got, limit: MAX_KEY });
    }
    Ok(())
}

/// The key that an id has as `raw`.
///
/// # Errors
/// [`Error::Corrupt`] if it is damaged, or not one of the collection's type.
pub(crate) fn key_of<K: Key + ?Sized>(index: &Index, raw: u64) -> Result<K::Owned> {
    K::read(index.key(raw)?).map(K::owned).ok_or_else(|| {
        let file = names::part(index.id(), index.generation(), Part::Keys);
        Error::Corrupt { file, offset: u64::from(raw as u32) * 16, what: format!("no key of type {}", K::TYPE) }
    })
}
