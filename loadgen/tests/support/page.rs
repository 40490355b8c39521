//! Whether a page is whole and needs nothing else, read by an HTML parser that is not ours.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

/// Elements without an end.
const VOID: [&str; 2] = ["meta", "br"];
/// Elements that run or fetch something.
const FORBIDDEN: [&str; 9] = [
    "script", "link", "img", "iframe", "object", "embed", "base", "form", "use",
];
/// Attributes that lead elsewhere.
const LEADING_OUT: [&str; 6] = [
    "href",
    "src",
    "xlink:href",
    "action",
    "srcset",
    "background",
];

#[derive(Default)]
struct Sink {
    open: RefCell<Vec<String>>,
    faults: RefCell<Vec<String>>,
    text: RefCell<String>,
    tables: RefCell<usize>,
    plots: RefCell<usize>,
}

impl Sink {
    fn fault(&self, text: String) {
        self.faults.borrow_mut().push(text);
    }

    fn tag(&self, tag: &Tag) -> TokenSinkResult<()> {
        let name = tag.name.to_string();
        if FORBIDDEN.contains(&name.as_str()) {
            self.fault(format!("<{name}>"));
        }
        for attribute in &tag.attrs {
            let attribute_name = attribute.name.local.to_string();
            if LEADING_OUT.contains(&attribute_name.as_str()) || attribute_name.starts_with("on") {
                self.fault(format!("{attribute_name}={}", attribute.value));
            }
        }
        match tag.kind {
            TagKind::StartTag if tag.self_closing || VOID.contains(&name.as_str()) => {}
            TagKind::StartTag => {
                *self.tables.borrow_mut() += usize::from(name == "table");
                *self.plots.borrow_mut() += usize::from(name == "svg");
                let is_style = name == "style";
                self.open.borrow_mut().push(name);
                if is_style {
                    return TokenSinkResult::RawData(RawKind::Rawtext);
                }
            }
            TagKind::EndTag => {
                let innermost = self.open.borrow_mut().pop();
                if innermost.as_ref() != Some(&name) {
                    self.fault(format!("</{name}> closes {innermost:?}"));
                }
            }
        }
        TokenSinkResult::Continue
    }
}

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(tag) => return self.tag(&tag),
            Token::ParseError(error) => self.fault(format!("line {line}: {error}")),
            Token::NullCharacterToken => self.fault(format!("line {line}: a null character")),
            Token::CharacterTokens(text) => self.text.borrow_mut().push_str(&text),
            Token::DoctypeToken(_) | Token::CommentToken(_) | Token::EOFToken => {}
        }
        TokenSinkResult::Continue
    }
}

/// What a page holds.
#[derive(Debug)]
pub struct Page {
    /// Everything that is not markup, styles included.
    pub text: String,
    /// Tables.
    pub tables: usize,
    /// Drawings.
    pub plots: usize,
}

/// Reads a page. Fails the test on anything that is not closed, not right, or leads elsewhere.
pub fn read(html: &str) -> Page {
    let tokenizer = Tokenizer::new(
        Sink::default(),
        TokenizerOpts {
            exact_errors: true,
            ..TokenizerOpts::default()
        },
    );
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let sink = tokenizer.sink;
    let faults = sink.faults.into_inner();
    assert!(faults.is_empty(), "{faults:#?}");
    let open = sink.open.into_inner();
    assert!(open.is_empty(), "never closed: {open:?}");
    let text = sink.text.into_inner();
    for word in ["url(", "@import", "expression("] {
        assert!(!html.contains(word), "{word} in the page");
    }
    Page {
        text,
        tables: sink.tables.into_inner(),
        plots: sink.plots.into_inner(),
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    fn is_refused(html: &'static str) -> bool {
        std::panic::catch_unwind(|| read(html)).is_err()
    }

    #[test]
    fn the_reader_notices() {
        assert_eq!(read("<p>a &amp; b</p>").text, "a & b");
        for html in [
            "<p>",
            "<p><b></p></b>",
            "<script></script>",
            "<a href=\"https://example.org\">x</a>",
            "<p onclick=\"x\"></p>",
            "<style>a{background:url(x)}</style>",
            "<p class=a\"b></p>",
        ] {
            assert!(is_refused(html), "{html}");
        }
    }
}
