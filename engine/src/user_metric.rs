//! Metrics of the program's own: the trait, its name in files, and which ones there are.
//!
//! A metric is code, so files hold its name only, and whoever opens a store brings what computes it. What that does wrong
//! spoils answers and nothing else: a distance that is not a number, or a panic, counts as infinitely far.

use crate::element::{Element, Query};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// The names of the built-in metrics.
pub(crate) const BUILT_IN: [&str; 4] = ["l2", "ip", "cosine", "hamming"];
/// The longest name of a metric, in bytes.
pub const MAX_METRIC_NAME: usize = 40;

/// A metric of the program's own: registered when a store is opened, and named when a collection is made.
///
/// The collection keeps the name. Opening it in a program that has not registered a metric of that name is an error;
/// whether the one registered computes the same as ever, nobody can check. Search, insert, recovery, compaction and
/// `verify` are as with any other metric. There are no codes for it, so walks compare the vectors themselves, and each
/// distance is a call.
///
/// It has to be symmetric and the same whenever it is asked. The nearer two vectors are to a third, the nearer they should
/// be to each other, roughly: that is what a graph of neighbours lives on. A metric in the strict sense it need not be.
pub trait UserMetric: Send + Sync + 'static {
    /// 1 to 40 bytes, no control characters, and none of the names of built-in metrics.
    fn name(&self) -> &str;

    /// The distance of two vectors of the collection's dimension, smaller for nearer ones, of any sign. What is not a
    /// number, and a panic, counts as infinitely far. Called by many threads at once.
    fn distance(&self, a: &[f32], b: &[f32]) -> f32;

    /// Whether there are distances from and to a vector; if not, it is refused with the reason, as a record and as a query.
    ///
    /// # Errors
    /// The reason.
    fn check(&self, vector: &[f32]) -> Result<(), String> {
        let _ = vector;
        Ok(())
    }
}

/// The name of a [`UserMetric`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricName(&'static str);

impl MetricName {
    /// That name, if a metric can have it.
    pub fn of(name: &str) -> Option<Self> {
        /// The names that there are: a few, each kept for ever.
        static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
        let fits = (1..=MAX_METRIC_NAME).contains(&name.len()) && !name.chars().any(char::is_control);
        if !fits || BUILT_IN.contains(&name) {
            return None;
        }
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.get(name).copied();
        Some(Self(known.unwrap_or_else(|| {
            let name: &'static str = Box::leak(name.into());
            names.insert(name);
            name
        })))
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// The metrics that a program has registered.
#[derive(Clone, Default)]
pub struct Metrics(BTreeMap<MetricName, Arc<dyn UserMetric>>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys().map(|name| name.as_str())).finish()
    }
}

impl Metrics {
    /// Adds one.
    ///
    /// # Errors
    /// What is wrong with its name.
    pub fn add(&mut self, metric: Arc<dyn UserMetric>) -> Result<(), String> {
        let name = metric.name();
        let what = "a metric's name has 1 to 40 bytes, no control characters, and is none of a built-in metric";
        let name = MetricName::of(name).ok_or_else(|| format!("{what}; got {name:?}"))?;
        match self.0.insert(name, metric) {
            None => Ok(()),
            Some(_) => Err(format!("two metrics are called '{}'", name.as_str())),
        }
    }

    /// The metric of that name.
    pub fn get(&self, name: MetricName) -> Option<&Arc<dyn UserMetric>> {
        self.0.get(&name)
    }
}

/// A user's metric, of vectors of `dim` components of one type.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) metric: Arc<dyn UserMetric>,
    pub(crate) element: Element,
    pub(crate) dim: usize,
}

