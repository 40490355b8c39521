//! `fanwire serve`: the hub, and what stands beside it: configuration, administration listener,
//! simulator, replay.
//!
//! It owns the order of starting and ending. What runs on the cores is the library's; nothing here
//! runs on a core's thread.

mod admin;
mod config;
mod config_file;
mod market;
mod message;
pub(crate) mod options;
mod order_book;
mod pace;
mod publisher;
mod recording;
mod replay;
mod simulator;
mod topic_rules;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use fanwire_server::Running;
use fanwire_server::hub::{self, port::HubPort};

use crate::Failure;
use crate::serve::admin::AdminOptions;
use crate::serve::config::Loaded;
use crate::serve::options::ServeOptions;
use crate::serve::publisher::Publisher;
use crate::serve::recording::Recording;
use crate::serve::simulator::Simulator;

/// Bytes read from a replayed file at a time.
const READ_SIZE: usize = 1 << 18;
/// How long the end waits for the last lines of the simulator and the replay.
const LAST_LINE_LIMIT: Duration = Duration::from_millis(500);
/// And how often it looks.
const LAST_LINE_POLL: Duration = Duration::from_millis(5);

/// Serves until a signal ends it.
pub(crate) fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let loaded = config::load(arguments).map_err(|error| Failure::Start(error.into()))?;
    let replay = open_replay(&loaded.options).map_err(Failure::Start)?;
    if loaded.options.check {
        check_host(&loaded.options).map_err(Failure::Start)?;
        println!("the configuration is good");
        return Ok(());
    }
    let (running, publishers) = start(loaded, replay).map_err(Failure::Start)?;
    let served = running.serve_until_signalled();
    wait_for(&publishers);
    served.context("while serving").map_err(Failure::Serving)?;
    Ok(())
}

/// Lets the simulator and the replay write their last line. They see the drain by themselves, unless
/// one waits for a file that is a pipe.
fn wait_for(publishers: &[JoinHandle<()>]) {
    let until = Instant::now() + LAST_LINE_LIMIT;
    while publishers.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
        thread::sleep(LAST_LINE_POLL);
    }
}

/// What only this host can say about a configuration.
fn check_host(options: &ServeOptions) -> anyhow::Result<()> {
    fanwire_server::processors(&options.config().placement)?;
    Ok(())
}

/// A file that cannot be opened is found out before anything is started.
fn open_replay(options: &ServeOptions) -> anyhow::Result<Option<(PathBuf, File)>> {
    let Some(path) = &options.replay.replay else {
        return Ok(None);
    };
    let file = File::open(path).with_context(|| {
        format!(
            "the file to replay, {}, cannot be opened; --replay names it",
            path.display()
        )
    })?;
    Ok(Some((path.clone(), file)))
}

fn start(
    loaded: Loaded,
    replay: Option<(PathBuf, File)>,
) -> anyhow::Result<(Running, Vec<JoinHandle<()>>)> {
    let Loaded { options, rules } = loaded;
    let admin = match options.admin.address() {
        Some(address) => Some(admin::bind(address).with_context(|| {
            format!(
                "the administration listener cannot have {address}; choose another with --admin, \
                 or do without with --no-admin"
            )
        })?),
        None => None,
    };
    let hub = options.hub.options(rules);
    let wanted = [
        admin.is_some(),
        options.simulator.simulate,
        replay.is_some(),
    ];
    let ports = wanted.iter().filter(|wanted| **wanted).count();
    let (mut running, ports) = hub::start(options.config(), hub.clone(), ports)?;
    let mut ports = ports.into_iter();
    let mut port = move || {
        ports
            .next()
            .context("the hub has too few doors; report this")
    };
    running.catch_signals().context("cannot catch signals")?;
    let is_draining = running.drain_flag();
    let mut admin_address = None;
    if let Some(admin) = admin {
        admin_address = Some(admin.address());
        let told = AdminOptions {
            websocket: running.local_address(),
            hosts: options.admin.admin_host.clone(),
            hub,
        };
        let serving = admin.serve(told, is_draining.clone(), port()?);
        serving.context("the administration listener cannot be started")?;
    }
    let mut publishers = Vec::new();
    if options.simulator.simulate {
        publishers.push(start_simulator(&options, port()?, is_draining.clone())?);
    }
    if let Some((path, file)) = replay {
        publishers.push(start_replay(
            &options,
            &path,
            file,
            port()?,
            is_draining.clone(),
        )?);
    }
    announce(&running, admin_address);
    Ok((running, publishers))
}

/// The lines on standard output: scripts read the ports from them, so they must not wait in a
/// buffer. Whoever started us may have closed it; that is no reason not to serve.
fn announce(running: &Running, admin: Option<std::net::SocketAddr>) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "listening on ws://{}", running.local_address());
    if let Some(address) = admin {
        let _ = writeln!(stdout, "administration on http://{address}/");
    }
    let _ = stdout.flush();
}

fn start_simulator(
    options: &ServeOptions,
    port: HubPort,
    is_stopping: Arc<AtomicBool>,
) -> anyhow::Result<JoinHandle<()>> {
    let settings = &options.simulator;
    let seed = settings.simulate_seed.unwrap_or_else(|| fastrand::u64(..));
    let simulator = Simulator::new(settings, seed, port)?;
    tracing::info!(
        "simulator: {} symbols, {} messages/s outside bursts; the same again with \
         --simulate-seed {seed}",
        settings.simulate_symbols,
        settings.simulate_rate,
    );
    spawn("fanwire-market", move || simulator.run(&is_stopping))
}

fn start_replay(
    options: &ServeOptions,
    path: &Path,
    file: File,
    port: HubPort,
    is_stopping: Arc<AtomicBool>,
) -> anyhow::Result<JoinHandle<()>> {
    let name = path.display().to_string();
    let reader = BufReader::with_capacity(READ_SIZE, file);
    let recording = Recording::new(reader, options.hub.payload_max);
    let manner = (options.replay.speed, options.replay.replay_strict);
    spawn("fanwire-replay", move || {
        replay::run(&name, recording, Publisher::new(port), manner, &is_stopping);
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.with_context(|| format!("the thread {name} cannot be started"))
}
