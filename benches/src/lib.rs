//! Shared by the benchmarks: the demo's vectors, and random ones.

#[path = "../../demo/reader.rs"]
#[allow(dead_code, reason = "the texts and the ground truth are of no use here")]
mod reader;
pub mod process;

/// The demo's vectors: sentences, 384 dimensions.
#[derive(Debug)]
pub struct Vectors {
    /// Components of a vector.
    pub dim: usize,
    /// Row after row.
    pub rows: Vec<f32>,
    /// Queries, row after row.
    pub queries: Vec<f32>,
}

impl Vectors {
    /// Reads them from the repository.
    pub fn load() -> Self {
        let data = reader::Data::load();
        Self { dim: data.glosses.dim, rows: data.glosses.vectors().to_vec(), queries: data.queries.vectors().to_vec() }
    }

    /// Vectors there are.
    pub fn count(&self) -> usize {
        self.rows.len() / self.dim
    }
}

/// `count` numbers between -1 and 1, the same at every call.
pub fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = move || {
        // Steele and others' SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
