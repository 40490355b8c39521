//! A plot of lines: percentile curves, values over time, a figure over the load.

use super::axis::{Axis, Tick};
use super::canvas::{Anchor, Canvas, FONT_PX, text_width};
use super::{COLOURS, Size};

/// How a line is stroked, so that it can be told from others on paper without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// One piece.
    Solid,
    /// Dashes.
    Dashed,
    /// Dots.
    Dotted,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Which colour, from 0.
    pub colour: usize,
    /// How it is stroked.
    pub stroke: Stroke,
    /// Whether each point gets a ring.
    pub has_rings: bool,
    /// Its points by growing x; one that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
}

impl Line {
    /// A solid line.
    pub fn new(name: &str, colour: usize, points: Vec<(f64, f64)>) -> Line {
        Line {
            name: name.to_owned(),
            colour,
            stroke: Stroke::Solid,
            has_rings: false,
            points,
        }
    }

    /// The same, stroked otherwise.
    pub fn stroked(self, stroke: Stroke) -> Line {
        Line { stroke, ..self }
    }

    fn class(&self) -> String {
        let stroke = match self.stroke {
            // The seventh line has the first colour again.
            Stroke::Solid if self.colour >= COLOURS => " d",
            Stroke::Solid => "",
            Stroke::Dashed => " d",
            Stroke::Dotted => " o",
        };
        format!("l c{}{stroke}", self.colour % COLOURS + 1)
    }
}

/// A part of the x axis with a name, such as the warm-up.
#[derive(Clone, Debug)]
pub struct Band {
    /// Where it begins and ends.
    pub from_to: (f64, f64),
    /// Its name.
    pub text: String,
}

/// A value of either axis with a name, such as the rate that was asked for.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The value.
    pub at: f64,
    /// Of the x axis; otherwise of the y axis.
    pub is_of_x: bool,
    /// Its name.
    pub text: String,
}

/// What a pointer is told that rests on a part of the x axis.
#[derive(Clone, Debug)]
pub struct Hint {
    /// Where the part begins and ends.
    pub from_to: (f64, f64),
    /// What is told.
    pub text: String,
}

/// A plot of lines.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What is shown; read out by screen readers.
    pub title: String,
    /// What is to be seen in it, in a sentence.
    pub description: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, drawn in turn.
    pub lines: Vec<Line>,
    /// Named parts of the x axis.
    pub bands: Vec<Band>,
    /// Named values.
    pub rules: Vec<Rule>,
    /// What a pointer is told.
    pub hints: Vec<Hint>,
}

/// The rectangle in which values are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
}

/// Height of a line of text.
const ROW: f64 = 18.0;
/// Between texts that stand beside each other.
const GAP: f64 = 14.0;

impl Frame {
    /// Leaves room for ticks, labels and `rows` of a legend.
    pub fn new(size: Size, y_ticks: &[Tick], rows: usize) -> Frame {
        let widths = y_ticks.iter().map(|tick| text_width(&tick.text));
        Frame {
            left: widths.fold(0.0, f64::max) + 10.0,
            top: ROW * rows.max(1) as f64 + 8.0,
            right: size.width - 10.0,
            bottom: size.height - 2.0 * ROW - 2.0,
        }
    }

    /// The point of a position on both axes.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (
            self.left + x * (self.right - self.left),
            self.bottom - y * (self.bottom - self.top),
        )
    }

    /// Grid lines, ticks and the names of both axes.
    pub fn draw_axes(
        &self,
        canvas: &mut Canvas,
        size: Size,
        x: (&Axis, &[Tick]),
        y: (&Axis, &[Tick]),
    ) {
        for tick in y.1 {
            let (_, level) = self.at(0.0, tick.position);
            let class = if tick.position == 0.0 { "a" } else { "g" };
            canvas.line(class, (self.left, level), (self.right, level));
            canvas.text(
                self.left - 7.0,
                level + FONT_PX * 0.34,
                Anchor::End,
                "",
                &tick.text,
            );
        }
        let mut free_from = f64::NEG_INFINITY;
        for tick in x.1 {
            let (place, _) = self.at(tick.position, 0.0);
            let half = text_width(&tick.text) / 2.0;
            let middle = place.min(size.width - half - 1.0).max(half + 1.0);
            // A tick whose text would touch the one before it is left out whole.
            if middle - half < free_from {
                continue;
            }
            free_from = middle + half + GAP / 2.0;
            canvas.line("a", (place, self.bottom), (place, self.bottom + 4.0));
            canvas.text(middle, self.bottom + ROW, Anchor::Middle, "", &tick.text);
        }
        canvas.text(0.0, FONT_PX, Anchor::Start, "n", &y.0.label);
        canvas.text(self.right, size.height - 3.0, Anchor::End, "", &x.0.label);
    }
}

