//! Starting a server: from what it was told to running shards.
//!
//! It owns the builder and the start-up of the threads. It must not know what happens on them.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use fanwire_protocol::handshake::DeflatePolicy;
use fanwire_reactor::establish::{
    ListenOptions, ListenSocket, SocketOptions, check_congestion_control, listen,
};
use fanwire_reactor::{BackendChoice, Core, CoreOptions, MailReceiver, MailSender, host, mailbox};

use crate::admission::Admission;
use crate::allow_list::{Host, Origin};
use crate::cores::CoreList;
use crate::counters::ShardCounters;
use crate::establish::{Establishment, Rules};
use crate::handler::{Handler, ShardId};
use crate::lanes::Lanes;
use crate::limits::{FD_NEEDED, Limits};
use crate::reception::Reception;
use crate::running::{ControlLane, Ended, Running};
use crate::shard::{Shard, ShardMail};
use crate::start_error::StartError;

/// Mail that may wait for a shard, from each thread that sends to it.
pub const LANE_CAPACITY: usize = 4096;

/// Which processors the shards run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One shard for every processor this process may run on, pinned to it.
    AllAllowed,
    /// One shard for each processor of the list, pinned to it.
    Pinned(CoreList),
    /// This many shards, wherever the kernel puts them: for tests and for shared machines.
    Unpinned(u16),
}

impl fmt::Display for Placement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placement::AllAllowed => formatter.write_str("one on each processor allowed"),
            Placement::Pinned(list) => write!(formatter, "on processors {list}"),
            Placement::Unpinned(_) => formatter.write_str("not pinned"),
        }
    }
}

/// Everything a server is told besides its handler.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Which processors the shards run on.
    pub placement: Placement,
    /// Which way to the kernel: chosen by probing, or forced.
    pub backend: BackendChoice,
    /// Microseconds that an idle core polls before it sleeps; 0 = sleep at once.
    pub spin_us: u32,
    /// All limits.
    pub limits: Limits,
    /// What to agree to when clients offer permessage-deflate; `None` = nothing.
    pub deflate: Option<DeflatePolicy>,
    /// Pages of which origins may connect; empty = all.
    pub origins: Vec<Origin>,
    /// Which hosts the server answers for; empty = all.
    pub hosts: Vec<Host>,
    /// TCP congestion control; `None` = the host's default.
    pub congestion: Option<String>,
    /// Established TCP connections that may wait to be accepted, per core.
    pub listen_backlog: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 9001)),
            placement: Placement::AllAllowed,
            backend: BackendChoice::Auto,
            spin_us: 0,
            limits: Limits::default(),
            deflate: None,
            origins: Vec::new(),
            hosts: Vec::new(),
            congestion: None,
            listen_backlog: 4096,
        }
    }
}

/// A WebSocket server.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Begins to describe a server. What is not said has the defaults of [`Config`].
    pub fn builder() -> Builder<()> {
        Builder {
            config: Config::default(),
            factory: (),
            handler: PhantomData,
        }
    }
}

/// A running server, and the ways to its shards for threads outside it.
pub type StartedWithLanes<M> = (Running, Vec<Lanes<M>>);

/// A server that is being described.
#[derive(Clone, Debug)]
pub struct Builder<F, H = ()> {
    config: Config,
    factory: F,
    handler: PhantomData<fn() -> H>,
}

impl<F, H> Builder<F, H> {
    /// Takes over a whole configuration.
    pub fn config(self, config: Config) -> Builder<F, H> {
        Builder { config, ..self }
    }

    /// Where to listen; port 0 lets the kernel choose.
    pub fn listen(mut self, address: SocketAddr) -> Builder<F, H> {
        self.config.listen = address;
        self
    }

    /// Which processors the shards run on.
    pub fn placement(mut self, placement: Placement) -> Builder<F, H> {
        self.config.placement = placement;
        self
    }

    /// Which way to the kernel.
    pub fn backend(mut self, backend: BackendChoice) -> Builder<F, H> {
        self.config.backend = backend;
        self
    }

