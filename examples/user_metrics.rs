//! Metrics of your own: hyperbolic ones for trees (Poincaré's ball and Lorentz's hyperboloid), Jaccard's for sets,
//! Manhattan's. `cargo run --release --example user_metrics`

use lodestore::{Element, Store, UserMetric};

/// Distances in the Poincaré ball: of points nearer than 1 to the origin, `arcosh(1 + 2|a−b|² / ((1−|a|²)(1−|b|²)))`.
pub struct Poincare;

impl UserMetric for Poincare {
    fn name(&self) -> &str {
        "poincare"
    }

    fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        let between: f64 = pairs(a, b).map(|(a, b)| (a - b) * (a - b)).sum();
        let room = |x| 1.0 - pairs(x, x).map(|(x, y)| x * y).sum::<f64>();
        (1.0 + 2.0 * between / (room(a) * room(b))).acosh() as f32
    }

    fn check(&self, vector: &[f32]) -> Result<(), String> {
        let square: f64 = pairs(vector, vector).map(|(x, y)| x * y).sum();
        if square < 1.0 { Ok(()) } else { Err(format!("its length is {}, in the ball it is below 1", square.sqrt())) }
    }
}

/// The same geometry on the hyperboloid `−x₀² + x₁² + … = −1`, `x₀ > 0`: `arcosh(a₀b₀ − a₁b₁ − …)`.
pub struct Lorentzian;

impl Lorentzian {
    fn product(a: &[f32], b: &[f32]) -> f64 {
        f64::from(a[0]) * f64::from(b[0]) - pairs(&a[1..], &b[1..]).map(|(a, b)| a * b).sum::<f64>()
    }
}

impl UserMetric for Lorentzian {
    fn name(&self) -> &str {
        "lorentzian"
    }

    fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        // Rounding may leave a little less than the least there is.
        Self::product(a, b).max(1.0).acosh() as f32
    }

    fn check(&self, vector: &[f32]) -> Result<(), String> {
        let own = Self::product(vector, vector);
        // As near to 1 as the rounding of x₀ lets it be.
        let slack = 1e-5 * (1.0 + f64::from(vector[0]) * f64::from(vector[0]));
        if vector[0] > 0.0 && (own - 1.0).abs() <= slack {
            Ok(())
        } else {
            Err(format!("it is not on the hyperboloid: x₀ is {}, its product with itself {own}", vector[0]))
        }
    }
}

/// Jaccard's distance of weighted sets, components from 0 up: `1 − Σ min / Σ max`. Of sets, in bits, it is 1 less the
/// share that they have in common.
pub struct Jaccard;

impl UserMetric for Jaccard {
    fn name(&self) -> &str {
        "jaccard"
    }

    fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        let (low, high) = a.iter().zip(b).fold((0.0, 0.0), |(low, high), (a, b)| (low + a.min(*b), high + a.max(*b)));
        // Two empty sets are the same.
        if high > 0.0 { 1.0 - low / high } else { 0.0 }
    }

    fn check(&self, vector: &[f32]) -> Result<(), String> {
        match vector.iter().position(|&x| x < 0.0) {
            Some(at) => Err(format!("component {at} is {}, less than 0", vector[at])),
            None => Ok(()),
        }
    }
}

/// `Σ |aᵢ − bᵢ|`.
pub struct Manhattan;

impl UserMetric for Manhattan {
    fn name(&self) -> &str {
        "manhattan"
    }

    fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
    }
}

fn pairs<'a>(a: &'a [f32], b: &'a [f32]) -> impl Iterator<Item = (f64, f64)> + 'a {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)))
}

#[allow(dead_code, reason = "tests use the metrics alone")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let options = || Store::options().metric(Poincare).metric(Lorentzian).metric(Jaccard).metric(Manhattan);
    let store = options().open(dir.path())?;

    // A tree: the root in the middle, its leaves near the rim. From leaf to leaf the way leads past the middle.
    let tree = store.collection::<u64>("tree").dim(2).user_metric("poincare").create()?;
    tree.put(0, &[0.0, 0.0], b"animal")?;
    tree.put(1, &[0.7, 0.0], b"dog")?;
    tree.put(2, &[0.95, 0.05], b"poodle")?;
    tree.put(3, &[0.0, 0.9], b"fern")?;
    for hit in &tree.search_near(2)?.exclude_self().with_payloads().run()? {
        println!(
            "poodle to {}: {:.2}",
            String::from_utf8_lossy(hit.payload.as_deref().unwrap_or_default()),
            hit.distance
        );
    }
    println!("refused: {}", tree.put(4, &[1.0, 0.5], b"").expect_err("outside of the ball"));

    // Sets, a bit for each thing that may be in them.
    let baskets = store.collection::<u64>("baskets").dim(16).element(Element::Bits).user_metric("jaccard").create()?;
    baskets.put(1, lodestore::Bits(&[0b0000_1111, 0]), b"")?;
    baskets.put(2, lodestore::Bits(&[0b0000_0111, 0b1]), b"")?;
    println!("{:?}", baskets.search(lodestore::Bits(&[0b0000_0111, 0])).run()?[0]);

    // The name is in the store, the code is not.
    store.close()?;
    let without = Store::open(dir.path())?;
    println!("without: {}", without.collection::<u64>("tree").open().expect_err("not registered"));
    without.close()?;
    println!("with: {} records", options().open(dir.path())?.collection::<u64>("tree").open()?.len());
    Ok(())
}
