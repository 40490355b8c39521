//! Latency over time as a strip of shaded cells: seconds to the right, latency upwards on a
//! logarithmic scale, darker where more replies lie.
//!
//! Owns the folding of histograms into columns and of columns into cells. Knows nothing of
//! terminals or colours: `screen` paints the [`Shade`]s, whose glyphs tell them apart without colour.

use crate::measure::latency::Latency;

/// Steps of a column per factor of ten.
const STEPS_PER_DECADE: usize = 32;
/// The lowest latency that is told apart: a microsecond.
const FLOOR_NS: f64 = 1e3;
/// From a microsecond to 1,000 seconds.
const STEPS: usize = 9 * STEPS_PER_DECADE;

/// The replies of one second, by latency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    counts: Box<[u64; STEPS]>,
    count: u64,
}

impl Default for Column {
    fn default() -> Column {
        Column {
            counts: Box::new([0; STEPS]),
            count: 0,
        }
    }
}

/// The step that a latency belongs to; what lies outside the scale counts at its ends.
fn step(ns: u64) -> usize {
    let decades = (ns as f64 / FLOOR_NS).max(1.0).log10();
    ((decades * STEPS_PER_DECADE as f64) as usize).min(STEPS - 1)
}

/// Where a step begins, in nanoseconds.
fn step_begin_ns(step: usize) -> f64 {
    FLOOR_NS * 10f64.powf(step as f64 / STEPS_PER_DECADE as f64)
}

impl Column {
    /// Folds a histogram.
    pub fn of(latency: &Latency) -> Column {
        let mut column = Column::default();
        let values = latency.histogram().into_iter();
        for value in values.flat_map(|histogram| histogram.iter_recorded()) {
            let count = value.count_since_last_iteration();
            column.counts[step(value.value_iterated_to())] += count;
            column.count += count;
        }
        column
    }

    /// Replies in it.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// First and last step that holds anything.
    fn bounds(&self) -> Option<(usize, usize)> {
        let first = self.counts.iter().position(|count| *count > 0)?;
        let last = self.counts.iter().rposition(|count| *count > 0)?;
        Some((first, last))
    }
}

/// How many of a second's replies lie in a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shade {
    /// None.
    #[default]
    Empty,
    /// Fewer than 0.1 %, but at least one: outliers must be seen.
    Trace,
    /// 0.1 % and more.
    Light,
    /// 1 % and more.
    Medium,
    /// 5 % and more.
    Dark,
    /// 20 % and more.
    Full,
}

impl Shade {
    /// Every shade that shows something, from light to dark, with what it stands for.
    pub const LEGEND: [(Shade, &'static str); 5] = [
        (Shade::Trace, "<0.1%"),
        (Shade::Light, "<1%"),
        (Shade::Medium, "<5%"),
        (Shade::Dark, "<20%"),
        (Shade::Full, "more"),
    ];

    fn of(count: u64, whole: u64) -> Shade {
        if count == 0 || whole == 0 {
            return Shade::Empty;
        }
        match count as f64 / whole as f64 {
            share if share < 0.001 => Shade::Trace,
            share if share < 0.01 => Shade::Light,
            share if share < 0.05 => Shade::Medium,
            share if share < 0.2 => Shade::Dark,
            _ => Shade::Full,
        }
    }

    /// Its glyph.
    pub fn glyph(self) -> char {
        match self {
            Shade::Empty => ' ',
            Shade::Trace => '·',
            Shade::Light => '░',
            Shade::Medium => '▒',
            Shade::Dark => '▓',
            Shade::Full => '█',
        }
    }
}

/// Columns laid out on a number of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strip {
    first_step: usize,
    steps_per_row: usize,
    /// Row 0 is the lowest; in each the columns from left to right.
    rows: Vec<Vec<Shade>>,
}

