//! Writing SVG elements: numbers, escaping, the outer element.

use super::Size;

/// Width of a character of the plots' font relative to its size, on the large side, since the
/// font is the reader's: texts that would touch by this estimate are left out.
const CHARACTER_EM: f64 = 0.62;
/// Font size in pixels; `plot.css` says the same.
pub const FONT_PX: f64 = 12.0;

/// Where a text is anchored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Begins at the point.
    Start,
    /// Is centred on it.
    Middle,
    /// Ends there.
    End,
}

impl Anchor {
    fn class(self) -> &'static str {
        match self {
            Anchor::Start => "",
            Anchor::Middle => " m",
            Anchor::End => " e",
        }
    }
}

/// An SVG element in the making.
#[derive(Debug)]
pub struct Canvas {
    out: String,
}

/// Estimated width of a text in pixels.
pub fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * FONT_PX * CHARACTER_EM
}

/// A text with the characters replaced that mean something in XML, and those left out that XML
/// cannot hold.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            _ if character.is_control() => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

/// A coordinate with at most one decimal. What is not finite would break the drawing.
fn number(value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0" } else { text }.to_owned()
}

impl Canvas {
    /// Opens a drawing that is announced by its title and description.
    pub fn new(size: Size, title: &str, description: &str) -> Canvas {
        let out = format!(
            "<svg class=\"plot\" role=\"img\" viewBox=\"0 0 {} {}\"><title>{}</title><desc>{}</desc>",
            number(size.width),
            number(size.height),
            escape(title),
            escape(description)
        );
        Canvas { out }
    }

    /// The whole element.
    pub fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }

    /// A text on one line. `class` is `n` for what is to be read first, or empty.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let classes = format!("{class}{}", anchor.class());
        let classes = match classes.trim() {
            "" => String::new(),
            classes => format!(" class=\"{classes}\""),
        };
        self.out.push_str(&format!(
            "<text x=\"{}\" y=\"{}\"{classes}>{}</text>",
            number(x),
            number(y),
            escape(text)
        ));
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.out.push_str(&format!(
            "<line class=\"{class}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            number(from.0),
            number(from.1),
            number(to.0),
            number(to.1)
        ));
    }

    /// A line through points.
    pub fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        self.out.push_str(&format!("<path class=\"{class}\" d=\""));
        for (index, (x, y)) in points.iter().enumerate() {
            self.out.push(if index == 0 { 'M' } else { 'L' });
            self.out.push_str(&number(*x));
            self.out.push(' ');
            self.out.push_str(&number(*y));
        }
        self.out.push_str("\"/>");
    }

    /// A small ring.
    pub fn ring(&mut self, class: &str, at: (f64, f64), radius: f64) {
        self.out.push_str(&format!(
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{}\" r=\"{}\"/>",
            number(at.0),
            number(at.1),
            number(radius)
        ));
    }

    /// A rectangle from a corner; `hint` is what a pointer that rests on it is told.
    pub fn rectangle(&mut self, class: &str, corner: (f64, f64), size: (f64, f64), hint: &str) {
        self.out.push_str(&format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"",
            number(corner.0),
            number(corner.1),
            number(size.0.max(0.0)),
            number(size.1.max(0.0))
        ));
        if hint.is_empty() {
            self.out.push_str("/>");
        } else {
            self.out
                .push_str(&format!("><title>{}</title></rect>", escape(hint)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_numbers_are_short() {
        assert_eq!(
            escape("<a href='x'>&\u{1}"),
            "&lt;a href=&#39;x&#39;&gt;&amp;\u{fffd}"
        );
        assert_eq!(number(12.04), "12");
        assert_eq!(number(-0.01), "0");
        assert_eq!(number(f64::NAN), "0");
        assert_eq!(number(3.25), "3.2");
    }
}
