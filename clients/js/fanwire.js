// A client of `fanwire serve` for browsers and Node: one file, no dependencies.
//
// It owns the connection, its re-connection, and the position in every topic. It must not know what the data means.
// The wire protocol is docs/protocol.md of the repository; section numbers below are of that page.

const SUBPROTOCOLS = { json: 'fanwire.v1.json', binary: 'fanwire.v1.binary' };
// Section 2: names and patterns of one `subscribe`.
const FILTERS_PER_COMMAND_MAX = 128;
// Positions beyond this many bytes of one `subscribe` are not sent: those topics start over and say so.
const RESUME_BYTES_MAX = 128 * 1024;
const FILTER_BYTES_MAX = 256;
const TOKENS_MAX = 16;
const TOKEN = /^[^\s\p{Cc}.*>"\\]+$/u;
const BINARY_HEADER_BYTES = 16;
const FLAG_EVENT = 1;
const FLAG_REMOVED = 2;
const FLAG_JSON = 4;
const FLAG_TEXT = 8;
const FLAG_ANSWER = 16;
const CLOSE_ABNORMAL = 1006;
const CLOSE_POLICY_VIOLATION = 1008;
const CLOSE_OVERLOADED = 1013;

/** What an option is when it is not given; milliseconds and counts. README.md says what each does. */
export const DEFAULTS = Object.freeze({
  protocol: 'json',
  backoffBaseMs: 250,
  backoffMaxMs: 30_000,
  overloadBaseMs: 2_000,
  stableAfterMs: 10_000,
  openTimeoutMs: 10_000,
  answerTimeoutMs: 10_000,
  heartbeatMs: 25_000,
  queueMax: 10_000,
  attemptsMax: Infinity,
  retryPolicyViolation: false,
});

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Everything that this client rejects or throws. `code` is one of the server's error codes, or one of this client's. */
export class FanwireError extends Error {
  constructor(code, message, { topic, refused } = {}) {
    super(message);
    this.name = 'FanwireError';
    this.code = code;
    this.topic = topic;
    this.refused = refused ?? [];
  }
}

/** Exponential back-off with full jitter: any delay from 0 to a ceiling that doubles with each attempt is equally likely. */
export class Backoff {
  constructor({ backoffBaseMs, backoffMaxMs, overloadBaseMs } = DEFAULTS, random = Math.random) {
    this.baseMs = backoffBaseMs;
    this.maxMs = backoffMaxMs;
    this.overloadBaseMs = overloadBaseMs;
    this.random = random;
    this.attempt = 0;
  }

  /** The delay before the next attempt, after a connection that ended with this close code. */
  next(closeCode) {
    const base = closeCode === CLOSE_OVERLOADED ? this.overloadBaseMs : this.baseMs;
    const ceiling = Math.min(this.maxMs, base * 2 ** this.attempt);
    this.attempt += 1;
    return this.random() * ceiling;
  }

  reset() {
    this.attempt = 0;
  }
}

/** Whether a name or pattern is one by the rules of section 1; throws `bad_topic` if not. */
export function checkFilter(filter, { isName = false } = {}) {
  const refuse = (why) => { throw new FanwireError('bad_topic', `${JSON.stringify(filter)} ${why}`, { topic: filter }); };
  if (typeof filter !== 'string' || filter === '') refuse('is no topic: it must be a string that is not empty');
  if (encoder.encode(filter).length > FILTER_BYTES_MAX) refuse(`is longer than ${FILTER_BYTES_MAX} bytes`);
  const tokens = filter.split('.');
  if (tokens.length > TOKENS_MAX) refuse(`has more than ${TOKENS_MAX} tokens`);
  tokens.forEach((token, index) => {
    if (token === '') refuse('has an empty token; remove the doubled dot');
    const isWildcard = token === '*' || (token === '>' && index === tokens.length - 1);
    if (isWildcard && isName) refuse('is a pattern; this needs the name of one topic');
    if (!isWildcard && !TOKEN.test(token)) refuse(`has the token ${JSON.stringify(token)}, which holds a character that no token may hold`);
  });
}

/** Whether a name or pattern covers a topic. */
export function matches(filter, topic) {
  if (filter === topic) return true;
  const wanted = filter.split('.');
  const tokens = topic.split('.');
  for (let index = 0; index < wanted.length; index += 1) {
    if (index >= tokens.length) return false;
    if (wanted[index] === '>') return true;
    if (wanted[index] !== '*' && wanted[index] !== tokens[index]) return false;
  }
  return wanted.length === tokens.length;
}

/**
 * The position in one topic. It proves that the numbers have no hole that was not announced (section 4); every method
 * returns what is wrong, or null.
 */
export class Track {
  constructor(topic) {
    this.topic = topic;
    this.epoch = undefined;
    this.seq = 0;
    this.kind = undefined;
    this.isLive = false;
    this.batch = null;
    this.awaitsSnapshot = false;
  }

  /** After `subscribed`: a snapshot, or the message behind `seq`, comes next. */
  start(epoch, seq, kind, awaitsSnapshot = false) {
    this.awaitsSnapshot = awaitsSnapshot;
    this.epoch = epoch;
    this.seq = seq;
    this.kind = kind;
    this.isLive = true;
    this.batch = null;
  }

  /** The connection ended; the position stays, for `resume`, unless there is no state yet that one could go on from. */
  stop() {
    if (this.awaitsSnapshot) this.epoch = undefined;
    this.awaitsSnapshot = false;
    this.isLive = false;
    this.batch = null;
  }

  message(seq) {
    if (this.batch) return this.#messageOfBatch(seq);
    if (seq <= this.seq) return { reason: 'duplicate', from: seq, to: seq, isDropped: true };
    const wrong = seq === this.seq + 1 ? null : { reason: 'hole', from: this.seq + 1, to: seq - 1 };
    this.seq = seq;
    return wrong;
  }

  #messageOfBatch(seq) {
    if (seq <= this.seq) return { reason: 'duplicate', from: seq, to: seq, isDropped: true };
    const { to } = this.batch;
    this.seq = seq;
    if (seq > to) {
      const missing = this.batch.left;
      this.batch = null;
      return { reason: 'hole', from: to - missing + 1, to: seq - 1 };
    }
    this.batch.left -= 1;
    this.#endBatch();
    return null;
  }

  snapshot(epoch, asOf, count) {
    const wrong = this.#cutShort();
    this.awaitsSnapshot = false;
    this.epoch = epoch;
    this.seq = 0;
    this.batch = { to: asOf, left: count };
    this.#endBatch();
    return wrong;
  }

  conflated(from, to, count) {
    const wrong = this.#cutShort() ?? this.#announced(from);
    this.batch = { to, left: count };
    this.#endBatch();
    return wrong;
  }

  gap(from, to) {
    const wrong = this.#cutShort() ?? this.#announced(from);
    this.seq = Math.max(this.seq, to);
    this.awaitsSnapshot = this.kind === 'state';
    return wrong;
  }

  #endBatch() {
    if (this.batch.left > 0) return;
    this.seq = Math.max(this.seq, this.batch.to);
    this.batch = null;
  }

  #cutShort() {
    if (!this.batch) return null;
    const wrong = { reason: 'hole', from: this.seq + 1, to: this.batch.to };
    this.seq = this.batch.to;
    this.batch = null;
    return wrong;
  }

  #announced(from) {
    return from === this.seq + 1 ? null : { reason: 'hole', from: this.seq + 1, to: from - 1 };
  }
}

