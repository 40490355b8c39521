//! A program on a pseudo terminal, and what stands on its screen.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, Termios, Winsize, tcflow, tcgetattr, tcsetwinsize};

/// Whatever takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";

/// A program on a terminal of its own. The command that started it is gone with its descriptors.
pub struct Session {
    child: Child,
    master: File,
    found: Termios,
    output: Receiver<Vec<u8>>,
    /// What stands on the screen, the alternate one while that is shown.
    screen: vt100::Parser,
    /// Everything that was written.
    written: String,
}

impl Session {
    /// Starts a program on a terminal of 80 by 24 cells.
    pub fn start(mut command: Command) -> Session {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&master).expect("ours");
        unlockpt(&master).expect("ours");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        // Ours is closed with the end of this function, so that the last program's close is the end.
        let slave: OwnedFd = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("it");
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).expect("a size");
        let found = tcgetattr(&slave).expect("modes");
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid(1) runs");
        let master = File::from(master);
        let mut reader = master.try_clone().expect("a descriptor");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with an error when the last program has closed the terminal.
            while let Ok(count) = reader.read(&mut bytes) {
                if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Session {
            child,
            master,
            found,
            output,
            screen: vt100::Parser::new(24, 80, 200),
            written: String::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.screen.process(bytes);
        self.written.push_str(&String::from_utf8_lossy(bytes));
    }

    /// What stands on the screen.
    pub fn shown(&self) -> String {
        self.screen.screen().contents()
    }

    /// Waits until more is written.
    pub fn await_more(&mut self) {
        match self.output.recv_timeout(PATIENCE) {
            Ok(bytes) => self.take(&bytes),
            Err(error) => unreachable!("nothing more: {error}\n{}", self.shown()),
        }
    }

    /// Waits until a text stands on the screen.
    pub fn await_text(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.take(&bytes),
                Err(error) => unreachable!("no {text:?}: {error}\n{}", self.shown()),
            }
        }
    }

    /// Makes the terminal another size; the program learns of it as of any terminal.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).expect("a size");
        self.screen.screen_mut().set_size(rows, columns);
    }

    /// Types something.
    pub fn press(&mut self, keys: &str) {
        std::io::Write::write_all(&mut self.master, keys.as_bytes()).expect("a terminal");
    }

    /// Sends the program a signal by name.
    pub fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &process])
            .status();
        assert!(sent.expect("kill(1) runs").success());
    }

    /// From now on whoever writes to the terminal waits.
    pub fn stand_still(&self) {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let name = ptsname(&self.master, Vec::new()).expect("a name");
        let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("it");
        tcflow(&slave, Action::OOff).expect("a terminal");
    }

    /// Waits for the end.
    fn await_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            match self.output.recv_timeout(Duration::from_millis(10)) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Timeout) => {}
                // The output is closed: the end is a moment away.
                Err(RecvTimeoutError::Disconnected) => std::thread::yield_now(),
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                unreachable!("it does not end\n{}", self.shown());
            }
        }
    }

    fn expect_modes(&self, modes: &Termios) {
        let shown = self.shown();
        assert_eq!(modes.local_modes, self.found.local_modes, "{shown}");
        assert_eq!(modes.input_modes, self.found.input_modes, "{shown}");
        let (codes, before) = (&modes.special_codes, &self.found.special_codes);
        assert_eq!(format!("{codes:?}"), format!("{before:?}"), "{shown}");
    }

    /// Waits for the end on a terminal that stands still: its modes at least are as they were found.
    pub fn finish_still(mut self) -> ExitStatus {
        let status = self.await_end();
        self.expect_modes(&tcgetattr(&self.master).expect("modes"));
        status
    }

    /// Waits for the end, and requires the terminal to be as it was found. Returns what was written
    /// after the alternate screen was left.
    pub fn finish(mut self) -> (ExitStatus, String) {
        let status = self.await_end();
        let modes = tcgetattr(&self.master).expect("modes");
        // The reader ends when it has read what the last program on the terminal wrote.
        while let Ok(bytes) = self.output.recv_timeout(PATIENCE) {
            self.take(&bytes);
        }
        self.expect_modes(&modes);
        let shown = self.shown();
        let screen = self.screen.screen();
        assert!(
            !screen.alternate_screen() && !screen.hide_cursor(),
            "{shown}"
        );
        assert_eq!(self.written.matches(ENTER).count(), 1, "{shown}");
        assert_eq!(self.written.matches(LEAVE).count(), 1, "{shown}");
        let after = self.written.rsplit(LEAVE).next();
        (status, after.unwrap_or_default().to_owned())
    }
}
