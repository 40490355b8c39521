//! The generator under test: this very program as a child process, used as a person uses it.
//!
//! What is judged is what a person gets: the JSON of `--json -` and the exit code. It is read by
//! its public names, not through the types that wrote it.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A run that takes longer than this hangs, which is itself a failure.
const RUN_MAX: Duration = Duration::from_secs(180);
/// Between two looks whether a run has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Where the generator's program is and how its runs are placed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The program.
    pub program: PathBuf,
    /// Added to every command line, for example `--cpu 1 --spin`.
    pub placement: Vec<String>,
}

/// A run in progress.
pub struct Running {
    child: Child,
    output: JoinHandle<Vec<u8>>,
    errors: JoinHandle<Vec<u8>>,
    begun: Instant,
    command_line: String,
}

/// What a run left behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The report.
    pub json: Value,
    /// Exit code; `None` when a signal ended it.
    pub exit_code: Option<i32>,
    /// What was run, to be typed in again.
    pub command_line: String,
    /// Standard error.
    pub text: String,
}

fn read_all(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What could not be read is missing, and is then reported as not being JSON.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

impl Subject {
    /// This program itself.
    ///
    /// # Errors
    /// When the kernel does not say which file that is.
    pub fn this_program() -> Result<Subject, String> {
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot find this program's own file: {error}"))?;
        Ok(Subject {
            program,
            placement: Vec::new(),
        })
    }

    /// Starts a run.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn start(&self, line: &str) -> Result<Running, String> {
        let mut arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        arguments.extend(self.placement.iter().cloned());
        arguments.extend(["--quiet".into(), "--json".into(), "-".into()]);
        let command_line = format!("fanwire-loadgen {}", arguments.join(" "));
        let mut child = Command::new(&self.program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        let (output, errors) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
        Ok(Running {
            child,
            output,
            errors,
            begun: Instant::now(),
            command_line,
        })
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// As [`Subject::start`] and [`Running::finish`].
    pub fn run(&self, line: &str) -> Result<Outcome, String> {
        self.start(line)?.finish()
    }
}

impl Running {
    /// Stops the process, as a CPU limit does when its share is used up.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already; nobody else has its number before we have waited for it.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it hangs (it is killed then), or does not leave a JSON object.
    pub fn finish(mut self) -> Result<Outcome, String> {
        while !self.is_over() {
            if self.begun.elapsed() > RUN_MAX {
                // It is ours and not waited for, so the number is still its own.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return Err(format!(
                    "`{}` did not end within {} s and was killed",
                    self.command_line,
                    RUN_MAX.as_secs()
                ));
            }
            std::thread::sleep(LOOK);
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        let output = self.output.join().unwrap_or_default();
        let errors = self.errors.join().unwrap_or_default();
        let text = String::from_utf8_lossy(&errors).into_owned();
        let json: Value = serde_json::from_slice(&output).map_err(|error| {
            format!(
                "`{}` wrote no JSON report ({error}); it said: {}",
                self.command_line,
                text.trim()
            )
        })?;
        Ok(Outcome {
            json,
            exit_code: status.code(),
            command_line: self.command_line,
            text,
        })
    }
}

impl Outcome {
    /// A whole number of the report, by JSON pointer.
    ///
    /// # Errors
    /// When it is not there, with its name.
    pub fn count(&self, pointer: &str) -> Result<u64, String> {
        let value = self.json.pointer(pointer).and_then(Value::as_u64);
        value.ok_or_else(|| format!("`{}` reported no {pointer}", self.command_line))
    }

    /// A number of the report, by JSON pointer.
    ///
    /// # Errors
    /// As [`Outcome::count`].
    pub fn number(&self, pointer: &str) -> Result<f64, String> {
        let value = self.json.pointer(pointer).and_then(Value::as_f64);
        value.ok_or_else(|| format!("`{}` reported no {pointer}", self.command_line))
    }

    /// The verdict, or an empty word.
    pub fn verdict(&self) -> &str {
        self.json
            .get("verdict")
            .and_then(Value::as_str)
            .unwrap_or("")
    }

    /// The reasons of the verdict.
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.json.get("verdict_reasons").and_then(Value::as_array);
        let words = reasons.into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    }

    /// A histogram of the report, as any reader of the HdrHistogram format would decode it.
    ///
    /// # Errors
    /// When it is missing or cannot be decoded.
    pub fn histogram(&self, name: &str) -> Result<Histogram<u64>, String> {
        let text = self
            .json
            .pointer(&format!("/histograms/{name}"))
            .and_then(Value::as_str)
            .ok_or_else(|| format!("`{}` reported no histogram {name}", self.command_line))?;
        decode(name, text)
    }
}

/// Decodes a histogram as any reader of the format would.
///
/// # Errors
/// When it is not one.
pub fn decode(name: &str, text: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| format!("histogram {name} is not base64: {error}"))?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| format!("histogram {name} cannot be decoded: {error:?}"))
}
