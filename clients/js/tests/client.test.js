// The client against a server that does what a real one will not do on demand.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client, StateMap } from '../fanwire.js';
import { FakeClock, Mailbox, ScriptedServer, chosenWebSocket, within } from './support.js';

const WebSocket = chosenWebSocket();
// `ws` sets this where the platform's own does not: only such a socket can be told to stop reading.
const canPause = typeof WebSocket.prototype.pause === 'function';
let server;

before(async () => { server = await ScriptedServer.start(); });
after(() => server.stop());

// A client with a clock of its own and every event in a mailbox.
function make(options = {}) {
  const clock = new FakeClock();
  const client = new Client(server.url, { WebSocket, clock, random: () => 0.5, ...options });
  const events = {};
  for (const name of ['open', 'close', 'notice', 'fault', 'error']) {
    events[name] = new Mailbox();
    client.on(name, (value) => events[name].put(value));
  }
  return { client, clock, events };
}

async function open(options) {
  const made = make(options);
  const opened = made.client.open();
  const { subprotocol } = await server.expect('open');
  await within(opened, 'open');
  return { ...made, subprotocol };
}

async function finish(client) {
  await within(client.close(), 'close');
  await server.expect('closed');
}

// Subscribes, checks nothing, answers for one events topic.
async function subscribed(client, topic, options, answer = {}) {
  const items = new Mailbox();
  const put = (item) => items.put(item);
  const subscription = client.subscribe(topic, { onMessage: put, onNotice: put, ...options });
  const command = await server.command();
  server.send({ op: 'subscribed', id: command.id, topic, kind: 'events', epoch: 'e1', seq: 0, alias: 1, ...answer });
  await within(subscription.ready, 'ready');
  const notice = await items.take('the first notice');
  return { subscription, items, command, notice };
}

const brief = ({ type, seq, from, to, reason, code }) => [type, ...[seq ?? from, to, reason ?? code].filter((value) => value !== undefined)];

test('subscribing: the command, the answers, messages by iteration', async () => {
  const { client, subprotocol } = await open();
  assert.equal(subprotocol, 'fanwire.v1.json');
  const subscription = client.subscribe(['a.b', 'c.>'], { maxRate: 50, history: 3, snapshot: false, resume: { 'a.b': { epoch: 'e0', seq: 7 } } });
  const command = await server.command();
  assert.deepEqual(command, {
    op: 'subscribe', id: command.id, topics: ['a.b', 'c.>'], resume: { 'a.b': { epoch: 'e0', seq: 7 } }, max_rate: 50, history: 3, snapshot: false,
  });
  server.send(
    { op: 'subscribed', id: command.id, topic: 'a.b', kind: 'events', epoch: 'e0', seq: 8, alias: 1, recovered: true, replay: 1 },
    { op: 'subscribed', id: command.id, pattern: 'c.>' },
    { op: 'subscribed', pattern: 'c.>', topic: 'c.d', kind: 'events', epoch: 'e9', seq: 2, alias: 2 },
    '{"topic":"a.b","seq":8,"data":{"x":[1,null,"é"]}}',
    '{"topic":"c.d","seq":3,"key":"k","data":"text"}',
    '{"topic":"c.d","seq":4,"data_base64":"AAEC"}',
    { op: 'some-day', topic: 'a.b' },
  );
  await within(subscription.ready, 'ready');
  const seen = [];
  for await (const message of subscription) {
    seen.push(message);
    if (seen.length === 3) break;
  }
  assert.deepEqual(seen, [
    { type: 'message', topic: 'a.b', epoch: 'e0', seq: 8, data: { x: [1, null, 'é'] } },
    { type: 'message', topic: 'c.d', epoch: 'e9', seq: 3, data: 'text', key: 'k' },
    { type: 'message', topic: 'c.d', epoch: 'e9', seq: 4, data: new Uint8Array([0, 1, 2]) },
  ]);
  assert.deepEqual((await server.command()).topics, ['a.b', 'c.>']);
  await finish(client);
});

