// The parts that need no connection: back-off, names, positions, state.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { test } from 'node:test';
import { Backoff, DEFAULTS, StateMap, Track, checkFilter, matches } from '../fanwire.js';

test('back-off: full jitter below a ceiling that doubles up to a limit', () => {
  const ceilings = [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000];
  const longest = new Backoff(DEFAULTS, () => 1);
  assert.deepEqual(ceilings.map(() => longest.next(1006)), ceilings);
  const shortest = new Backoff(DEFAULTS, () => 0);
  assert.deepEqual(ceilings.map(() => shortest.next(1006)), ceilings.map(() => 0));
  const half = new Backoff(DEFAULTS, () => 0.5);
  assert.deepEqual([half.next(1001), half.next(4008)], [125, 250]);
  half.reset();
  assert.deepEqual([half.next(1013), half.next(1013), half.next(1006)], [1000, 2000, 500]);
  half.attempt = 5000;
  assert.equal(half.next(1006), 15000);
});

test('names and patterns', () => {
  for (const name of ['a', 'trades.BTC-USD', 'ü.€', Array(16).fill('x').join('.'), 'a'.repeat(256)]) checkFilter(name, { isName: true });
  for (const pattern of ['*', '>', 'a.*', '*.b', 'a.>', '*.*.>']) {
    checkFilter(pattern);
    assert.throws(() => checkFilter(pattern, { isName: true }), { code: 'bad_topic' });
  }
  const wrong = ['', '.', 'a..b', '.a', 'a.', 'a b', 'a\n', 'a*', '>.a', 'a.>.b', 'a"', 'a\\b', 'a\u0000', 'a\u0085', Array(17).fill('x').join('.'),
    'a'.repeat(257), `${'ü'.repeat(128)}x`, 7, null, undefined];
  for (const name of wrong) assert.throws(() => checkFilter(name), { code: 'bad_topic' }, String(name));
  const table = [
    ['a', 'a', true], ['a', 'b', false], ['a', 'a.b', false], ['a.b', 'a', false],
    ['*', 'a', true], ['*', 'a.b', false], ['a.*', 'a.b', true], ['a.*', 'a', false], ['a.*', 'a.b.c', false], ['*.b', 'a.b', true],
    ['>', 'a', true], ['>', 'a.b.c', true], ['a.>', 'a', false], ['a.>', 'a.b', true], ['a.>', 'a.b.c', true], ['a.>', 'b.c', false],
    ['a.*.>', 'a.b', false], ['a.*.>', 'a.b.c', true], ['a.B', 'a.b', false],
  ];
  for (const [pattern, topic, expected] of table) assert.equal(matches(pattern, topic), expected, `${pattern} ${topic}`);
});

test('a position notices holes, duplicates and batches that are cut short', () => {
  const track = new Track('t');
  track.start('e', 10, 'state');
  assert.equal(track.message(11), null);
  assert.deepEqual(track.message(14), { reason: 'hole', from: 12, to: 13 });
  assert.equal(track.message(14).reason, 'duplicate');
  assert.equal(track.message(15), null);
  assert.equal(track.conflated(16, 30, 2), null);
  assert.equal(track.message(20), null);
  assert.equal(track.seq, 20);
  assert.equal(track.message(19).reason, 'duplicate');
  assert.equal(track.message(25), null);
  assert.equal(track.seq, 30);
  assert.deepEqual(track.conflated(32, 40, 0), { reason: 'hole', from: 31, to: 31 });
  assert.equal(track.seq, 40);
  assert.equal(track.gap(41, 50), null);
  assert.deepEqual(track.gap(52, 60), { reason: 'hole', from: 51, to: 51 });
  assert.equal(track.snapshot('f', 100, 2), null);
  assert.equal(track.message(3), null);
  assert.deepEqual([track.epoch, track.seq], ['f', 3]);
  assert.deepEqual(track.gap(101, 110), { reason: 'hole', from: 4, to: 100 });
  assert.equal(track.snapshot('f', 120, 1), null);
  assert.equal(track.message(121).reason, 'hole');
  assert.equal(track.message(122), null);
});

// A hub in miniature: one state topic, and a subscriber that falls behind, is merged, cut off and resumed at random.
class Model {
  constructor(seed) {
    this.random = mulberry(seed);
    this.log = [];
    this.items = [];
    this.seen = 0;
  }

  pick(below) {
    return Math.floor(this.random() * below);
  }

  publish() {
    const seq = this.log.length + 1;
    this.log.push({ type: 'message', topic: 't', seq, key: `k${this.pick(6)}`, data: seq, ...(this.pick(5) === 0 ? { removed: true } : {}) });
  }

  stateAt(seq) {
    const state = new Map();
    for (const { key, data, removed } of this.log.slice(0, seq)) {
      if (removed) state.delete(key);
      else state.set(key, data);
    }
    return state;
  }

  merged(after, isSnapshot) {
    const newest = new Map(this.log.map((message) => [message.key, message]));
    return this.log.filter((message) => message.seq > after && newest.get(message.key) === message && !(isSnapshot && message.removed));
  }

  catchUp() {
    const head = this.log.length;
    if (this.pick(2) === 0) {
      this.items.push(...this.log.slice(this.seen));
    } else if (head > this.seen) {
      const batch = this.merged(this.seen, false);
      this.items.push({ type: 'conflated', topic: 't', from: this.seen + 1, to: head, count: batch.length, whole: true }, ...batch);
    }
    this.seen = head;
  }

