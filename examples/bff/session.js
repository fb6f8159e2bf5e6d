// A browser's sign-in: two cookies that no script can read, and their renewal. Copy this file.

import { status } from '@grpc/grpc-js';

// `__Host-`: the browser takes them from this very host over TLS only, so no subdomain can plant its own.
const REFRESH = '__Host-refresh';
const ACCESS = '__Host-access';
// Lax: a link in a mail opens the shop signed in; a form on a foreign page posts nothing.
const ATTRIBUTES = 'Path=/; Secure; HttpOnly; SameSite=Lax';

// The access cookie goes a little before its token ends, which might not survive the call.
const NEAR_ITS_END_SECONDS = 30;

// One request of a browser: the cookies it came with, and those its answer takes back, whatever the answer is.
export class Visit {
  constructor(request) {
    const cookies = new Map((request.headers.cookie ?? '').split('; ').map((pair) => pair.split(/=(.*)/s, 2)));
    const token = (name) => /^[\w.-]+$/.exec(cookies.get(name) ?? '')?.[0];
    this.access = token(ACCESS);
    this.refresh = token(REFRESH);
    // Behind a proxy: the address that your own proxy sets, never one that the browser may send.
    const address = request.socket.remoteAddress?.replace(/^::ffff:/, '');
    this.device = { ip_address: address, user_agent: request.headers['user-agent'] };
    this.setCookies = [];
  }

  keep(tokens) {
    const left = (time) => Math.floor(Number(time.seconds) - Date.now() / 1000);
    const access = Math.max(left(tokens.access_expire_time) - NEAR_ITS_END_SECONDS, 0);
    this.setCookies = [
      `${REFRESH}=${tokens.refresh_token}; Max-Age=${left(tokens.session_expire_time)}; ${ATTRIBUTES}`,
      `${ACCESS}=${tokens.access_token}; Max-Age=${access}; ${ATTRIBUTES}`,
    ];
  }

  forget() {
    this.setCookies = [REFRESH, ACCESS].map((name) => `${name}=; Max-Age=0; ${ATTRIBUTES}`);
  }
}

export class Sessions {
  // `ask` calls Postern.
  constructor(ask) {
    this.ask = ask;
    this.flights = new Map();
  }

  // True when signed in. Every failure that is the person's is the same false: nobody learns which names exist.
  async login(visit, identifier, password) {
    const credential = { password: { identifier, password }, device: visit.device };
    try {
      // Who signs in again on this device leaves no second session behind.
      const answer = await this.ask('Login', { ...credential, replace_refresh_token: visit.refresh }, 10_000);
      if (!answer.sign_in) return false;
      visit.keep(answer.sign_in.tokens);
      return true;
    } catch (error) {
      if (PERSON_S_OWN.has(error.code)) return false;
      throw error;
    }
  }

  // The refresh token proves by itself whose session ends, also when the access token is long gone. When Postern is
  // away this throws and the cookies stay: whoever is told "signed out" must be.
  async logout(visit) {
    if (visit.refresh) await this.ask('Revoke', { refresh_token: visit.refresh }, 5_000);
    visit.forget();
  }

  // <region renewal>
  // Makes a call with the access token; when there is none, or it is no good, once more with the next one. A guard
  // refuses before anything is done, so the call is safe to repeat.
  async withToken(visit, call) {
    if (visit.access) {
      try {
        return await call(visit.access);
      } catch (error) {
        if (error.code !== status.UNAUTHENTICATED) throw error;
      }
    }
    return call(await this.renew(visit));
  }

  async renew(visit) {
    if (!visit.refresh) throw signedOut();
    try {
      const tokens = await this.refreshed(visit);
      visit.keep(tokens);
      return tokens.access_token;
    } catch (error) {
      // Only this ends a sign-in. Of Verify or a backend it means that the access token is no good; anything else, that
      // Postern is away, and then the cookies are worth keeping.
      if (error.code === status.UNAUTHENTICATED) visit.forget();
      throw error;
    }
  }

  // One Refresh at a time for each session of this process; whoever comes meanwhile shares its answer. Requests that
  // come later or elsewhere with the same token get the same pair from Postern, for its grace.
  refreshed(visit) {
    const { refresh, device } = visit;
    let flight = this.flights.get(refresh);
    if (!flight) {
      flight = this.ask('Refresh', { refresh_token: refresh, device }, 5_000)
        .then((answer) => answer.tokens)
        .finally(() => this.flights.delete(refresh));
      this.flights.set(refresh, flight);
    }
    return flight;
  }
  // </region>
}

// A wrong password, one that is too long to be read, an account that needs more than a password.
const PERSON_S_OWN = new Set([status.UNAUTHENTICATED, status.INVALID_ARGUMENT, status.FAILED_PRECONDITION]);

function signedOut() {
  return Object.assign(new Error('signed out'), { code: status.UNAUTHENTICATED });
}
