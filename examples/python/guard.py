"""A gRPC interceptor that lets a call through when Postern allows it. Copy this file; it knows nothing of orders."""

import dataclasses
import logging

import grpc
from postern.auth.v1 import auth_pb2, reason_pb2

# Postern answers from memory. One that has not answered by now is away.
DEADLINE_SECONDS = 0.5

# For methods that anybody may call. A permission is a string; what is not in the rules is closed.
OPEN = object()


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who calls, and for which tenant this was judged. Handlers find it as `context.caller`; they must not read the
    tenant from the metadata again."""

    principal: auth_pb2.Principal
    tenant: str


class Guard(grpc.ServerInterceptor):
    """Stands before all services of a server. `rules` has the path of each method, and what it asks."""

    def __init__(self, postern, credential, rules):
        self._postern = postern
        self._credential = credential
        self._rules = rules

    def intercept_service(self, continuation, details):
        handler = continuation(details)
        if handler is None:
            return None
        sides = (handler.request_streaming, handler.response_streaming)
        kind = "_".join("stream" if streams else "unary" for streams in sides)
        inner = getattr(handler, kind)

        # Asked in the handler's own thread: here, where gRPC looks for the handler, it would hold up all other calls.
        def guarded(request, context):
            context.caller = self._admit(details, context)
            return inner(request, context)

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(guarded, handler.request_deserializer, handler.response_serializer)

    def _admit(self, details, context):
        """The caller of a method that asks for one. `abort` raises, so a refused call ends here."""
        permission = self._rules.get(details.method)
        if permission is OPEN:
            return None
        if permission is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server has no rule for this method")
        token = bearer(details.invocation_metadata)
        if token is None:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer token is needed")
        # None: only roles that hold everywhere count.
        tenants = values(details.invocation_metadata, "x-tenant") or [""]
        if len(tenants) > 1:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "x-tenant is malformed")
        (tenant,) = tenants
        answer = self._verify(context, token, auth_pb2.Check(permission=permission, tenant=tenant))
        # <region decision>
        if answer.decision == auth_pb2.DECISION_ALLOW:
            return Caller(answer.principal, tenant)
        reason = reason_name(answer.refusal.reason)
        if answer.decision in (auth_pb2.DECISION_UNAUTHENTICATED, auth_pb2.DECISION_STEP_UP):
            # The name of the reason tells the caller whether a refresh helps (TOKEN_EXPIRED) or a new sign-in.
            context.abort(grpc.StatusCode.UNAUTHENTICATED, reason)
        # Also whatever a later Postern may say that this program does not know.
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{reason} {permission}")
        # </region>

    # <region verify>
    def _verify(self, context, token, check):
        """Postern's answer. When there is none, the call is neither allowed nor denied: it could not be judged."""
        request = auth_pb2.VerifyRequest(access_token=token, require=[check])
        try:
            return self._postern.Verify(request, timeout=DEADLINE_SECONDS, metadata=self._credential)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                # Of all we sent, only the tenant can be malformed.
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "x-tenant is malformed")
            # PERMISSION_DENIED too: it speaks of this program's own secret, never of the person.
            logging.warning("no verdict from Postern: %s: %s", error.code().name, error.details())
            context.abort(grpc.StatusCode.UNAVAILABLE, "authorization cannot be judged at present")

    # </region>


def bearer(metadata):
    """The one token of the call. Which of two would count is not for us to guess."""
    credentials = values(metadata, "authorization")
    if len(credentials) != 1:
        return None
    scheme, _, token = credentials[0].partition(" ")
    return token if scheme.lower() == "bearer" and token else None


def values(metadata, name):
    return [value for key, value in metadata if key == name]


def reason_name(reason):
    known = reason_pb2.Reason.DESCRIPTOR.values_by_number.get(reason)
    return known.name.removeprefix("REASON_") if known else "REFUSED"
