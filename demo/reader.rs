//! The demo's texts and vectors, built into whoever includes this file (the `lodestore` command and the tests).
//!
//! The layout of the files is in `demo/data/README.md`.

/// Texts, each with its vector.
pub(crate) struct Set {
    pub(crate) dim: usize,
    pub(crate) texts: Vec<&'static str>,
    vectors: Vec<f32>,
}

/// Neighbours that the ground truth names for each query.
pub(crate) const TRUTH: usize = 10;

pub(crate) struct Data {
    pub(crate) glosses: Set,
    pub(crate) queries: Set,
    /// For each query the [`TRUTH`] nearest glosses by cosine distance, nearest first, exact.
    pub(crate) truth: Vec<[u64; TRUTH]>,
}

impl Data {
    pub(crate) fn load() -> Self {
        let glosses = Set::load(include_bytes!("data/glosses.q8"), include_str!("data/glosses.txt"));
        let queries = Set::load(include_bytes!("data/queries.q8"), include_str!("data/queries.txt"));
        let row = |row: &[u8; 4 + 4 * TRUTH]| {
            let numbers = row.as_chunks::<4>().0;
            assert_eq!(i32::from_le_bytes(numbers[0]) as usize, TRUTH, "a row of the ground truth");
            std::array::from_fn(|n| i32::from_le_bytes(numbers[n + 1]) as u64)
        };
        let truth: Vec<_> = include_bytes!("data/groundtruth.ivecs").as_chunks().0.iter().map(row).collect();
        assert_eq!(truth.len(), queries.len(), "a row of the ground truth for each query");
        Self { glosses, queries, truth }
    }
}

impl Set {
    fn load(bytes: &[u8], texts: &'static str) -> Self {
        let (words, _) = bytes.as_chunks::<4>();
        let [rows, dim] = [0, 1].map(|n| u32::from_le_bytes(words[n]) as usize);
        let scales = &words[2..2 + rows];
        let codes = &bytes[8 + 4 * rows..];
        assert_eq!(codes.len(), rows * dim, "a code for each element");
        let texts: Vec<_> = texts.lines().collect();
        assert_eq!(texts.len(), rows, "a text for each vector");
        let scale = |&scale: &[u8; 4]| f32::from_le_bytes(scale);
        let row =
            |(codes, scale): (&[u8], f32)| codes.iter().map(move |&c| f32::from(c.cast_signed()) * scale).collect();
        let vectors: Vec<Vec<f32>> = codes.chunks_exact(dim).zip(scales.iter().map(scale)).map(row).collect();
        Self { dim, texts, vectors: vectors.concat() }
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn vector(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.dim..][..self.dim]
    }

    /// All vectors, row after row.
    pub(crate) fn vectors(&self) -> &[f32] {
        &self.vectors
    }
}
