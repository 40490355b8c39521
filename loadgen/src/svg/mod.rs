//! Plots as SVG text, drawn from plain numbers.
//!
//! Owns scales, ticks, the layout of a plot and its style sheet. Knows nothing of reports, reads no
//! clock and no file. A plot has no script, no identifiers and no reference to anything outside
//! itself, so that any number of them can stand in one page; colours are CSS variables, which the
//! page sets for light, dark and paper.

mod axis;
mod canvas;
mod chart;
mod heat;

pub use axis::{Axis, Scale, Unit};
pub use chart::{Band, Chart, Hint, Line, Rule, Stroke};
pub use heat::{Column, HeatMap};

/// How large a plot is drawn, in CSS pixels. Its texts keep their size, so a plot for a phone is a
/// drawing of its own and not a small one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Size {
    /// For pages from 720 px on and for paper.
    pub const WIDE: Size = Size {
        width: 960.0,
        height: 320.0,
    };
    /// For phones.
    pub const NARROW: Size = Size {
        width: 358.0,
        height: 260.0,
    };

    fn is_narrow(self) -> bool {
        self.width < 600.0
    }
}

/// How many colours there are; further lines begin again with the first, dashed.
pub const COLOURS: usize = 6;

/// The rules that every plot needs; a page includes them once.
pub const STYLE: &str = include_str!("plot.css");

/// The variables that [`STYLE`] uses, for light, for dark and for paper.
pub const COLOUR_STYLE: &str = include_str!("colours.css");

/// A file of its own from what a plot's `draw` returned.
pub fn standalone(drawing: &str) -> String {
    // The style has to be inside the element, behind its opening tag.
    let Some(end) = drawing.find('>') else {
        return drawing.to_owned();
    };
    let (head, rest) = drawing.split_at(end + 1);
    let head = head.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    format!("{head}<style>{COLOUR_STYLE}{STYLE}svg{{background:var(--paper)}}</style>{rest}\n")
}
