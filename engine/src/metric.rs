//! Metrics, and distances between stored vectors.

use crate::element::{Element, Query};
use crate::kernel::{Compare, Kernel};
use crate::user_metric::{BUILT_IN, Bound, MetricName, UserMetric};
use std::fmt;
use std::sync::Arc;

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
    /// How many components differ, of [bits](Element::Bits) only; from 0 up to the dimension.
    Hamming,
    /// One of the program's own: see [`UserMetric`].
    User(MetricName),
}

impl Metric {
    /// Those that are built in.
    pub(crate) const ALL: [Metric; 4] = [Metric::L2, Metric::InnerProduct, Metric::Cosine, Metric::Hamming];

    /// The name used in files, messages and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::L2 => BUILT_IN[0],
            Metric::InnerProduct => BUILT_IN[1],
            Metric::Cosine => BUILT_IN[2],
            Metric::Hamming => BUILT_IN[3],
            Metric::User(name) => name.as_str(),
        }
    }

    /// The built-in metric of that [`name`](Metric::name).
    pub fn from_name(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|m| m.name() == name)
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Metric::L2 => 1,
            Metric::InnerProduct => 2,
            Metric::Cosine => 3,
            Metric::Hamming => 4,
            Metric::User(_) => USER_CODE,
        }
    }

    /// Of one that is built in.
    pub(crate) fn from_code(code: u8) -> Option<Metric> {
        Metric::ALL.into_iter().find(|m| m.code() == code)
    }
}

/// What files have for a user's metric, whose name is beside it.
pub(crate) const USER_CODE: u8 = 5;

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A vector with what its metric needs to know of it beyond the components.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The components in bytes: of a [query](crate::Query::bytes), or as stored.
    pub vector: &'a [u8],
    /// `1 / |x|` under cosine, 1 otherwise.
    pub scale: f32,
}

/// A metric of vectors of an element type, with the kernel that computes it on this machine.
#[derive(Clone)]
pub struct Space {
    metric: Metric,
    element: Element,
    kernel: Kernel,
    /// The sum over components that distances are made of: chosen here, and not for each of them.
    compare: Compare,
    /// A query's inner product with itself.
    square: Compare,
    /// What computes a user's metric.
    user: Option<Bound>,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Space({}, {}, {})", self.metric, self.element, self.kernel.tier().name())
    }
}

impl Space {
    /// A user's metric, of vectors of `dim` such components.
    pub fn of_user(metric: Arc<dyn UserMetric>, element: Element, dim: usize) -> Self {
        // None of its sums is used, but those of vectors with themselves.
        let own = if element == Element::Bits { Metric::Hamming } else { Metric::L2 };
        let name = MetricName::of(metric.name());
        let mut space = Self::new(own, element);
        space.metric = name.map_or(own, Metric::User);
        space.user = Some(Bound { metric, element, dim });
        space
    }

    /// A built-in metric, computed by the best kernel this CPU has. Of bits it is Hamming's, whatever is asked for.
    pub fn new(metric: Metric, element: Element) -> Self {
        let kernel = Kernel::detect();
        let stored = match element {
            Element::F32 => kernel.f32(),
            Element::F16 => kernel.f16(),
            Element::Bf16 => kernel.bf16(),
            Element::I8 => kernel.i8(),
            Element::U8 | Element::Bits => kernel.u8(),
        };
        let compare = match metric {
            _ if element == Element::Bits => kernel.bits(),
            Metric::L2 | Metric::Hamming | Metric::User(_) => stored.l2,
            Metric::InnerProduct | Metric::Cosine => stored.dot,
        };
        let square = if element.is_float() { kernel.f32().dot } else { stored.dot };
        Self { metric, element, kernel, compare, square, user: None }
    }

    /// Why a user's metric has no distances for a vector, if it has none.
    pub fn refuses(&self, query: Query<'_>) -> Option<String> {
        self.user.as_ref().and_then(|user| user.refuses(query))
    }

