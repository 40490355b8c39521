//! The report as one page that needs nothing else: no script, no font, no image from elsewhere.
//!
//! Owns the order of what is shown. The template escapes every text, since URLs, errors and names
//! are what peers and people made them; plots come from `svg`, which escapes on its own.

pub mod block;
mod churn;
mod comparison;
mod distribution;
mod fanout;
mod method;
mod over_time;
mod resources;
mod summary;

use askama::Template;

use crate::measure::model::Report;
use crate::svg::{COLOUR_STYLE, STYLE};
use block::{Block, Run, Section};

/// The rules of the page itself.
const PAGE_STYLE: &str = include_str!("../../../templates/report.css");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: String,
    heading: String,
    subtitle: String,
    version: &'a str,
    style: String,
    comparison: Vec<Section>,
    runs: Vec<Run>,
}

/// Renders one or more named runs; several are laid over each other first.
///
/// # Errors
/// A sentence about a histogram that cannot be read.
pub fn render(named: &[(&str, &Report)]) -> Result<String, String> {
    let mut runs = Vec::new();
    for (name, report) in named {
        let title = if named.len() > 1 { *name } else { "" };
        push_runs(title, report, &mut runs)?;
    }
    let (heading, subtitle) = match named {
        [(_, report)] => (summary::title(report), summary::subtitle(report)),
        _ => (format!("{} runs side by side", named.len()), String::new()),
    };
    let comparison = if named.len() > 1 {
        comparison::sections(named)?
    } else {
        Vec::new()
    };
    print(heading, subtitle, comparison, runs)
}

fn print(
    heading: String,
    subtitle: String,
    comparison: Vec<Section>,
    runs: Vec<Run>,
) -> Result<String, String> {
    let page = Page {
        title: format!("{heading} – fanwire load report"),
        heading,
        subtitle,
        version: env!("CARGO_PKG_VERSION"),
        style: format!("{COLOUR_STYLE}{PAGE_STYLE}{STYLE}"),
        comparison,
        runs,
    };
    let html = page.render().map_err(|error| error.to_string())?;
    // No page can hold them, escaped or not; what a peer sent may.
    let is_unprintable = |character: char| {
        let is_control = character.is_control() && character != '\n';
        is_control || matches!(u32::from(character), 0xfdd0..=0xfdef) || is_noncharacter(character)
    };
    Ok(html.replace(is_unprintable, "\u{fffd}"))
}

/// The last two characters of every plane stand for none.
fn is_noncharacter(character: char) -> bool {
    u32::from(character) & 0xfffe == 0xfffe
}

/// A page of given sections, for commands whose result is not that of one run.
///
/// # Errors
/// When the template fails.
pub fn page(heading: &str, subtitle: &str, sections: Vec<Section>) -> Result<String, String> {
    print(
        heading.to_owned(),
        subtitle.to_owned(),
        sections,
        Vec::new(),
    )
}

/// A run, and the loads of a scenario after it.
fn push_runs(title: &str, report: &Report, runs: &mut Vec<Run>) -> Result<(), String> {
    runs.push(run(title.to_owned(), report, false)?);
    for part in &report.parts {
        let stage = match part.stage.as_str() {
            "" => String::new(),
            stage => format!(", {stage}"),
        };
        runs.push(run(format!("{}{stage}", part.name), &part.report, true)?);
    }
    Ok(())
}

fn run(title: String, report: &Report, is_part: bool) -> Result<Run, String> {
    let sections = [
        summary::thresholds(report),
        Section::unless_empty("Latency", distribution::blocks(report)?),
        Section::unless_empty("Over time", over_time::blocks(report)?),
        fanout::section(report),
        churn::section(report),
        summary::connections(report),
        summary::integrity(report),
        summary::errors(report),
        Section::unless_empty("Server and generator", resources::blocks(report)?),
        summary::parts(report),
        Some(method::section(report, is_part)),
    ];
    Ok(Run {
        title,
        subtitle: format!("{} · {}", summary::title(report), summary::subtitle(report)),
        is_part,
        banner: summary::banner(report),
        headlines: summary::headlines(report),
        sections: sections.into_iter().flatten().collect(),
    })
}
