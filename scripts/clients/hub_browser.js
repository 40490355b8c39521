// Chromium against a hub: a stock WebSocket, and the JavaScript client of the repository as a page imports it.
//
// Usage: CHROMIUM=PATH hub_browser.js URL FANWIRE_JS
// Prints one JSON object per case and {"done": COUNT} at the end.
'use strict';

const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { chromium } = require('playwright-core');

const [url, library] = process.argv.slice(2);
const PAGE_TIMEOUT_MS = 30000;
let count = 0;

function record(name, seen, expected) {
  const ok = JSON.stringify(seen) === JSON.stringify(expected);
  const detail = ok ? '' : `expected ${JSON.stringify(expected)}, saw ${JSON.stringify(seen)}`.slice(0, 300);
  count += 1;
  console.log(JSON.stringify({ case: `chromium: ${name}`, ok, detail }));
}

// Runs inside the page: nothing but what browsers have.
async function stock(address) {
  const open = (path, protocols) => new Promise((resolve, reject) => {
    const socket = new WebSocket(address + path, protocols);
    socket.messages = [];
    socket.onmessage = ({ data }) => socket.messages.push(data) && socket.told?.();
    socket.onopen = () => resolve(socket);
    socket.onerror = () => reject(new Error(`could not open ${path}`));
  });
  const take = async (socket, wanted) => {
    while (socket.messages.length < wanted) await new Promise((resolve) => { socket.told = resolve; });
    return socket.messages.splice(0, wanted);
  };
  const seen = {};
  const reader = await open('raw/browser.raw?topics=browser.other&history=1');
  const writer = await open('raw/browser.raw?publish&subscribe=false');
  // A raw connection is told nothing: what comes back shows that it has been subscribed.
  writer.send('{"price":"101.5"}');
  seen.raw = await take(reader, 1);
  const json = await open('', ['fanwire.v1.json']);
  seen.protocol = json.protocol;
  json.send('{"op":"subscribe","id":1,"topics":["browser.json"]}');
  const [subscribed] = (await take(json, 1)).map(JSON.parse);
  seen.subscribed = [subscribed.op, subscribed.id, subscribed.topic, subscribed.seq];
  json.send('{"op":"publish","topic":"browser.json","data":{"a":1}}');
  seen.json = await take(json, 1);
  json.send('no JSON');
  seen.error = JSON.parse((await take(json, 1))[0]).code;
  seen.refused = await open('', ['no.such.protocol']).then(() => 'opened', () => 'refused');
  return seen;
}

async function client([address, protocol]) {
  const { StateMap, connect } = await import('/fanwire.js');
  const one = await connect(address, { protocol });
  const faults = [];
  one.on('fault', (fault) => faults.push(fault));
  const topic = `browser.client.${protocol}`;
  const subscription = one.subscribe(topic);
  await subscription.ready;
  for (let index = 0; index < 50; index += 1) one.publish(topic, { index });
  const seen = [];
  for await (const { data } of subscription) if (seen.push(data.index) === 50) break;
  const book = `book.browser.${protocol}`;
  await one.publish(book, 1, { key: 'a' });
  const changed = new Promise((resolve) => { StateMap.follow(one, book, { onChange: (_item, map) => map.whole && resolve([...map]) }); });
  const state = await changed;
  await one.close();
  return { inOrder: seen.every((value, index) => value === index), count: seen.length, state, faults };
}

async function main() {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-browser-'));
  // A page at about:blank may not connect to loopback, so one is served from there, and the library with it.
  const site = http.createServer((request, response) => {
    const isScript = request.url === '/fanwire.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? fs.readFileSync(library) : '<!doctype html><title>fanwire</title>');
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
    const seen = await page.evaluate(stock, url);
    record('a bare payload', seen.raw, ['{"price":"101.5"}']);
    record('the subprotocol', seen.protocol, 'fanwire.v1.json');
    record('subscribed', seen.subscribed, ['subscribed', 1, 'browser.json', 0]);
    record('a message', seen.json, ['{"topic":"browser.json","seq":1,"data":{"a":1}}']);
    record('an error', seen.error, 'bad_json');
    record('an unknown subprotocol', seen.refused, 'refused');
    for (const protocol of ['json', 'binary']) {
      const result = await page.evaluate(client, [url, protocol]);
      record(`fanwire.js, ${protocol}`, result, { inOrder: true, count: 50, state: [['a', 1]], faults: [] });
    }
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