    /// The metric.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// What [`Point::scale`] is for the vector of a query: infinite or NaN if cosine is undefined for it.
    pub fn scale(&self, query: Query<'_>) -> f32 {
        match self.metric {
            Metric::Cosine => self.inverse_norm(query),
            _ => 1.0,
        }
    }

    /// `1 / |x|`. The norm is taken in f64 when the f32 sum of squares would overflow or vanish.
    fn inverse_norm(&self, query: Query<'_>) -> f32 {
        let square = self.square.one(query.bytes(), query.bytes());
        match query {
            Query::Floats(floats) if !square.is_finite() || square <= f32::MIN_POSITIVE => {
                let wide: f64 = floats.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                (1.0 / wide.sqrt()) as f32
            }
            _ => 1.0 / square.sqrt(),
        }
    }

    /// The distance of a query `a` and a stored point `b`.
    ///
    /// # Panics
    /// If they have not the same number of components.
    #[inline]
    pub fn distance(&self, a: Point<'_>, b: Point<'_>) -> f32 {
        if let Some(user) = &self.user {
            return user.distance(a.vector, b.vector);
        }
        let sum = self.compare.one(a.vector, b.vector);
        match self.metric {
            Metric::L2 | Metric::Hamming | Metric::User(_) => sum,
            Metric::InnerProduct => 1.0 - sum,
            Metric::Cosine => cosine(sum, a.scale, b.scale),
        }
    }

    /// The distances of `a` to four points; each equals [`distance`](Self::distance) bit for bit.
    ///
    /// # Panics
    /// As [`distance`](Self::distance).
    #[inline]
    pub fn distance_4(&self, a: Point<'_>, b: [Point<'_>; 4]) -> [f32; 4] {
        if let Some(user) = &self.user {
            return b.map(|b| user.distance(a.vector, b.vector));
        }
        let sums = self.compare.four(a.vector, b.map(|p| p.vector));
        match self.metric {
            Metric::L2 | Metric::Hamming | Metric::User(_) => sums,
            Metric::InnerProduct => sums.map(|dot| 1.0 - dot),
            Metric::Cosine => std::array::from_fn(|i| cosine(sums[i], a.scale, b[i].scale)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_ignores_length_and_is_symmetric() {
        let space = Space::new(Metric::Cosine, Element::F32);
        let a = [3.0, 4.0, 0.5];
        let b = [30.0, 40.0, 5.0];
        let c = [-1.0, 2.0, 7.0];
        let point = |v| Point { vector: Query::Floats(v).bytes(), scale: space.scale(Query::Floats(v)) };
        assert!(space.distance(point(&a), point(&b)).abs() < 1e-6);
        assert_eq!(space.distance(point(&a), point(&c)).to_bits(), space.distance(point(&c), point(&a)).to_bits());
        assert_eq!(space.distance_4(point(&a), [point(&c); 4])[2], space.distance(point(&a), point(&c)));
    }

    #[test]
    fn tiny_and_huge_vectors_keep_their_direction() {
        let space = Space::new(Metric::Cosine, Element::F32);
        for size in [1e-25f32, 1e-20, 1.0, 1e18] {
            let v = [size, size];
            let scale = space.scale(Query::Floats(&v));
            assert!((scale * size * std::f32::consts::SQRT_2 - 1.0).abs() < 1e-5, "{size}: {scale}");
        }
        assert!(!space.scale(Query::Floats(&[0.0, 0.0])).is_finite());
    }

    #[test]
    fn names_and_codes_round_trip() {
        for metric in Metric::ALL {
            assert_eq!(Metric::from_name(metric.name()), Some(metric));
            assert_eq!(Metric::from_code(metric.code()), Some(metric));
        }
        assert_eq!(Metric::from_code(0), None);
        assert_eq!(Metric::from_name("L2"), None);
    }
}
