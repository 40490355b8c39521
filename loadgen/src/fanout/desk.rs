//! What the connections of a thread share in a fan-out run: payloads, keys, sums and clocks.

use std::collections::VecDeque;
use std::sync::Arc;

use fanwire_protocol::{MaskingKey, MessageKind, Settings};

use crate::config::Config;
use crate::fanout::board::Board;
use crate::fanout::books::Counts;
use crate::fanout::dialect::custom::About;
use crate::fanout::dialect::{binary, json, nats};
use crate::fanout::layout::{Class, Layout, Pace};
use crate::fanout::options::{Dialect, Form, Kind, Options};
use crate::fanout::sheet::FanoutSheet;
use crate::fanout::stamp::{Codec, Stamp};
use crate::fanout::wall::WallClock;
use crate::measure::tally::Sheet;
use crate::message::tokens::Tokens;
use crate::pace::plan::Window;
use crate::pace::rate::Curve;

/// What a message may have around its payload in any dialect: topic, key, numbers.
const ENVELOPE_MAX: usize = 4 * 1024;

/// Unanswered messages that a publisher remembers, where the server answers them in words of its
/// own. When there are more the oldest is forgotten, and stays unanswered in the report.
const PENDING_MAX: usize = 65_536;
/// Messages whose copies are told apart by their subscribers' tenths, about. It keeps what that
/// costs away from fast runs.
const TENTHS_MESSAGES: u64 = 4_096;

/// What the connections of a thread share.
#[derive(Debug)]
pub struct Desk {
    /// What was asked for.
    pub options: Arc<Options>,
    /// Who publishes what, and who listens.
    pub layout: Arc<Layout>,
    /// Writes and reads payloads.
    pub codec: Codec,
    /// When measuring starts and stops, once that is known.
    pub window: Option<Window>,
    /// When each message is due, once that is known.
    pub pace: Option<Pace>,
    /// What this thread counted, as in every command.
    pub sheet: Sheet,
    /// What only a fan-out counts.
    pub fan: FanoutSheet,
    /// Limits of receiving.
    pub settings: Arc<Settings>,
    /// Copies that follow from what this thread published.
    pub owed: u64,
    /// By topic: the epoch that was seen last, and how many there have been.
    pub(super) tokens: Tokens,
    pub(super) wall: WallClock,
    /// By publisher: messages whose answer is awaited, where they are answered in their order.
    pub(super) pending: Vec<VecDeque<u64>>,
    /// The message that was composed last.
    composed: u64,
    /// Message numbers that have a one in it are not taken for the tenths.
    tenths_mask: u64,
    /// Number of the first publisher's connection.
    publishers_from: u32,
    epochs: Vec<(u32, String)>,
    /// By topic: subscribers.
    audience: Vec<u32>,
    /// By stream: the next sequence.
    sequences: Vec<u64>,
    random: fastrand::Rng,
    payload: Vec<u8>,
    message: Vec<u8>,
}

