"""What the front does with the old application's cookie, in front of every page, until the migration is over."""

import grpc
from google.rpc import error_details_pb2, status_pb2
from postern.auth.v1 import auth_pb2

DEADLINE_SECONDS = 10


# <region trade>
def trade_in(auth, credential, old_token):
    """Tokens of a session, or None: then drop the old cookie and show the sign-in page."""
    request = auth_pb2.ExchangeTokenRequest(external_token=old_token)
    try:
        # Never repeated by itself: a token that is good for one time may be spent although the answer was lost.
        return auth.ExchangeToken(request, timeout=DEADLINE_SECONDS, metadata=credential).tokens
    except grpc.RpcError as error:
        if reason(error) in ("TOKEN_INVALID", "INVALID_CREDENTIALS"):
            return None
        # Keep the old cookie: this was not about the person.
        raise


# </region>
def reason(error):
    """Of the enum in reason.proto."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for detail in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return None
