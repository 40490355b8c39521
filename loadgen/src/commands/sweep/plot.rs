//! A sweep as plots: latency percentiles over the load, and throughput with the fitted law.

use super::table::{Point, Sweep};
use crate::commands::vary::Vary;
use crate::report::html;
use crate::report::html::block::{Block, Plot, Row, Section, Table};
use crate::svg::{Axis, Chart, Line, Scale, Size, Stroke, Unit, standalone};

/// Points of the curve of the fitted law.
const LAW_POINTS: u32 = 60;
/// From this ratio of the largest to the smallest load on, loads are spread by their logarithm.
const LOG_FROM: f64 = 20.0;

/// Latency over the load as a file of its own.
pub fn latency_file(sweep: &Sweep) -> String {
    standalone(&latency(sweep).draw(Size::WIDE))
}

/// Both plots and the table as a page.
///
/// # Errors
/// When the page cannot be rendered.
pub fn page(sweep: &Sweep) -> Result<String, String> {
    let mut cells = sweep.cells().into_iter();
    let table = Table {
        head: cells.next().unwrap_or_default(),
        rows: cells.map(Row::new).collect(),
        ..Table::default()
    };
    let figures = Section {
        title: "Figures".to_owned(),
        blocks: match sweep.remarks() {
            remarks if remarks.is_empty() => vec![Block::Table(table)],
            remarks => vec![Block::Table(table), Block::List(remarks)],
        },
    };
    let over = sweep.over;
    let latency_plot = Plot::new(
        &format!("Response time by percentile over {over}"),
        &latency(sweep),
        Table::default(),
    );
    let mut blocks = vec![Block::Plot(latency_plot)];
    let throughput_plot = Plot::new(
        &format!("Throughput over {over}"),
        &throughput(sweep),
        Table::default(),
    );
    blocks.push(Block::Plot(throughput_plot));
    blocks.extend(
        sweep
            .diagnosis_lines()
            .into_iter()
            .map(|line| Block::Text(line.trim_start_matches("scaling").trim().to_owned())),
    );
    let curves = Section {
        title: "Curves".to_owned(),
        blocks,
    };
    let repeated = match sweep.repeat {
        1 => String::new(),
        repeat => format!(" · medians of {repeat} runs"),
    };
    html::page(
        &format!("{} over {over}", sweep.mode),
        &format!("{}{repeated}", sweep.url),
        vec![figures, curves],
    )
}

fn x_axis(sweep: &Sweep) -> Axis {
    let loads = || sweep.points.iter().map(|point| point.value);
    let least = loads().fold(f64::INFINITY, f64::min);
    let most = loads().fold(0.0, f64::max);
    let scale = if least > 0.0 && most >= least * LOG_FROM {
        Scale::Log
    } else {
        Scale::Linear
    };
    let (label, unit) = match sweep.vary {
        Vary::Rate => ("asked messages per second", Unit::Count),
        Vary::ConnectRate => ("new connections per second", Unit::Count),
        Vary::Connections => ("connections", Unit::Count),
        Vary::Subscribers => ("subscribers", Unit::Count),
        Vary::Size => ("payload bytes", Unit::Bytes),
    };
    Axis::around(label, scale, unit, loads())
}

fn points(sweep: &Sweep, read: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = sweep
        .points
        .iter()
        .filter_map(|point| Some((point.value, read(point)?)))
        .collect();
    points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    points
}

fn ringed(name: &str, colour: usize, points: Vec<(f64, f64)>) -> Line {
    Line {
        has_rings: true,
        ..Line::new(name, colour, points)
    }
}

fn latency(sweep: &Sweep) -> Chart {
    let lines = vec![
        ringed("p50", 0, points(sweep, |point| point.p50_ns)),
        ringed("p90", 1, points(sweep, |point| point.p90_ns)),
        ringed("p99", 2, points(sweep, |point| point.p99_ns)),
        ringed("p99.9", 3, points(sweep, |point| point.p999_ns)),
    ];
    let values: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|(_, value)| *value))
        .collect();
    Chart {
        title: format!("Response time over {}", sweep.over),
        description: format!(
            "Percentiles of the response time of {} runs",
            sweep.points.len()
        ),
        x: x_axis(sweep),
        y: Axis::around(
            "response",
            Scale::Log,
            Unit::Nanoseconds,
            values.into_iter(),
        ),
        lines,
        bands: Vec::new(),
        rules: Vec::new(),
        hints: Vec::new(),
    }
}

fn throughput(sweep: &Sweep) -> Chart {
    let achieved = points(sweep, |point| Some(point.achieved_per_second));
    let x = x_axis(sweep);
    let mut lines = vec![ringed("achieved", 0, achieved.clone())];
    if let Some(found) = &sweep.scalability
        && let (Some((first, _)), Some((last, _))) = (achieved.first(), achieved.last())
    {
        let at = |step: u32| {
            let share = f64::from(step) / f64::from(LAW_POINTS);
            let load = match x.scale {
                Scale::Log => first * (last / first).powf(share),
                _ => first + (last - first) * share,
            };
            (load, found.law.throughput(load))
        };
        let law = Line::new("scalability law", 2, (0..=LAW_POINTS).map(at).collect());
        lines.push(law.stroked(Stroke::Dashed));
    }
    if sweep.vary == Vary::Rate {
        let asked = achieved.iter().map(|(load, _)| (*load, *load)).collect();
        lines.push(Line::new("asked", 1, asked).stroked(Stroke::Dotted));
    }
    let values: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|(_, value)| *value))
        .collect();
    let y_scale = match x.scale {
        Scale::Log if sweep.vary == Vary::Rate => Scale::Log,
        _ => Scale::Linear,
    };
    Chart {
        title: format!("Throughput over {}", sweep.over),
        description: "Replies per second; in a fan-out, deliveries".to_owned(),
        y: Axis::around("per second", y_scale, Unit::Count, values.into_iter()),
        x,
        lines,
        bands: Vec::new(),
        rules: Vec::new(),
        hints: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::sweep::table::testing::sweep;
    use quick_xml::events::Event;
    use quick_xml::reader::Reader;

    /// Names of all elements, as an independent parser reads them.
    fn elements(document: &str) -> Vec<String> {
        let mut reader = Reader::from_str(document);
        let mut found = Vec::new();
        loop {
            match reader.read_event().expect("well-formed") {
                Event::Eof => return found,
                Event::Start(element) | Event::Empty(element) => {
                    found.push(String::from_utf8_lossy(element.name().as_ref()).into_owned());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_plot_is_a_drawing_with_a_line_for_each_percentile() {
        let file = latency_file(&sweep());
        let names = elements(&file);
        let count = |wanted: &str| names.iter().filter(|name| *name == wanted).count();
        // Each percentile has a line and a piece of it in the legend, and a ring at every point.
        assert_eq!((count("path"), count("circle")), (8, 20), "{file}");
        assert!(file.contains("p99.9"), "{file}");
    }

    #[test]
    fn the_page_escapes_what_people_typed() {
        let page = page(&sweep()).expect("a page");
        assert!(!page.contains("<b>"), "{page}");
        assert!(page.contains("?a=&#60;b&#62;"), "{page}");
        assert!(page.contains("scalability law"), "the fitted curve");
        assert!(page.contains("not a proof"));
    }
}