test('a hole and a duplicate that were not announced are faults; what was announced is not', async () => {
  const { client, events } = await open();
  const { items } = await subscribed(client, 'a');
  server.send(
    { topic: 'a', seq: 1, data: 1 }, { topic: 'a', seq: 4, data: 4 }, { topic: 'a', seq: 4, data: 4 }, { topic: 'a', seq: 5, data: 5 },
    { op: 'gap', topic: 'a', from: 6, to: 9, cause: 'slow' }, { topic: 'a', seq: 10, data: 10 },
    { op: 'gap', topic: 'a', from: 12, to: 12, cause: 'rate' }, { topic: 'a', seq: 13, data: 13 },
  );
  const seen = [];
  for (let index = 0; index < 9; index += 1) seen.push(brief(await items.take()));
  assert.deepEqual(seen, [
    ['message', 1], ['fault', 2, 3, 'hole'], ['message', 4], ['fault', 4, 4, 'duplicate'], ['message', 5], ['gap', 6, 9], ['message', 10],
    ['fault', 11, 11, 'hole'], ['gap', 12, 12],
  ]);
  const fault = await events.fault.take();
  assert.match(fault.message, /messages 2 to 3 of a are missing and were not announced/);
  await finish(client);
});

test('a connection that is cut off is made again and resumes every topic', async () => {
  const { client, clock, events } = await open();
  const { items } = await subscribed(client, 'a');
  client.subscribe('p.*', { maxRate: 5 });
  const { id } = await server.command();
  server.send(
    { op: 'subscribed', id, pattern: 'p.*' }, { op: 'subscribed', pattern: 'p.*', topic: 'p.x', kind: 'state', epoch: 'e2', seq: 40, alias: 2 },
    { topic: 'a', seq: 1, data: 1 }, { topic: 'a', seq: 2, data: 2 },
    { op: 'conflated', topic: 'p.x', from: 41, to: 60, count: 3, whole: true }, { topic: 'p.x', seq: 50, key: 'k', data: 1 }, { topic: 'a', seq: 3, data: 3 },
  );
  for (let seq = 1; seq <= 3; seq += 1) assert.equal((await items.take()).seq, seq);
  server.do({ do: 'abort' });
  await server.expect('closed');
  const { willRetry, delayMs } = await events.close.take();
  assert.deepEqual([willRetry, delayMs, client.isOpen], [true, 125, false]);
  await assert.rejects(client.publish('a', 1), { code: 'not_connected' });
  clock.advance(124);
  clock.advance(1);
  await server.expect('open');
  const first = await server.command();
  const second = await server.command();
  assert.deepEqual([first.topics, first.resume], [['a'], { a: { epoch: 'e1', seq: 3 } }]);
  // Within a merged batch the position is the last message of it that came.
  assert.deepEqual([second.topics, second.resume, second.max_rate], [['p.*'], { 'p.x': { epoch: 'e2', seq: 50 } }, 5]);
  server.send(
    { op: 'subscribed', id: first.id, topic: 'a', kind: 'events', epoch: 'e1', seq: 5, alias: 7, recovered: true, replay: 2 },
    { topic: 'a', seq: 4, data: 4 }, { topic: 'a', seq: 5, data: 5 }, { topic: 'a', seq: 6, data: 6 });
  const seen = [];
  for (let index = 0; index < 4; index += 1) seen.push(brief(await items.take()));
  assert.deepEqual(seen, [['resumed', 5], ['message', 4], ['message', 5], ['message', 6]]);
  await finish(client);
});

