//! Gunther's universal scalability law, fitted to a sweep.
//!
//! Throughput at load N is taken to be `λN / (1 + σ(N−1) + κN(N−1))`: λ of one alone, σ the share of
//! the work that queues for something shared, κ the price of keeping each pair in agreement. A fit
//! is a diagnosis, not a proof: it says what the curve looks like, not why.

/// A fitted law.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// λ: throughput of one alone.
    pub single: f64,
    /// σ: contention, 0 when none was seen.
    pub contention: f64,
    /// κ: coherency, 0 when none was seen.
    pub coherency: f64,
    /// Largest distance of a point from the curve, as a share of the point.
    pub error_max: f64,
}

impl Scaling {
    /// Throughput that the law gives at a load.
    pub fn throughput(&self, load: f64) -> f64 {
        let growth = 1.0 + self.contention * (load - 1.0) + self.coherency * load * (load - 1.0);
        self.single * load / growth
    }

    /// Load with the largest throughput. `None` when the law never turns down.
    pub fn peak_load(&self) -> Option<f64> {
        if self.coherency <= 0.0 {
            return None;
        }
        Some(
            ((1.0 - self.contention).max(0.0) / self.coherency)
                .sqrt()
                .max(1.0),
        )
    }
}

/// Loads that must differ: with fewer the law has more parameters than there is evidence.
pub const LOADS_MIN: usize = 4;

/// Fits the law to (load, throughput). `None` with fewer than [`LOADS_MIN`] different loads, or with
/// a load below 1 or a throughput that is not above 0.
///
/// Load over throughput is linear in 1/λ, σ/λ and κ/λ; the squares of its relative errors are made
/// least, and no parameter may be negative: every choice of parameters held at zero is solved, and
/// the best admissible one is taken, which for three parameters is exact and short.
pub fn fit(points: &[(f64, f64)]) -> Option<Scaling> {
    let is_usable = |(load, throughput): &(f64, f64)| {
        *load >= 1.0 && *throughput > 0.0 && load.is_finite() && throughput.is_finite()
    };
    let mut loads: Vec<f64> = points.iter().map(|(load, _)| *load).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    if loads.len() < LOADS_MIN || !points.iter().all(is_usable) {
        return None;
    }
    let rows: Vec<[f64; 3]> = points
        .iter()
        .map(|(load, throughput)| {
            // Divided by the left side load/throughput, which makes it 1 and the errors relative.
            let scale = throughput / load;
            [scale, (load - 1.0) * scale, load * (load - 1.0) * scale]
        })
        .collect();
    let mut best: Option<(f64, [f64; 3])> = None;
    for columns in [&[0, 1, 2][..], &[0, 1], &[0, 2], &[0]] {
        let Some(solution) = least_squares(&rows, columns) else {
            continue;
        };
        if solution[0] <= 0.0 || solution.iter().any(|value| *value < 0.0) {
            continue;
        }
        let error = squares(&rows, &solution);
        if best.as_ref().is_none_or(|(least, _)| error < *least) {
            best = Some((error, solution));
        }
    }
    let (_, [one, queue, agree]) = best?;
    let mut scaling = Scaling {
        single: 1.0 / one,
        contention: queue / one,
        coherency: agree / one,
        error_max: 0.0,
    };
    scaling.error_max = points
        .iter()
        .map(|(load, throughput)| (scaling.throughput(*load) / throughput - 1.0).abs())
        .fold(0.0, f64::max);
    Some(scaling)
}

fn dot(row: &[f64; 3], solution: &[f64; 3]) -> f64 {
    row.iter()
        .zip(solution)
        .map(|(left, right)| left * right)
        .sum()
}

fn squares(rows: &[[f64; 3]], solution: &[f64; 3]) -> f64 {
    rows.iter()
        .map(|row| (dot(row, solution) - 1.0).powi(2))
        .sum()
}