impl Chart {
    /// Draws it.
    pub fn draw(&self, size: Size) -> String {
        let mut canvas = Canvas::new(size, &self.title, &self.description);
        let (x_most, y_most) = if size.is_narrow() { (5, 4) } else { (10, 5) };
        let (x_ticks, y_ticks) = (self.x.ticks(x_most), self.y.ticks(y_most));
        let legend = self.legend(size);
        let rows = legend.last().map_or(0, |(_, row, _)| row + 1);
        let frame = Frame::new(size, &y_ticks, rows);
        for band in &self.bands {
            self.draw_band(&mut canvas, &frame, band);
        }
        frame.draw_axes(&mut canvas, size, (&self.x, &x_ticks), (&self.y, &y_ticks));
        for (x, row, line) in legend {
            let y = ROW * row as f64 + FONT_PX;
            canvas.polyline(&line.class(), &[(x, y - 4.0), (x + 20.0, y - 4.0)]);
            canvas.text(x + 26.0, y, Anchor::Start, "", &line.name);
        }
        for rule in &self.rules {
            self.draw_rule(&mut canvas, &frame, rule);
        }
        for line in &self.lines {
            self.draw_line(&mut canvas, &frame, line);
        }
        for hint in &self.hints {
            let (from, to) = hint.from_to;
            let left = frame.at(self.x.position(from), 1.0);
            let right = frame.at(self.x.position(to), 0.0);
            let extent = (right.0 - left.0, right.1 - left.1);
            canvas.rectangle("h", left, extent, &hint.text);
        }
        canvas.finish()
    }

    /// Where the names of the lines stand, after that of the axis: x, row, line.
    fn legend(&self, size: Size) -> Vec<(f64, usize, &Line)> {
        let mut x = text_width(&self.y.label) + GAP + 4.0;
        let (mut row, mut places) = (0, Vec::new());
        for line in self.lines.iter().filter(|line| !line.name.is_empty()) {
            let width = 26.0 + text_width(&line.name);
            if x > 0.0 && x + width > size.width {
                x = 0.0;
                row += 1;
            }
            places.push((x, row, line));
            x += width + GAP;
        }
        places
    }

    fn draw_band(&self, canvas: &mut Canvas, frame: &Frame, band: &Band) {
        let (left, top) = frame.at(self.x.position(band.from_to.0), 1.0);
        let (right, bottom) = frame.at(self.x.position(band.from_to.1), 0.0);
        canvas.rectangle("b", (left, top), (right - left, bottom - top), &band.text);
        if text_width(&band.text) + 8.0 < right - left {
            canvas.text(left + 4.0, top + FONT_PX, Anchor::Start, "", &band.text);
        }
    }

    fn draw_rule(&self, canvas: &mut Canvas, frame: &Frame, rule: &Rule) {
        let axis = if rule.is_of_x { &self.x } else { &self.y };
        if rule.at < axis.min || rule.at > axis.max {
            return;
        }
        let position = axis.position(rule.at);
        if rule.is_of_x {
            let (x, _) = frame.at(position, 0.0);
            canvas.line("r", (x, frame.top), (x, frame.bottom));
            let is_right = x + text_width(&rule.text) + 6.0 < frame.right;
            let (x, anchor) = if is_right {
                (x + 4.0, Anchor::Start)
            } else {
                (x - 4.0, Anchor::End)
            };
            // Curves over percentiles rise to the right: there is room at the foot.
            canvas.text(x, frame.bottom - 6.0, anchor, "", &rule.text);
        } else {
            let (_, y) = frame.at(0.0, position);
            canvas.line("r", (frame.left, y), (frame.right, y));
            // Below the line where there is no room above it.
            let y = if y - FONT_PX > frame.top {
                y - 4.0
            } else {
                y + FONT_PX
            };
            canvas.text(frame.right - 2.0, y, Anchor::End, "", &rule.text);
        }
    }

