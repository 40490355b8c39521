//! What a coordinator and an agent say to each other: one JSON document a line, both ways.
//!
//! ```text
//! coordinator                                   agent
//!   {"hello":{"protocol":"fanwire-agent 1",…}}    {"ready":{…}}   or {"refused":{"reason":…}}
//!   "clock", for feeds, some times                {"clock":{"unix_ns":…}} each time
//!   {"job":{"command":"echo",…}}                  {"progress":{…}} about once a second
//!                                                 {"opened":{"open":25,"failed":0}}
//!   {"go":{"after_ns":0}}                         "begun"
//!   "stop"                                        {"report":{…}}  or {"failed":{"message":…}}
//!   "here", every five seconds                    "here", likewise
//! ```
//!
//! Owns the messages, and reading lines that end somewhere. Whoever reads says how long a line may
//! be and how long the other side may be silent; no allocation follows a length that somebody else
//! declared.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::agent::order::Order;

/// Name and version of this conversation; both sides must mean the same.
pub const PROTOCOL: &str = "fanwire-agent 1";
/// Longest first line of a coordinator, which nobody has let in yet.
pub const HELLO_SIZE_MAX: usize = 8 * 1024;
/// Longest other line of a coordinator: a command line is at most 2 MiB, and escapes lengthen it.
pub const LINE_SIZE_MAX: usize = 8 << 20;
/// Longest line of an agent. A report has about 2 KiB for every second of the run.
pub const REPORT_SIZE_MAX: usize = 256 << 20;
/// Either side says at least that it is still there this often.
pub const HERE_EVERY: Duration = Duration::from_secs(5);
/// A side that was not heard of for so long is gone: its machine, or the network in between.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Longest time for writing a line; a side that does not read is gone, too.
pub const WRITE_MAX: Duration = Duration::from_secs(10);
/// Blocking reads look up this often. Set as the read time-out of sockets.
pub const WAKE: Duration = Duration::from_millis(250);
/// Bytes that are read at once.
const CHUNK_SIZE: usize = 64 * 1024;

/// What a coordinator says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromLead {
    /// First of all.
    Hello(Hello),
    /// What time is it? Asked before the job.
    Clock,
    /// What is to be done.
    Job(Box<Order>),
    /// All agents have opened their connections: the load begins so many nanoseconds after this
    /// was received.
    Go {
        /// Nanoseconds.
        after_ns: u64,
    },
    /// The run ends now, with a partial report.
    Stop,
    /// Nothing, but that it is still there.
    Here,
}

/// How a coordinator introduces itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: String,
    /// Version of the program.
    pub version: String,
    /// What the agent's `--token-file` holds.
    pub token: Option<String>,
}

impl fmt::Debug for Hello {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is nobody's business.
        write!(formatter, "Hello({}, {})", self.protocol, self.version)
    }
}

/// What an agent says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromAgent {
    /// It works for nobody else until this connection ends.
    Ready {
        /// Version of the program.
        version: String,
        /// CPUs that it may use.
        processors: usize,
    },
    /// The answer to [`FromLead::Clock`].
    Clock {
        /// Nanoseconds since 1970.
        unix_ns: u64,
    },
    /// It does not work for this coordinator. The last line of the connection.
    Refused {
        /// Cause and cure.
        reason: String,
    },
    /// All connections that could be opened are open; the load waits for [`FromLead::Go`].
    Opened {
        /// Connections open.
        open: u64,
        /// Attempts that failed.
        failed: u64,
    },
    /// The load begins.
    Begun,
    /// Where the run is.
    Progress(Progress),
    /// The run is over, and this is its JSON report.
    Report(Box<RawValue>),
    /// The run could not be made.
    Failed {
        /// Cause and cure.
        message: String,
    },
    /// Nothing, but that it is still there.
    Here,
}

impl FromAgent {
    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        matches!(
            self,
            FromAgent::Refused { .. } | FromAgent::Report(_) | FromAgent::Failed { .. }
        )
    }
}

/// Where a run is. Counters are those since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Connections open now.
    pub open: u64,
    /// Failures.
    pub failed: u64,
    /// Messages sent.
    pub sent: u64,
    /// Replies.
    pub received: u64,
}

/// Writes a message and its end of line.
///
/// # Errors
/// What the socket or the pipe said.
pub fn say(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads a message.
///
/// # Errors
/// What is wrong with the line, without its content.
pub fn parse<'a, M: Deserialize<'a>>(line: &'a [u8]) -> Result<M, String> {
    serde_json::from_slice(line)
        .map_err(|error| format!("it sent a line that is no message of {PROTOCOL} ({error})"))
}

/// How long a line is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// The whole line must be there within this time.
    Line(Duration),
    /// Between two pieces of it this much may pass.
    Silence(Duration),
    /// As long as the other side lives.
    Endless,
}

/// Why there is no line.
#[derive(Debug)]
pub enum LineError {
    /// It is longer than this many bytes.
    TooLong(usize),
    /// Not within this time.
    Late(Duration),
    /// The other side ended in the middle of it.
    Cut,
    /// What the socket or the pipe said.
    Broken(io::Error),
}

impl fmt::Display for LineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::TooLong(size) => {
                write!(formatter, "it sent a line of more than {size} bytes")
            }
            LineError::Late(time) => {
                write!(
                    formatter,
                    "nothing was heard of it for {} s",
                    time.as_secs()
                )
            }
            LineError::Cut => write!(formatter, "it ended in the middle of a line"),
            LineError::Broken(error) => write!(formatter, "the connection broke ({error})"),
        }
    }
}

