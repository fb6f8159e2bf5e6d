// A backend for a browser: keeps the tokens away from scripts and calls the order service with them.

import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

import { credentials, Metadata, status } from '@grpc/grpc-js';

import { connect, credential, load } from '../node/postern.js';
import { Sessions, Visit } from './session.js';

const {
  BFF_LISTEN = '127.0.0.1:7501',
  BFF_ORIGIN = 'http://localhost:7501',
  ORDERS_SERVER = '127.0.0.1:7401',
} = process.env;

const postern = connect();
const ourCredential = credential();
const { OrderService } = load('orders/v1/orders.proto', fileURLToPath(new URL('..', import.meta.url))).orders.v1;
const orders = new OrderService(ORDERS_SERVER, credentials.createInsecure());

const sessions = new Sessions(async (method, message, timeoutMs) => {
  try {
    return await unary(postern, method, message, ourCredential, timeoutMs);
  } catch (error) {
    if (error.code !== status.PERMISSION_DENIED) throw error;
    // It speaks of this program's own secret, never of the person.
    console.error(`Postern refuses this client: ${error.details}`);
    throw Object.assign(new Error('not allowed'), { code: status.UNAVAILABLE });
  }
});

const ROUTES = {
  'POST /login': async (visit, { identifier, password }) => {
    const isSignedIn = await sessions.login(visit, String(identifier), String(password));
    // One text for every failure.
    return isSignedIn ? { status: 204 } : { status: 401, body: { error: 'The name or the password is wrong.' } };
  },

  'POST /logout': async (visit) => {
    await sessions.logout(visit);
    return { status: 204 };
  },

  // Who is signed in, and what the page may offer them. It decides nothing: the backend does.
  'GET /me': async (visit, { shop = '' }) => {
    const ask = ['orders:read', 'orders:refund'].map((permission) => ({ permission, tenant: shop }));
    const { principal, verdicts } = await sessions.withToken(visit, async (access_token) => {
      const answer = await sessions.ask('Verify', { access_token, ask }, 500);
      if (answer.decision !== 'DECISION_ALLOW') throw Object.assign(new Error('refused'), { code: status.UNAUTHENTICATED });
      return answer;
    });
    const may = ask.filter((_, index) => verdicts[index].allowed).map(({ permission }) => permission);
    return { status: 200, body: { id: principal.id, may } };
  },

  'GET /api/orders': async (visit, { shop = '' }) => {
    const answer = await sessions.withToken(visit, (token) => asPerson('ListOrders', {}, token, shop));
    return { status: 200, body: answer.order_ids };
  },

  'POST /api/refunds': async (visit, { shop = '', order }) => {
    const message = { order_id: String(order) };
    const answer = await sessions.withToken(visit, (token) => asPerson('RefundOrder', message, token, String(shop)));
    return { status: 200, body: { refunded_by: answer.refunded_by } };
  },
};

// A browser sends Origin with every request that may change something, and no page can forge it. SameSite=Lax alone
// would let pages of a sister domain in.
function isForeign(request) {
  return request.method !== 'GET' && request.headers.origin !== BFF_ORIGIN;
}

async function answerTo(request, visit) {
  const [path] = request.url.split('?', 1);
  const route = `${request.method} ${path}`;
  if (!Object.hasOwn(ROUTES, route)) return { status: 404, body: { error: 'There is nothing here.' } };
  if (isForeign(request)) return { status: 403, body: { error: 'This request comes from another site.' } };
  try {
    const query = new URLSearchParams(request.url.slice(path.length));
    const input = request.method === 'GET' ? Object.fromEntries(query) : await json(request);
    return await ROUTES[route](visit, input);
  } catch (error) {
    return failure(error);
  }
}

// What a browser is told. Away is 503 and never 401 or 403, or an outage would sign everybody out.
function failure(error) {
  switch (error.code) {
    case status.UNAUTHENTICATED:
      return { status: 401, body: { error: 'Sign in.' } };
    case status.PERMISSION_DENIED:
      return { status: 403, body: { error: 'You may not do this.' } };
    case status.INVALID_ARGUMENT:
      return { status: 400, body: { error: 'This cannot be understood.' } };
    case status.RESOURCE_EXHAUSTED:
      return { status: 429, headers: { 'retry-after': '5' }, body: { error: 'Too often. Try again in a while.' } };
    case status.UNAVAILABLE:
    case status.DEADLINE_EXCEEDED:
      return { status: 503, headers: { 'retry-after': '1' }, body: { error: 'Not available. Try again in a while.' } };
    default:
      // Neither the message nor the request is logged: tokens and passwords are in them.
      console.error(`a request failed with code ${error.code}: ${error.details ?? error.name}`);
      return { status: 500, body: { error: 'Something went wrong here.' } };
  }
}

// An object, from a small body that says it is JSON, which a foreign page's form cannot say.
async function json(request) {
  const unfit = Object.assign(new Error('unfit'), { code: status.INVALID_ARGUMENT });
  let text = '';
  for await (const piece of request.setEncoding('utf8')) {
    text += piece;
    if (text.length > 4096) throw unfit;
  }
  if (text === '') return {};
  if (!/^application\/json\b/.test(request.headers['content-type'] ?? '')) throw unfit;
  try {
    return Object(JSON.parse(text));
  } catch {
    throw unfit;
  }
}

function asPerson(method, message, accessToken, shop) {
  if (!/^[\w.:@-]*$/.test(shop)) throw Object.assign(new Error('unfit'), { code: status.INVALID_ARGUMENT });
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${accessToken}`);
  if (shop) metadata.set('x-tenant', shop);
  return unary(orders, method, message, metadata, 5_000);
}

function unary(client, method, message, metadata, timeoutMs) {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + timeoutMs;
    client[method](message, metadata, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

const server = createServer(async (request, response) => {
  const visit = new Visit(request);
  const { status: code, headers, body } = await answerTo(request, visit);
  response.writeHead(code, {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    // Also with a failure: the renewal before it has happened.
    'set-cookie': visit.setCookies,
    ...headers,
  });
  response.end(body && JSON.stringify(body));
});

const [, host, port] = /^(.*):(\d+)$/.exec(BFF_LISTEN);
server.listen(Number(port), host, () => console.log(`bff on ${host}:${server.address().port}`));
