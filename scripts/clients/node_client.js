// Node `ws` against an echo server.
//
// Usage: node_client.js URL plain|deflate SERVER_PID
// The last case stops the server with SIGTERM. Prints one JSON object per case and {"done": COUNT} at the end.
'use strict';

const crypto = require('crypto');
const WebSocket = require('ws');

const TIMEOUT_MS = 20000;
const [url, mode, serverPid] = process.argv.slice(2);
const isDeflate = mode === 'deflate';
let count = 0;

function record(name, ok, detail) {
  count += 1;
  console.log(JSON.stringify({ case: `ws: ${mode}: ${name}`, ok, detail: String(detail || '').slice(0, 300) }));
}

// Runs one case; `run` resolves to [seen, expected], compared as JSON.
async function check(name, run) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  });
  try {
    const [seen, expected] = await Promise.race([run(), late]);
    const isOk = JSON.stringify(seen) === JSON.stringify(expected);
    record(name, isOk, isOk ? '' : `expected ${JSON.stringify(expected).slice(0, 120)}, saw ${JSON.stringify(seen).slice(0, 120)}`);
  } catch (error) {
    record(name, false, error.message);
  } finally {
    clearTimeout(timer);
  }
}

function open(options = {}, protocols = []) {
  const socket = new WebSocket(url, protocols, options);
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
}

function nextMessage(socket) {
  return new Promise((resolve, reject) => {
    socket.once('message', (data, isBinary) => resolve({ data, isBinary }));
    socket.once('close', (code) => reject(new Error(`closed with ${code}`)));
    socket.once('error', reject);
  });
}

function closed(socket) {
  return new Promise((resolve) => socket.once('close', (code, reason) => resolve([code, reason.toString()])));
}

async function finish(socket) {
  const end = closed(socket);
  socket.close(1000);
  await end;
}

async function echo(data, options) {
  const socket = await open(options);
  const answer = nextMessage(socket);
  socket.send(data);
  const { data: echoed, isBinary } = await answer;
  await finish(socket);
  return [[isBinary, echoed.equals(Buffer.from(data))], [Buffer.isBuffer(data), true]];
}

async function fragments(parts) {
  const socket = await open();
  const answer = nextMessage(socket);
  parts.forEach((part, index) => socket.send(part, { fin: index === parts.length - 1 }));
  const { data, isBinary } = await answer;
  await finish(socket);
  const whole = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return [[isBinary, data.equals(whole)], [Buffer.isBuffer(parts[0]), true]];
}

async function ping() {
  const socket = await open();
  const answer = new Promise((resolve) => socket.once('pong', (data) => resolve(data.toString())));
  socket.ping('are you there');
  const seen = await answer;
  await finish(socket);
  return [seen, 'are you there'];
}

async function close(code, reason) {
  const socket = await open();
  const end = closed(socket);
  socket.close(code, reason);
  // RFC 6455 5.5.1: the code is echoed; the reason need not be.
  return [(await end)[0], code];
}

async function order() {
  const socket = await open();
  const expected = Array.from({ length: 500 }, (_, index) => `message ${index}`);
  const seen = [];
  const all = new Promise((resolve) => {
    socket.on('message', (data) => seen.push(data.toString()) === expected.length && resolve());
  });
  expected.forEach((message) => socket.send(message));
  await all;
  await finish(socket);
  return [seen, expected];
}

async function invalidText() {
  const socket = await open();
  const end = closed(socket);
  socket.on('error', () => {});
  socket.send(Buffer.from([0xff, 0xfe]), { binary: false });
  return [(await end)[0], 1007];
}

async function drain() {
  const socket = await open();
  const end = closed(socket);
  process.kill(Number(serverPid), 'SIGTERM');
  return [(await end)[0], 1001];
}

async function main() {
  await check('extension negotiation', async () => {
    const socket = await open();
    const seen = socket.extensions.split(';')[0].trim();
    await finish(socket);
    return [seen, isDeflate ? 'permessage-deflate' : ''];
  });
  for (const size of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
    await check(`text of ${size}`, () => echo('a'.repeat(size)));
    await check(`binary of ${size}`, () => echo(crypto.randomBytes(size)));
  }
  await check('text beyond ASCII', () => echo('héllo € \u{1f600}'.repeat(100)));
  await check('fragmented text', () => fragments(['frag', 'men', '', 'ted €']));
  await check('fragmented binary', () => fragments([Buffer.alloc(1000, 0), Buffer.alloc(0), Buffer.alloc(1000, 1)]));
  await check('ping', ping);
  await check('order of 500 messages', order);
  for (const code of [1000, 1001, 1008, 1011, 3000, 4321]) {
    await check(`close code ${code}`, () => close(code, 'so long'));
  }
  await check('text that is not UTF-8', invalidText);
  const takeover = { perMessageDeflate: { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 } };
  await check('no context takeover', () => echo('squeeze '.repeat(500), takeover));
  const window = { perMessageDeflate: { serverMaxWindowBits: 10, clientMaxWindowBits: 10, threshold: 0 } };
  await check('window of 10 bits', () => echo('squeeze '.repeat(5000), window));
  await check('compression declined by the client', () => echo('plain '.repeat(200), { perMessageDeflate: false }));
  await check('drain', drain);
  console.log(JSON.stringify({ done: count }));
}

main();
