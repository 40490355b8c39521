// Types of fanwire.js. README.md explains the options.

/** What a program needs of a WebSocket: the platform's own, or the one of the package `ws`. */
export interface WebSocketConstructor {
  new (url: string, protocols?: string | string[]): unknown;
}

/** Time as a test may replace it. */
export interface Clock {
  now(): number;
  setTimeout(callback: () => void, delayMs: number): unknown;
  clearTimeout(timer: any): void;
}

export interface BackoffOptions {
  /** The ceiling of the first delay. Default 250. */
  backoffBaseMs?: number;
  /** The ceiling that no delay exceeds. Default 30 000. */
  backoffMaxMs?: number;
  /** In place of `backoffBaseMs` after close code 1013. Default 2000. */
  overloadBaseMs?: number;
}

export interface ClientOptions extends BackoffOptions {
  /** The subprotocol. Default "json". */
  protocol?: 'json' | 'binary';
  /** Default: the platform's own. */
  WebSocket?: WebSocketConstructor;
  /** A connection that lasted so long makes the next failure a first one. Default 10 000. */
  stableAfterMs?: number;
  /** Default 10 000. */
  openTimeoutMs?: number;
  /** For acknowledgements and pongs. Default 10 000. */
  answerTimeoutMs?: number;
  /** Silence after which the server is asked whether it is there; 0 to never ask. Default 25 000. */
  heartbeatMs?: number;
  /** Messages that may wait for a `for await`. Default 10 000. */
  queueMax?: number;
  /** Failures in a row after which it gives up. Default Infinity. */
  attemptsMax?: number;
  /** Come back even after close code 1008. Default false. */
  retryPolicyViolation?: boolean;
  clock?: Clock;
  /** From 0 to below 1, as Math.random. */
  random?: () => number;
}

export interface Position {
  epoch: string;
  seq: number;
}

export type TopicKind = 'events' | 'state';

/** One message of a topic. `data` is a Uint8Array when the payload is neither JSON nor text. */
export interface Message<Data = any> {
  type: 'message';
  topic: string;
  epoch: string;
  seq: number;
  key?: string;
  data: Data;
  /** Belongs to its key but is no state. */
  event?: true;
  /** The key was removed; there is no data. */
  removed?: true;
}

interface Started {
  topic: string;
  epoch: string;
  /** The newest message of the topic at that instant. */
  seq: number;
  kind: TopicKind;
  /** Messages up to `seq` that follow. */
  replay: number;
}

/** A topic begins. */
export interface Subscribed extends Started { type: 'subscribed' }
/** A topic goes on where it was cut off; nothing is missing. */
export interface Resumed extends Started { type: 'resumed' }
/** A topic starts over: what was missed since `before` cannot be had. */
export interface Lost extends Started {
  type: 'lost';
  code: 'epoch_changed' | 'log_overrun' | 'resume_from_future' | 'not_resumed' | string;
  before: Position;
}
/** Forget the topic; the next `count` messages are its state. */
export interface Snapshot { type: 'snapshot'; topic: string; epoch: string; asOf: number; count: number; whole: boolean }
/** Of these messages only the next `count` of the topic arrive; newer ones replaced the others. */
export interface Conflated { type: 'conflated'; topic: string; from: number; to: number; count: number; whole: boolean }
/** These messages will not arrive. */
export interface Gap { type: 'gap'; topic: string; from: number; to: number; cause: 'slow' | 'rate' | string }
/** The server refused a name or pattern; it is not asked for again. */
export interface Refused { type: 'refused'; topic: string; code: string; message: string }
/** The server broke its promise. A hole leaves messages `from` to `to` out, a duplicate was left out here. */
export interface Fault {
  type: 'fault';
  reason: 'hole' | 'duplicate' | 'malformed';
  message: string;
  topic?: string;
  epoch?: string;
  from?: number;
  to?: number;
}
export type Notice = Subscribed | Resumed | Lost | Snapshot | Conflated | Gap | Refused | Fault;

export interface SubscribeOptions<Data = any> {
  /** Messages a second for each topic at most; 0 for no cap. */
  maxRate?: number;
  /** Begin with so many of the last messages of each events topic. */
  history?: number;
  /** False to do without the snapshot of state topics. */
  snapshot?: boolean;
  /** Positions to go on from, as `positions()` gave them. */
  resume?: Record<string, Position>;
  onMessage?: (message: Message<Data>) => void;
  onNotice?: (notice: Notice) => void;
}