    /// All limits.
    pub fn limits(mut self, limits: Limits) -> Builder<F, H> {
        self.config.limits = limits;
        self
    }

    /// What to agree to when clients offer permessage-deflate.
    pub fn deflate(mut self, policy: Option<DeflatePolicy>) -> Builder<F, H> {
        self.config.deflate = policy;
        self
    }

    /// The application: `factory` is called once on the thread of every shard.
    pub fn handler<G, A>(
        self,
        factory: G,
    ) -> Builder<impl Fn(ShardId, Lanes<A::Mail>) -> A + Send + Sync + 'static, A>
    where
        G: Fn(ShardId) -> A + Send + Sync + 'static,
        A: Handler,
    {
        self.handler_with_lanes(move |shard, _lanes| factory(shard))
    }

    /// The application, whose shards send each other mail: `factory` is called once on the thread
    /// of every shard, with its ways to the others.
    pub fn handler_with_lanes<G, A>(self, factory: G) -> Builder<G, A>
    where
        G: Fn(ShardId, Lanes<A::Mail>) -> A + Send + Sync + 'static,
        A: Handler,
    {
        Builder {
            config: self.config,
            factory,
            handler: PhantomData,
        }
    }
}

impl<F, H> Builder<F, H>
where
    F: Fn(ShardId, Lanes<H::Mail>) -> H + Send + Sync + 'static,
    H: Handler,
{
    /// Starts the server; it serves when this returns.
    ///
    /// # Errors
    /// Everything that can be wrong is found here, with its cure: see [`StartError`].
    pub fn start(self) -> Result<Running, StartError> {
        let (running, _lanes) = self.start_with_lanes(0)?;
        Ok(running)
    }

    /// Starts the server, and gives the ways to its shards for so many other threads.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start_with_lanes(self, threads: usize) -> Result<StartedWithLanes<H::Mail>, StartError> {
        start(self.config, Arc::new(self.factory), threads)
    }

    /// Starts the server and serves until SIGTERM or SIGINT; then drains. SIGUSR1 logs the
    /// counters. Returns the counters.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn run(self) -> Result<ShardCounters, StartError> {
        self.start()?
            .serve_until_signalled()
            .map_err(StartError::System)
    }
}

/// The processor of each shard, checked against those this process may use; `None` for a shard
/// that is not pinned.
///
/// # Errors
/// [`StartError::Processor`].
pub fn processors(placement: &Placement) -> Result<Vec<Option<usize>>, StartError> {
    let allowed = host::processors();
    match placement {
        Placement::Unpinned(shards) => Ok(vec![None; usize::from(*shards).max(1)]),
        Placement::AllAllowed => Ok(allowed.into_iter().map(Some).collect()),
        Placement::Pinned(list) => {
            if let Some(processor) = list
                .processors()
                .iter()
                .find(|processor| !allowed.contains(processor))
            {
                return Err(StartError::Processor {
                    processor: *processor,
                    allowed,
                });
            }
            Ok(list.processors().iter().copied().map(Some).collect())
        }
    }
}

/// One listener per shard, all on the same port, and that port's address.
fn listeners(
    config: &Config,
    shards: usize,
) -> Result<(Vec<ListenSocket>, SocketAddr), StartError> {
    let failed = |error| StartError::Listen(config.listen, error);
    let alone = ListenOptions {
        backlog: config.listen_backlog,
        reuse_port: false,
    };
    if shards == 1 {
        let listener = listen(config.listen, &alone).map_err(failed)?;
        let address = listener.local_address().map_err(failed)?;
        return Ok((vec![listener], address));
    }
    if config.listen.port() != 0 {
        // Sharing the port would let us in beside another server of the same user without a
        // word; asking for it alone first finds that out.
        drop(listen(config.listen, &alone).map_err(failed)?);
    }
    let shared = ListenOptions {
        reuse_port: true,
        ..alone
    };
    let first = listen(config.listen, &shared).map_err(failed)?;
    let address = first.local_address().map_err(failed)?;
    let mut listeners = vec![first];
    while listeners.len() < shards {
        listeners.push(listen(address, &shared).map_err(failed)?);
    }
    Ok((listeners, address))
}