test('recovered: false is told with its cause, and a state starts over', async () => {
  const { client, clock, events } = await open();
  const changes = new Mailbox();
  const map = StateMap.follow(client, 's', { onChange: (item) => changes.put(item.type) });
  const { id } = await server.command();
  server.send(
    { op: 'subscribed', id, topic: 's', kind: 'state', epoch: 'e1', seq: 9, alias: 1, snapshot: true },
    { op: 'snapshot', topic: 's', epoch: 'e1', as_of: 9, count: 2, whole: true }, { topic: 's', seq: 4, key: 'a', data: 1 }, { topic: 's', seq: 9, key: 'b', data: 2 });
  for (const type of ['subscribed', 'snapshot', 'message', 'message']) assert.equal(await changes.take(), type);
  assert.deepEqual([map.whole, map.seq, [...map]], [true, 9, [['a', 1], ['b', 2]]]);
  server.do({ do: 'close', code: 1001 });
  await events.close.take();
  await server.expect('closed');
  clock.advance(30_000);
  await server.expect('open');
  const again = await server.command();
  assert.deepEqual(again.resume, { s: { epoch: 'e1', seq: 9 } });
  server.send(
    { op: 'subscribed', id: again.id, topic: 's', kind: 'state', epoch: 'e2', seq: 1, alias: 1, recovered: false, code: 'epoch_changed', snapshot: true },
    { op: 'snapshot', topic: 's', epoch: 'e2', as_of: 1, count: 1, whole: true }, { topic: 's', seq: 1, key: 'c', data: 3 });
  for (const type of ['lost', 'snapshot', 'message']) assert.equal(await changes.take(), type);
  let notice;
  do notice = await events.notice.take(); while (notice.type !== 'lost');
  assert.deepEqual([notice.code, notice.before], ['epoch_changed', { epoch: 'e1', seq: 9 }]);
  assert.deepEqual([map.whole, map.epoch, [...map]], [true, 'e2', [['c', 3]]]);
  await finish(client);
});

test('cut off before the snapshot has begun: nothing to resume', async () => {
  const { client, clock, events } = await open();
  await subscribed(client, 's', {}, { kind: 'state', seq: 9, snapshot: true });
  server.do({ do: 'abort' });
  await server.expect('closed');
  await events.close.take();
  clock.advance(30_000);
  await server.expect('open');
  assert.equal((await server.command()).resume, undefined);
  await finish(client);
});

test('a server that resumes from another place than asked is a fault', async () => {
  const { client, clock, events } = await open();
  const { items } = await subscribed(client, 'a', {}, { seq: 5 });
  server.do({ do: 'abort' });
  await server.expect('closed');
  await events.close.take();
  clock.advance(30_000);
  await server.expect('open');
  const { id } = await server.command();
  server.send({ op: 'subscribed', id, topic: 'a', kind: 'events', epoch: 'e1', seq: 9, alias: 1, recovered: true, replay: 2 });
  assert.deepEqual(brief(await items.take()), ['fault', 6, 7, 'hole']);
  await finish(client);
});

test('refused handshakes: exponential back-off with jitter, by the clock', async () => {
  const { client, clock, events } = make();
  for (let index = 0; index < 9; index += 1) server.do({ do: 'refuse', status: 503 });
  const opened = client.open();
  const delays = [];
  for (let index = 0; index < 9; index += 1) {
    await server.expect('refused');
    const { delayMs, willRetry } = await events.close.take();
    assert.ok(willRetry);
    delays.push(delayMs);
    clock.advance(delayMs - 1);
    clock.advance(1);
  }
  assert.deepEqual(delays, [125, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000]);
  await server.expect('open');
  await within(opened, 'open');
  // A connection that lasts makes the next failure a first one; one that does not, does not.
  server.do({ do: 'abort' });
  await server.expect('closed');
  assert.equal((await events.close.take()).delayMs, 15000);
  clock.advance(15_000);
  await server.expect('open');
  assert.equal((await events.open.take()).attempt, 9);
  await events.open.take();
  clock.advance(10_000);
  server.do({ do: 'abort' });
  await server.expect('closed');
  assert.equal((await events.close.take()).delayMs, 125);
  await within(client.close(), 'close while it waits');
});

