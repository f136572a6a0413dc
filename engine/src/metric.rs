//! Metrics, and distances between stored vectors.

use crate::kernel::Kernel;
use std::fmt;

/// How far two vectors are from each other. Smaller is nearer; the definitions are hnswlib's.
///
/// ```
/// use lodestore_engine::Metric;
/// assert_eq!(Metric::from_name("cosine"), Some(Metric::Cosine));
/// assert_eq!(Metric::InnerProduct.to_string(), "ip");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Squared Euclidean distance, `Σ (xᵢ − yᵢ)²`; from 0 up.
    L2,
    /// `1 − Σ xᵢ·yᵢ`; any sign. A vector need not be its own nearest neighbour.
    InnerProduct,
    /// `1 − cos(x, y)`; 0 to 2. Vectors are kept as given; a zero vector has no direction and is refused.
    Cosine,
}

impl Metric {
    /// The name used in files, messages and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::L2 => "l2",
            Metric::InnerProduct => "ip",
            Metric::Cosine => "cosine",
        }
    }

    /// The metric of that [`name`](Metric::name).
    pub fn from_name(name: &str) -> Option<Metric> {
        [Metric::L2, Metric::InnerProduct, Metric::Cosine].into_iter().find(|m| m.name() == name)
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Metric::L2 => 1,
            Metric::InnerProduct => 2,
            Metric::Cosine => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Metric> {
        [Metric::L2, Metric::InnerProduct, Metric::Cosine].into_iter().find(|m| m.code() == code)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A vector with what its metric needs to know of it beyond the components.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The components as given.
    pub vector: &'a [f32],
    /// `1 / |x|` under cosine, 1 otherwise.
    pub scale: f32,
}

/// A metric with the kernel that computes it on this machine.
#[derive(Clone, Copy)]
pub struct Space {
    metric: Metric,
    kernel: Kernel,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Space({}, {})", self.metric, self.kernel.tier().name())
    }
}

impl Space {
    /// The metric, computed by the best kernel this CPU has.
    pub fn new(metric: Metric) -> Self {
        Self { metric, kernel: Kernel::detect() }
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// What [`Point::scale`] is for `vector`: infinite or NaN if cosine is undefined for it.
    pub fn scale(&self, vector: &[f32]) -> f32 {
        match self.metric {
            Metric::Cosine => inverse_norm(&self.kernel, vector),
            _ => 1.0,
        }
    }

    /// The distance of two points.
    #[inline]
    pub fn distance(&self, a: Point<'_>, b: Point<'_>) -> f32 {
        match self.metric {
            Metric::L2 => self.kernel.l2(a.vector, b.vector),
            Metric::InnerProduct => 1.0 - self.kernel.dot(a.vector, b.vector),
            Metric::Cosine => cosine(self.kernel.dot(a.vector, b.vector), a.scale, b.scale),
        }
    }

    /// The distances of `a` to four points; each equals [`distance`](Self::distance) bit for bit.
    #[inline]
    pub fn distance_4(&self, a: Point<'_>, b: [Point<'_>; 4]) -> [f32; 4] {
        let vectors = b.map(|p| p.vector);
        match self.metric {
            Metric::L2 => self.kernel.l2_4(a.vector, vectors),
            Metric::InnerProduct => self.kernel.dot_4(a.vector, vectors).map(|dot| 1.0 - dot),
            Metric::Cosine => {
                let dots = self.kernel.dot_4(a.vector, vectors);
                std::array::from_fn(|i| cosine(dots[i], a.scale, b[i].scale))
            }
        }
    }
}

#[inline]
fn cosine(dot: f32, a: f32, b: f32) -> f32 {
    // Multiplying the scales first would overflow for two tiny vectors; and the product is symmetric this way only
    // if both orders round alike, so the smaller scale goes first.
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    1.0 - dot * low * high
}

/// `1 / |x|`. The norm is taken in f64 when the f32 sum of squares would overflow or vanish.
fn inverse_norm(kernel: &Kernel, vector: &[f32]) -> f32 {
    let square = kernel.dot(vector, vector);
    if square.is_finite() && square > f32::MIN_POSITIVE {
        return 1.0 / square.sqrt();
    }
    let wide: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    (1.0 / wide.sqrt()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_ignores_length_and_is_symmetric() {
        let space = Space::new(Metric::Cosine);
        let a = [3.0, 4.0, 0.5];
        let b = [30.0, 40.0, 5.0];
        let c = [-1.0, 2.0, 7.0];
        let point = |v| Point { vector: v, scale: space.scale(v) };
        assert!(space.distance(point(&a), point(&b)).abs() < 1e-6);
        assert_eq!(space.distance(point(&a), point(&c)).to_bits(), space.distance(point(&c), point(&a)).to_bits());
        assert_eq!(space.distance_4(point(&a), [point(&c); 4])[2], space.distance(point(&a), point(&c)));
    }

    #[test]
    fn tiny_and_huge_vectors_keep_their_direction() {
        let space = Space::new(Metric::Cosine);
        for size in [1e-25f32, 1e-20, 1.0, 1e18] {
            let v = [size, size];
            let scale = space.scale(&v);
            assert!((scale * size * std::f32::consts::SQRT_2 - 1.0).abs() < 1e-5, "{size}: {scale}");
        }
        assert!(!space.scale(&[0.0, 0.0]).is_finite());
    }

    #[test]
    fn names_and_codes_round_trip() {
        for metric in [Metric::L2, Metric::InnerProduct, Metric::Cosine] {
            assert_eq!(Metric::from_name(metric.name()), Some(metric));
            assert_eq!(Metric::from_code(metric.code()), Some(metric));
        }
        assert_eq!(Metric::from_code(0), None);
        assert_eq!(Metric::from_name("L2"), None);
    }
}
