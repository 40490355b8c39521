//! What an application can do through the handler API.

use std::future::Future;
use std::sync::mpsc;

use fanwire_server::{
    BackendChoice, CloseReason, ConnectionId, Context, Handler, Message, MessageKind,
    PreparedMessage, Running, Server, StatusCode, Upgrade, UpgradeRequest,
};

use crate::client::{CLOSE, Client, PING, REQUEST, message};
use crate::{BACKENDS, config};

/// What the handler saw, in order.
type Seen = mpsc::Sender<String>;

struct Room {
    present: Vec<ConnectionId>,
    seen: Seen,
}

struct Member {
    name: String,
    said: u32,
}

impl Handler for Room {
    type State = Member;
    type Mail = std::convert::Infallible;

    fn on_upgrade(
        &self,
        request: &UpgradeRequest<'_>,
    ) -> impl Future<Output = Upgrade<Member>> + 'static {
        let name = request.path().trim_start_matches('/').to_owned();
        let subprotocol = request.select_subprotocol(&["room.v2", "room.v1"]);
        let token = request.header("authorization").map(<[u8]>::to_vec);
        let seen = self.seen.clone();
        async move {
            // As if another system had been asked.
            Yield(false).await;
            if token.as_deref() != Some(b"Bearer good") {
                return Upgrade::refuse(401, "Bring a token.");
            }
            if name == "slow" {
                seen.send("waiting".to_owned()).expect("the test listens");
                std::future::pending::<()>().await;
            }
            Upgrade::accept(Member { name, said: 0 }).with_subprotocol(subprotocol)
        }
    }

    fn on_open(&mut self, context: &mut Context<'_, Member>) {
        self.present.push(context.id());
        let name = context.state().name.clone();
        context.send_text(&format!("welcome {name} over {:?}", context.subprotocol()));
    }

    fn on_message(&mut self, context: &mut Context<'_, Member>, message: Message<'_>) {
        context.state().said += 1;
        let said = context.state().said;
        match message.as_str().expect("the test sends text") {
            "everyone" => {
                let text = format!("{said}");
                let prepared = PreparedMessage::new(MessageKind::Text, text.as_bytes(), None);
                for id in &self.present {
                    context.send_prepared_to(*id, &prepared);
                    assert!(context.send_text_to(*id, "and now"));
                }
            }
            "ping" => assert!(context.ping(b"asked") && !context.ping(&[0; 126])),
            "timer" => context.set_timer_ms(50),
            "close" => {
                assert!(!context.close(StatusCode(1006), "never travels"));
                assert!(context.close(StatusCode(4321), "as asked"));
                assert!(!context.send_text("too late"));
                assert!(!context.close(StatusCode::NORMAL, "twice"));
            }
            other => panic!("{other}"),
        }
    }

    fn on_timer(&mut self, context: &mut Context<'_, Member>) {
        context.send_binary(b"tick");
    }

    fn on_close(&mut self, context: &mut Context<'_, Member>, reason: CloseReason) {
        self.present.retain(|id| *id != context.id());
        assert!(!context.send_text("gone"));
        let (name, code) = (context.state().name.clone(), context.close_code());
        let _ = self.seen.send(format!("{name} {reason} {code}"));
        for id in &self.present {
            context.send_text_to(*id, &format!("{name} left"));
        }
    }
}

/// Pending once.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    }
}

fn room(setup: (BackendChoice, u16)) -> (Running, mpsc::Receiver<String>) {
    let (seen, sees) = mpsc::channel();
    let mut config = config(setup);
    config.limits.handshake_timeout_ms = 1_000;
    let server = Server::builder()
        .config(config)
        .handler(move |_shard| Room {
            present: Vec::new(),
            seen: seen.clone(),
        })
        .start()
        .expect("the server starts");
    (server, sees)
}

fn knock(server: &Running, name: &str, headers: &str) -> (Client, u16, String) {
    let mut client = Client::connect(server.local_address());
    let request = REQUEST.replace("GET /", &format!("GET /{name}"));
    client.send(format!("{request}{headers}\r\n").as_bytes());
    let (status, head, body) = client.response();
    (client, status, head + &body)
}

const GOOD: &str = "Authorization: Bearer good\r\n";

fn enter(server: &Running, name: &str) -> Client {
    let (mut client, status, _) = knock(server, name, GOOD);
    assert_eq!(status, 101);
    assert_eq!(
        client.frame().payload,
        format!("welcome {name} over None").as_bytes()
    );
    client
}

fn say(client: &mut Client, text: &str) {
    client.send(&message(1, text.as_bytes()));
}

#[test]
fn the_application_decides_who_enters_and_over_which_subprotocol() {
    for setup in BACKENDS {
        let (server, sees) = room(setup);
        let (_, status, answer) = knock(&server, "eve", "");
        assert_eq!(status, 401);
        assert!(answer.ends_with("Bring a token.\n") || answer.ends_with("Bring a token."));
        let offers = format!("{GOOD}Sec-WebSocket-Protocol: other, room.v1\r\n");
        let (mut client, status, head) = knock(&server, "ada", &offers);
        assert_eq!(status, 101);
        assert!(head.contains("Sec-WebSocket-Protocol: room.v1"), "{head}");
        assert_eq!(
            client.frame().payload,
            b"welcome ada over Some(\"room.v1\")"
        );
        // An answer that takes too long is cut by the deadline of the handshake.
        let (_, status, _) = knock(&server, "slow", GOOD);
        assert_eq!(status, 408);
        assert_eq!(sees.recv().expect("an event"), "waiting");
    }
}

#[test]
fn messages_timers_pings_and_closes_do_what_they_say() {
    for setup in BACKENDS {
        let (server, sees) = room(setup);
        let mut ada = enter(&server, "ada");
        let mut bob = enter(&server, "bob");
        say(&mut ada, "everyone");
        for client in [&mut ada, &mut bob] {
            assert_eq!(client.frame().payload, b"1");
            assert_eq!(client.frame().payload, b"and now");
        }
        say(&mut ada, "ping");
        let ping = ada.frame();
        assert_eq!((ping.opcode(), &ping.payload[..]), (PING, &b"asked"[..]));
        say(&mut ada, "timer");
        assert_eq!(ada.frame().payload, b"tick");
        say(&mut ada, "close");
        let close = ada.frame();
        assert_eq!(close.close_code(), 4321);
        assert_eq!(&close.payload[2..], b"as asked");
        ada.send(&message(CLOSE, &close.payload));
        assert_eq!(ada.try_frame(), None);
        drop(ada);
        assert_eq!(sees.recv().expect("an event"), "ada application 4321");
        assert_eq!(bob.frame().payload, b"ada left");
        bob.send(&message(CLOSE, &1000_u16.to_be_bytes()));
        assert_eq!(bob.expect_close(), 1000);
        drop(bob);
        assert_eq!(sees.recv().expect("an event"), "bob peer 1000");
        let carl = enter(&server, "carl");
        drop(carl);
        assert_eq!(sees.recv().expect("an event"), "carl end_of_stream 1006");
    }
}