test('the last of attemptsMax failures ends it', async () => {
  const { client, clock, events } = make({ attemptsMax: 2 });
  server.do({ do: 'refuse', status: 403 });
  server.do({ do: 'refuse', status: 403 });
  const opened = client.open();
  const subscription = client.subscribe('a');
  await server.expect('refused');
  clock.advance((await events.close.take()).delayMs);
  await server.expect('refused');
  await assert.rejects(within(opened, 'open'), { code: 'given_up' });
  assert.equal((await events.close.take()).willRetry, false);
  await assert.rejects(subscription[Symbol.asyncIterator]().next(), { code: 'given_up' });
  assert.throws(() => client.subscribe('b'), { code: 'closed' });
});

test('1008 ends it unless told otherwise; 1013 waits longer', async () => {
  const { client, events } = await open();
  const subscription = client.subscribe('a');
  await server.command();
  const iteration = assert.rejects(within(subscription[Symbol.asyncIterator]().next(), 'iteration'), { code: 'policy_violation', message: /too many errors/ });
  server.do({ do: 'close', code: 1008, reason: 'too many errors' });
  await server.expect('closed');
  await iteration;
  await assert.rejects(within(subscription.ready, 'ready'), { code: 'policy_violation' });
  const { code, willRetry } = await events.close.take();
  assert.deepEqual([code, willRetry], [1008, false]);

  const stubborn = await open({ retryPolicyViolation: true });
  server.do({ do: 'close', code: 1008 });
  await server.expect('closed');
  assert.deepEqual((await stubborn.events.close.take()).delayMs, 125);
  stubborn.clock.advance(125);
  await server.expect('open');
  await stubborn.events.open.take();
  await stubborn.events.open.take();
  server.do({ do: 'close', code: 1013 });
  await server.expect('closed');
  assert.equal((await stubborn.events.close.take()).delayMs, 2000);
  await stubborn.client.close();
});

test('a server that speaks something else is left at once', async () => {
  server.do({ do: 'choose', subprotocol: null });
  const { client, events } = make();
  const opened = client.open();
  await server.expect('open');
  // Some WebSockets refuse such an answer themselves and cannot say why; then it is an attempt that failed.
  const ended = await within(Promise.race([events.close.take(), assert.rejects(opened, { code: 'bad_subprotocol' })]), 'its end');
  if (ended) assert.match(ended.reason, /protocol|/i);
  await client.close();
  await server.expect('closed');
  server.do({ do: 'choose' });
});

test('what is malformed is a fault each, and the connection lives on', async () => {
  const { client, events } = await open();
  const { items } = await subscribed(client, 'a');
  const wrong = [
    '', '{', 'null', '[]', '7', '"x"', '{}', '{"topic":7,"seq":1}', '{"topic":"a"}', '{"topic":"a","seq":-1,"data":1}', '{"topic":"a","seq":1.5}',
    '{"topic":"a","seq":"1"}', '{"topic":"nobody","seq":1,"data":1}', '{"topic":"a","seq":1,"data_base64":"*"}', '{"op":"gap","topic":"a","from":1}',
    '{"op":"gap","topic":"b","from":1,"to":2}', '{"op":"conflated","topic":"a","from":1,"to":2}', '{"op":"snapshot","topic":"a","as_of":"x","count":1}',
    '{"op":"subscribed","topic":"a","epoch":"e1"}',
  ];
  server.send(...wrong);
  for (const text of wrong) {
    const fault = await events.fault.take(text);
    assert.equal(fault.reason, 'malformed', text);
  }
  for (const hex of ['', '01', '0104000001000000', '02040000010000000100000000000000', '01040000630000000100000000000000', '0104ffff010000000100000000000000',
    '010400000100000001000000000000007b', '01080000010000000100000000000000ff']) {
    server.do({ do: 'send', hex });
    assert.equal((await events.fault.take(hex)).reason, 'malformed', hex);
  }
  server.send({ topic: 'a', seq: 1, data: 'fine' });
  assert.equal((await items.take()).data, 'fine');
  await finish(client);
});