impl Desk {
    /// The desk of thread `thread`.
    pub fn new(
        config: &Config,
        options: &Arc<Options>,
        layout: &Arc<Layout>,
        thread: usize,
    ) -> Desk {
        let mut settings = Settings::client();
        // Room for twice our own messages lets a wrong copy be counted as wrong.
        let room = 2 * config.message_size + ENVELOPE_MAX;
        settings.message_size_max = settings.message_size_max.max(room);
        settings.frame_size_max = settings.frame_size_max.max(room as u64);
        // Any odd constant keeps the threads' masking keys apart.
        let seed = config
            .seed
            .wrapping_add((thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let streams = layout.streams() as usize;
        let mut fan = FanoutSheet::default();
        fan.published.resize(streams, 0);
        fan.heads.resize(layout.topics() as usize, 0);
        Desk {
            options: Arc::clone(options),
            layout: Arc::clone(layout),
            codec: codec(config, options),
            window: None,
            pace: None,
            sheet: Sheet::default(),
            fan,
            settings: Arc::new(settings),
            owed: 0,
            tokens: config.tokens.clone(),
            wall: WallClock::default(),
            pending: vec![VecDeque::new(); options.publishers as usize],
            composed: 0,
            tenths_mask: 0,
            publishers_from: config.connections,
            epochs: vec![(0, String::new()); layout.topics() as usize],
            audience: layout.audience(None),
            sequences: vec![0; streams],
            random: fastrand::Rng::with_seed(seed),
            payload: Vec::new(),
            message: Vec::new(),
        }
    }

    /// A fresh masking key for one frame (RFC 6455 5.3); seeded, as in `client`.
    pub fn masking_key(&mut self) -> MaskingKey {
        MaskingKey(self.random.u32(..).to_le_bytes())
    }

    /// Sixteen bytes for `Sec-WebSocket-Key`.
    pub fn nonce(&mut self) -> [u8; 16] {
        self.random.u128(..).to_le_bytes()
    }

    /// The run begins: the schedule is known.
    pub fn begin(&mut self, window: Window, curve: Curve) {
        if self.options.feed.is_none() {
            self.pace = Some(Pace::of(window.start_ns, curve, self.options.burst));
        }
        self.measure(window);
    }

    /// What is measured is known: when the run begins, and once more when that is brought forward.
    /// Nothing has been measured before.
    pub fn measure(&mut self, window: Window) {
        self.window = Some(window);
        let Some(pace) = &self.pace else { return };
        let (first, end) = (
            pace.first_from(window.measure_from_ns),
            pace.first_from(window.until_ns),
        );
        self.fan.board = Board::new(first, end);
        let every = (end.saturating_sub(first) / TENTHS_MESSAGES).max(1);
        self.tenths_mask = every.next_power_of_two() - 1;
    }

    /// Puts together a message of a stream as the dialect wants it. It is lent by [`Desk::message`].
    pub fn compose(
        &mut self,
        stream: u32,
        number: u64,
        intended_ns: u64,
        sent_ns: u64,
        is_probe: bool,
    ) {
        let Some(sequence) = self.sequences.get(stream as usize).copied() else {
            return;
        };
        let stamp = Stamp {
            run: self.options.run,
            stream,
            is_probe,
            number,
            sequence,
            intended_ns,
            sent_ns,
        };
        self.codec.write(&stamp, &mut self.payload);
        self.composed = number;
        let topic = self.layout.topic_name(self.layout.topic_of(stream));
        let key = match self.options.kind {
            Kind::Events => None,
            Kind::State { keys } => Some(format!("k{}", sequence % u64::from(keys.max(1)))),
        };
        let (payload, out) = (&self.payload, &mut self.message);
        out.clear();
        match self.options.dialect {
            Dialect::Raw => out.extend_from_slice(payload),
            Dialect::FanwireJson => {
                let is_json = self.codec.form() == Form::Json;
                json::write_publish(number, topic, key.as_deref(), payload, is_json, out);
            }
            Dialect::FanwireBinary => {
                let flags = binary::FLAG_ANSWER
                    | match self.codec.form() {
                        Form::Binary => 0,
                        Form::Text => binary::FLAG_TEXT,
                        Form::Json => binary::FLAG_JSON,
                    };
                binary::write_publish(number, topic, key.as_deref(), flags, payload, out);
            }
            Dialect::Nats => nats::write_publish(topic, payload, out),
            Dialect::Custom => match &self.options.custom.publish {
                None => out.extend_from_slice(payload),
                Some(publish) => {
                    let publisher = self.layout.publisher_of(stream);
                    let connection = self.publishers_from.saturating_add(publisher);
                    let about = About {
                        connection,
                        sequence,
                        now_ns: self.wall.realtime_ns(sent_ns),
                        token: self.tokens.of(connection),
                        topic,
                    };
                    publish.write(about, &mut self.random, payload, out);
                }
            },
        }
    }

    /// What was composed last.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Text or binary, as messages to the server travel.
    pub fn message_kind(&self) -> MessageKind {
        match (self.options.dialect, self.codec.form()) {
            (Dialect::Raw, Form::Text | Form::Json)
            | (Dialect::FanwireJson | Dialect::Custom, _) => MessageKind::Text,
            _ => MessageKind::Binary,
        }
    }

    /// The composed message was handed to its socket.
    pub fn count_published(&mut self, stream: u32, intended_ns: u64) {
        self.sequences[stream as usize] += 1;
        self.fan.sent += 1;
        let is_measured = self
            .window
            .is_some_and(|window| window.measures(intended_ns));
        self.fan.sent_measured += u64::from(is_measured);
        // Where the server answers, its answer decides whether anybody is owed a copy.
        if !self.options.dialect.has_sequences() {
            self.count_owed(stream);
        }
        if self.options.custom.acknowledged_when.is_some() {
            let publisher = self.layout.publisher_of(stream);
            if let Some(pending) = self.pending.get_mut(publisher as usize) {
                if pending.len() >= PENDING_MAX {
                    pending.pop_front();
                }
                pending.push_back(self.composed);
            }
        }
    }

    fn count_owed(&mut self, stream: u32) {
        let topic = self.layout.topic_of(stream) as usize;
        self.fan.published[stream as usize] += 1;
        self.owed += u64::from(self.audience[topic]);
    }

    /// The server accepted message `number` as number `seq` of its topic.
    pub fn acknowledged(&mut self, number: u64, seq: u64, now_ns: u64) {
        let stream = self.layout.stream_of(number);
        let topic = self.layout.topic_of(stream) as usize;
        self.fan.heads[topic] = self.fan.heads[topic].max(seq);
        self.count_owed(stream);
        self.answered(number, now_ns);
    }

    /// An answer to message `number` came.
    pub fn answered(&mut self, number: u64, now_ns: u64) {
        self.fan.acknowledged += 1;
        if let (Some(pace), Some(window)) = (&self.pace, self.window) {
            let intended_ns = pace.due_ns(number);
            if window.measures(intended_ns) {
                let took_ns = now_ns.saturating_sub(intended_ns);
                self.fan.acknowledgement.record(took_ns);
            }
        }
    }

    /// A first copy arrived.
    pub fn arrived(&mut self, class: Class, tenth: u8, stamp: &Stamp, now_ns: u64) {
        let Some(window) = self.window else { return };
        let sheet = &mut self.fan.classes[class as usize];
        sheet.counts.delivered_measured += u64::from(window.measures(now_ns));
        let response_ns = now_ns.saturating_sub(stamp.intended_ns);
        if !window.measures(stamp.intended_ns) {
            if class == Class::Healthy && window.is_warmup(stamp.intended_ns) {
                self.sheet.warmup.record(response_ns);
            }
            return;
        }
        if class == Class::Healthy {
            let half = usize::from(window.is_second_half(stamp.intended_ns));
            self.sheet.record_response(half, response_ns);
            self.sheet
                .service
                .record(now_ns.saturating_sub(stamp.sent_ns));
            self.fan.board.record(stamp.number, now_ns);
            if stamp.number & self.tenths_mask == 0
                && let Some(latency) = self.fan.tenths.get_mut(usize::from(tenth))
            {
                latency.record(response_ns);
            }
        } else {
            sheet.response.record(response_ns);
        }
    }

    /// Copies that were delivered, or of which the server said that they will not be.
    pub fn settled(&self) -> u64 {
        let of = |counts: &Counts| {
            let told = counts.announced;
            let untold = told.conflated.saturating_add(told.unrecovered);
            let told = told.gap.saturating_add(untold);
            counts.delivered.saturating_add(told)
        };
        let classes = self.fan.classes.iter();
        classes.fold(0, |sum: u64, class| sum.saturating_add(of(&class.counts)))
    }

    /// First copies that arrived.
    pub fn delivered(&self) -> u64 {
        self.fan
            .classes
            .iter()
            .map(|class| class.counts.delivered)
            .sum()
    }

    /// Messages whose acceptance is still to be told.
    pub fn unanswered(&self) -> u64 {
        if self.options.has_acknowledgements() {
            self.fan.sent - (self.fan.acknowledged + self.fan.refused).min(self.fan.sent)
        } else {
            0
        }
    }

    /// Notes the epoch of a topic, and says the how many-th of the topic it is.
    pub fn note_epoch(&mut self, topic: u32, epoch: &str) -> u32 {
        let Some((count, known)) = self.epochs.get_mut(topic as usize) else {
            return 0;
        };
        if known != epoch {
            *count += 1;
            epoch.clone_into(known);
        }
        *count
    }

    /// The `count`-th epoch of a topic, if it is still the newest one.
    pub fn epoch(&self, topic: u32, count: u32) -> Option<&str> {
        let (newest, epoch) = self.epochs.get(topic as usize)?;
        (count > 0 && *newest == count).then_some(epoch)
    }
}

/// Payloads as they travel: by themselves, or inside messages of another's making.
fn codec(config: &Config, options: &Options) -> Codec {
    let (size, run, seed) = (config.message_size, options.run, config.seed);
    match options.dialect {
        Dialect::Custom => Codec::embedded(options.form, size, run, seed),
        _ => Codec::new(options.form, size, run, seed),
    }
}
