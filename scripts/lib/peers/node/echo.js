'use strict';
// Echo server on Node `ws`, to compare with.
//
// Configuration: no compression, no per-client set to maintain, `bufferutil` installed (the
// native masking that the library's README recommends; UTF-8 is validated by Node itself since
// version 18.14). `ws` sets TCP_NODELAY. All threads of the process run on the given core.
// The replies of one read leave in one write: the socket is corked until the read is handled.

const { execFileSync } = require('node:child_process');
const { WebSocketServer } = require('ws');

const MESSAGE_SIZE_MAX = 16 * 1024 * 1024;
const LISTEN_BACKLOG = 4096;

function parse(values) {
  const options = { listen: '127.0.0.1:0', cpu: null };
  for (let index = 0; index < values.length; index += 2) {
    const name = values[index].replace(/^--/, '');
    if (!(name in options) || index + 1 === values.length) {
      console.error('usage: echo.js --listen ADDRESS:PORT [--cpu CORE]');
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
  perMessageDeflate: false,
});
server.on('connection', (socket, request) => {
  const stream = request.socket;
  let corked = false;
  socket.on('message', (data, isBinary) => {
    if (!corked) {
      corked = true;
      stream.cork();
      process.nextTick(() => {
        corked = false;
        stream.uncork();
      });
    }
    socket.send(data, { binary: isBinary });
  });
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