/// Cuts what is read into lines.
#[derive(Debug)]
pub struct LineReader<R> {
    source: R,
    buffer: Vec<u8>,
}

impl<R: Read> LineReader<R> {
    /// Reads lines from `source`. Patience needs one that returns from `read` now and then, such
    /// as a socket with [`WAKE`] as its read time-out.
    pub fn new(source: R) -> LineReader<R> {
        LineReader {
            source,
            buffer: Vec::new(),
        }
    }

    /// The next line, without its end; `None` when the other side has ended.
    ///
    /// # Errors
    /// Why there is none. What follows an error is of no use.
    pub fn next(
        &mut self,
        size_max: usize,
        patience: Patience,
    ) -> Result<Option<Vec<u8>>, LineError> {
        let mut since = Instant::now();
        let mut searched = 0;
        let mut chunk = vec![0; CHUNK_SIZE];
        loop {
            let fresh = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', fresh) {
                return self.take(searched + at, size_max).map(Some);
            }
            searched = self.buffer.len();
            if searched > size_max {
                return Err(LineError::TooLong(size_max));
            }
            match self.source.read(&mut chunk) {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(LineError::Cut),
                Ok(count) => {
                    self.buffer
                        .extend_from_slice(chunk.get(..count).unwrap_or_default());
                    if matches!(patience, Patience::Silence(_)) {
                        since = Instant::now();
                    }
                }
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(LineError::Broken(error)),
            }
            if let Patience::Line(time) | Patience::Silence(time) = patience
                && since.elapsed() >= time
            {
                return Err(LineError::Late(time));
            }
        }
    }

    fn take(&mut self, end: usize, size_max: usize) -> Result<Vec<u8>, LineError> {
        if end > size_max {
            return Err(LineError::TooLong(size_max));
        }
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.truncate(end);
        Ok(line)
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives its pieces one after another, then pauses for ever or ends.
    struct Pieces {
        pieces: Vec<Vec<u8>>,
        is_endless: bool,
    }

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.pieces.is_empty() {
                return match self.is_endless {
                    true => Err(io::ErrorKind::WouldBlock.into()),
                    false => Ok(0),
                };
            }
            let piece = self.pieces.remove(0);
            into[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn reader(pieces: &[&str], is_endless: bool) -> LineReader<Pieces> {
        LineReader::new(Pieces {
            pieces: pieces
                .iter()
                .map(|piece| piece.as_bytes().to_vec())
                .collect(),
            is_endless,
        })
    }

    #[test]
    fn lines_are_cut_wherever_reads_end() {
        let mut lines = reader(&["a", "b\nc\n", "\nlast", "\n"], false);
        for wanted in ["ab", "c", "", "last"] {
            let line = lines.next(10, Patience::Endless).expect("a line");
            assert_eq!(line.as_deref(), Some(wanted.as_bytes()));
        }
        assert!(matches!(lines.next(10, Patience::Endless), Ok(None)));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            lines in proptest::collection::vec("[a-z]{0,12}", 0..20),
            cuts in proptest::collection::vec(1usize..9, 1..60),
        ) {
            let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut rest = whole.as_str();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            let mut reader = reader(&pieces, false);
            for line in &lines {
                let read = reader.next(12, Patience::Endless).expect("short enough");
                prop_assert_eq!(read.as_deref(), Some(line.as_bytes()));
            }
            prop_assert!(matches!(reader.next(12, Patience::Endless), Ok(None)));
        }
    }

    #[test]
    fn what_has_no_end_is_given_up() {
        let mut lines = reader(&["0123456789", "0123456789"], true);
        let error = lines.next(10, Patience::Endless).expect_err("too long");
        assert!(matches!(error, LineError::TooLong(10)), "{error}");
        // Also when its end has come already.
        let mut lines = reader(&["0123456789a\n"], true);
        assert!(matches!(
            lines.next(10, Patience::Endless),
            Err(LineError::TooLong(10))
        ));
        let mut lines = reader(&["0123"], false);
        assert!(matches!(
            lines.next(10, Patience::Endless),
            Err(LineError::Cut)
        ));
        for patience in [
            Patience::Line(Duration::from_millis(5)),
            Patience::Silence(Duration::from_millis(5)),
        ] {
            let mut lines = reader(&["0123"], true);
            assert!(matches!(lines.next(10, patience), Err(LineError::Late(_))));
        }
    }

    #[test]
    fn messages_survive_a_line() {
        let mut line = Vec::new();
        say(&mut line, &FromLead::Go { after_ns: 7 }).expect("into memory");
        assert_eq!(line, b"{\"go\":{\"after_ns\":7}}\n");
        assert!(matches!(
            parse(line.trim_ascii()),
            Ok(FromLead::Go { after_ns: 7 })
        ));
        let report = "{\"close_codes\":{\"1000\":3}}";
        let message: FromAgent = parse(format!("{{\"report\":{report}}}").as_bytes()).expect("one");
        match message {
            FromAgent::Report(text) => assert_eq!(text.get(), report),
            other => unreachable!("{other:?}"),
        }
        for garbage in ["GET / HTTP/1.1", "{}", "{\"hello\":{}}", "[]", "\"begin\""] {
            let error = parse::<FromLead>(garbage.as_bytes()).expect_err(garbage);
            assert!(error.contains(PROTOCOL), "{error}");
        }
        let hello = Hello {
            protocol: PROTOCOL.to_owned(),
            version: "1".to_owned(),
            token: Some("open sesame".to_owned()),
        };
        assert!(!format!("{hello:?}").contains("sesame"));
    }
}
