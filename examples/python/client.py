"""A client for people: signs in, calls the backend, renews its tokens when they end. The password comes by standard input.

    python client.py USER list|refund [TENANT]
"""

import datetime
import getpass
import os
import sys

import grpc
from orders.v1 import orders_pb2, orders_pb2_grpc
from postern.auth.v1 import auth_pb2

import postern_client

# An access token this near its end might not survive the call.
NEAR_ITS_END = datetime.timedelta(seconds=30)


# <region session>
class Session:
    """The tokens of one sign-in. They are kept in memory only."""

    def __init__(self, postern, credential, identifier, password):
        self._postern = postern
        self._credential = credential
        login = auth_pb2.LoginRequest(
            password=auth_pb2.PasswordCredential(identifier=identifier, password=password)
        )
        answer = postern.Login(login, timeout=10, metadata=credential)
        if answer.WhichOneof("outcome") != "sign_in":
            raise SystemExit("this account needs a step that this client does not know")
        self._tokens = answer.sign_in.tokens

    def access_token(self):
        end = self._tokens.access_expire_time.ToDatetime(datetime.UTC)
        if datetime.datetime.now(datetime.UTC) + NEAR_ITS_END >= end:
            self.renew()
        return self._tokens.access_token

    def renew(self):
        """Safe to repeat when the answer was lost. UNAUTHENTICATED here, and only here, means: sign in again."""
        request = auth_pb2.RefreshRequest(refresh_token=self._tokens.refresh_token)
        self._tokens = self._postern.Refresh(request, timeout=5, metadata=self._credential).tokens

    def call(self, method, request, tenant):
        """Calls the backend; once more with a new token if it says that this one is no good."""
        try:
            return method(request, timeout=5, metadata=self._metadata(tenant))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
        self.renew()
        return method(request, timeout=5, metadata=self._metadata(tenant))

    def _metadata(self, tenant):
        return [("authorization", f"Bearer {self.access_token()}"), ("x-tenant", tenant)]


# </region>


def main():
    identifier, verb, tenant = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    orders = orders_pb2_grpc.OrderServiceStub(
        grpc.insecure_channel(os.environ.get("ORDERS_SERVER", "127.0.0.1:7401"))
    )
    try:
        session = Session(postern_client.connect(), postern_client.credential(), identifier, password)
        if verb == "refund":
            answer = session.call(orders.RefundOrder, orders_pb2.RefundOrderRequest(order_id=f"{tenant}-1"), tenant)
        else:
            answer = session.call(orders.ListOrders, orders_pb2.ListOrdersRequest(), tenant)
    except grpc.RpcError as error:
        raise SystemExit(f"{error.code().name}: {error.details()}")
    print(answer)


if __name__ == "__main__":
    main()
