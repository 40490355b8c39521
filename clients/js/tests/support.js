// What the tests share: a scripted server, a clock that tests turn, the WebSocket under test.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('../../testing/scripted_server.py', import.meta.url));
const WAIT_MS = 20_000;

/** The WebSocket under test: the platform's own, or `ws` with FANWIRE_WEBSOCKET=ws or where there is no other. */
export function chosenWebSocket() {
  if (process.env.FANWIRE_WEBSOCKET !== 'ws' && globalThis.WebSocket) return globalThis.WebSocket;
  return createRequire(import.meta.url)('ws');
}

/** Rejects when a promise takes too long, naming what was awaited. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing within ${WAIT_MS} ms`)), WAIT_MS); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A queue of values that a test can wait for. */
export class Mailbox {
  #values = [];
  #waiters = [];

  put(value) {
    if (this.#waiters.length > 0) this.#waiters.shift()(value);
    else this.#values.push(value);
  }

  take(what = 'a value') {
    if (this.#values.length > 0) return Promise.resolve(this.#values.shift());
    return within(new Promise((resolve) => { this.#waiters.push(resolve); }), what);
  }
}

/** `testing/scripted_server.py` as a child process. */
export class ScriptedServer {
  #child;
  #reports = new Mailbox();

  static async start() {
    const server = new ScriptedServer();
    server.#child = spawn(process.env.PYTHON ?? 'python3', ['-B', SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] });
    server.#child.on('error', (error) => server.#reports.put({ is: `no server: ${error.message}` }));
    createInterface({ input: server.#child.stdout }).on('line', (line) => server.#reports.put(JSON.parse(line)));
    server.url = (await server.expect('listening')).url;
    return server;
  }

  do(order) {
    this.#child.stdin.write(`${JSON.stringify(order)}\n`);
  }

  send(...messages) {
    for (const message of messages) this.do({ do: 'send', text: typeof message === 'string' ? message : JSON.stringify(message) });
  }

  async expect(what) {
    const report = await this.#reports.take(`the server's report ${what}`);
    if (report.is !== what) throw new Error(`expected ${what}, the next report is ${JSON.stringify(report)}`);
    return report;
  }

  async command() {
    return JSON.parse((await this.expect('received')).text);
  }

  async stop() {
    const ended = new Promise((resolve) => { this.#child.once('exit', resolve); });
    this.#child.stdin.end();
    await ended;
  }
}

/** A clock that stands still until a test turns it. */
export class FakeClock {
  #now = 0;
  #timers = new Map();
  #next = 1;

  now() {
    return this.#now;
  }

  setTimeout(callback, delayMs) {
    const timer = this.#next;
    this.#next += 1;
    this.#timers.set(timer, { at: this.#now + delayMs, callback });
    return timer;
  }

  clearTimeout(timer) {
    this.#timers.delete(timer);
  }

  advance(byMs) {
    const until = this.#now + byMs;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= until).sort((a, b) => a[1].at - b[1].at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.#now = due[1].at;
      due[1].callback();
    }
    this.#now = until;
  }
}