  snapshot() {
    const batch = this.merged(0, true);
    this.items.push({ type: 'snapshot', topic: 't', epoch: 'e', asOf: this.log.length, count: batch.length, whole: true }, ...batch);
    this.seen = this.log.length;
  }
}

function mulberry(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6D2B79F5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

// Applies items as the client does; returns what was wrong.
function follow(items, model, map, track) {
  const wrong = [];
  for (const item of items) {
    let fault = null;
    if (item.type === 'message') fault = track.message(item.seq);
    else if (item.type === 'snapshot') fault = track.snapshot(item.epoch, item.asOf, item.count);
    else if (item.type === 'conflated') fault = track.conflated(item.from, item.to, item.count);
    if (fault) {
      wrong.push(fault);
      map.apply({ type: 'fault', topic: 't', ...fault });
    }
    map.apply(item);
    if (!map.whole) continue;
    assert.deepEqual([...map].sort(), [...model.stateAt(map.seq)].sort(), `at ${map.seq}`);
    assert.equal(map.seq, track.seq);
  }
  return wrong;
}

test('a state that says it is whole is the state of the hub, whatever was merged, cut off and resumed', (context) => {
  const seed = Number(process.env.FANWIRE_SEED ?? randomInt(2 ** 31));
  context.diagnostic(`replay with FANWIRE_SEED=${seed}`);
  let wholes = 0;
  for (let round = 0; round < 300; round += 1) {
    const model = new Model(seed + round);
    const map = new StateMap('t');
    const track = new Track('t');
    for (let index = model.pick(20); index > 0; index -= 1) model.publish();
    model.snapshot();
    map.apply({ type: 'subscribed', topic: 't', epoch: 'e', seq: model.seen });
    track.start('e', model.seen, 'state', true);
    for (let turn = 0; turn < 20; turn += 1) {
      for (let index = model.pick(12); index > 0; index -= 1) model.publish();
      if (model.pick(8) === 0) model.snapshot();
      else model.catchUp();
      const items = model.items.splice(0);
      if (model.pick(3) > 0) {
        assert.deepEqual(follow(items, model, map, track), [], `seed ${seed}, round ${round}`);
        assert.ok(map.whole, `seed ${seed}, round ${round}`);
        wholes += 1;
        continue;
      }
      // The connection is cut after some of the items; the next one resumes where the track says.
      assert.deepEqual(follow(items.slice(0, model.pick(items.length + 1)), model, map, track), []);
      track.stop();
      const isFresh = track.epoch === undefined;
      model.seen = isFresh ? model.log.length : track.seq;
      const notice = { topic: 't', epoch: 'e', seq: model.log.length, replay: model.log.length - model.seen };
      map.apply({ type: isFresh ? 'subscribed' : 'resumed', ...notice });
      track.start('e', model.seen, 'state', isFresh);
      if (isFresh) model.snapshot();
    }
  }
  assert.ok(wholes > 1000);
});

test('one message taken out of a stream is a fault and the state is no longer whole', (context) => {
  const seed = Number(process.env.FANWIRE_SEED ?? randomInt(2 ** 31));
  context.diagnostic(`replay with FANWIRE_SEED=${seed}`);
  for (let round = 0; round < 200; round += 1) {
    const model = new Model(seed + round);
    const map = new StateMap('t');
    const track = new Track('t');
    track.start('e', 0, 'state');
    map.apply({ type: 'subscribed', topic: 't', epoch: 'e', seq: 0 });
    for (let index = 0; index < 20; index += 1) model.publish();
    const items = [...model.log];
    items.splice(model.pick(19), 1);
    assert.equal(follow(items, model, map, track).length, 1, `seed ${seed}, round ${round}`);
    assert.equal(map.whole, false);
    model.snapshot();
    assert.deepEqual(follow(model.items, model, map, track), []);
    assert.equal(map.whole, true);
  }
});

test('a state keeps events out, and waits for what was announced', () => {
  const map = new StateMap('t');
  assert.equal(map.apply({ type: 'message', topic: 'other', seq: 1, key: 'a', data: 1 }), false);
  map.apply({ type: 'subscribed', topic: 't', epoch: 'e', seq: 5 });
  assert.equal(map.whole, false);
  map.apply({ type: 'snapshot', topic: 't', epoch: 'e', asOf: 5, count: 2, whole: false });
  map.apply({ type: 'message', topic: 't', seq: 2, key: 'a', data: 1 });
  map.apply({ type: 'message', topic: 't', seq: 4, key: 'b', data: 2 });
  assert.deepEqual([map.whole, map.seq, map.size], [false, 5, 2]);
  map.apply({ type: 'conflated', topic: 't', from: 6, to: 9, count: 1, whole: true });
  assert.equal(map.whole, false);
  map.apply({ type: 'message', topic: 't', seq: 9, key: 'a', data: 3 });
  assert.deepEqual([map.whole, map.seq, map.get('a')], [true, 9, 3]);
  map.apply({ type: 'message', topic: 't', seq: 10, key: 'a', data: 'traded', event: true });
  assert.deepEqual([map.whole, map.seq, map.get('a')], [true, 10, 3]);
  map.apply({ type: 'message', topic: 't', seq: 11, key: 'a', removed: true });
  assert.deepEqual([map.has('a'), map.size], [false, 1]);
  map.apply({ type: 'gap', topic: 't', from: 12, to: 20, cause: 'slow' });
  assert.equal(map.whole, false);
  map.apply({ type: 'lost', topic: 't', epoch: 'f', seq: 0 });
  assert.deepEqual([map.whole, map.size, map.epoch], [true, 0, 'f']);
});