/// Least squares of `row · x = 1` over the named columns, the others held at zero: modified
/// Gram-Schmidt on columns of equal length, since loads and their squares lie far apart.
fn least_squares(rows: &[[f64; 3]], columns: &[usize]) -> Option<[f64; 3]> {
    let mut residual = vec![1.0; rows.len()];
    let mut basis: Vec<Vec<f64>> = Vec::new();
    let mut upper = [[0.0; 3]; 3];
    let mut target = [0.0; 3];
    let mut lengths = [1.0; 3];
    for (position, column) in columns.iter().enumerate() {
        let mut vector: Vec<f64> = rows.iter().map(|row| row[*column]).collect();
        lengths[position] = length(&vector);
        if lengths[position] <= 0.0 {
            return None;
        }
        vector
            .iter_mut()
            .for_each(|value| *value /= lengths[position]);
        for (earlier, direction) in basis.iter().enumerate() {
            let along: f64 = product(direction, &vector);
            upper[earlier][position] = along;
            for (value, step) in vector.iter_mut().zip(direction) {
                *value -= along * step;
            }
        }
        let rest = length(&vector);
        if rest < 1e-10 {
            return None;
        }
        upper[position][position] = rest;
        vector.iter_mut().for_each(|value| *value /= rest);
        target[position] = product(&vector, &residual);
        for (value, step) in residual.iter_mut().zip(&vector) {
            *value -= target[position] * step;
        }
        basis.push(vector);
    }
    let mut solution = [0.0; 3];
    let mut scaled = [0.0; 3];
    for position in (0..columns.len()).rev() {
        let known: f64 = (position + 1..columns.len())
            .map(|later| upper[position][later] * scaled[later])
            .sum();
        scaled[position] = (target[position] - known) / upper[position][position];
        solution[columns[position]] = scaled[position] / lengths[position];
    }
    Some(solution)
}

fn product(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}

fn length(vector: &[f64]) -> f64 {
    product(vector, vector).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOADS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1_000.0];

    fn law(single: f64, contention: f64, coherency: f64) -> Scaling {
        Scaling {
            single,
            contention,
            coherency,
            error_max: 0.0,
        }
    }

    fn points(law: &Scaling) -> Vec<(f64, f64)> {
        LOADS
            .iter()
            .map(|load| (*load, law.throughput(*load)))
            .collect()
    }

    #[test]
    fn finds_the_peak() {
        let truth = law(1_000.0, 0.02, 0.000_1);
        let found = fit(&points(&truth)).expect("a fit");
        let peak = found.peak_load().expect("it turns down");
        assert!((peak - 98.99).abs() < 0.1, "{peak}");
        // Nothing near it is faster.
        for other in [0.8, 0.95, 1.05, 1.2] {
            assert!(found.throughput(peak * other) < found.throughput(peak));
        }
        assert_eq!(law(1.0, 0.1, 0.0).peak_load(), None);
    }

    #[test]
    fn too_little_to_fit() {
        assert_eq!(
            fit(&[(1.0, 10.0), (2.0, 19.0), (3.0, 28.0), (3.0, 27.0)]),
            None
        );
        let mut bad = points(&law(1.0, 0.1, 0.1));
        bad[3].1 = 0.0;
        assert_eq!(fit(&bad), None);
    }

    #[test]
    fn better_than_linear_is_no_negative_contention() {
        let points = [(1.0, 10.0), (2.0, 21.0), (4.0, 44.0), (8.0, 92.0)];
        let found = fit(&points).expect("a fit");
        assert_eq!((found.contention, found.coherency), (0.0, 0.0));
        assert!(found.error_max > 0.01 && found.error_max < 0.1, "{found:?}");
    }

    proptest! {
        #[test]
        fn recovers_the_law_that_made_the_points(
            single in 1.0f64..100_000.0,
            contention in 0.0f64..0.5,
            coherency in 0.0f64..0.01,
        ) {
            let truth = law(single, contention, coherency);
            let found = fit(&points(&truth)).expect("a fit");
            prop_assert!((found.single / single - 1.0).abs() < 1e-6, "{found:?}");
            prop_assert!((found.contention - contention).abs() < 1e-6, "{found:?}");
            prop_assert!((found.coherency - coherency).abs() < 1e-8, "{found:?}");
            prop_assert!(found.error_max < 1e-6);
        }

        /// No admissible neighbour of the fit has a smaller error.
        #[test]
        fn is_the_best_even_with_noise(
            noise in prop::collection::vec(0.8f64..1.25, LOADS.len()),
            contention in 0.0f64..0.3,
            step in prop::array::uniform3(-0.05f64..0.05),
        ) {
            let truth = law(500.0, contention, 0.001);
            let noisy: Vec<(f64, f64)> = points(&truth)
                .into_iter()
                .zip(&noise)
                .map(|((load, throughput), factor)| (load, throughput * factor))
                .collect();
            let found = fit(&noisy).expect("a fit");
            let error = |law: &Scaling| -> f64 {
                noisy.iter().map(|(load, seen)| (seen / law.throughput(*load) - 1.0).powi(2)).sum()
            };
            let neighbour = law(
                found.single * (1.0 + step[0]),
                (found.contention + step[1]).max(0.0),
                (found.coherency * (1.0 + step[2])).max(0.0),
            );
            prop_assert!(error(&found) <= error(&neighbour) + 1e-9);
        }
    }
}
