//! The client half of an Autobahn fuzzing server: echo everything, case after case.
//!
//! Exists to prove the client role of the protocol library on the same reactor that load runs on.
//! The fuzzing server judges; this side only follows its protocol (`/getCaseCount`,
//! `/runCase?case=N&agent=NAME`, `/updateReports?agent=NAME`) and notices cases that hang.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use fanwire_protocol::handshake::DeflateOffer;
use fanwire_protocol::{
    Connection, DeflateParameters, Event, Input, MaskingKey, MessageKind, Settings, Workspace,
    WorkspaceLimits,
};
use fanwire_reactor::establish::within;
use fanwire_reactor::{Application, Cause, Core, CoreOptions, Handle, Io, Token, mailbox};

use crate::cli::ConformanceArguments;
use crate::connect::establish::{Greeting, Way, open};
use crate::connect::link::{Heard, Link, LinkState, ReadMemory, WriteMemory};
use crate::connect::target::Target;
use crate::connect::tls::{TlsClient, TlsOptions};
use crate::table::Table;

/// Autobahn's largest messages are 16 MiB.
const MESSAGE_SIZE_MAX: usize = 64 << 20;
/// Its most fragmented ones come in 65,536 frames.
const FRAGMENTS_MAX: u32 = 1 << 20;
/// How long the server has to end the TCP connection after the closing handshake.
const SERVER_CLOSE_MS: u64 = 2_000;
const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Everything that the cases of sections 12 and 13 ask a client to grant: an empty window for each
/// message, and a window of any size. What the server promises for its own direction is left open.
const DEFLATE_OFFER: DeflateOffer = DeflateOffer {
    server_no_context_takeover: false,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: Some(15),
};

/// What the task that runs the cases and the connection of a case share.
#[derive(Default)]
struct Exchange {
    is_over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The last text message, for connections that do not echo.
    text: RefCell<Option<String>>,
}

impl Exchange {
    async fn over(&self) {
        poll_fn(|context| {
            if self.is_over.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn end(&self) {
        self.is_over.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// A connection on its way to the data loop.
struct Adopted {
    deflate: Option<DeflateParameters>,
    first_bytes: Vec<u8>,
    link: Link,
    is_echoing: bool,
    exchange: Rc<Exchange>,
}

/// A connection of one case.
struct Case {
    connection: Connection,
    link: Link,
    is_echoing: bool,
    is_over: bool,
    exchange: Rc<Exchange>,
}

impl Case {
    /// Takes what the server sent. What is to be sent for it is added to `out`.
    fn answer(
        &mut self,
        mut input: Input<'_>,
        receiving: &mut Workspace,
        sending: &mut Workspace,
        random: &mut fastrand::Rng,
        out: &mut Vec<u8>,
    ) {
        let Connection { receiver, sender } = &mut self.connection;
        let mut key = || Some(MaskingKey(random.u32(..).to_le_bytes()));
        loop {
            // `Misuse` can only say that our close frame is out already; the loop ends with it.
            match receiver.next_event(&mut input, receiving) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) if self.is_echoing => {
                    let _ = sender.message(message.kind, message.payload, key(), sending, out);
                }
                Ok(Some(Event::Message(message))) => {
                    if message.kind == MessageKind::Text {
                        *self.exchange.text.borrow_mut() = message.as_str().map(str::to_owned);
                    }
                }
                Ok(Some(Event::Ping(payload))) => {
                    let _ = sender.pong(payload, key(), out);
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(frame))) => {
                    self.is_over = true;
                    let _ = sender.close(frame.map(|frame| frame.code), "", key(), out);
                    break;
                }
                Err(error) => {
                    self.is_over = true;
                    let _ = sender.close(Some(error.close_code()), error.as_str(), key(), out);
                    break;
                }
            }
        }
    }
}

struct EchoClient {
    settings: Arc<Settings>,
    cases: Table<Case>,
    /// One for each direction, so that a reply can be written while its message is borrowed.
    receiving: Workspace,
    sending: Workspace,
    random: fastrand::Rng,
    out: Vec<u8>,
    reading: ReadMemory,
    writing: WriteMemory,
}

impl EchoClient {
    fn new() -> EchoClient {
        let mut settings = Settings::client();
        settings.message_size_max = MESSAGE_SIZE_MAX;
        settings.frame_size_max = MESSAGE_SIZE_MAX as u64;
        settings.fragments_per_message_max = FRAGMENTS_MAX;
        EchoClient {
            settings: Arc::new(settings),
            cases: Table::default(),
            receiving: Workspace::new(WorkspaceLimits::default()),
            sending: Workspace::new(WorkspaceLimits::default()),
            random: fastrand::Rng::new(),
            out: Vec::new(),
            reading: ReadMemory::default(),
            writing: WriteMemory::default(),
        }
    }

    /// Takes bytes from the socket, or such as were decrypted already.
    fn take(&mut self, io: &mut Io, token: Token, bytes: &mut [u8], is_plain: bool) {
        let EchoClient {
            cases,
            receiving,
            sending,
            random,
            out,
            reading,
            writing,
            ..
        } = self;
        let Some(case) = cases.get_mut(token) else {
            return;
        };
        if case.is_over {
            return;
        }
        out.clear();
        let heard = if is_plain {
            Heard::plain(bytes)
        } else {
            case.link.read(bytes, reading)
        };
        if !heard.replies.is_empty() {
            io.send(token, |queue| queue.extend_from_slice(heard.replies));
        }
        case.answer(Input::new(heard.plain), receiving, sending, random, out);
        let link = &mut case.link;
        if !out.is_empty() {
            io.send(token, |queue| {
                link.write(queue, writing, |plain| plain.extend_from_slice(out));
            });
        }
        if case.is_over {
            io.send(token, |queue| link.finish(queue));
            // The server ends TCP first (RFC 6455 7.1.1); one that does not is not waited for.
            io.set_timer(token, SERVER_CLOSE_MS);
        } else if heard.state != LinkState::Open {
            io.terminate(token);
        }
    }
}

impl Application for EchoClient {
    type Mail = ();
    type Adopted = Adopted;

    fn on_adopted(&mut self, io: &mut Io, token: Token, adopted: Adopted) {
        let Adopted {
            deflate,
            mut first_bytes,
            link,
            is_echoing,
            exchange,
        } = adopted;
        let connection = Connection::new(Arc::clone(&self.settings), deflate);
        self.cases.insert(
            token,
            Case {
                connection,
                link,
                is_echoing,
                is_over: false,
                exchange,
            },
        );
        if !first_bytes.is_empty() {
            self.take(io, token, &mut first_bytes, true);
        }
    }

    fn on_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8]) {
        self.take(io, token, bytes, false);
    }