/** A state topic as a Map from key to data. Feed it every message and every notice of one topic, in order. */
export class StateMap extends Map {
  #hasBase = false;
  #left = 0;
  #batchTo = 0;
  #isBehind = false;
  #wholeAt = Infinity;

  constructor(topic) {
    super();
    this.topic = topic;
    this.epoch = undefined;
    this.seq = 0;
  }

  /** Subscribes and follows one topic. `onChange` is told each message and notice after it was applied. */
  static follow(client, topic, { onChange, ...options } = {}) {
    const map = new StateMap(topic);
    const apply = (item) => map.apply(item) && onChange?.(item, map);
    map.subscription = client.subscribe(topic, { ...options, onMessage: apply, onNotice: apply });
    return map;
  }

  /** Whether this is exactly the state that the topic had at `seq`: not half of a snapshot, not with newer keys beside older ones. */
  get whole() {
    return this.#hasBase && this.#left === 0 && !this.#isBehind;
  }

  /** Applies one message or notice; false if it is none of this topic. */
  apply(item) {
    if (item.topic !== this.topic) return false;
    this[`_${item.type}`]?.(item);
    return true;
  }

  _message({ seq, key, data, event, removed }) {
    if (removed) this.delete(key);
    else if (!event) this.set(key, data);
    this.seq = seq;
    if (this.#left > 0) {
      this.#left -= 1;
      if (this.#left === 0) this.seq = this.#batchTo;
    }
    this.#reach();
  }

  _subscribed({ epoch, seq }) {
    this.clear();
    this.epoch = epoch;
    this.seq = seq;
    // A topic without messages has a known state: none. Any other needs its snapshot first.
    this.#rebase(seq === 0);
  }

  _lost(notice) {
    this._subscribed(notice);
  }

  _resumed({ seq }) {
    // Cut off within a snapshot or while catching up: whole again once everything up to `seq` has followed.
    const wasWhole = this.whole;
    this.#left = 0;
    this.#isBehind = !wasWhole;
    this.#wholeAt = wasWhole ? Infinity : seq;
    this.#reach();
  }

  _snapshot({ epoch, asOf, count, whole }) {
    this.clear();
    this.epoch = epoch;
    this.seq = 0;
    this.#rebase(true);
    this.#expect(asOf, count, whole);
  }

  _conflated({ to, count, whole }) {
    this.#expect(to, count, whole);
  }

  _gap({ to }) {
    this.seq = to;
    this.#rebase(false);
  }

  _fault({ reason }) {
    // What is missing is unknown, so nothing but a snapshot can make this whole again.
    if (reason === 'hole') this.#rebase(false);
  }

  #rebase(hasBase) {
    this.#hasBase = hasBase;
    this.#left = 0;
    this.#isBehind = false;
    this.#wholeAt = Infinity;
  }

