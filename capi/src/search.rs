//! Searches.
#![expect(unsafe_code, reason = "functions that C calls")]

use crate::collection::components;
use crate::handles;
use crate::memory::{fill, read, write};
use crate::status::{Status, bad_argument, call};
use std::ffi::c_void;

/// Says of a key whether its record may be found. It is given the `context` of the search, and must neither throw nor
/// jump out.
pub type Filter = Option<unsafe extern "C" fn(key: u64, context: *mut c_void) -> bool>;

/// The `k` records nearest to `query`, nearest first: keys and distances into arrays of `k`, how many there are into
/// `found`. `ef` candidates are kept on the way (0: 64); more find more of the true neighbours. With a `filter`, only of
/// the records that it keeps, whose keys it is asked in the calling thread. Fewer than `k` are no error.
///
/// # Safety
/// `query` has `dim` components, `keys` and `distances` have room for `k`, `found` can be written to; `filter` may be
/// called with `context` during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_search(
    collection: u64,
    query: *const f32,
    dim: usize,
    k: usize,
    ef: usize,
    filter: Filter,
    context: *mut c_void,
    keys: *mut u64,
    distances: *mut f32,
    found: *mut usize,
) -> Status {
    call(|| {
        let collection = handles::collection(collection)?;
        let dim = components(&collection, 1, dim)?;
        // SAFETY: as the caller promises.
        let (query, keys, distances, found) = unsafe {
            (
                read("query", query, dim)?,
                write("keys", keys, k)?,
                write("distances", distances, k)?,
                write("found", found, 1)?,
            )
        };
        let context = context.expose_provenance();
        let keep = |key: u64| {
            let context = std::ptr::with_exposed_provenance_mut(context);
            // SAFETY: as the caller promises.
            filter.is_none_or(|filter| unsafe { filter(key, context) })
        };
        let mut search = collection.search(query).k(k);
        if ef != 0 {
            search = search.ef(ef);
        }
        if filter.is_some() {
            search = search.filter(&keep);
        }
        let hits = search.run()?;
        for ((hit, key), distance) in hits.iter().zip(keys).zip(distances) {
            key.write(hit.key);
            distance.write(hit.distance);
        }
        found[0].write(hits.len());
        Ok(())
    })
}

/// As lodestore_search without a filter, for `rows` queries by up to `threads` threads (0: all cores): `keys` and
/// `distances` have `rows` times `k` places, row by row, and `found` one for each row. Places beyond what is found are
/// left as they were.
///
/// # Safety
/// `queries` has `rows` times `dim` components; `keys`, `distances` and `found` have room for as much as was said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lodestore_search_many(
    collection: u64,
    queries: *const f32,
    rows: usize,
    dim: usize,
    k: usize,
    ef: usize,
    threads: usize,
    keys: *mut u64,
    distances: *mut f32,
    found: *mut usize,
) -> Status {
    call(|| {
        let collection = handles::collection(collection)?;
        let count = components(&collection, rows, dim)?;
        let Some(places) = rows.checked_mul(k) else { return bad_argument(format!("{rows} rows of {k} places")) };
        // SAFETY: as the caller promises.
        let (queries, keys, distances, found) = unsafe {
            (
                read("queries", queries, count)?,
                write("keys", keys, places)?,
                write("distances", distances, places)?,
                write("found", found, rows)?,
            )
        };
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = if threads == 0 { cores() } else { threads };
        let mut search = collection.search_many(queries).k(k).threads(threads);
        if ef != 0 {
            search = search.ef(ef);
        }
        let hits = search.run()?;
        for (row, found) in found.iter_mut().enumerate() {
            fill(&mut keys[row * k..], hits.keys(row));
            fill(&mut distances[row * k..], hits.distances(row));
            found.write(hits.keys(row).len());
        }
        Ok(())
    })
}