/// Accepted sockets inherit the options of their listener.
fn set_socket_options(listeners: &[ListenSocket], config: &Config) -> Result<(), StartError> {
    let options = socket_options(config);
    for listener in listeners {
        listener.set_options(&options).map_err(StartError::System)?;
    }
    Ok(())
}

/// Whether the connections may use this congestion control.
fn check_congestion(name: &str) -> Result<(), StartError> {
    check_congestion_control(name).map_err(|error| StartError::Congestion {
        name: name.to_owned(),
        allowed: host::congestion_controls_allowed().join(" "),
        error,
    })
}

fn start<F, H>(
    mut config: Config,
    factory: Arc<F>,
    threads: usize,
) -> Result<StartedWithLanes<H::Mail>, StartError>
where
    F: Fn(ShardId, Lanes<H::Mail>) -> H + Send + Sync + 'static,
    H: Handler,
{
    config.limits.validate()?;
    let processors = processors(&config.placement)?;
    if let Some(name) = &config.congestion {
        check_congestion(name)?;
    }
    let fd_limit = host::raise_fd_limit().soft.unwrap_or(u64::MAX);
    let needed = FD_NEEDED * (1 + processors.len() as u64);
    if fd_limit < needed {
        return Err(StartError::Descriptors {
            limit: fd_limit,
            needed,
        });
    }
    let connections_max = config.limits.connections_in_force(fd_limit);
    config.limits.connections_max = connections_max;
    let (listeners, address) = listeners(&config, processors.len())?;
    set_socket_options(&listeners, &config)?;
    let limits = Arc::new(config.limits.clone());
    let common = Arc::new(Common {
        rules: Arc::new(Rules {
            limits,
            origins: config.origins.clone(),
            hosts: config.hosts.clone(),
            deflate: config.deflate,
        }),
        admission: Arc::new(Admission::new(connections_max)),
        factory,
    });
    let (events, control) = mpsc::channel();
    let (ready, started) = mpsc::channel();
    let mut running = Running::new(address, config.clone(), events.clone(), control);
    let mut post = PostOffice::new(processors.len(), threads).map_err(StartError::System)?;
    for (shard, (listener, processor)) in listeners.into_iter().zip(processors).enumerate() {
        let shard = shard as ShardId;
        let (control, lanes, mail) = post.take(shard);
        let seat = Seat {
            shard,
            options: core_options(&config, processor),
            common: common.clone(),
            listener,
            mail,
            lanes,
            ready: ready.clone(),
            ended: Ended::new(shard, events.clone()),
        };
        let thread = thread::Builder::new()
            .name(format!("fanwire-{shard}"))
            .spawn(move || seat.run())
            .map_err(StartError::System)?;
        running.add(control, thread);
    }
    drop(ready);
    for _ in 0..running.shards() {
        let answer = started.recv().map_err(|_| {
            StartError::System(io::Error::other("a shard's thread ended while it started"))
        })?;
        running.started(answer?);
    }
    running.log_start(fd_limit);
    Ok((running, post.outside))
}

/// All queues between threads, until their ends are handed out.
struct PostOffice<M> {
    control: Vec<Option<MailSender<ShardMail<M>>>>,
    shards: Vec<Option<Lanes<M>>>,
    receivers: Vec<Option<MailReceiver<ShardMail<M>>>>,
    outside: Vec<Lanes<M>>,
}

