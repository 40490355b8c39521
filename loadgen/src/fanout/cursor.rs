//! Where a subscription stands in the server's own numbers, and what the server said of the holes.
//!
//! Section 4 of docs/protocol.md: the numbers of a topic never have a hole that was not announced.
//! This decides, message by message and notice by notice, whether that was kept. Pure.

/// What a server did that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A hole in the numbers that no notice announced.
    Hole,
    /// A number that was delivered or declared before.
    Backwards,
    /// A message for something that is not subscribed to.
    NotSubscribed,
    /// More or other messages than a `conflated` or `snapshot` had announced.
    Outside,
    /// A notice while the messages of an earlier one were still due.
    Interrupted,
    /// A notice whose numbers contradict themselves.
    Nonsense,
}

impl Fault {
    /// Stable name, a key in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Hole => "unannounced_hole",
            Fault::Backwards => "number_repeated",
            Fault::NotSubscribed => "not_subscribed",
            Fault::Outside => "outside_of_notice",
            Fault::Interrupted => "notice_interrupted",
            Fault::Nonsense => "notice_contradictory",
        }
    }
}

/// Messages that a subscriber did not get and was told about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// By a `gap`.
    pub gap: u64,
    /// Replaced by newer ones of their keys.
    pub conflated: u64,
    /// Missed while away, and the resume could not bring them.
    pub unrecovered: u64,
}

impl Announced {
    /// Adds the announcements of others. A server may announce any number: sums must not overflow.
    pub fn add(&mut self, other: &Announced) {
        self.gap = self.gap.saturating_add(other.gap);
        self.conflated = self.conflated.saturating_add(other.conflated);
        self.unrecovered = self.unrecovered.saturating_add(other.unrecovered);
    }
}

/// What a message is by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The first time it is seen.
    New,
    /// Part of a snapshot, and seen before.
    Repeated,
    /// Not to be counted.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    /// Every number follows the one before.
    Plain,
    /// Of the numbers up to `to`, `left` more arrive.
    Conflated { to: u64, left: u64 },
    /// `left` more messages make the state as of `as_of`.
    Snapshot { as_of: u64, left: u64 },
}

/// The place of one subscription on one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Next number; 0 before there is a subscription.
    expected: u64,
    span: Span,
}

impl Default for Cursor {
    fn default() -> Cursor {
        Cursor {
            expected: 0,
            span: Span::Plain,
        }
    }
}

impl Cursor {
    /// The newest number that was delivered or accounted for; `None` before the subscription.
    pub fn last(&self) -> Option<u64> {
        self.expected.checked_sub(1)
    }

    /// The answer to a subscription: `head` is the newest message of the topic. `recovered` as in
    /// the protocol.
    pub fn subscribed(
        &mut self,
        head: u64,
        recovered: Option<bool>,
        announced: &mut Announced,
    ) -> Option<Fault> {
        self.span = Span::Plain;
        let next = head.saturating_add(1);
        match (self.expected, recovered) {
            (0, _) => self.expected = next,
            // What was missed follows; a head before what we have seen is another history.
            (expected, Some(true)) if next >= expected => {}
            (_, Some(true)) => return Some(Fault::Nonsense),
            (expected, _) => {
                announced.unrecovered = announced
                    .unrecovered
                    .saturating_add(next.saturating_sub(expected));
                self.expected = next;
            }
        }
        None
    }

    /// A message of the topic.
    pub fn message(&mut self, number: u64, announced: &mut Announced) -> (Placed, Option<Fault>) {
        if self.expected == 0 {
            return (Placed::Refused, Some(Fault::NotSubscribed));
        }
        match self.span {
            Span::Plain if number == self.expected => {
                self.expected = number.saturating_add(1);
                (Placed::New, None)
            }
            Span::Plain if number > self.expected => {
                self.expected = number.saturating_add(1);
                (Placed::New, Some(Fault::Hole))
            }
            Span::Plain => (Placed::Refused, Some(Fault::Backwards)),
            Span::Conflated { to, left } => {
                let found = self.within(number, to, announced);
                self.span = Span::Conflated {
                    to,
                    left: left.saturating_sub(1),
                };
                self.end_span(announced);
                match found {
                    // What is merged is never sent again.
                    (Placed::Repeated, _) => (Placed::Refused, Some(Fault::Backwards)),
                    other => other,
                }
            }
            Span::Snapshot { as_of, left } => {
                let found = self.within(number, as_of, announced);
                self.span = Span::Snapshot {
                    as_of,
                    left: left.saturating_sub(1),
                };
                self.end_span(announced);
                found
            }
        }
    }

