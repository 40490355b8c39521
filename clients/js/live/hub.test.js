// The client against a real hub, whose address is in FANWIRE_URL. scripts/test runs it, with topics of these kinds:
// book.> holds state, short.> holds events with a log of eight messages.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { connect as connectSocket, createServer } from 'node:net';
import { test } from 'node:test';
import { StateMap, connect } from '../fanwire.js';
import { Mailbox, chosenWebSocket, within } from '../tests/support.js';

const WebSocket = chosenWebSocket();
const canPause = typeof WebSocket.prototype.pause === 'function';
const hub = new URL(process.env.FANWIRE_URL);
const run = randomInt(2 ** 31);
// The shortest delays, so that nobody waits for a reconnection.
const soon = { WebSocket, backoffBaseMs: 1, backoffMaxMs: 50 };

// Between client and hub: connections through it can be cut and refused.
class Proxy {
  #pairs = new Set();
  isRefusing = false;

  static async start() {
    const proxy = new Proxy();
    proxy.server = createServer((socket) => proxy.#accept(socket));
    await new Promise((resolve) => { proxy.server.listen(0, '127.0.0.1', resolve); });
    proxy.url = `ws://127.0.0.1:${proxy.server.address().port}/`;
    return proxy;
  }

  #accept(socket) {
    socket.on('error', () => {});
    if (this.isRefusing) {
      socket.destroy();
      return;
    }
    const other = connectSocket(Number(hub.port), hub.hostname);
    other.on('error', () => {});
    const pair = [socket, other];
    this.#pairs.add(pair);
    socket.pipe(other).pipe(socket);
    const end = () => { this.#pairs.delete(pair); socket.destroy(); other.destroy(); };
    socket.on('close', end);
    other.on('close', end);
  }

  cut() {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  stop() {
    this.cut();
    return new Promise((resolve) => { this.server.close(resolve); });
  }
}

// Clients that are closed at the end of the test; a fault of the server fails it.
async function clients(context, ...options) {
  const made = [];
  for (const { url = hub.href, ...more } of options) {
    const client = await within(connect(url, { ...soon, ...more }), 'open');
    client.faults = [];
    client.on('fault', (fault) => client.faults.push(fault));
    made.push(client);
  }
  context.after(async () => {
    for (const client of made) {
      assert.deepEqual(client.faults, []);
      await client.close();
    }
  });
  return made;
}

async function take(iterator, count) {
  const items = [];
  while (items.length < count) items.push((await within(iterator.next(), `message ${items.length + 1} of ${count}`)).value);
  return items;
}

for (const protocol of ['json', 'binary']) {
  const name = (text) => `${text}.${protocol}.${canPause}.${run}`;

  test(`${protocol}: messages arrive in order, acknowledged with their numbers`, async (context) => {
    const [publisher, subscriber] = await clients(context, { protocol }, { protocol });
    const topic = name('events');
    const subscription = subscriber.subscribe(topic);
    await within(subscription.ready, 'ready');
    const acks = await Promise.all(Array.from({ length: 300 }, (_, index) => publisher.publish(topic, { index, text: 'é€' })));
    assert.deepEqual(acks.map(({ seq }) => seq), Array.from({ length: 300 }, (_, index) => index + 1));
    const messages = await take(subscription[Symbol.asyncIterator](), 300);
    assert.deepEqual(messages[299], { type: 'message', topic, epoch: acks[0].epoch, seq: 300, data: { index: 299, text: 'é€' } });
    assert.deepEqual(messages.map(({ data }) => data.index), acks.map((_, index) => index));
    assert.deepEqual(subscription.positions(), { [topic]: { epoch: acks[0].epoch, seq: 300 } });
    assert.ok(await subscriber.ping() >= 0);
  });

  test(`${protocol}: patterns, history, unsubscribing`, async (context) => {
    const [client] = await clients(context, { protocol });
    const root = name('tree');
    await client.publish(`${root}.old`, 'old');
    const subscription = client.subscribe([`${root}.>`], { history: 5 });
    const iterator = subscription[Symbol.asyncIterator]();
    const [first] = await take(iterator, 1);
    const also = [];
    const exact = client.subscribe(`${root}.old`, { onMessage: ({ data }) => also.push(data) });
    await within(Promise.all([subscription.ready, exact.ready]), 'ready');
    await client.publish(`${root}.new`, 'new');
    await client.publish(`${root}.old`, 'again');
    const messages = [first, ...await take(iterator, 2)];
    assert.deepEqual(messages.map(({ topic, data }) => [topic, data]).sort(), [[`${root}.new`, 'new'], [`${root}.old`, 'again'], [`${root}.old`, 'old']]);
    await within(subscription.unsubscribe(), 'unsubscribed');
    await client.publish(`${root}.old`, 'end');
    await client.ping();
    assert.equal(also.at(-1), 'end');
  });

  test(`${protocol}: a state topic as a map`, async (context) => {
    const [publisher, subscriber] = await clients(context, { protocol }, { protocol });
    const topic = name('book');
    await publisher.publish(topic, 1, { key: 'a' });
    await publisher.publish(topic, 2, { key: 'b' });
    const changes = new Mailbox();
    const map = StateMap.follow(subscriber, topic, { onChange: () => map.whole && changes.put(map.seq) });
    assert.equal(await changes.take('the snapshot'), 2);
    assert.deepEqual([...map].sort(), [['a', 1], ['b', 2]]);
    await publisher.publish(topic, 'event', { key: 'a', event: true });
    await publisher.publish(topic, null, { key: 'a', remove: true });
    const { seq } = await publisher.publish(topic, 3, { key: 'c' });
    while (await changes.take('the changes') !== seq);
    assert.deepEqual([...map].sort(), [['b', 2], ['c', 3]]);
  });

  test(`${protocol}: errors have the server's codes`, async (context) => {
    const [client] = await clients(context, { protocol });
    await assert.rejects(client.publish(name('book'), 1), { code: 'bad_key' });
    await assert.rejects(client.publish(name('events'), 'x'.repeat(70_000)), { code: 'too_big', topic: name('events') });
    await assert.rejects(client.publish(name('events'), null, { key: 'k', remove: true }), { code: 'bad_request' });
    const told = new Mailbox();
    client.on('error', ({ code }) => told.put(code));
    await client.publish(name('book'), 1, { ack: false });
    assert.equal(await told.take('the error'), 'bad_key');
  });

  test(`${protocol}: cut off again and again, nothing is missed`, async (context) => {
    const seed = Number(process.env.FANWIRE_SEED ?? randomInt(2 ** 31));
    context.diagnostic(`replay with FANWIRE_SEED=${seed}`);
    const proxy = await Proxy.start();
    context.after(() => proxy.stop());
    const [publisher, subscriber] = await clients(context, { protocol }, { protocol, url: proxy.url });
    const [events, state, matched] = [name('cut'), name('book.cut'), name('cutmatch')];
    const notices = [];
    const seen = { [events]: [], [matched]: [] };
    const all = new Mailbox();
    const onMessage = ({ topic, data }) => { seen[topic].push(data); if (seen[events].length + seen[matched].length === 400) all.put(true); };
    const subscriptions = [events, `cutmatch.${protocol}.${canPause}.*`].map((filter) => subscriber.subscribe(filter, {
      onMessage, onNotice: (notice) => notices.push(notice.type) }));
    const states = new Mailbox();
    const map = StateMap.follow(subscriber, state, { onChange: () => map.whole && states.put(map.seq) });
    await within(Promise.all([...subscriptions, map.subscription].map(({ ready }) => ready)), 'ready');
    let last;
    const begun = new Promise((resolve) => { subscriber.on('notice', ({ topic }) => topic === matched && resolve()); });
    for (let index = 0; index < 200; index += 1) {
      // A topic that is created while nobody is connected has no position to resume from.
      if (index === 1) await within(begun, 'the topic of the pattern');
      await Promise.all([publisher.publish(events, index), publisher.publish(matched, index)]);
      last = await publisher.publish(state, index, { key: `k${(index * 7 + seed) % 13}` });
      if (index % 20 !== 10) continue;
      const back = new Promise((resolve) => { const off = subscriber.on('open', () => { off(); resolve(); }); });
      proxy.cut();
      if ((seed >> (index % 30)) & 1) await within(back, 'the reconnection');
    }
    await all.take('all messages');
    while (await states.take('the state') !== last.seq);
    assert.deepEqual(seen[events], Array.from({ length: 200 }, (_, index) => index));
    assert.deepEqual(seen[matched], seen[events]);
    const expected = new Map();
    for (let index = 0; index < 200; index += 1) expected.set(`k${(index * 7 + seed) % 13}`, index);
    assert.deepEqual([...map].sort(), [...expected].sort());
    assert.ok(notices.includes('resumed'));
    assert.ok(!notices.includes('lost'));
  });

  test(`${protocol}: what cannot be resumed is told`, async (context) => {
    const [client] = await clients(context, { protocol });
    const topic = name('lost');
    const { epoch } = await client.publish(topic, 1);
    for (const [position, code] of [[{ epoch: '0123456789abcdef', seq: 1 }, 'epoch_changed'], [{ epoch, seq: 9 }, 'resume_from_future']]) {
      const notices = new Mailbox();
      const subscription = client.subscribe(topic, { resume: { [topic]: position }, onNotice: (notice) => notices.put(notice), onMessage: () => {} });
      const notice = await notices.take('a notice');
      assert.deepEqual([notice.type, notice.code, notice.before, notice.seq], ['lost', code, position, 1]);
      await within(subscription.unsubscribe(), 'unsubscribed');
    }
  });

  test(`${protocol}: a program that takes messages too slowly`, async (context) => {
    const [publisher, subscriber] = await clients(context, { protocol }, { protocol, queueMax: 20 });
    const topic = name('short');
    const subscription = subscriber.subscribe(topic, { notices: true });
    await within(subscription.ready, 'ready');
    const big = 'x'.repeat(30_000);
    for (let index = 0; index < 600; index += 1) await publisher.publish(topic, big);
    if (!canPause) {
      await assert.rejects(async () => { for await (const _item of subscription); }, { code: 'overflow' });
      return;
    }
    let position = 0;
    const gaps = [];
    for await (const item of subscription) {
      if (item.type === 'gap') gaps.push(item);
      if (item.type !== 'subscribed') position = item.to ?? item.seq;
      if (position === 600) break;
    }
    assert.ok(gaps.length > 0);
    assert.ok(gaps.every(({ cause }) => cause === 'slow'));
  });

  test(`${protocol}: whoever makes nothing but mistakes is closed, and does not come back`, async () => {
    const client = await within(connect(hub.href, { ...soon, protocol }), 'open');
    const closed = new Mailbox();
    client.on('close', (value) => closed.put(value));
    for (let index = 0; index < 300 && client.isOpen; index += 1) await client.publish(name('book'), 1, { ack: false }).catch(() => {});
    const { code, willRetry, error } = await closed.take('the end');
    assert.deepEqual([code, willRetry, error.code], [1008, false, 'policy_violation']);
  });
}

test('bytes and bare text go through the binary protocol and arrive in both', async (context) => {
  const [binary, json] = await clients(context, { protocol: 'binary' }, { protocol: 'json' });
  const topic = `bytes.${canPause}.${run}`;
  const subscriptions = [binary, json].map((client) => client.subscribe(topic));
  await within(Promise.all(subscriptions.map(({ ready }) => ready)), 'ready');
  await binary.publish(topic, new Uint8Array([0, 255, 7]), { key: 'k' });
  await binary.publish(topic, 'bare "text"', { text: true });
  await binary.publish(topic, ['json']);
  for (const subscription of subscriptions) {
    const messages = await take(subscription[Symbol.asyncIterator](), 3);
    assert.deepEqual(messages.map(({ data }) => data), [new Uint8Array([0, 255, 7]), 'bare "text"', ['json']]);
    assert.equal(messages[0].key, 'k');
  }
});

test('max_rate is changed at once, and what it leaves out is told', async (context) => {
  const [publisher, subscriber] = await clients(context, {}, {});
  const topic = `rate.${canPause}.${run}`;
  const items = new Mailbox();
  const subscription = subscriber.subscribe(topic, { maxRate: 2, onMessage: (item) => items.put(item), onNotice: (item) => items.put(item) });
  await within(subscription.ready, 'ready');
  assert.equal((await items.take()).type, 'subscribed');
  for (let index = 0; index < 100; index += 1) await publisher.publish(topic, index);
  let item;
  do item = await items.take('the gap'); while (item.type !== 'gap');
  assert.equal(item.cause, 'rate');
  await within(subscription.configure({ maxRate: 0 }), 'configured');
  for (let index = 100; index < 150; index += 1) await publisher.publish(topic, index);
  do item = await items.take('the rest'); while (item.seq !== 101);
  for (let seq = 102; seq <= 150; seq += 1) assert.equal((await items.take('the rest')).seq, seq);
});
