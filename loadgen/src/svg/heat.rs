//! A heat map: how many values of which height came when.

use super::Size;
use super::axis::{Axis, Scale, Unit};
use super::canvas::{Anchor, Canvas, FONT_PX, text_width};
use super::chart::Frame;

/// What came in a part of the time.
#[derive(Clone, Debug)]
pub struct Column {
    /// Where the part begins and ends, in seconds.
    pub from_to: (f64, f64),
    /// Values and how often each came.
    pub values: Vec<(f64, u64)>,
    /// What a pointer is told that rests on it.
    pub hint: String,
}

/// How many values of which height came when.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// What is shown; read out by screen readers.
    pub title: String,
    /// What is to be seen in it, in a sentence.
    pub description: String,
    /// Name of the time axis.
    pub x_label: String,
    /// Name of the axis of values.
    pub y_label: String,
    /// What the values are.
    pub unit: Unit,
    /// The parts of the time, in turn.
    pub columns: Vec<Column>,
}

/// Steps of colour; `plot.css` has as many.
const LEVELS: u64 = 7;
/// Rows of cells in a decade of values, at most.
const ROWS_PER_DECADE: f64 = 10.0;
const ROWS_MAX: f64 = 40.0;

impl HeatMap {
    /// Draws it.
    pub fn draw(&self, size: Size) -> String {
        let mut canvas = Canvas::new(size, &self.title, &self.description);
        let values = || {
            let columns = self.columns.iter();
            columns.flat_map(|column| column.values.iter().map(|(value, _)| value.max(1.0)))
        };
        let y = Axis::around(&self.y_label, Scale::Log, self.unit, values());
        let from = self.columns.first().map_or(0.0, |column| column.from_to.0);
        let to = self.columns.last().map_or(1.0, |column| column.from_to.1);
        let x = Axis::from_to(&self.x_label, Scale::Linear, Unit::Seconds, from, to);
        let (x_most, y_most) = if size.is_narrow() { (5, 4) } else { (10, 6) };
        let (x_ticks, y_ticks) = (x.ticks(x_most), y.ticks(y_most));
        let frame = Frame::new(size, &y_ticks, 0);
        frame.draw_axes(&mut canvas, size, (&x, &x_ticks), (&y, &y_ticks));
        let decades = (y.max / y.min).log10();
        let rows = (decades * ROWS_PER_DECADE).ceil().clamp(8.0, ROWS_MAX) as usize;
        let grid: Vec<Vec<u64>> = self
            .columns
            .iter()
            .map(|column| cells(column, &y, rows))
            .collect();
        let most = grid.iter().flatten().copied().max().unwrap_or(0);
        for (column, cells) in self.columns.iter().zip(&grid) {
            let left = frame.at(x.position(column.from_to.0), 0.0).0.round();
            let right = frame.at(x.position(column.from_to.1), 0.0).0.round();
            draw_column(&mut canvas, &frame, (left, right), cells, most);
            let extent = (right - left, frame.bottom - frame.top);
            canvas.rectangle("h", (left, frame.top), extent, &column.hint);
        }
        draw_key(&mut canvas, size, most, text_width(&self.y_label));
        canvas.finish()
    }
}

/// The counts of a column by row, lowest first.
fn cells(column: &Column, y: &Axis, rows: usize) -> Vec<u64> {
    let mut cells = vec![0u64; rows];
    for (value, count) in &column.values {
        let row = (y.position(value.max(1.0)) * rows as f64) as usize;
        if let Some(cell) = cells.get_mut(row.min(rows - 1)) {
            *cell = cell.saturating_add(*count);
        }
    }
    cells
}

/// The step of colour for a count: by its logarithm, since single outliers are what one looks for
/// among hundreds of thousands.
fn level(count: u64, most: u64) -> u64 {
    if count == 0 {
        return 0;
    }
    let share = (count as f64).ln_1p() / (most.max(1) as f64).ln_1p();
    ((share * LEVELS as f64).ceil() as u64).clamp(1, LEVELS)
}

fn draw_column(
    canvas: &mut Canvas,
    frame: &Frame,
    (left, right): (f64, f64),
    cells: &[u64],
    most: u64,
) {
    let levels: Vec<u64> = cells.iter().map(|count| level(*count, most)).collect();
    let mut row = 0;
    // Neighbours of one colour become one rectangle: a third of the size of the page.
    for run in levels.chunk_by(|left, right| left == right) {
        let next = row + run.len();
        if run[0] > 0 {
            let part = |row: usize| row as f64 / cells.len() as f64;
            // Whole pixels: neighbours then end and begin at the same place.
            let top = frame.at(0.0, part(next)).1.round();
            let bottom = frame.at(0.0, part(row)).1.round();
            let extent = (right - left, bottom - top);
            canvas.rectangle(&format!("q q{}", run[0]), (left, top), extent, "");
        }
        row = next;
    }
}

/// From one to most, at the upper right.
fn draw_key(canvas: &mut Canvas, size: Size, most: u64, taken: f64) {
    let cell = 14.0;
    let text = format!("{} per cell", crate::quantity::format_count(most));
    let left = size.width - text_width(&text) - 6.0 - cell * LEVELS as f64;
    if most == 0 || left < taken + 24.0 {
        return;
    }
    canvas.text(left - 5.0, FONT_PX, Anchor::End, "", "1");
    for level in 1..=LEVELS {
        let x = left + cell * (level - 1) as f64;
        canvas.rectangle(&format!("q q{level}"), (x, 3.0), (cell, 10.0), "");
    }
    canvas.text(size.width, FONT_PX, Anchor::End, "", &text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(columns: Vec<Vec<(f64, u64)>>) -> HeatMap {
        let columns = columns
            .into_iter()
            .enumerate()
            .map(|(index, values)| Column {
                from_to: (index as f64, index as f64 + 1.0),
                values,
                hint: format!("second {index}"),
            });
        HeatMap {
            title: "latency".into(),
            description: "over time".into(),
            x_label: "time".into(),
            y_label: "response".into(),
            unit: Unit::Nanoseconds,
            columns: columns.collect(),
        }
    }

    #[test]
    fn every_value_is_in_a_cell() {
        let map = map(vec![
            vec![(1e4, 900), (2e4, 90), (9e9, 1)],
            vec![],
            vec![(0.0, 3)],
        ]);
        let y = Axis::around("", Scale::Log, Unit::Nanoseconds, [1.0, 9e9].into_iter());
        let sums: Vec<u64> = map
            .columns
            .iter()
            .map(|column| cells(column, &y, 40).iter().sum())
            .collect();
        assert_eq!(sums, [991, 0, 3]);
        let drawing = map.draw(Size::WIDE);
        assert!(
            drawing.contains("second 1") && !drawing.contains("NaN"),
            "{drawing}"
        );
    }

    #[test]
    fn a_single_outlier_is_seen_and_nothing_is_not() {
        assert_eq!(level(0, 1_000_000), 0);
        assert_eq!(level(1, 1_000_000), 1);
        assert_eq!(level(1_000_000, 1_000_000), LEVELS);
        assert!(level(1_000, 1_000_000) > level(10, 1_000_000));
        assert!(map(vec![]).draw(Size::NARROW).ends_with("</svg>"));
    }
}
