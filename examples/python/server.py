"""A backend that protects its methods with Postern: the rules, the service, and how the two are put together."""

import concurrent.futures
import os

import grpc
from orders.v1 import orders_pb2, orders_pb2_grpc

import postern_client
from guard import OPEN, Guard

# <region rules>
RULES = {
    "/orders.v1.OrderService/ListPrices": OPEN,
    "/orders.v1.OrderService/ListOrders": "orders:read",
    "/orders.v1.OrderService/RefundOrder": "orders:refund",
}
# </region>


class Shop(orders_pb2_grpc.OrderServiceServicer):
    def ListPrices(self, request, context):
        return orders_pb2.ListPricesResponse(prices=["tea 3", "cake 4"])

    def ListOrders(self, request, context):
        tenant = context.caller.tenant
        return orders_pb2.ListOrdersResponse(order_ids=[f"{tenant}-1", f"{tenant}-2"])

    # <region handler>
    def RefundOrder(self, request, context):
        caller = context.caller
        return orders_pb2.RefundOrderResponse(refunded_by=caller.principal.id, tenant=caller.tenant)

    # </region>


def main():
    # <region compose>
    guard = Guard(postern_client.connect(), postern_client.credential(), RULES)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), interceptors=[guard])
    # </region>
    orders_pb2_grpc.add_OrderServiceServicer_to_server(Shop(), server)
    host, _, port = os.environ.get("ORDERS_LISTEN", "127.0.0.1:7401").rpartition(":")
    port = server.add_insecure_port(f"{host}:{port}")
    server.start()
    print(f"orders on {host}:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