  #expect(to, count, whole) {
    this.#batchTo = to;
    this.#left = count;
    this.#isBehind = !whole;
    this.#wholeAt = Infinity;
    if (count === 0) this.seq = to;
  }

  #reach() {
    if (this.#left > 0 || this.seq < this.#wholeAt) return;
    this.#wholeAt = Infinity;
    this.#isBehind = false;
  }
}

/** Items that wait for a `for await`. */
class Queue {
  #items = [];
  #first = 0;

  get length() {
    return this.#items.length - this.#first;
  }

  push(item) {
    this.#items.push(item);
  }

  shift() {
    const item = this.#items[this.#first];
    this.#items[this.#first] = undefined;
    this.#first += 1;
    if (this.#first === this.#items.length || this.#first >= 4096) {
      this.#items.splice(0, this.#first);
      this.#first = 0;
    }
    return item;
  }

  clear() {
    this.#items = [];
    this.#first = 0;
  }
}

/** What `client.subscribe` returns: take the messages with `for await`, or in the callbacks that were given. */
export class Subscription {
  #client;
  #queue = new Queue();
  #waiters = [];
  #error = null;
  #isEnded = false;
  #settle;

  constructor(client, filters, options) {
    this.#client = client;
    this.filters = new Set(filters);
    this.options = options;
    /** Resolves once the server has answered for every name and pattern; rejects if it refused one. */
    this.ready = new Promise((resolve, reject) => { this.#settle = { resolve, reject }; });
    // Whoever only iterates is told by the iteration.
    this.ready.catch(() => {});
  }

  /** Messages that wait to be taken. */
  get waiting() {
    return this.#queue.length;
  }

  /** The last position of every topic, as `resume` takes it: keep it to go on after this program was restarted. */
  positions() {
    return this.#client._positions(this);
  }

  /** Ends it. What waits may still be taken. */
  async unsubscribe() {
    if (this.#isEnded) return;
    this._end();
    await this.#client._unsubscribe(this);
  }

  /** Changes the largest number of messages a second for each topic; 0 for no cap. */
  async configure({ maxRate }) {
    this.options.maxRate = maxRate;
    await this.#client._configure(this);
  }

  [Symbol.asyncIterator]() {
    return {
      next: () => this.#next(),
      return: async () => {
        this.#queue.clear();
        this.#client._taken();
        // Leaving the loop need not wait for the server's answer.
        this.unsubscribe().catch(() => {});
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]() { return this; },
    };
  }

  async #next() {
    if (this.#queue.length > 0) {
      const value = this.#queue.shift();
      this.#client._taken();
      return { done: false, value };
    }
    if (this.#error) throw this.#error;
    if (this.#isEnded) return { done: true, value: undefined };
    return new Promise((resolve, reject) => { this.#waiters.push({ resolve, reject }); });
  }

  _deliver(item) {
    if (this.#isEnded) return;
    const { onMessage, onNotice, notices } = this.options;
    const callback = item.type === 'message' ? onMessage : onNotice;
    if (callback) callUser(callback, item);
    // With a callback for messages nothing waits, or nobody would ever take it.
    if (onMessage || (item.type !== 'message' && !notices)) return;
    if (this.#waiters.length > 0) this.#waiters.shift().resolve({ done: false, value: item });
    else this.#queue.push(item);
  }

  _answered() {
    this.#settle.resolve();
  }

  _refused(error) {
    this.#settle.reject(error);
    if (this.filters.size === 0) this._end(error);
  }

  _end(error = null) {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    if (error) this.#settle.reject(error);
    else this.#settle.resolve();
    for (const { resolve, reject } of this.#waiters.splice(0)) {
      if (error) reject(error);
      else resolve({ done: true, value: undefined });
    }
  }
}

// A fault in the caller's function is the caller's: it is reported as the platform reports one, and the connection goes on.
function callUser(callback, ...values) {
  try {
    callback(...values);
  } catch (error) {
    if (typeof reportError === 'function') reportError(error);
    else queueMicrotask(() => { throw error; });
  }
}

/** One connection to a hub, made again whenever it ends. */
export class Client {
  #url;
  #options;
  #clock;
  #backoff;
  #listeners = new Map();
  #socket = null;
  #isOpen = false;
  #isEnded = false;
  #isPaused = false;
  #opened;
  #timers = new Map();
  #heardAt = 0;
  #subscriptions = new Set();
  #active = new Set();
  #routes = new Map();
  #tracks = new Map();
  #aliases = new Map();
  #pending = new Map();
  #nextId = 1;

  /** Options: see README.md; `open()` connects. */
  constructor(url, options = {}) {
    this.#url = url;
    this.#options = { WebSocket: globalThis.WebSocket, ...DEFAULTS, ...options };
    if (!this.#options.WebSocket) {
      throw new FanwireError('no_websocket', 'this platform has no WebSocket: use Node 22, or pass a constructor, { WebSocket } from the package `ws`');
    }
    if (!SUBPROTOCOLS[this.#options.protocol]) {
      throw new FanwireError('bad_option', `protocol is ${JSON.stringify(this.#options.protocol)}; it must be "json" or "binary"`);
    }
    this.#clock = options.clock ?? {
      now: () => Date.now(),
      setTimeout: (callback, delayMs) => setTimeout(callback, delayMs),
      clearTimeout: (timer) => clearTimeout(timer),
    };
    this.#backoff = new Backoff(this.#options, options.random ?? Math.random);
  }

  /** Whether there is a connection now. */
  get isOpen() {
    return this.#isOpen;
  }

  /** Bytes that are sent but not yet on their way. */
  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Connects, and again until it works. Rejects when this client gives up. */
  open() {
    if (!this.#opened) {
      this.#opened = {};
      this.#opened.promise = new Promise((resolve, reject) => { Object.assign(this.#opened, { resolve, reject }); });
      this.#opened.promise.catch(() => {});
      this.#connect();
    }
    return this.#opened.promise;
  }

  /** Listens to `open`, `close`, `notice`, `fault` or `error`; returns the function that stops listening. */
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  /** Subscribes to names and patterns. Options: maxRate, history, snapshot, resume, onMessage, onNotice, notices. */
  subscribe(topics, options = {}) {
    const filters = [...new Set(Array.isArray(topics) ? topics : [topics])];
    if (filters.length === 0) throw new FanwireError('bad_topic', 'subscribe needs at least one name or pattern');
    if (this.#isEnded) throw new FanwireError('closed', 'this client was closed; make a new one');
    for (const filter of filters) {
      checkFilter(filter);
      if (this.#holder(filter)) {
        throw new FanwireError('already_subscribed', `${filter} is subscribed to; use that subscription, or end it first`, { topic: filter });
      }
    }
    for (const [topic, { epoch, seq }] of Object.entries(options.resume ?? {})) {
      checkFilter(topic, { isName: true });
      if (this.#tracks.has(topic)) continue;
      const track = new Track(topic);
      Object.assign(track, { epoch, seq });
      this.#tracks.set(topic, track);
    }
    const subscription = new Subscription(this, filters, { ...options });
    this.#subscriptions.add(subscription);
    this.#routes.clear();
    if (this.#isOpen) this.#ask(subscription, filters);
    return subscription;
  }

  /**
   * Publishes one message; resolves to { topic, epoch, seq }. With `ack: false` nothing is answered, resolves when it was handed over.
   * Bytes (Uint8Array, ArrayBuffer) and `text: true` need the binary protocol.
   */
  publish(topic, data, { key, event = false, remove = false, ack = true, text = false } = {}) {
    try {
      checkFilter(topic, { isName: true });
      if (!this.#isOpen) throw new FanwireError('not_connected', 'there is no connection now; nothing was sent', { topic });
      const id = this.#nextId;
      const message = this.#encodePublish(id, topic, data, { key, event, remove, ack, text });
      this.#nextId += 1;
      if (!ack) {
        this.#socket.send(message);
        return Promise.resolve(undefined);
      }
      return this.#request(id, message, 'the server did not answer in time; the message may have been published');
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Asks the server for an answer; resolves to the milliseconds it took. */
  async ping() {
    if (!this.#isOpen) throw new FanwireError('not_connected', 'there is no connection now');
    const id = this.#nextId;
    this.#nextId += 1;
    const started = this.#clock.now();
    await this.#request(id, JSON.stringify({ op: 'ping', id }), 'the server did not answer a ping in time');
    return this.#clock.now() - started;
  }

  /** Ends the connection and everything on it, for good. Resolves when it has ended. */
  async close(code = 1000, reason = '') {
    if (this.#isEnded) return;
    const socket = this.#socket;
    if (!socket || socket.readyState >= 2) {
      this.#end(new FanwireError('closed', 'this client was closed'), code, reason);
      return;
    }
    const ended = new Promise((resolve) => { this.on('close', resolve); });
    this.#isEnded = true;
    this.#startTimer('close', this.#options.answerTimeoutMs, () => this.#lost(CLOSE_ABNORMAL, 'the closing handshake took too long'));
    socket.close(code, reason);
    this.#resumeReading();
    await ended;
  }

  #emit(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) callUser(listener, value);
  }

  #startTimer(name, delayMs, callback) {
    this.#stopTimer(name);
    if (!Number.isFinite(delayMs)) return;
    this.#timers.set(name, this.#clock.setTimeout(() => {
      this.#timers.delete(name);
      callback();
    }, delayMs));
  }

  #stopTimer(name) {
    if (this.#timers.has(name)) this.#clock.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  // ---- The connection.

  #connect() {
    const { WebSocket, protocol, openTimeoutMs } = this.#options;
    let socket;
    try {
      socket = new WebSocket(this.#url, [SUBPROTOCOLS[protocol]]);
    } catch (error) {
      // Not a URL, or one that this page may not open: trying again changes nothing.
      this.#end(new FanwireError('bad_url', `cannot connect to ${this.#url}: ${error.message}`), CLOSE_ABNORMAL, error.message);
      return;
    }
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => this.#onOpen();
    socket.onmessage = (event) => this.#receive(event.data);
    // Not every platform lets `close` follow the error of a handshake that failed.
    socket.onerror = (event) => this.#isOpen || this.#lost(CLOSE_ABNORMAL, event.message ?? event.error?.message ?? '');
    socket.onclose = (event) => this.#lost(event.code, event.reason);
    this.#startTimer('open', openTimeoutMs, () => this.#lost(CLOSE_ABNORMAL, `no answer to the opening handshake within ${openTimeoutMs} ms`));
  }

  #onOpen() {
    this.#stopTimer('open');
    const wanted = SUBPROTOCOLS[this.#options.protocol];
    if (this.#socket.protocol !== wanted) {
      const seen = this.#socket.protocol || 'none';
      this.#end(new FanwireError('bad_subprotocol', `the server speaks ${seen}, not ${wanted}: is it a fanwire hub?`), 1000, 'wrong subprotocol');
      return;
    }
    this.#isOpen = true;
    this.#heardAt = this.#clock.now();
    const { stableAfterMs, heartbeatMs } = this.#options;
    this.#startTimer('stable', stableAfterMs, () => this.#backoff.reset());
    if (heartbeatMs > 0) this.#startTimer('heartbeat', heartbeatMs, () => this.#beat());
    for (const subscription of this.#subscriptions) this.#ask(subscription, [...subscription.filters]);
    this.#emit('open', { attempt: this.#backoff.attempt });
    this.#opened.resolve(this);
  }

  // Browsers cannot send pings of RFC 6455: whoever has heard nothing asks.
  #beat() {
    const { heartbeatMs, answerTimeoutMs } = this.#options;
    const silentMs = this.#clock.now() - this.#heardAt;
    if (silentMs < heartbeatMs || this.#isPaused) {
      this.#startTimer('heartbeat', this.#isPaused ? heartbeatMs : heartbeatMs - silentMs, () => this.#beat());
      return;
    }
    const asked = this.#heardAt;
    this.#socket.send('{"op":"ping"}');
    this.#startTimer('heartbeat', answerTimeoutMs, () => {
      if (this.#heardAt === asked) this.#lost(CLOSE_ABNORMAL, `nothing was heard for ${this.#clock.now() - asked} ms`);
      else this.#beat();
    });
  }

  // The one place where a connection ends, whoever ended it.
  #lost(code, reason) {
    this.#drop();
    const { retryPolicyViolation, attemptsMax } = this.#options;
    if (this.#isEnded) {
      this.#end(new FanwireError('closed', 'this client was closed'), code, reason);
    } else if (code === CLOSE_POLICY_VIOLATION && !retryPolicyViolation) {
      this.#end(new FanwireError('policy_violation', `the server closed with 1008${reason ? `, ${reason}` : ''}: this client broke a limit and does not come back unchanged`), code, reason);
    } else if (this.#backoff.attempt + 1 >= attemptsMax) {
      this.#end(new FanwireError('given_up', `${attemptsMax} attempts failed; the last with ${code}${reason ? `, ${reason}` : ''}`), code, reason);
    } else {
      const delayMs = this.#backoff.next(code);
      this.#startTimer('retry', delayMs, () => this.#connect());
      this.#emit('close', { code, reason, willRetry: true, delayMs });
    }
  }

  // Forgets the socket; positions stay.
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#isOpen = false;
    this.#isPaused = false;
    for (const name of [...this.#timers.keys()]) this.#stopTimer(name);
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      // A socket that is being torn down may still report errors.
      socket.onerror = () => {};
      if (socket.readyState < 2) socket.close();
    }
    for (const track of this.#tracks.values()) track.stop();
    this.#aliases.clear();
    this.#active.clear();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { onLost } of pending) onLost();
  }

  #end(error, code, reason) {
    this.#isEnded = true;
    this.#drop();
    for (const subscription of [...this.#subscriptions]) subscription._end(error.code === 'closed' ? null : error);
    this.#subscriptions.clear();
    this.#opened?.reject(error);
    this.#emit('close', { code, reason, willRetry: false, error });
  }

  // ---- Commands and their answers.

  // `names` have an answer each; without them there is one.
  #request(id, message, lateText, names = null) {
    return new Promise((resolve, reject) => {
      const settle = (function_, value) => {
        this.#stopTimer(`answer ${id}`);
        this.#pending.delete(id);
        function_(value);
      };
      this.#pending.set(id, {
        names: names && new Set(names),
        refused: [],
        resolve: (value) => settle(resolve, value),
        reject: (error) => settle(reject, error),
        // A subscription is asked for again on the next connection, an end of one is then true.
        onLost: () => (names ? settle(resolve) : settle(reject, new FanwireError('connection_lost', 'the connection ended before the answer; the message may have been published'))),
      });
      if (!names) {
        this.#startTimer(`answer ${id}`, this.#options.answerTimeoutMs, () => settle(reject, new FanwireError('timeout', lateText)));
      }
      this.#socket.send(message);
    });
  }

  #ask(subscription, filters) {
    const { maxRate, history, snapshot } = subscription.options;
    for (let first = 0; first < filters.length; first += FILTERS_PER_COMMAND_MAX) {
      const topics = filters.slice(first, first + FILTERS_PER_COMMAND_MAX);
      const id = this.#nextId;
      this.#nextId += 1;
      const command = { op: 'subscribe', id, topics, resume: this.#resume(topics), max_rate: maxRate, history, snapshot };
      this.#pending.set(id, {
        names: new Set(topics),
        refused: [],
        resolve: () => { this.#pending.delete(id); this.#settleSubscription(subscription); },
        reject: (error) => { this.#pending.delete(id); this.#refuseSubscription(subscription, error); },
        onLost: () => {},
      });
      this.#socket.send(JSON.stringify(command));
    }
  }

  // A topic that several subscriptions cover is in all of them: whichever the server takes first, it resumes.
  #resume(filters) {
    const resume = {};
    let bytes = 0;
    for (const track of this.#tracks.values()) {
      if (track.epoch === undefined || track.isLive) continue;
      if (!filters.some((filter) => matches(filter, track.topic))) continue;
      bytes += track.topic.length + track.epoch.length + 40;
      if (bytes > RESUME_BYTES_MAX) break;
      resume[track.topic] = { epoch: track.epoch, seq: track.seq };
    }
    return bytes > 0 ? resume : undefined;
  }

  #settleSubscription(subscription) {
    const isAsked = (filter) => ![...this.#pending.values()].some((request) => request.names?.has(filter));
    if ([...subscription.filters].every(isAsked)) subscription._answered();
  }

  #refuseSubscription(subscription, error) {
    for (const { topic, code, message } of error.refused) {
      subscription.filters.delete(topic);
      subscription._deliver({ type: 'refused', topic, code, message });
    }
    this.#routes.clear();
    subscription._refused(error);
    if (subscription.filters.size === 0) this.#subscriptions.delete(subscription);
  }

  #holder(filter) {
    return [...this.#subscriptions].find((subscription) => subscription.filters.has(filter));
  }

  async _unsubscribe(subscription) {
    this.#subscriptions.delete(subscription);
    this.#routes.clear();
    if (this.#isOpen) {
      await this.#command('unsubscribe', [...subscription.filters], {});
      return;
    }
    const wanted = [...this.#subscriptions].flatMap((each) => [...each.filters]);
    for (const topic of this.#tracks.keys()) {
      if (!wanted.some((filter) => matches(filter, topic))) this.#tracks.delete(topic);
    }
  }

  async _configure(subscription) {
    if (this.#isOpen) await this.#command('configure', [...subscription.filters], { max_rate: subscription.options.maxRate });
  }

  async #command(op, filters, members) {
    const requests = [];
    for (let first = 0; first < filters.length; first += FILTERS_PER_COMMAND_MAX) {
      const topics = filters.slice(first, first + FILTERS_PER_COMMAND_MAX);
      const id = this.#nextId;
      this.#nextId += 1;
      requests.push(this.#request(id, JSON.stringify({ op, id, topics, ...members }), '', topics));
    }
    await Promise.all(requests);
  }

  _positions(subscription) {
    const positions = {};
    for (const { topic, epoch, seq } of this.#tracks.values()) {
      if (epoch !== undefined && [...subscription.filters].some((filter) => matches(filter, topic))) positions[topic] = { epoch, seq };
    }
    return positions;
  }

  #encodePublish(id, topic, data, { key, event, remove, ack, text }) {
    const isBytes = data instanceof ArrayBuffer || ArrayBuffer.isView(data);
    if (this.#options.protocol === 'json') {
      if (isBytes || text) throw new FanwireError('bad_option', 'bytes and bare text need the binary protocol: { protocol: "binary" }', { topic });
      if (data === undefined && !remove) throw new FanwireError('bad_option', 'there is no data: undefined is no JSON', { topic });
      return JSON.stringify({
        op: 'publish', id: ack ? id : undefined, topic, key, event: event || undefined, remove: remove || undefined, data: remove ? undefined : data,
      });
    }
    const name = encoder.encode(topic);
    const keyBytes = encoder.encode(key ?? '');
    const json = isBytes || text || remove ? '' : JSON.stringify(data);
    if (json === undefined) throw new FanwireError('bad_option', 'there is no data: undefined is no JSON', { topic });
    const payload = remove ? new Uint8Array() : isBytes ? asBytes(data) : encoder.encode(text ? data : json);
    const kind = remove || isBytes ? 0 : text ? FLAG_TEXT : FLAG_JSON;
    const flags = kind | (event ? FLAG_EVENT : 0) | (remove ? FLAG_REMOVED : 0) | (ack ? FLAG_ANSWER : 0);
    const message = new Uint8Array(BINARY_HEADER_BYTES + name.length + keyBytes.length + payload.length);
    const view = new DataView(message.buffer);
    view.setUint8(0, 2);
    view.setUint8(1, flags);
    view.setUint16(2, keyBytes.length, true);
    view.setUint16(4, name.length, true);
    view.setBigUint64(8, BigInt(id), true);
    message.set(name, BINARY_HEADER_BYTES);
    message.set(keyBytes, BINARY_HEADER_BYTES + name.length);
    message.set(payload, BINARY_HEADER_BYTES + name.length + keyBytes.length);
    return message;
  }

  // ---- What arrives.

  #receive(data) {
    this.#heardAt = this.#clock.now();
    try {
      if (typeof data !== 'string') this.#receiveBinary(data);
      else this.#receiveText(JSON.parse(data));
    } catch (error) {
      // Callbacks of the program do not throw into here, so this is about the message.
      this.#fault({ reason: 'malformed', message: `a message of the server is malformed: ${error.message}` });
    }
    this.#checkQueues();
  }

  #receiveText(message) {
    if (message === null || typeof message !== 'object') throw new TypeError('not an object');
    const { op, id } = message;
    if (op === undefined) {
      const { topic, key, data, data_base64: base64, event, removed } = message;
      if (typeof topic !== 'string') throw new TypeError('it has no topic');
      const item = { type: 'message', topic, epoch: undefined, seq: number(message.seq, 'seq'), data: base64 === undefined ? data : fromBase64(base64) };
      if (key !== undefined) item.key = key;
      if (event) item.event = true;
      if (removed) item.removed = true;
      this.#receiveData(item);
    } else if (op === 'subscribed') this.#onSubscribed(message);
    else if (op === 'snapshot' || op === 'conflated' || op === 'gap') this.#onAnnounced(message);
    else if (op === 'published') this.#pending.get(id)?.resolve({ topic: message.topic, epoch: message.epoch, seq: message.seq });
    else if (op === 'pong') this.#pending.get(id)?.resolve();
    else if (op === 'unsubscribed') this.#onUnsubscribed(message);
    else if (op === 'configured') this.#answer(id, message.topic ?? message.pattern);
    else if (op === 'error') this.#onError(message);
    // An op that this version does not know is no fault: the server may be newer.
  }

  #receiveBinary(data) {
    const bytes = asBytes(data);
    if (bytes.length < BINARY_HEADER_BYTES) throw new RangeError(`a binary message of ${bytes.length} bytes`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.getUint8(0) !== 1) throw new RangeError(`a binary message of kind ${view.getUint8(0)}`);
    const flags = view.getUint8(1);
    const payloadAt = BINARY_HEADER_BYTES + view.getUint16(2, true);
    const alias = view.getUint32(4, true);
    const topic = this.#aliases.get(alias);
    if (topic === undefined) throw new RangeError(`alias ${alias} stands for no topic`);
    if (payloadAt > bytes.length) throw new RangeError('its key is longer than the message');
    const payload = bytes.subarray(payloadAt);
    let value;
    if (flags & FLAG_JSON) value = JSON.parse(decoder.decode(payload));
    else if (flags & FLAG_TEXT) value = decoder.decode(payload);
    else if (!(flags & FLAG_REMOVED)) value = payload;
    const item = { type: 'message', topic, epoch: undefined, seq: Number(view.getBigUint64(8, true)), data: value };
    if (payloadAt > BINARY_HEADER_BYTES) item.key = decoder.decode(bytes.subarray(BINARY_HEADER_BYTES, payloadAt));
    if (flags & FLAG_EVENT) item.event = true;
    if (flags & FLAG_REMOVED) item.removed = true;
    this.#receiveData(item);
  }

  #receiveData(item) {
    const track = this.#live(item.topic);
    const wrong = track.message(item.seq);
    if (wrong) this.#topicFault(track, wrong);
    if (wrong?.isDropped) return;
    item.epoch = track.epoch;
    this.#deliver(item);
  }

  #onSubscribed(message) {
    const { id, topic, pattern, epoch, kind, alias, replay = 0, recovered, snapshot, already, code } = message;
    if (topic !== undefined) {
      const seq = number(message.seq, 'seq');
      const track = this.#tracks.get(topic) ?? new Track(topic);
      this.#tracks.set(topic, track);
      if (alias !== undefined) this.#aliases.set(alias, topic);
      // A topic that another subscription of this connection covers flows already and is not begun again.
      if (!(already && track.isLive)) {
        const before = track.epoch === undefined ? undefined : { epoch: track.epoch, seq: track.seq };
        track.start(epoch, seq - replay, kind, snapshot === true);
        const notice = { type: 'subscribed', topic, epoch, seq, kind, replay };
        if (recovered === true) notice.type = 'resumed';
        else if (before) Object.assign(notice, { type: 'lost', code: code ?? (before.epoch === epoch ? 'not_resumed' : 'epoch_changed'), before });
        if (recovered === true && (before?.epoch !== epoch || before.seq !== track.seq)) {
          this.#topicFault(track, { reason: 'hole', from: (before?.seq ?? 0) + 1, to: track.seq });
        }
        this.#notice(notice);
      }
    }
    if (topic !== undefined && pattern !== undefined) return;
    this.#active.add(topic ?? pattern);
    this.#answer(id, topic ?? pattern);
  }

  #onAnnounced(message) {
    const { op, topic, epoch, cause, whole } = message;
    const track = this.#live(topic);
    if (op === 'snapshot') {
      const asOf = number(message.as_of, 'as_of');
      const count = number(message.count, 'count');
      const wrong = track.snapshot(epoch, asOf, count);
      if (wrong) this.#topicFault(track, wrong);
      this.#notice({ type: 'snapshot', topic, epoch, asOf, count, whole });
      return;
    }
    const from = number(message.from, 'from');
    const to = number(message.to, 'to');
    const wrong = op === 'gap' ? track.gap(from, to) : track.conflated(from, to, number(message.count, 'count'));
    if (wrong) this.#topicFault(track, wrong);
    if (op === 'gap') this.#notice({ type: 'gap', topic, from, to, cause });
    else this.#notice({ type: 'conflated', topic, from, to, count: message.count, whole });
  }

  #onUnsubscribed({ id, topic, pattern }) {
    const filter = topic ?? pattern;
    this.#active.delete(filter);
    // Topics that no subscription on this connection covers any more have ended, and with them their positions.
    for (const track of this.#tracks.values()) {
      if (track.isLive && ![...this.#active].some((each) => matches(each, track.topic))) this.#tracks.delete(track.topic);
    }
    this.#answer(id, filter);
  }

  #onError({ id, code, topic, message }) {
    const request = this.#pending.get(id);
    const error = new FanwireError(code, message, { topic });
    if (!request) {
      this.#emit('error', error);
    } else if (!request.names) {
      request.reject(error);
    } else {
      const names = request.names.has(topic) ? [topic] : [...request.names];
      for (const name of names) request.refused.push({ topic: name, code, message });
      for (const name of names) this.#answer(id, name);
    }
  }

  #answer(id, name) {
    const request = this.#pending.get(id);
    if (!request?.names) return;
    request.names.delete(name);
    if (request.names.size > 0) return;
    if (request.refused.length === 0) {
      request.resolve();
      return;
    }
    const { refused } = request;
    const [{ code, topic, message }] = refused;
    const more = refused.length > 1 ? ` (and ${refused.length - 1} more)` : '';
    request.reject(new FanwireError(code, `${topic}: ${message}${more}`, { topic, refused }));
  }

  // The track of a topic that may arrive now.
  #live(topic) {
    const track = this.#tracks.get(topic);
    if (!track?.isLive) throw new RangeError(`${JSON.stringify(topic)} is not subscribed to`);
    return track;
  }