impl<M: Send + 'static> PostOffice<M> {
    /// A queue to every shard from the control thread, from every other shard and from every
    /// other thread.
    fn new(shards: usize, threads: usize) -> io::Result<PostOffice<M>> {
        let mut control = Vec::new();
        let mut receivers = Vec::new();
        // By sender, then by receiver.
        let mut lanes: Vec<Vec<Option<MailSender<ShardMail<M>>>>> = Vec::new();
        lanes.resize_with(shards + threads, Vec::new);
        for to in 0..shards {
            let others = shards - 1;
            let (senders, receiver) = mailbox(1 + others + threads, LANE_CAPACITY)?;
            let mut senders = senders.into_iter();
            control.push(senders.next());
            receivers.push(Some(receiver));
            for (from, lanes) in lanes.iter_mut().enumerate() {
                lanes.push(if from == to { None } else { senders.next() });
            }
        }
        let mut lanes = lanes.into_iter().map(Lanes::new);
        Ok(PostOffice {
            control,
            receivers,
            shards: lanes.by_ref().take(shards).map(Some).collect(),
            outside: lanes.collect(),
        })
    }

    /// What belongs to one shard: the control thread's way to it, its ways to the others, and
    /// its own mailbox. Once per shard.
    #[allow(clippy::type_complexity)]
    fn take(
        &mut self,
        shard: ShardId,
    ) -> (Box<dyn ControlLane>, Lanes<M>, MailReceiver<ShardMail<M>>) {
        let shard = usize::from(shard);
        let taken = (
            self.control[shard].take(),
            self.shards[shard].take(),
            self.receivers[shard].take(),
        );
        match taken {
            (Some(control), Some(lanes), Some(receiver)) => (Box::new(control), lanes, receiver),
            _ => unreachable!("every shard is started once"),
        }
    }
}

fn socket_options(config: &Config) -> SocketOptions {
    let lowat_bytes = config.limits.kernel_unsent_max_bytes;
    let send_buffer_bytes = config.limits.kernel_send_buffer_bytes;
    let user_timeout_ms = config.limits.unacknowledged_timeout_ms;
    SocketOptions {
        nodelay: true,
        notsent_lowat_bytes: (lowat_bytes > 0).then_some(lowat_bytes),
        send_buffer_bytes: (send_buffer_bytes > 0).then_some(send_buffer_bytes),
        user_timeout_ms: (user_timeout_ms > 0).then_some(user_timeout_ms),
        congestion: config.congestion.clone(),
    }
}

fn core_options(config: &Config, processor: Option<usize>) -> CoreOptions {
    CoreOptions {
        processor,
        backend: config.backend,
        spin_us: config.spin_us,
        backlog_bytes_max: config.limits.backlog_hard_bytes(),
        ..CoreOptions::default()
    }
}

/// What all shards share.
struct Common<F> {
    rules: Arc<Rules>,
    admission: Arc<Admission>,
    factory: Arc<F>,
}

/// What a shard's thread starts with.
struct Seat<F, M> {
    shard: ShardId,
    options: CoreOptions,
    common: Arc<Common<F>>,
    listener: ListenSocket,
    mail: MailReceiver<ShardMail<M>>,
    lanes: Lanes<M>,
    ready: mpsc::Sender<Result<(ShardId, String), StartError>>,
    ended: Ended,
}

impl<F, M: Send + 'static> Seat<F, M> {
    /// The whole life of a shard's thread.
    fn run<H>(self)
    where
        F: Fn(ShardId, Lanes<M>) -> H + Send + Sync + 'static,
        H: Handler<Mail = M>,
    {
        let Seat {
            shard,
            options,
            common,
            listener,
            mail,
            lanes,
            ready,
            mut ended,
        } = self;
        let core = match Core::<Shard<H>>::build(&options, mail) {
            Ok(core) => core,
            Err(error) => {
                // Nobody listens any more if another shard failed first.
                let _ = ready.send(Err(StartError::Core(shard, error)));
                return;
            }
        };
        let _ = ready.send(Ok((shard, core.backend().to_string())));
        drop(ready);
        let reception = Rc::new(Reception::default());
        let application = Shard::new(
            (common.factory)(shard, lanes),
            common.rules.limits.clone(),
            common.admission.clone(),
            reception.clone(),
        );
        let (rules, admission) = (common.rules.clone(), common.admission.clone());
        let desk = reception.clone();
        core.run(application, async move |handle| {
            let establishment = Establishment {
                handle,
                reception: desk,
                admission,
                rules,
            };
            Rc::new(establishment).accept_all(listener).await;
        });
        ended.counters = reception.final_counters();
    }
}