export class FanwireError extends Error {
  /** One of the server's error codes, or closed, policy_violation, given_up, not_connected, connection_lost, timeout,
   * overflow, already_subscribed, bad_topic, bad_option, bad_url, bad_subprotocol, no_websocket. */
  code: string;
  topic?: string;
  refused: { topic: string; code: string; message: string }[];
}

export class Subscription<Item = Message> implements AsyncIterable<Item> {
  private constructor();
  readonly filters: ReadonlySet<string>;
  /** Once the server has answered for every name and pattern. */
  readonly ready: Promise<void>;
  /** Messages that wait to be taken. */
  readonly waiting: number;
  positions(): Record<string, Position>;
  configure(options: { maxRate: number }): Promise<void>;
  unsubscribe(): Promise<void>;
  [Symbol.asyncIterator](): AsyncIterableIterator<Item>;
}

export interface PublishOptions {
  key?: string;
  /** Belongs to its key but is no state. */
  event?: boolean;
  /** Removes the key; `data` is ignored. */
  remove?: boolean;
  /** False to have no answer. Default true. */
  ack?: boolean;
  /** `data` is a string to publish as bare text, not as JSON. Needs the binary protocol. */
  text?: boolean;
}

export interface Closed {
  code: number;
  reason: string;
  willRetry: boolean;
  delayMs?: number;
  error?: FanwireError;
}

interface Events {
  open: { attempt: number };
  close: Closed;
  notice: Exclude<Notice, Fault | Refused>;
  fault: Fault;
  error: FanwireError;
}

export class Client {
  constructor(url: string, options?: ClientOptions);
  readonly isOpen: boolean;
  readonly bufferedAmount: number;
  open(): Promise<this>;
  close(code?: number, reason?: string): Promise<void>;
  on<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): () => void;
  subscribe<Data = any>(topics: string | string[], options?: SubscribeOptions<Data> & { notices?: false }): Subscription<Message<Data>>;
  subscribe<Data = any>(topics: string | string[], options: SubscribeOptions<Data> & { notices: true }): Subscription<Message<Data> | Notice>;
  publish(topic: string, data: unknown, options?: PublishOptions & { ack?: true }): Promise<{ topic: string } & Position>;
  publish(topic: string, data: unknown, options: PublishOptions & { ack: boolean }): Promise<({ topic: string } & Position) | undefined>;
  ping(): Promise<number>;
}

export function connect(url: string, options?: ClientOptions): Promise<Client>;

/** A state topic as a Map from key to data. */
export class StateMap<Data = any> extends Map<string, Data> {
  constructor(topic: string);
  static follow<Data = any>(
    client: Client,
    topic: string,
    options?: Omit<SubscribeOptions<Data>, 'onMessage' | 'onNotice'> & { onChange?: (item: Message<Data> | Notice, map: StateMap<Data>) => void },
  ): StateMap<Data> & { subscription: Subscription<Message<Data>> };
  readonly topic: string;
  readonly epoch: string | undefined;
  readonly seq: number;
  /** Whether this is exactly the state that the topic had at `seq`. */
  readonly whole: boolean;
  apply(item: Message<Data> | Notice): boolean;
}

export class Backoff {
  constructor(options?: Required<BackoffOptions>, random?: () => number);
  attempt: number;
  next(closeCode?: number): number;
  reset(): void;
}

/** The position in one topic; each method returns what is wrong, or null. */
export class Track {
  constructor(topic: string);
  readonly topic: string;
  epoch: string | undefined;
  seq: number;
  start(epoch: string, seq: number, kind: TopicKind, awaitsSnapshot?: boolean): void;
  stop(): void;
  message(seq: number): Wrong | null;
  snapshot(epoch: string, asOf: number, count: number): Wrong | null;
  conflated(from: number, to: number, count: number): Wrong | null;
  gap(from: number, to: number): Wrong | null;
}
export interface Wrong { reason: 'hole' | 'duplicate'; from: number; to: number; isDropped?: true }

export const DEFAULTS: Readonly<Required<Omit<ClientOptions, 'WebSocket' | 'clock' | 'random'>>>;
export function checkFilter(filter: string, options?: { isName?: boolean }): void;
export function matches(filter: string, topic: string): boolean;