  #deliver(item) {
    let route = this.#routes.get(item.topic);
    if (!route) {
      route = [...this.#subscriptions].filter(({ filters }) => [...filters].some((filter) => matches(filter, item.topic)));
      this.#routes.set(item.topic, route);
    }
    for (const subscription of route) subscription._deliver(item);
  }

  #notice(notice) {
    this.#emit('notice', notice);
    this.#deliver(notice);
  }

  #topicFault({ topic, epoch }, { reason, from, to }) {
    const text = reason === 'hole' ? `messages ${from} to ${to} of ${topic} are missing and were not announced` : `message ${from} of ${topic} arrived twice`;
    this.#fault({ reason, topic, epoch, from, to, message: text });
  }

  #fault(fault) {
    const notice = { type: 'fault', ...fault };
    this.#emit('fault', notice);
    if (notice.topic !== undefined) this.#deliver(notice);
  }

  // ---- A program that takes messages more slowly than they come.

  #checkQueues() {
    const { queueMax } = this.#options;
    for (const subscription of [...this.#subscriptions]) {
      if (subscription.waiting < queueMax) continue;
      if (typeof this.#socket?.pause === 'function') {
        // What is not read here, the server holds back, merges or announces as a gap.
        if (!this.#isPaused) this.#socket.pause();
        this.#isPaused = true;
        return;
      }
      subscription._end(new FanwireError('overflow', `${queueMax} messages wait: this program takes them more slowly than they come, and this WebSocket cannot be paused. Use a callback, maxRate, or a larger queueMax`));
      this._unsubscribe(subscription).catch(() => {});
    }
  }

  _taken() {
    if (!this.#isPaused) return;
    for (const subscription of this.#subscriptions) if (subscription.waiting > this.#options.queueMax / 2) return;
    this.#resumeReading();
  }

  #resumeReading() {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#heardAt = this.#clock.now();
    this.#socket?.resume();
  }
}

/** Makes a client and waits for its first connection. */
export function connect(url, options) {
  return new Client(url, options).open();
}

function number(value, name) {
  if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`${name} is ${JSON.stringify(value)}`);
  return value;
}

function asBytes(data) {
  return ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(data);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
