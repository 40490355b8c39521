// Chromium against an echo server: what a page sees.
//
// Usage: CHROMIUM=PATH browser_client.js URL plain|deflate SERVER_PID
// The last case stops the server with SIGTERM. Prints one JSON object per case and {"done": COUNT} at the end.
'use strict';

const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { chromium } = require('playwright-core');

const [url, mode, serverPid] = process.argv.slice(2);
const PAGE_TIMEOUT_MS = 30000;
let count = 0;

function record(name, seen, expected) {
  const ok = JSON.stringify(seen) === JSON.stringify(expected);
  const detail = ok ? '' : `expected ${JSON.stringify(expected)}, saw ${JSON.stringify(seen)}`.slice(0, 300);
  count += 1;
  console.log(JSON.stringify({ case: `chromium: ${mode}: ${name}`, ok, detail }));
}

// Runs inside the page: everything but the drain, as one object.
async function visit(address) {
  const open = (protocols) => new Promise((resolve, reject) => {
    const socket = new WebSocket(address, protocols);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject(new Error('the page could not connect'));
  });
  const message = (socket) => new Promise((resolve) => { socket.onmessage = (event) => resolve(event.data); });
  const closed = (socket) => new Promise((resolve) => {
    socket.onclose = (event) => resolve([event.code, event.reason, event.wasClean]);
  });
  const socket = await open([]);
  const seen = { extension: socket.extensions.split(';')[0], protocol: socket.protocol };
  let answer = message(socket);
  socket.send('héllo € \u{1f600}');
  seen.text = await answer;
  const bytes = new Uint8Array(100000).map((_, index) => index * 31);
  answer = message(socket);
  socket.send(bytes);
  const echoed = new Uint8Array(await answer);
  seen.binary = echoed.length === bytes.length && echoed.every((byte, index) => byte === bytes[index]);
  const large = 'market data '.repeat(50000);
  answer = message(socket);
  socket.send(large);
  seen.large = (await answer) === large;
  const burst = [];
  const all = new Promise((resolve) => {
    socket.onmessage = (event) => burst.push(event.data) === 200 && resolve();
  });
  for (let index = 0; index < 200; index += 1) socket.send(String(index));
  await all;
  seen.order = burst.every((data, index) => data === String(index));
  const end = closed(socket);
  socket.close(4001, 'bye €');
  seen.close = await end;
  const silent = await open([]);
  const silentEnd = closed(silent);
  silent.close();
  seen.closeWithoutCode = await silentEnd;
  const both = await Promise.all(Array.from({ length: 30 }, () => open([])));
  seen.many = both.length;
  both.forEach((each) => each.close());
  return seen;
}

// Runs inside the page: opens a connection and remembers how it will end.
async function stay(address) {
  const socket = new WebSocket(address);
  window.ending = new Promise((resolve) => {
    socket.onclose = (event) => resolve([event.code, event.wasClean]);
  });
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
}

async function main() {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-browser-'));
  // A page at about:blank may not connect to loopback, so one is served from there.
  const site = http.createServer((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>fanwire</title>');
  });
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  let context;
  try {
    context = await chromium.launchPersistentContext(profile, {
      executablePath: process.env.CHROMIUM,
      headless: true,
      args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
        '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
    });
    const page = await context.newPage();
    page.setDefaultTimeout(PAGE_TIMEOUT_MS);
    await page.goto(`http://127.0.0.1:${site.address().port}/`);
    const seen = await page.evaluate(visit, url);
    record('extension negotiation', seen.extension, mode === 'deflate' ? 'permessage-deflate' : '');
    record('no subprotocol', seen.protocol, '');
    record('text', seen.text, 'héllo € \u{1f600}');
    record('binary of 100,000', seen.binary, true);
    record('text of 600,000', seen.large, true);
    record('order of 200 messages', seen.order, true);
    // RFC 6455 5.5.1: the code is echoed; the reason need not be.
    record('close code', [seen.close[0], seen.close[2]], [4001, true]);
    record('close without a code', seen.closeWithoutCode, [1005, '', true]);
    record('30 connections', seen.many, 30);
    await page.evaluate(stay, url);
    process.kill(Number(serverPid), 'SIGTERM');
    record('drain', await page.evaluate(() => window.ending), [1001, true]);
  } finally {
    if (context) await context.close();
    site.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
  console.log(JSON.stringify({ done: count }));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
