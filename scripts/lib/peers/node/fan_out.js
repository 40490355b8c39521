'use strict';
// Publish and subscribe on Node `ws`, to compare with.
//
// Configuration: the broadcast that the library's README documents, one loop over the topic's
// clients with `send`; `bufferutil` installed; `ws` sets TCP_NODELAY. All threads of the process run on
// the given core. With `--deflate yes` the permessage-deflate settings of the README: level 3,
// memLevel 7, windows of 1 KiB, no context takeover on either side, at most 10 at a time,
// nothing below 1 KiB.
//
// /raw/TOPIC subscribes; with `publish` in the query, what is sent there is published on TOPIC.

const { execFileSync } = require('node:child_process');
const { WebSocket, WebSocketServer } = require('ws');

const MESSAGE_SIZE_MAX = 16 * 1024 * 1024;
const LISTEN_BACKLOG = 4096;
const DEFLATE = {
  zlibDeflateOptions: { chunkSize: 1024, memLevel: 7, level: 3 },
  zlibInflateOptions: { chunkSize: 10 * 1024 },
  clientNoContextTakeover: true,
  serverNoContextTakeover: true,
  serverMaxWindowBits: 10,
  concurrencyLimit: 10,
  threshold: 1024,
};

function parse(values) {
  const options = { listen: '127.0.0.1:0', cpu: null, deflate: 'no' };
  for (let index = 0; index < values.length; index += 2) {
    const name = values[index].replace(/^--/, '');
    if (!(name in options) || index + 1 === values.length) {
      console.error('usage: fan_out.js --listen ADDRESS:PORT [--cpu CORE] [--deflate yes|no]');
      process.exit(2);
    }
    options[name] = values[index + 1];
  }
  return options;
}

const options = parse(process.argv.slice(2));
if (options.cpu !== null) {
  execFileSync('taskset', ['-apc', options.cpu, String(process.pid)], { stdio: 'ignore' });
}
const colon = options.listen.lastIndexOf(':');
const server = new WebSocketServer({
  host: options.listen.slice(0, colon),
  port: Number(options.listen.slice(colon + 1)),
  backlog: LISTEN_BACKLOG,
  clientTracking: false,
  maxPayload: MESSAGE_SIZE_MAX,
  perMessageDeflate: options.deflate === 'yes' ? DEFLATE : false,
});
const topics = new Map();

function subscribersOf(topic) {
  let subscribers = topics.get(topic);
  if (subscribers === undefined) {
    subscribers = new Set();
    topics.set(topic, subscribers);
  }
  return subscribers;
}

server.on('connection', (socket, request) => {
  const { pathname, searchParams } = new URL(request.url, 'ws://localhost');
  const subscribers = subscribersOf(pathname);
  if (searchParams.has('publish')) {
    socket.on('message', (data, isBinary) => {
      for (const client of subscribers) {
        if (client.readyState === WebSocket.OPEN) {
          client.send(data, { binary: isBinary });
        }
      }
    });
  } else {
    subscribers.add(socket);
    socket.on('close', () => subscribers.delete(socket));
  }
  // A broken connection is the client's affair: it counts what it misses.
  socket.on('error', () => socket.terminate());
});
server.on('listening', () => {
  const { address, port } = server.address();
  console.log(`listening ${address}:${port}`);
});
server.on('error', (error) => {
  console.error(`cannot listen on ${options.listen}: ${error.message}`);
  process.exit(1);
});