    /// A message of a span that ends with `end`.
    fn within(
        &mut self,
        number: u64,
        end: u64,
        announced: &mut Announced,
    ) -> (Placed, Option<Fault>) {
        if number > end {
            return (Placed::Refused, Some(Fault::Outside));
        }
        if number < self.expected {
            return (Placed::Repeated, None);
        }
        announced.conflated = announced.conflated.saturating_add(number - self.expected);
        self.expected = number.saturating_add(1);
        (Placed::New, None)
    }

    /// With the last message of a span everything up to its end has been seen.
    fn end_span(&mut self, announced: &mut Announced) {
        let (end, left) = match self.span {
            Span::Plain => return,
            Span::Conflated { to, left } => (to, left),
            Span::Snapshot { as_of, left } => (as_of, left),
        };
        if left == 0 {
            let next = end.saturating_add(1);
            announced.conflated = announced
                .conflated
                .saturating_add(next.saturating_sub(self.expected));
            self.expected = self.expected.max(next);
            self.span = Span::Plain;
        }
    }

    /// `conflated`: of `from` to `to` only `count` arrive.
    pub fn conflated(
        &mut self,
        from: u64,
        to: u64,
        count: u64,
        announced: &mut Announced,
    ) -> Option<Fault> {
        let fault = self.begin_notice(from, to);
        if fault == Some(Fault::Nonsense) || count > (to - from).saturating_add(1) {
            return Some(Fault::Nonsense);
        }
        self.span = Span::Conflated { to, left: count };
        self.end_span(announced);
        fault
    }

    /// `gap`: `from` to `to` do not arrive.
    pub fn gap(&mut self, from: u64, to: u64, announced: &mut Announced) -> Option<Fault> {
        let fault = self.begin_notice(from, to);
        if fault == Some(Fault::Nonsense) {
            return fault;
        }
        let next = to.saturating_add(1);
        announced.gap = announced
            .gap
            .saturating_add(next.saturating_sub(self.expected));
        self.expected = self.expected.max(next);
        self.span = Span::Plain;
        fault
    }

    /// `snapshot`: the next `count` messages are the state as of `as_of`.
    pub fn snapshot(&mut self, as_of: u64, count: u64, announced: &mut Announced) -> Option<Fault> {
        if self.expected == 0 {
            return Some(Fault::NotSubscribed);
        }
        let fault = (self.span != Span::Plain).then_some(Fault::Interrupted);
        self.span = Span::Snapshot { as_of, left: count };
        self.end_span(announced);
        fault
    }