test('publishing: acknowledged, refused, unanswered, cut off', async () => {
  const { client, clock, events } = await open();
  const published = client.publish('a', { price: '1' }, { key: 'k' });
  const { id, ...command } = await server.command();
  assert.deepEqual(command, { op: 'publish', topic: 'a', key: 'k', data: { price: '1' } });
  server.send({ op: 'published', id, topic: 'a', epoch: 'e', seq: 3 });
  assert.deepEqual(await within(published, 'published'), { topic: 'a', epoch: 'e', seq: 3 });

  const refused = client.publish('a', null, { key: 'k', remove: true });
  const removal = await server.command();
  assert.deepEqual([removal.remove, 'data' in removal], [true, false]);
  server.send({ op: 'error', id: removal.id, code: 'busy', topic: 'a', message: 'try again later' });
  await assert.rejects(within(refused, 'refused'), { code: 'busy', topic: 'a' });

  await client.publish('a', 1, { ack: false });
  assert.deepEqual(await server.command(), { op: 'publish', topic: 'a', data: 1 });
  server.send({ op: 'error', code: 'forbidden', message: 'no' });
  assert.equal((await events.error.take()).code, 'forbidden');

  await assert.rejects(client.publish('a.*', 1), { code: 'bad_topic' });
  await assert.rejects(client.publish('a', new Uint8Array(2)), { code: 'bad_option' });
  await assert.rejects(client.publish('a', undefined), { code: 'bad_option' });

  const pinged = client.ping();
  const ping = await server.command();
  clock.advance(12);
  server.send({ op: 'pong', id: ping.id });
  assert.equal(await within(pinged, 'pong'), 12);

  const late = client.publish('a', 1);
  await server.command();
  clock.advance(10_000);
  await assert.rejects(within(late, 'late'), { code: 'timeout' });
  const cut = assert.rejects(within(client.publish('a', 1), 'cut'), { code: 'connection_lost' });
  await server.command();
  server.do({ do: 'abort' });
  await server.expect('closed');
  await cut;
  await client.close();
});

test('refused names are told, and not asked for again', async () => {
  const { client, clock, events } = await open();
  const subscription = client.subscribe(['a', 'b']);
  const { id } = await server.command();
  server.send(
    { op: 'error', id, code: 'too_many_topics', topic: 'b', message: 'the hub is full' },
    { op: 'subscribed', id, topic: 'a', kind: 'events', epoch: 'e', seq: 0, alias: 1 });
  await assert.rejects(within(subscription.ready, 'ready'), { code: 'too_many_topics', refused: [{ topic: 'b', code: 'too_many_topics', message: 'the hub is full' }] });
  const other = client.subscribe('c');
  const { id: otherId } = await server.command();
  server.send({ op: 'error', id: otherId, code: 'too_many_subscriptions', message: 'no more' });
  await assert.rejects(async () => { for await (const _message of other); }, { code: 'too_many_subscriptions' });
  server.do({ do: 'abort' });
  await server.expect('closed');
  await events.close.take();
  clock.advance(30_000);
  await server.expect('open');
  assert.deepEqual((await server.command()).topics, ['a']);
  await finish(client);
});