thread_local! {
    /// Components of two vectors that are kept as something else. Taken while in use, so that a metric may search, too.
    static WORK: Cell<(Vec<f32>, Vec<f32>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

impl Bound {
    /// The distance of a query and a stored vector.
    #[inline(never)]
    pub(crate) fn distance(&self, query: &[u8], stored: &[u8]) -> f32 {
        let asked = if self.element.is_float() { Element::F32 } else { self.element };
        let (mut a, mut b) = WORK.take();
        let of = |work: (&mut Vec<f32>, &mut Vec<f32>)| {
            let (query, stored) =
                (asked.floats(query, self.dim, work.0), self.element.floats(stored, self.dim, work.1));
            catch_unwind(AssertUnwindSafe(|| self.metric.distance(query, stored)))
        };
        let distance = of((&mut a, &mut b)).unwrap_or(f32::NAN);
        WORK.set((a, b));
        if distance.is_nan() { f32::INFINITY } else { distance }
    }

    /// Why there are no distances for a vector.
    pub(crate) fn refuses(&self, query: Query<'_>) -> Option<String> {
        let asked = if self.element.is_float() { Element::F32 } else { self.element };
        let mut work = Vec::new();
        let vector = asked.floats(query.bytes(), self.dim, &mut work);
        let checked = catch_unwind(AssertUnwindSafe(|| {
            let own = self.metric.check(vector).map(|()| self.metric.distance(vector, vector));
            own.and_then(|own| if own.is_nan() { Err("its distance to itself is no number".into()) } else { Ok(()) })
        }));
        checked.unwrap_or_else(|_| Err("the metric panicked".into())).err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;

    struct Named(&'static str);

    impl UserMetric for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
            assert!(a[0] < 100.0, "on purpose");
            (a[0] - b[0]).abs() + (a[1] / b[1] - 1.0).abs()
        }
    }

    #[test]
    fn names_are_told_apart() {
        let mut metrics = Metrics::default();
        for bad in ["", "l2", "hamming", "a\nb", "01234567890123456789012345678901234567890"] {
            assert!(metrics.add(Arc::new(Named(bad))).is_err(), "{bad:?}");
        }
        metrics.add(Arc::new(Named("odd"))).unwrap();
        assert!(metrics.add(Arc::new(Named("odd"))).unwrap_err().contains("'odd'"));
        let name = MetricName::of(&String::from("odd")).unwrap();
        assert!(metrics.get(name).is_some() && metrics.get(MetricName::of("even").unwrap()).is_none());
        assert_eq!((Metric::User(name).name(), Metric::from_name("odd")), ("odd", None));
        assert!(std::ptr::eq(name.as_str(), MetricName::of("odd").unwrap().as_str()));
    }

    #[test]
    fn what_is_no_number_is_far() {
        use zerocopy::IntoBytes;
        for element in [Element::F32, Element::F16, Element::I8] {
            let of = Bound { metric: Arc::new(Named("odd")), element, dim: 2 };
            let stored = |vector: &[f32]| {
                let mut bytes = Vec::new();
                element.encode(vector, &mut bytes).unwrap();
                bytes
            };
            let (near, zeros) = (stored(&[1.0, 2.0]), stored(&[0.0, 0.0]));
            let query = if element.is_float() { [4.0f32, 2.0].as_bytes().to_vec() } else { stored(&[4.0, 2.0]) };
            assert_eq!(of.distance(&query, &near), 3.0, "{element}");
            let zero = if element.is_float() { [0.0f32, 0.0].as_bytes().to_vec() } else { zeros.clone() };
            assert_eq!(of.distance(&zero, &zeros), f32::INFINITY);
            let far = if element.is_float() { [100.0f32, 2.0].as_bytes().to_vec() } else { stored(&[100.0, 2.0]) };
            assert_eq!(of.distance(&far, &near), f32::INFINITY, "it panics");
        }
        let of = Bound { metric: Arc::new(Named("odd")), element: Element::F32, dim: 2 };
        assert_eq!(of.refuses(Query::Floats(&[1.0, 1.0])), None);
        assert!(of.refuses(Query::Floats(&[1.0, 0.0])).unwrap().contains("no number"));
        assert!(of.refuses(Query::Floats(&[200.0, 1.0])).unwrap().contains("panicked"));
    }
}