impl Strip {
    /// Lays columns out on at most `rows` rows; the scale covers just what the columns hold.
    pub fn lay_out<'a>(columns: impl Iterator<Item = &'a Column> + Clone, rows: usize) -> Strip {
        let bounds = columns.clone().filter_map(Column::bounds);
        let Some((first, last)) =
            bounds.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
        else {
            return Strip::default();
        };
        if rows == 0 {
            return Strip::default();
        }
        // All rows are equally high, so that their shades can be compared; some may be spare.
        let steps_per_row = (last + 1 - first).div_ceil(rows);
        let rows = (last + 1 - first).div_ceil(steps_per_row);
        let shades_of = |row: usize| {
            let begin = first + row * steps_per_row;
            let end = (begin + steps_per_row).min(STEPS);
            let shade = |column: &Column| {
                let count = column
                    .counts
                    .get(begin..end)
                    .map_or(0, |part| part.iter().sum());
                Shade::of(count, column.count)
            };
            columns.clone().map(shade).collect::<Vec<_>>()
        };
        Strip {
            first_step: first,
            steps_per_row,
            rows: (0..rows).map(shades_of).collect(),
        }
    }

    /// How many rows it has.
    pub fn height(&self) -> usize {
        self.rows.len()
    }

    /// The cells of a row, left to right; row 0 is the lowest.
    pub fn row(&self, row: usize) -> &[Shade] {
        self.rows.get(row).map_or(&[], Vec::as_slice)
    }

    /// The latency at which a row begins; `None` when there is nothing to show.
    pub fn row_begin_ns(&self, row: usize) -> Option<u64> {
        let step = self.first_step + row * self.steps_per_row;
        // In range of u64: 1,000 seconds, and some rows above them.
        (row < self.rows.len()).then(|| step_begin_ns(step).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: &[(u64, u64)]) -> Column {
        let mut latency = Latency::default();
        for (ns, times) in values {
            (0..*times).for_each(|_| latency.record(*ns));
        }
        Column::of(&latency)
    }

    #[test]
    fn every_reply_is_in_one_cell() {
        let values = [
            (1, 3),
            (900, 1),
            (60_000, 500),
            (2_000_000, 7),
            (u64::MAX, 2),
        ];
        let column = column(&values);
        assert_eq!(column.count(), 513);
        assert_eq!(column.counts.iter().sum::<u64>(), 513);
        assert_eq!(column.counts[0], 4, "below a microsecond counts as one");
    }

    #[test]
    fn outliers_are_seen_and_the_scale_fits() {
        let usual = column(&[(50_000, 10_000)]);
        let stalled = column(&[(50_000, 9_999), (80_000_000, 1)]);
        let strip = Strip::lay_out([&usual, &stalled].into_iter(), 8);
        assert_eq!(strip.row(0), [Shade::Full, Shade::Full]);
        let top = strip.height() - 1;
        assert!((6..8).contains(&top), "{strip:?}");
        assert_eq!(strip.row(top), [Shade::Empty, Shade::Trace]);
        assert!(
            strip.rows[1..top]
                .iter()
                .flatten()
                .all(|shade| *shade == Shade::Empty)
        );
        let begin = strip.row_begin_ns(0).expect("a row");
        assert!((40_000..=50_000).contains(&begin), "{begin}");
        let top = strip.row_begin_ns(top).expect("a row");
        assert!((10_000_000..=80_000_000).contains(&top), "{top}");
        assert_eq!(strip.row_begin_ns(8), None);
    }

    #[test]
    fn nothing_measured_is_nothing_shown() {
        let strip = Strip::lay_out([Column::default()].iter(), 5);
        assert_eq!(strip, Strip::default());
        assert!(strip.row(0).is_empty());
        assert_eq!(strip.row_begin_ns(0), None);
        let some = column(&[(5_000, 1)]);
        assert_eq!(Strip::lay_out([&some].into_iter(), 0), Strip::default());
    }

    #[test]
    fn shades_follow_shares_and_have_their_own_glyphs() {
        let shares = [
            (0, 1000),
            (1, 10_000),
            (1, 1_000),
            (1, 100),
            (1, 10),
            (4, 10),
        ];
        let shades: Vec<Shade> = shares
            .map(|(count, whole)| Shade::of(count, whole))
            .to_vec();
        assert!(shades.is_sorted_by(|one, other| one < other), "{shades:?}");
        let mut glyphs: Vec<char> = shades.iter().map(|shade| shade.glyph()).collect();
        glyphs.dedup();
        assert_eq!(glyphs.len(), 6);
    }
}
