// Runs a script in a page of Chromium and prints what it writes to the console.
//
// Usage: CHROMIUM=PATH hub_page.js SCRIPT
// Ends when it is told to: a page that listens never does.
'use strict';

const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { chromium } = require('playwright-core');

async function main() {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'fanwire-browser-'));
  process.on('exit', () => fs.rmSync(profile, { recursive: true, force: true }));
  // A page at about:blank may not connect to loopback, so one is served from there.
  const site = http.createServer((_request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end('<!doctype html><title>fanwire</title>');
  });
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'],
  });
  const page = await context.newPage();
  page.on('console', (message) => console.log(message.text()));
  page.on('pageerror', (error) => console.log(String(error)));
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  await page.addScriptTag({ content: fs.readFileSync(process.argv[2], 'utf8') });
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
