// A backend that protects its methods with Postern: the rules, the service, and how the two are put together.

import { fileURLToPath } from 'node:url';

import { Server, ServerCredentials } from '@grpc/grpc-js';

import { Guard, OPEN } from './guard.js';
import { connect, credential, load } from './postern.js';

// <region rules>
const RULES = {
  '/orders.v1.OrderService/ListPrices': OPEN,
  '/orders.v1.OrderService/ListOrders': 'orders:read',
  '/orders.v1.OrderService/RefundOrder': 'orders:refund',
};
// </region>

const shop = {
  ListPrices(call, callback) {
    callback(null, { prices: ['tea 3', 'cake 4'] });
  },

  ListOrders(call, callback) {
    const { tenant } = call.caller;
    callback(null, { order_ids: [`${tenant}-1`, `${tenant}-2`] });
  },

  // <region handler>
  RefundOrder(call, callback) {
    const { principal, tenant } = call.caller;
    callback(null, { refunded_by: principal.id, tenant });
  },
  // </region>
};

const { OrderService } = load('orders/v1/orders.proto', fileURLToPath(new URL('..', import.meta.url))).orders.v1;
const listen = process.env.ORDERS_LISTEN ?? '127.0.0.1:7401';

// <region compose>
const guard = new Guard(connect(), credential(), RULES);
const server = new Server();
server.addService(OrderService.service, guard.protect(OrderService.service, shop));
// </region>
server.bindAsync(listen, ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`orders on ${listen.replace(/:\d+$/, '')}:${port}`);
});
