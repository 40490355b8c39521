//! What a page is made of: sections of tables, facts and plots. No figure is computed here.

use crate::quantity::format_count;
use crate::svg::{Chart, HeatMap, Size};

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Names of the columns; the first names the rows.
    pub head: Vec<String>,
    /// Rows of cells.
    pub rows: Vec<Row>,
    /// A remark below it; may be empty.
    pub note: String,
    /// Its cells are sentences, which break, and no figures.
    pub has_texts: bool,
}

/// A row of a table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// `good`, `warn`, `bad` or empty.
    pub class: &'static str,
    /// Its cells, the first being its name.
    pub cells: Vec<String>,
    /// An explanation in small letters below the name; may be empty.
    pub meaning: String,
}

impl Row {
    /// A row without colour or explanation.
    pub fn new(cells: Vec<String>) -> Row {
        Row {
            cells,
            ..Row::default()
        }
    }
}

/// A plot with the numbers it was drawn from.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// What it shows, above it.
    pub caption: String,
    /// The drawing for wide pages and for paper.
    pub wide: String,
    /// The drawing for phones.
    pub narrow: String,
    /// Its numbers.
    pub values: Table,
}

/// Something that can be drawn in two widths.
pub trait Drawing {
    /// The drawing.
    fn draw(&self, size: Size) -> String;
}

impl Drawing for Chart {
    fn draw(&self, size: Size) -> String {
        Chart::draw(self, size)
    }
}

impl Drawing for HeatMap {
    fn draw(&self, size: Size) -> String {
        HeatMap::draw(self, size)
    }
}

impl Plot {
    /// Draws it in both widths.
    pub fn new(caption: &str, drawing: &impl Drawing, values: Table) -> Plot {
        Plot {
            caption: caption.to_owned(),
            wide: drawing.draw(Size::WIDE),
            narrow: drawing.draw(Size::NARROW),
            values,
        }
    }
}

/// A part of a section.
#[derive(Clone, Debug)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// Names and values.
    Facts(Vec<(String, String)>),
    /// A plot.
    Plot(Plot),
    /// Text as it was typed.
    Code(String),
    /// An equation of counters, with whether it holds.
    Identity {
        /// What is added up.
        total: (String, String),
        /// What it is made of.
        terms: Vec<(String, String)>,
        /// Whether both sides are equal.
        holds: bool,
    },
    /// One line each.
    List(Vec<String>),
}

/// A part of a run with a heading.
#[derive(Clone, Debug)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What follows it.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section, or nothing when there is nothing in it.
    pub fn unless_empty(title: &str, blocks: Vec<Block>) -> Option<Section> {
        (!blocks.is_empty()).then(|| Section {
            title: title.to_owned(),
            blocks,
        })
    }
}

/// A count with its name, for facts and equations.
pub fn term(name: &str, count: u64) -> (String, String) {
    (name.to_owned(), format_count(count))
}

/// A figure to be seen first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// What it is.
    pub label: String,
    /// The number.
    pub number: String,
    /// Its unit.
    pub unit: String,
    /// A remark below it; may be empty.
    pub note: String,
    /// `good`, `warn`, `bad` or empty.
    pub class: &'static str,
}

/// The verdict.
#[derive(Clone, Debug)]
pub struct Banner {
    /// `good`, `warn` or `bad`.
    pub class: &'static str,
    /// The word.
    pub word: String,
    /// What it means, in a sentence.
    pub meaning: String,
    /// Why.
    pub reasons: Vec<String>,
}

/// A run, or a load of a scenario.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its heading; empty when the page shows no other.
    pub title: String,
    /// What was run against what, when.
    pub subtitle: String,
    /// It is a load of the run before it.
    pub is_part: bool,
    /// The verdict.
    pub banner: Banner,
    /// Figures to be seen first.
    pub headlines: Vec<Headline>,
    /// The rest.
    pub sections: Vec<Section>,
}
