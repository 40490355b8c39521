// Chromium against the live page of a server with the simulator: books rebuilt in a browser match their checksums.
//
// Usage: CHROMIUM=PATH live_page.js ADMIN_URL
// Prints one JSON object per case and {"done": COUNT} at the end.
'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const { chromium } = require('playwright-core');

const [url] = process.argv.slice(2);
const PAGE_TIMEOUT_MS = 30000;
let count = 0;

function record(name, ok, detail = '') {
  count += 1;
  console.log(JSON.stringify({ case: `live page: ${name}`, ok: Boolean(ok), detail: ok ? '' : String(detail).slice(0, 300) }));
}

// What the page shows, and what it counts.
const look = (page) => page.evaluate(() => ({
  ...Object.fromEntries(['state', 'check', 'seq', 'symbol'].map((id) => [id, document.getElementById(id).value
    ?? document.getElementById(id).textContent])),
  rows: document.querySelectorAll('#asks .row').length + document.querySelectorAll('#bids .row').length,
  trades: document.querySelectorAll('#tape .row').length,
  isTooWide: document.documentElement.scrollWidth > window.innerWidth,
  ...counts, // eslint-disable-line no-undef
}));

async function main() {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-live-'));
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
    const faults = [];
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
    const requests = new Set();
    page.on('request', (request) => requests.add(new URL(request.url()).protocol + new URL(request.url()).hostname));
    const checked = (wanted) => page.waitForFunction((least) => counts.checks >= least, wanted); // eslint-disable-line no-undef

    await page.setViewportSize({ width: 1200, height: 900 });
    await page.goto(url);
    await checked(200);
    await page.waitForFunction(() => document.querySelectorAll('#tape .row').length > 0);
    let seen = await look(page);
    record('connected', seen.state === 'connected', seen.state);
    record('200 books match', seen.wrong === 0 && seen.check === 'matches', JSON.stringify(seen));
    record('no hole in the sequence', seen.holes === 0, seen.holes);
    record('ten levels of both sides', seen.rows === 20, seen.rows);

    await page.evaluate(() => socket.close()); // eslint-disable-line no-undef
    await page.waitForFunction(() => counts.resumed > 0); // eslint-disable-line no-undef
    await checked(seen.checks + 100);
    seen = await look(page);
    record('resumed after a cut', seen.resumed === 3 && seen.wrong === 0 && seen.holes === 0, JSON.stringify(seen));

    await page.selectOption('#rate', '2');
    await page.waitForFunction(() => counts.conflated > 0); // eslint-disable-line no-undef
    await page.selectOption('#rate', '0');
    await checked(seen.checks + 300);
    seen = await look(page);
    record('merged and whole again', seen.wrong === 0 && seen.holes === 0, JSON.stringify(seen));

    await page.selectOption('#symbol', 'ETH-USD');
    await checked(100);
    seen = await look(page);
    record('another symbol', seen.symbol === 'ETH-USD' && seen.wrong === 0, JSON.stringify(seen));
    for (const width of [1200, 768, 360]) {
      await page.setViewportSize({ width, height: 800 });
      seen = await look(page);
      record(`fits into ${width} pixels`, !seen.isTooWide);
    }
    record('no error in the page', faults.length === 0, faults.join('; '));
    record('nothing from elsewhere', [...requests].every((one) => /127\.0\.0\.1$|^data:/.test(one)), [...requests].join(' '));
  } finally {
    if (context) await context.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
  console.log(JSON.stringify({ done: count }));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
