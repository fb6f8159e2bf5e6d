// Lets a call through when Postern allows it. Copy this file; it knows nothing of orders.

import { status } from '@grpc/grpc-js';

// Postern answers from memory. One that has not answered by now is away.
const DEADLINE_MS = 500;

// For methods that anybody may call. A permission is a string.
export const OPEN = Symbol('open');

export class Guard {
  // `rules` has the path of each method, and what it asks.
  constructor(postern, credential, rules) {
    this.postern = postern;
    this.credential = credential;
    this.rules = rules;
  }

  // The handlers of a service, each behind its rule. A method without one ends the start, not a call.
  protect(service, handlers) {
    const guarded = {};
    for (const [name, definition] of Object.entries(service)) {
      const permission = this.rules[definition.path];
      if (permission === undefined) throw new Error(`there is no rule for ${definition.path}`);
      guarded[name] = async (call, callback) => {
        try {
          // Handlers find who calls, and for which tenant this was judged, as `call.caller`; they must not read the
          // tenant from the metadata again.
          call.caller = permission === OPEN ? null : await this.admit(permission, call.metadata);
        } catch (refusal) {
          return definition.responseStream ? call.emit('error', refusal) : callback(refusal);
        }
        return handlers[name](call, callback);
      };
    }
    return guarded;
  }

  async admit(permission, metadata) {
    const token = bearer(metadata);
    if (!token) throw refusal(status.UNAUTHENTICATED, 'a bearer token is needed');
    // Without one only roles that hold everywhere count.
    const [tenant = '', ...more] = metadata.get('x-tenant');
    if (more.length > 0) throw refusal(status.INVALID_ARGUMENT, 'x-tenant is malformed');
    const answer = await this.verify({ access_token: token, require: [{ permission, tenant }] });
    // <region decision>
    const reason = String(answer.refusal?.reason).replace('REASON_', '');
    switch (answer.decision) {
      case 'DECISION_ALLOW':
        return { principal: answer.principal, tenant };
      case 'DECISION_UNAUTHENTICATED':
      case 'DECISION_STEP_UP':
        // The name of the reason tells the caller whether a refresh helps (TOKEN_EXPIRED) or a new sign-in.
        throw refusal(status.UNAUTHENTICATED, reason);
      default:
        // Also whatever a later Postern may say that this program does not know.
        throw refusal(status.PERMISSION_DENIED, `${reason} ${permission}`);
    }
    // </region>
  }

  // <region verify>
  // Postern's answer. When there is none, the call is neither allowed nor denied: it could not be judged.
  verify(question) {
    const deadline = Date.now() + DEADLINE_MS;
    return new Promise((resolve, reject) => {
      this.postern.Verify(question, this.credential, { deadline }, (error, answer) => {
        if (!error) return resolve(answer);
        // Of all we sent, only the tenant can be malformed.
        if (error.code === status.INVALID_ARGUMENT) return reject(refusal(error.code, 'x-tenant is malformed'));
        // PERMISSION_DENIED too: it speaks of this program's own secret, never of the person.
        console.warn(`no verdict from Postern: ${status[error.code]}: ${error.details}`);
        return reject(refusal(status.UNAVAILABLE, 'authorization cannot be judged at present'));
      });
    });
  }
  // </region>
}

// The token of the call. Of two, Node's HTTP/2 hands on the first and hides the other.
function bearer(metadata) {
  const credentials = metadata.get('authorization');
  return credentials.length === 1 ? /^bearer (\S+)$/i.exec(credentials[0])?.[1] : undefined;
}

function refusal(code, details) {
  return Object.assign(new Error(details), { code, details });
}
