//! What speaks against a fan-out through a server that knows nothing of us, or against a feed that
//! the server paces. Pure, like `rules`, which asks it.

use crate::fanout::foreign_figures::{FeedFigures, ForeignFigures, SequenceFigures};
use crate::measure::verdict::{Reasons, Verdict, contradiction, push_counts};
use crate::quantity::{format_count, format_ns};

/// The first message that could not be interpreted, behind a sentence and the mark that ends it.
fn began(foreign: &ForeignFigures, mark: &str) -> String {
    let example = foreign.example.as_ref();
    example.map_or_else(String::new, |text| {
        format!("{mark} The first message began: {text}")
    })
}

/// Rules of every server that knows nothing of us.
pub fn foreign(foreign: &ForeignFigures, unconfirmed: u64, reasons: &mut Reasons) {
    if unconfirmed > 0 {
        let what = if foreign.counts.unmarked > 0 || foreign.example.is_some() {
            format!(
                "no message was what --subscribed-when says{}",
                began(foreign, ".")
            )
        } else {
            "no message came at all; is --subscribe what this server understands?".to_owned()
        };
        reasons.push((
            Verdict::Invalid,
            format!(
                "{} subscriptions were never confirmed: {what}",
                format_count(unconfirmed)
            ),
        ));
    }
    if foreign.is_strict && foreign.counts.unmarked > 0 {
        reasons.push((
            Verdict::Invalid,
            format!(
                "--strict: {} messages to subscribers were neither copies nor confirmations{}",
                format_count(foreign.counts.unmarked),
                began(foreign, ".")
            ),
        ));
    }
}

/// Why nothing was delivered, as far as it can be told.
pub fn why_nothing(foreign: &ForeignFigures, is_feed: bool) -> String {
    if is_feed {
        let cure = if foreign.has_subscribe {
            "is --subscribe what this server understands, and does it send anything now?"
        } else {
            "does this server wait for a subscription (--subscribe)?"
        };
        let heard = match (foreign.counts.confirmations, foreign.counts.before_load) {
            (0, 0) => "no message came at all".to_owned(),
            (count, 0) => format!("only {} confirmations came", format_count(count)),
            (_, count) => format!(
                "{} messages came before the load and none in it",
                format_count(count)
            ),
        };
        return format!(": {heard}; {cure}{}", began(foreign, ""));
    }
    if foreign.counts.unmarked > 0 {
        return format!(
            ": {} messages came, but none held what our publishers had sent. Does --publish say it \
             the way that this server relays, and to what --subscribe asks for?{}",
            format_count(foreign.counts.unmarked),
            began(foreign, "")
        );
    }
    let said = foreign.publisher_example.as_ref();
    let said = said.map_or_else(String::new, |text| {
        format!("; publishers were told: {text}")
    });
    let cure = if foreign.has_subscribe {
        "are --subscribe and --publish what this server understands?"
    } else {
        "does this server wait for a subscription (--subscribe)?"
    };
    format!(": subscribers heard nothing but confirmations, if that; {cure}{said}")
}

/// Rules of a feed.
pub fn feed(feed: &FeedFigures, foreign: Option<&ForeignFigures>, reasons: &mut Reasons) {
    let example = foreign.map_or_else(String::new, |foreign| began(foreign, "."));
    if let Some(stamp) = &feed.stamp
        && feed.received > 0
        && feed.stamped == 0
    {
        reasons.push((
            Verdict::Invalid,
            format!(
                "none of {} messages had a time stamp at {stamp}, so no latency was measured{example}",
                format_count(feed.received)
            ),
        ));
    }
    if feed.negative > 0 {
        let smallest_ns = feed.smallest_ns.unwrap_or(0);
        reasons.push((
            Verdict::Suspect,
            format!(
                "{} messages were stamped after they had arrived, by up to {}: the clocks of the \
                 server and of this host differ (or --stamp has another unit), and every latency is \
                 wrong by that difference",
                format_count(feed.negative),
                format_ns(smallest_ns.unsigned_abs())
            ),
        ));
    }
    let fairness = &feed.fairness;
    if fairness.silent > 0 && feed.received > 0 {
        reasons.push((
            if fairness.silent == fairness.subscribers {
                Verdict::Invalid
            } else {
                Verdict::Suspect
            },
            format!(
                "{} of {} subscribers received nothing in the measured time",
                format_count(fairness.silent),
                format_count(fairness.subscribers)
            ),
        ));
    }
    if feed.is_ambiguous {
        reasons.push((
            Verdict::Suspect,
            "different messages have the same identity, so that spread and reach say nothing: pass \
             --sequence, or --sequence-key for what has numbers of its own"
                .into(),
        ));
    }
    if let Some(sequence) = &feed.sequence {
        numbers(sequence, &example, reasons);
    }
}