test('unsubscribing and configuring', async () => {
  const { client, clock, events } = await open();
  assert.throws(() => client.subscribe([]), { code: 'bad_topic' });
  assert.throws(() => client.subscribe('a..b'), { code: 'bad_topic' });
  const { subscription, items } = await subscribed(client, 'a');
  assert.throws(() => client.subscribe('a'), { code: 'already_subscribed' });
  const configured = subscription.configure({ maxRate: 3 });
  const configure = await server.command();
  assert.deepEqual([configure.op, configure.topics, configure.max_rate], ['configure', ['a'], 3]);
  server.send({ op: 'configured', id: configure.id, topic: 'a', max_rate: 3 });
  await within(configured, 'configured');
  server.do({ do: 'abort' });
  await server.expect('closed');
  await events.close.take();
  clock.advance(30_000);
  await server.expect('open');
  const again = await server.command();
  assert.equal(again.max_rate, 3);
  server.send({ op: 'subscribed', id: again.id, topic: 'a', kind: 'events', epoch: 'e1', seq: 0, alias: 1, recovered: true, replay: 0 });
  await items.take('resumed');
  const ended = subscription.unsubscribe();
  const unsubscribe = await server.command();
  assert.deepEqual([unsubscribe.op, unsubscribe.topics], ['unsubscribe', ['a']]);
  // Until the answer messages may come; they are nobody's, and no fault. After it they are one.
  server.send({ topic: 'a', seq: 1, data: 1 }, { op: 'unsubscribed', id: unsubscribe.id, topic: 'a' }, { topic: 'a', seq: 2, data: 2 });
  await within(ended, 'unsubscribed');
  assert.match((await events.fault.take()).message, /not subscribed/);
  // Asked for again it starts anew.
  const { notice } = await subscribed(client, 'a', {}, { seq: 77 });
  assert.deepEqual([notice.type, notice.seq], ['subscribed', 77]);
  await finish(client);
});

test('a name and a pattern that cover the same topic', async () => {
  const { client } = await open();
  const { items, subscription } = await subscribed(client, 'a.b', {}, { seq: 5 });
  const others = new Mailbox();
  const pattern = client.subscribe('a.>', { onMessage: (item) => others.put(item) });
  const { id } = await server.command();
  server.send(
    { op: 'subscribed', id, pattern: 'a.>' }, { topic: 'a.b', seq: 6, data: 6 },
    { op: 'subscribed', pattern: 'a.>', topic: 'a.b', kind: 'events', epoch: 'e1', seq: 6, alias: 1, already: true }, { topic: 'a.b', seq: 7, data: 7 });
  await within(pattern.ready, 'ready');
  for (const mailbox of [items, others]) for (const seq of [6, 7]) assert.equal((await mailbox.take()).seq, seq);
  const ended = subscription.unsubscribe();
  const command = await server.command();
  server.send({ op: 'unsubscribed', id: command.id, topic: 'a.b' }, { topic: 'a.b', seq: 8, data: 8 });
  await within(ended, 'unsubscribed');
  assert.equal((await others.take()).seq, 8);
  assert.deepEqual(pattern.positions(), { 'a.b': { epoch: 'e1', seq: 8 } });
  await finish(client);
});

test('the binary protocol, byte for byte', async () => {
  const { client, subprotocol } = await open({ protocol: 'binary' });
  assert.equal(subprotocol, 'fanwire.v1.binary');
  const { items } = await subscribed(client, 'tö', {}, { alias: 0x01020304 });
  const send = (hex) => server.do({ do: 'send', hex: hex.replaceAll(' ', '') });
  send('01 04 0000 04030201 0100000000000000 7b2261223a317d');
  send('01 09 0100 04030201 0200000000000000 6b c3a9');
  send('01 00 0000 04030201 0300000000000000 ff00');
  send('01 02 0100 04030201 0400000000000000 6b');
  const common = { type: 'message', topic: 'tö', epoch: 'e1' };
  const expected = [
    { ...common, seq: 1, data: { a: 1 } }, { ...common, seq: 2, data: 'é', key: 'k', event: true },
    { ...common, seq: 3, data: new Uint8Array([255, 0]) }, { ...common, seq: 4, data: undefined, key: 'k', removed: true },
  ];
  for (const message of expected) assert.deepEqual(await items.take(), message);

  const ids = [];
  const publishes = [
    [[{ a: 1 }, {}], '02 14 0000 0300 0000 ID 74c3b6 7b2261223a317d'],
    [['é', { text: true, key: 'ky', event: true }], '02 19 0200 0300 0000 ID 74c3b6 6b79 c3a9'],
    [[new Uint8Array([1, 2]), { key: 'k' }], '02 10 0100 0300 0000 ID 74c3b6 6b 0102'],
    [[null, { remove: true, key: 'k' }], '02 12 0100 0300 0000 ID 74c3b6 6b'],
    [[7, { ack: false }], '02 04 0000 0300 0000 ID 74c3b6 37'],
  ];
  for (const [[data, options], hex] of publishes) {
    const answer = client.publish('tö', data, options);
    const received = (await server.expect('received')).hex;
    const id = received.slice(16, 32);
    assert.equal(received, hex.replaceAll(' ', '').replace('ID', id));
    if (options.ack === false) continue;
    const number = Number(Buffer.from(id, 'hex').readBigUInt64LE());
    ids.push(number);
    server.send({ op: 'published', id: number, topic: 'tö', epoch: 'e1', seq: 9 });
    assert.equal((await within(answer, 'published')).seq, 9);
  }
  assert.equal(new Set(ids).size, 4);
  await finish(client);
});