    fn draw_line(&self, canvas: &mut Canvas, frame: &Frame, line: &Line) {
        let place = |(x, y): &(f64, f64)| {
            (x.is_finite() && y.is_finite())
                .then(|| frame.at(self.x.position(*x), self.y.position(*y)))
        };
        let places: Vec<Option<(f64, f64)>> = line.points.iter().map(place).collect();
        for part in places.split(Option::is_none) {
            let points: Vec<(f64, f64)> = part.iter().copied().flatten().collect();
            match points.as_slice() {
                [] => {}
                // A single point would be no line at all.
                [point] if !line.has_rings => canvas.ring(&line.class(), *point, 2.0),
                points => canvas.polyline(&line.class(), points),
            }
        }
        if line.has_rings {
            let class = format!("k c{}", line.colour % COLOURS + 1);
            for point in places.into_iter().flatten() {
                canvas.ring(&class, point, 3.5);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Scale, Unit};
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let values = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).collect::<Vec<_>>();
        Chart {
            title: "a <title>".into(),
            description: "what it shows".into(),
            x: Axis::around(
                "x",
                Scale::Linear,
                Unit::Seconds,
                values(|point| point.0).into_iter(),
            ),
            y: Axis::around(
                "y",
                Scale::Log,
                Unit::Nanoseconds,
                values(|point| point.1).into_iter(),
            ),
            lines: vec![
                Line::new("one", 0, points.clone()),
                Line::new("two", 7, points).stroked(Stroke::Dotted),
            ],
            bands: vec![Band {
                from_to: (0.0, 1.0),
                text: "warm-up".into(),
            }],
            rules: vec![Rule {
                at: 1e6,
                is_of_x: false,
                text: "limit & more".into(),
            }],
            hints: vec![Hint {
                from_to: (0.0, 1.0),
                text: "1 s: \"5\"".into(),
            }],
        }
    }

    /// The x of every `<text>` on the line of ticks, with its estimated width.
    fn tick_texts(drawing: &str, y: f64) -> Vec<(f64, f64)> {
        let mut found = Vec::new();
        for part in drawing.split("<text ").skip(1) {
            let attribute = |name: &str| -> f64 {
                let rest = part.split(&format!("{name}=\"")).nth(1).expect("attribute");
                rest.split('"')
                    .next()
                    .expect("quote")
                    .parse()
                    .expect("number")
            };
            let text = part.split('>').nth(1).expect("text");
            let text = text.split('<').next().expect("text");
            if (attribute("y") - y).abs() < 0.1 {
                found.push((attribute("x"), text_width(text)));
            }
        }
        found
    }

    #[test]
    fn a_drawing_is_whole_and_escaped() {
        let points = vec![(0.0, 1e5), (1.0, f64::NAN), (2.0, 1e7), (30.0, 2e6)];
        for size in [Size::WIDE, Size::NARROW] {
            let drawing = chart(points.clone()).draw(size);
            assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>"));
            assert!(drawing.contains("a &lt;title&gt;") && drawing.contains("limit &amp; more"));
            assert!(
                !drawing.contains("NaN") && !drawing.contains("inf"),
                "{drawing}"
            );
        }
    }

    #[test]
    fn ticks_never_touch() {
        for end in [3.0, 59.0, 61.0, 299.0, 3_600.0, 86_400.0] {
            for size in [Size::WIDE, Size::NARROW] {
                let drawing = chart(vec![(0.0, 1e5), (end, 2e6)]).draw(size);
                let mut texts = tick_texts(&drawing, size.height - 2.0 * ROW - 2.0 + ROW);
                texts.sort_by(|left, right| left.0.total_cmp(&right.0));
                assert!(texts.len() >= 2, "{end} {drawing}");
                for pair in texts.windows(2) {
                    let distance = pair[1].0 - pair[0].0;
                    assert!(distance > (pair[0].1 + pair[1].1) / 2.0, "{end} {pair:?}");
                }
            }
        }
    }
}