    /// What `conflated` and `gap` have in common: they begin where the numbers are.
    fn begin_notice(&mut self, from: u64, to: u64) -> Option<Fault> {
        if self.expected == 0 {
            return Some(Fault::Nonsense);
        }
        if from == 0 || to < from {
            return Some(Fault::Nonsense);
        }
        if self.span != Span::Plain {
            return Some(Fault::Interrupted);
        }
        match from.cmp(&self.expected) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Less => Some(Fault::Backwards),
            std::cmp::Ordering::Greater => {
                self.expected = from;
                Some(Fault::Hole)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(head: u64) -> (Cursor, Announced) {
        let (mut cursor, mut announced) = (Cursor::default(), Announced::default());
        assert_eq!(cursor.subscribed(head, None, &mut announced), None);
        (cursor, announced)
    }

    #[test]
    fn plain_numbers() {
        let (mut cursor, mut announced) = at(840);
        assert_eq!(cursor.message(841, &mut announced), (Placed::New, None));
        assert_eq!(
            cursor.message(843, &mut announced),
            (Placed::New, Some(Fault::Hole))
        );
        assert_eq!(
            cursor.message(843, &mut announced),
            (Placed::Refused, Some(Fault::Backwards))
        );
        assert_eq!(cursor.last(), Some(843));
        assert_eq!(announced, Announced::default());
        let mut nobody = Cursor::default();
        assert_eq!(
            nobody.message(1, &mut announced),
            (Placed::Refused, Some(Fault::NotSubscribed))
        );
    }

    #[test]
    fn conflated_spans() {
        let (mut cursor, mut announced) = at(841);
        assert_eq!(cursor.conflated(842, 901, 3, &mut announced), None);
        for number in [850, 860, 900] {
            assert_eq!(cursor.message(number, &mut announced), (Placed::New, None));
        }
        assert_eq!(announced.conflated, 57);
        assert_eq!(cursor.message(902, &mut announced), (Placed::New, None));
        assert_eq!(cursor.conflated(903, 904, 0, &mut announced), None);
        assert_eq!(cursor.last(), Some(904));
        // One message too far, one twice, and a notice in the middle.
        assert_eq!(cursor.conflated(905, 910, 3, &mut announced), None);
        assert_eq!(
            cursor.message(911, &mut announced),
            (Placed::Refused, Some(Fault::Outside))
        );
        assert_eq!(
            cursor.gap(905, 906, &mut announced),
            Some(Fault::Interrupted)
        );
    }

    #[test]
    fn gaps_and_snapshots() {
        let (mut cursor, mut announced) = at(10);
        assert_eq!(cursor.gap(11, 20, &mut announced), None);
        assert_eq!(announced.gap, 10);
        assert_eq!(cursor.snapshot(25, 3, &mut announced), None);
        assert_eq!(cursor.message(4, &mut announced), (Placed::Repeated, None));
        assert_eq!(cursor.message(22, &mut announced), (Placed::New, None));
        assert_eq!(cursor.message(24, &mut announced), (Placed::New, None));
        assert_eq!(announced.conflated, 3);
        assert_eq!(cursor.last(), Some(25));
        assert_eq!(cursor.gap(30, 31, &mut announced), Some(Fault::Hole));
        assert_eq!(cursor.gap(31, 33, &mut announced), Some(Fault::Backwards));
        assert_eq!(cursor.last(), Some(33));
        assert_eq!(cursor.gap(40, 35, &mut announced), Some(Fault::Nonsense));
        assert_eq!(
            cursor.conflated(34, 35, 3, &mut announced),
            Some(Fault::Nonsense)
        );
    }

    #[test]
    fn coming_back() {
        let (mut cursor, mut announced) = at(10);
        assert_eq!(cursor.message(11, &mut announced).1, None);
        assert_eq!(cursor.subscribed(14, Some(true), &mut announced), None);
        assert_eq!(cursor.message(12, &mut announced), (Placed::New, None));
        assert_eq!(cursor.subscribed(20, Some(false), &mut announced), None);
        assert_eq!(announced.unrecovered, 8);
        assert_eq!(cursor.message(21, &mut announced), (Placed::New, None));
        assert_eq!(
            cursor.subscribed(5, Some(true), &mut announced),
            Some(Fault::Nonsense)
        );
    }

    proptest! {
        /// A server that keeps to the protocol, whatever it leaves out: nothing is a fault, and
        /// every number is delivered or announced exactly once.
        #[test]
        fn every_number_is_accounted_for_once(steps in proptest::collection::vec((0u8..5, 1u64..30, any::<u64>()), 0..60)) {
            let (mut cursor, mut announced) = at(100);
            let (mut head, mut delivered) = (100, 0);
            for (kind, length, pattern) in steps {
                let (from, to) = (head + 1, head + length);
                match kind {
                    0 => prop_assert_eq!(cursor.gap(from, to, &mut announced), None),
                    1 | 2 => {
                        let kept: Vec<u64> = (from..=to).filter(|number| pattern >> (number % 64) & 1 == 1).collect();
                        let count = kept.len() as u64;
                        if kind == 1 {
                            prop_assert_eq!(cursor.conflated(from, to, count, &mut announced), None);
                        } else {
                            prop_assert_eq!(cursor.snapshot(to, count + 1, &mut announced), None);
                            prop_assert_eq!(cursor.message(7, &mut announced), (Placed::Repeated, None));
                        }
                        for number in kept {
                            prop_assert_eq!(cursor.message(number, &mut announced), (Placed::New, None));
                            delivered += 1;
                        }
                    }
                    _ => for number in from..=to {
                        prop_assert_eq!(cursor.message(number, &mut announced), (Placed::New, None));
                        delivered += 1;
                    },
                }
                head = to;
                prop_assert_eq!(cursor.last(), Some(head));
                prop_assert_eq!(delivered + announced.gap + announced.conflated, head - 100);
            }
        }

        #[test]
        fn nothing_a_server_says_panics(steps in proptest::collection::vec((0u8..5, any::<u64>(), any::<u64>(), any::<u64>()), 0..40)) {
            let (mut cursor, mut announced) = (Cursor::default(), Announced::default());
            for (kind, first, second, third) in steps {
                match kind {
                    0 => drop(cursor.subscribed(first, Some(second % 2 == 0), &mut announced)),
                    1 => drop(cursor.message(first, &mut announced)),
                    2 => drop(cursor.conflated(first, second, third, &mut announced)),
                    3 => drop(cursor.gap(first, second, &mut announced)),
                    _ => drop(cursor.snapshot(first, second, &mut announced)),
                }
            }
        }
    }
}