fn numbers(sequence: &SequenceFigures, example: &str, reasons: &mut Reasons) {
    let counts = &sequence.counts;
    if counts.seen == 0 && counts.unnumbered > 0 {
        reasons.push((
            Verdict::Invalid,
            format!(
                "none of {} messages had a number at --sequence{example}",
                format_count(counts.unnumbered)
            ),
        ));
    }
    if !sequence.adds_up {
        reasons.push(contradiction("numbers", "expected is not seen + missing"));
    }
    if counts.missing > 0 {
        reasons.push((
            Verdict::Suspect,
            format!(
                "{} of {} numbers are missing, in {} gaps: the server left messages out, or its \
                 numbers count more than what was subscribed to (--sequence-key?)",
                format_count(counts.missing),
                format_count(counts.expected),
                format_count(counts.gaps)
            ),
        ));
    }
    let found = [
        (counts.duplicates, "messages had a number that had come"),
        (counts.reordered, "messages came behind a younger one"),
        (counts.restarts, "times the numbers began anew"),
        (
            counts.untracked,
            "messages were of keys beyond the 16,384 that are followed per subscriber",
        ),
    ];
    push_counts(
        reasons,
        found.map(|(count, what)| (Verdict::Suspect, count, what)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::track::SequenceCounts;

    fn texts(judge: impl Fn(&mut Reasons)) -> Vec<(Verdict, String)> {
        let mut reasons = Vec::new();
        judge(&mut reasons);
        reasons
    }

    #[test]
    fn a_good_feed_has_nothing_against_it() {
        let good = FeedFigures {
            received: 10,
            stamped: 10,
            stamp: Some("json:/ts".into()),
            smallest_ns: Some(5),
            sequence: Some(SequenceFigures {
                counts: SequenceCounts {
                    expected: 10,
                    seen: 10,
                    ..SequenceCounts::default()
                },
                adds_up: true,
            }),
            ..FeedFigures::default()
        };
        assert_eq!(texts(|reasons| feed(&good, None, reasons)), []);
        let unstamped = FeedFigures {
            stamped: 0,
            unstamped: 10,
            ..good.clone()
        };
        let foreign = ForeignFigures {
            example: Some("{}".into()),
            ..ForeignFigures::default()
        };
        let found = texts(|reasons| feed(&unstamped, Some(&foreign), reasons));
        assert_eq!(found[0].0, Verdict::Invalid);
        assert!(found[0].1.ends_with("began: {}"), "{}", found[0].1);
        let early = FeedFigures {
            negative: 3,
            smallest_ns: Some(-2_000_000),
            ..good
        };
        let found = texts(|reasons| feed(&early, None, reasons));
        assert_eq!((found.len(), found[0].0), (1, Verdict::Suspect));
        assert!(found[0].1.contains("2.00ms"), "{}", found[0].1);
    }

    #[test]
    fn silence_is_explained() {
        let mut heard = ForeignFigures::default();
        assert!(why_nothing(&heard, false).contains("wait for a subscription"));
        assert!(why_nothing(&heard, true).contains("no message came at all"));
        heard.counts.before_load = 3;
        assert!(why_nothing(&heard, true).contains("3 messages came before the load"));
        heard.has_subscribe = true;
        heard.publisher_example = Some("bad request".into());
        assert!(why_nothing(&heard, false).ends_with("told: bad request"));
        heard.counts.unmarked = 7;
        heard.example = Some("hello".into());
        let text = why_nothing(&heard, false);
        assert!(text.contains("7 messages came") && text.ends_with("began: hello"));
        let found = texts(|reasons| foreign(&heard, 2, reasons));
        assert!(found[0].1.starts_with("2 subscriptions were never"));
        heard.is_strict = true;
        assert_eq!(texts(|reasons| foreign(&heard, 0, reasons)).len(), 1);
    }
}
