"""The parts that need no connection: back-off, names, positions, state."""

import os
import random
import unittest

import support  # noqa: F401  (finds the package)

from fanwire import (
    Backoff, Conflated, FanwireError, Fault, Gap, Lost, Message, Position, Resumed, Snapshot, StateMap, Subscribed, Track, check_filter, matches)

SEED = int(os.environ.get("FANWIRE_SEED") or random.SystemRandom().randrange(2**31))


class Parts(unittest.TestCase):
    def test_back_off_has_full_jitter_below_a_ceiling_that_doubles_up_to_a_limit(self):
        ceilings = [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
        self.assertEqual([delay for backoff in [Backoff(random=lambda: 1.0)] for delay in (backoff.next(1006) for _ in ceilings)], ceilings)
        shortest = Backoff(random=lambda: 0.0)
        self.assertEqual({shortest.next(1006) for _ in ceilings}, {0.0})
        half = Backoff(random=lambda: 0.5)
        self.assertEqual([half.next(1001), half.next(4008)], [0.125, 0.25])
        half.reset()
        self.assertEqual([half.next(1013), half.next(1013), half.next(1006)], [1.0, 2.0, 0.5])
        half.attempt = 5000
        self.assertEqual(half.next(1006), 15.0)

    def test_names_and_patterns(self):
        for name in ("a", "trades.BTC-USD", "ü.€", ".".join("x" * 16), "a" * 256):
            check_filter(name, is_name=True)
        for pattern in ("*", ">", "a.*", "*.b", "a.>", "*.*.>"):
            check_filter(pattern)
            with self.assertRaises(FanwireError, msg=pattern):
                check_filter(pattern, is_name=True)
        wrong = ["", ".", "a..b", ".a", "a.", "a b", "a\n", "a*", ">.a", "a.>.b", 'a"', "a\\b", "a\0", "a\x85", "\ud800", ".".join("x" * 17), "a" * 257,
                 "ü" * 128 + "x", 7, None]
        for name in wrong:
            with self.assertRaises(FanwireError, msg=repr(name)) as raised:
                check_filter(name)
            self.assertEqual(raised.exception.code, "bad_topic")
        table = [
            ("a", "a", True), ("a", "b", False), ("a", "a.b", False), ("a.b", "a", False), ("*", "a", True), ("*", "a.b", False),
            ("a.*", "a.b", True), ("a.*", "a", False), ("a.*", "a.b.c", False), ("*.b", "a.b", True), (">", "a", True), (">", "a.b.c", True),
            ("a.>", "a", False), ("a.>", "a.b", True), ("a.>", "a.b.c", True), ("a.>", "b.c", False), ("a.*.>", "a.b", False),
            ("a.*.>", "a.b.c", True), ("a.B", "a.b", False)]
        for pattern, topic, expected in table:
            self.assertEqual(matches(pattern, topic), expected, (pattern, topic))

    def test_a_position_notices_holes_duplicates_and_batches_that_are_cut_short(self):
        def seen(wrong):
            return wrong and (wrong.reason, wrong.start, wrong.end)
        track = Track("t")
        track.start("e", 10, "state")
        self.assertIsNone(track.message(11))
        self.assertEqual(seen(track.message(14)), ("hole", 12, 13))
        self.assertEqual(seen(track.message(14)), ("duplicate", 14, 14))
        self.assertIsNone(track.message(15))
        self.assertIsNone(track.conflated(16, 30, 2))
        self.assertIsNone(track.message(20))
        self.assertEqual(track.position, Position("e", 20))
        self.assertEqual(seen(track.message(19)), ("duplicate", 19, 19))
        self.assertIsNone(track.message(25))
        self.assertEqual(track.seq, 30)
        self.assertEqual(seen(track.conflated(32, 40, 0)), ("hole", 31, 31))
        self.assertEqual(track.seq, 40)
        self.assertIsNone(track.gap(41, 50))
        self.assertEqual(seen(track.gap(52, 60)), ("hole", 51, 51))
        self.assertIsNone(track.snapshot("f", 100, 2))
        self.assertIsNone(track.message(3))
        self.assertEqual(track.position, Position("f", 3))
        self.assertEqual(seen(track.gap(101, 110)), ("hole", 4, 100))
        self.assertIsNone(track.snapshot("f", 120, 1))
        self.assertEqual(track.message(121).reason, "hole")
        self.assertIsNone(track.message(122))
        track.start("g", 7, "state", awaits_snapshot=True)
        track.stop()
        self.assertIsNone(track.position)

    def test_a_state_keeps_events_out_and_waits_for_what_was_announced(self):
        state = StateMap("t")
        self.assertFalse(state.apply(Message("other", "e", 1, 1, "a")))
        state.apply(Subscribed("t", "e", 5, "state", 0))
        self.assertFalse(state.whole)
        for item in (Snapshot("t", "e", 5, 2, False), Message("t", "e", 2, 1, "a"), Message("t", "e", 4, 2, "b")):
            state.apply(item)
        self.assertEqual((state.whole, state.seq, dict(state)), (False, 5, {"a": 1, "b": 2}))
        state.apply(Conflated("t", 6, 9, 1, True))
        self.assertFalse(state.whole)
        state.apply(Message("t", "e", 9, 3, "a"))
        self.assertEqual((state.whole, state.seq, state["a"]), (True, 9, 3))
        state.apply(Message("t", "e", 10, "traded", "a", event=True))
        state.apply(Message("t", "e", 11, None, "a", removed=True))
        self.assertEqual((state.whole, state.seq, dict(state)), (True, 11, {"b": 2}))
        state.apply(Gap("t", 12, 20, "slow"))
        self.assertFalse(state.whole)
        state.apply(Lost("t", "f", 0, "state", 0, "epoch_changed", Position("e", 20)))
        self.assertEqual((state.whole, len(state), state.epoch), (True, 0, "f"))


class Model:
    """A hub in miniature: one state topic, and a subscriber that falls behind, is merged, cut off and resumed at random."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.log = []
        self.items = []
        self.seen = 0

    def publish(self):
        seq = len(self.log) + 1
        self.log.append(Message("t", "e", seq, seq, f"k{self.random.randrange(6)}", removed=self.random.randrange(5) == 0))

    def state_at(self, seq):
        state = {}
        for message in self.log[:seq]:
            if message.removed:
                state.pop(message.key, None)
            else:
                state[message.key] = message.data
        return state

    def merged(self, after, is_snapshot):
        newest = {message.key: message.seq for message in self.log}
        return [each for each in self.log if each.seq > after and newest[each.key] == each.seq and not (is_snapshot and each.removed)]

    def catch_up(self):
        head = len(self.log)
        if self.random.randrange(2):
            self.items += self.log[self.seen:]
        elif head > self.seen:
            batch = self.merged(self.seen, False)
            self.items += [Conflated("t", self.seen + 1, head, len(batch), True), *batch]
        self.seen = head

    def snapshot(self):
        batch = self.merged(0, True)
        self.items += [Snapshot("t", "e", len(self.log), len(batch), True), *batch]
        self.seen = len(self.log)


class AgainstTheModel(unittest.TestCase):
    def follow(self, items, model, state, track):
        wrongs = []
        for item in items:
            match item:
                case Message():
                    wrong = track.message(item.seq)
                case Snapshot():
                    wrong = track.snapshot(item.epoch, item.as_of, item.count)
                case Conflated():
                    wrong = track.conflated(item.start, item.end, item.count)
            if wrong:
                wrongs.append(wrong)
                state.apply(Fault(wrong.reason, "", "t", "e", wrong.start, wrong.end))
            state.apply(item)
            if state.whole:
                self.assertEqual(dict(state), model.state_at(state.seq), f"FANWIRE_SEED={SEED}")
                self.assertEqual(state.seq, track.seq)
        return wrongs

    def test_a_state_that_says_it_is_whole_is_the_state_of_the_hub(self):
        print(f"replay with FANWIRE_SEED={SEED}")
        wholes = 0
        for round_number in range(300):
            model, state, track = Model(SEED + round_number), StateMap("t"), Track("t")
            for _ in range(model.random.randrange(20)):
                model.publish()
            model.snapshot()
            state.apply(Subscribed("t", "e", model.seen, "state", 0))
            track.start("e", model.seen, "state", awaits_snapshot=True)
            for _ in range(20):
                for _ in range(model.random.randrange(12)):
                    model.publish()
                model.snapshot() if model.random.randrange(8) == 0 else model.catch_up()
                items, model.items = model.items, []
                if model.random.randrange(3):
                    self.assertEqual(self.follow(items, model, state, track), [])
                    self.assertTrue(state.whole, f"FANWIRE_SEED={SEED}, round {round_number}")
                    wholes += 1
                    continue
                # The connection is cut after some of the items; the next one resumes where the track says.
                self.assertEqual(self.follow(items[:model.random.randrange(len(items) + 1)], model, state, track), [])
                track.stop()
                head, is_fresh = len(model.log), track.position is None
                model.seen = head if is_fresh else track.seq
                state.apply((Subscribed if is_fresh else Resumed)("t", "e", head, "state", head - model.seen))
                track.start("e", model.seen, "state", awaits_snapshot=is_fresh)
                if is_fresh:
                    model.snapshot()
        self.assertGreater(wholes, 1000)

    def test_one_message_taken_out_of_a_stream_is_a_fault_and_the_state_no_longer_whole(self):
        print(f"replay with FANWIRE_SEED={SEED}")
        for round_number in range(200):
            model, state, track = Model(SEED + round_number), StateMap("t"), Track("t")
            track.start("e", 0, "state")
            state.apply(Subscribed("t", "e", 0, "state", 0))
            for _ in range(20):
                model.publish()
            items = list(model.log)
            items.pop(model.random.randrange(19))
            self.assertEqual(len(self.follow(items, model, state, track)), 1)
            self.assertFalse(state.whole)
            model.snapshot()
            self.assertEqual(self.follow(model.items, model, state, track), [])
            self.assertTrue(state.whole)


if __name__ == "__main__":
    unittest.main()