    fn on_timer(&mut self, io: &mut Io, token: Token) {
        io.terminate(token);
    }

    fn on_closed(&mut self, _io: &mut Io, token: Token, _cause: Cause) {
        if let Some(case) = self.cases.remove(token) {
            case.exchange.end();
        }
    }
}

/// Where the cases are.
#[derive(Clone)]
struct Server {
    target: Target,
    address: std::net::SocketAddr,
    tls: Option<TlsClient>,
    agent: String,
    case_timeout_ms: u64,
}

impl Server {
    /// Opens one connection and waits for its end. Returns the last text message it carried.
    async fn visit(
        &self,
        handle: &Handle<EchoClient>,
        path: &str,
        is_echoing: bool,
    ) -> Result<Option<String>, String> {
        let greeting = Greeting {
            request_target: format!("{}{path}", self.target.request_target.trim_end_matches('/')),
            origin: None,
            subprotocols: Vec::new(),
            deflate: Some(DEFLATE_OFFER),
            headers: Vec::new(),
        };
        let way = Way {
            address: self.address,
            source: None,
            host: &self.target.host_header(),
            tls: self.tls.as_ref(),
            greeting: &greeting,
            timeout_ms: CONNECT_TIMEOUT_MS,
        };
        let nonce = handle
            .with(|client, _| client.random.u128(..))
            .to_le_bytes();
        let opened = open(&way, nonce)
            .await
            .map_err(|failure| format!("{path}: {}: {}", failure.kind, failure.detail))?;
        let exchange = Rc::new(Exchange::default());
        let adopted = Adopted {
            deflate: opened.deflate,
            first_bytes: opened.first_bytes,
            link: opened.line.link,
            is_echoing,
            exchange: Rc::clone(&exchange),
        };
        handle.adopt(opened.line.stream, adopted);
        within(self.case_timeout_ms, exchange.over())
            .await
            .ok_or_else(|| format!("{path}: not over after {} ms", self.case_timeout_ms))?;
        Ok(exchange.text.take())
    }

    async fn run_all(&self, handle: &Handle<EchoClient>) -> Result<(), String> {
        let text = self.visit(handle, "/getCaseCount", false).await?;
        let count: u32 = text
            .as_deref()
            .and_then(|text| text.trim().parse().ok())
            .ok_or_else(|| format!("/getCaseCount: expected a number, got {text:?}"))?;
        let mut hung = Vec::new();
        for case in 1..=count {
            let path = format!("/runCase?case={case}&agent={}", self.agent);
            if let Err(error) = self.visit(handle, &path, true).await {
                eprintln!("fanwire-loadgen: {error}");
                hung.push(case);
            }
        }
        self.visit(
            handle,
            &format!("/updateReports?agent={}", self.agent),
            false,
        )
        .await?;
        println!("{count} cases run; the verdicts are in the fuzzing server's report");
        if hung.is_empty() {
            Ok(())
        } else {
            Err(format!("cases that did not end: {hung:?}"))
        }
    }
}

/// Runs all cases of a fuzzing server.
///
/// # Errors
/// What kept the cases from being run, with cause and cure.
pub fn run(arguments: &ConformanceArguments) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !arguments.agent.bytes().all(is_plain) {
        return Err("--agent may contain letters, digits and - . _ ~ only".into());
    }
    let target = Target::parse(&arguments.url)?;
    let address = *target.resolve()?.first().ok_or("the host has no address")?;
    let tls = if target.is_secured {
        // Cases are about frames: whose certificate the fuzzing server has is none of them.
        let options = TlsOptions {
            is_insecure: true,
            ..TlsOptions::default()
        };
        Some(TlsClient::new(&options, &target.host)?)
    } else {
        None
    };
    let server = Server {
        address,
        tls,
        target,
        agent: arguments.agent.clone(),
        case_timeout_ms: arguments.case_timeout / 1_000_000,
    };
    let options = CoreOptions {
        backend: arguments.backend.choice(),
        backlog_bytes_max: 2 * MESSAGE_SIZE_MAX,
        ..CoreOptions::default()
    };
    let (_senders, mail) =
        mailbox(1, 1).map_err(|error| format!("cannot create a mailbox: {error}"))?;
    let core = Core::build(&options, mail).map_err(|error| error.to_string())?;
    eprintln!("fanwire-loadgen: backend {}", core.backend());
    let outcome = Rc::new(RefCell::new(Err("the core ended early".to_owned())));
    let result = Rc::clone(&outcome);
    core.run(
        EchoClient::new(),
        async move |handle: Handle<EchoClient>| {
            let all = server.run_all(&handle).await;
            *result.borrow_mut() = all;
            handle.stop();
        },
    );
    outcome.replace(Ok(()))
}