test('a connection that has gone silent is asked, then left', async () => {
  const { client, clock, events } = await open();
  clock.advance(25_000);
  assert.deepEqual(await server.command(), { op: 'ping' });
  server.send({ op: 'pong' }, { op: 'error', code: 'x', message: 'heard' });
  await events.error.take();
  clock.advance(10_000);
  clock.advance(25_000);
  assert.deepEqual(await server.command(), { op: 'ping' });
  clock.advance(10_000);
  const { willRetry, reason } = await events.close.take();
  assert.ok(willRetry);
  assert.match(reason, /nothing was heard/);
  await client.close();
  await server.expect('closed');
});

test('a program that takes messages too slowly', async () => {
  const { client } = await open({ queueMax: 10 });
  const subscription = client.subscribe('a');
  const { id } = await server.command();
  server.send({ op: 'subscribed', id, topic: 'a', kind: 'events', epoch: 'e', seq: 0, alias: 1 });
  await within(subscription.ready, 'ready');
  for (let seq = 1; seq <= 500; seq += 1) server.send({ topic: 'a', seq, data: seq });
  if (!canPause) {
    await server.expect('received');
    const seen = [];
    await assert.rejects(async () => { for await (const { seq } of subscription) seen.push(seq); }, { code: 'overflow' });
    assert.deepEqual(seen, Array.from({ length: 10 }, (_, index) => index + 1));
  } else {
    let next = 1;
    for await (const { seq } of subscription) {
      assert.equal(seq, next);
      next += 1;
      // What one read brought in has still to be taken, but no more than that.
      assert.ok(subscription.waiting < 500);
      if (next === 501) break;
    }
    await server.expect('received');
  }
  await finish(client);
});

test('a fault in a callback is not the connection’s', async () => {
  const { client } = await open();
  const uncaught = new Promise((resolve) => { globalThis.reportError = resolve; });
  const items = new Mailbox();
  const { subscription } = await subscribed(client, 'a', { onMessage: (item) => { items.put(item); if (item.seq === 1) throw new Error('mine'); } });
  server.send({ topic: 'a', seq: 1, data: 1 }, { topic: 'a', seq: 2, data: 2 });
  assert.equal((await within(uncaught, 'the exception')).message, 'mine');
  assert.deepEqual([(await items.take()).seq, (await items.take()).seq], [1, 2]);
  assert.equal(subscription.waiting, 0);
  delete globalThis.reportError;
  await finish(client);
});

test('options and addresses that cannot work', async () => {
  assert.throws(() => new Client('ws://x', { WebSocket: undefined }), { code: 'no_websocket' });
  assert.throws(() => new Client('ws://x', { WebSocket, protocol: 'xml' }), { code: 'bad_option' });
  await assert.rejects(new Client('not a url', { WebSocket }).open(), { code: 'bad_url' });
});
