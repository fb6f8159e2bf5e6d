//! A backend that protects its methods with Postern: the rules, the service, and how the two are put together.

mod guard;
mod postern;

use std::env;
use std::error::Error;

use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use guard::{Access, Caller, Guard, Rule};
use orders::order_service_server::{OrderService, OrderServiceServer};
use orders::{
    ListOrdersRequest, ListOrdersResponse, ListPricesRequest, ListPricesResponse, RefundOrderRequest,
    RefundOrderResponse,
};

#[expect(clippy::pedantic, reason = "generated code")]
mod orders {
    tonic::include_proto!("orders.v1");
}

// <region rules>
const RULES: &[Rule] = &[
    ("/orders.v1.OrderService/ListPrices", Access::Open),
    ("/orders.v1.OrderService/ListOrders", Access::Needs("orders:read")),
    ("/orders.v1.OrderService/RefundOrder", Access::Needs("orders:refund")),
];
// </region>

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen = env::var("ORDERS_LISTEN").unwrap_or_else(|_unset| "127.0.0.1:7401".to_owned());
    let incoming = TcpIncoming::bind(listen.parse()?)?;
    // <region compose>
    let guard = Guard::new(postern::client()?, RULES);
    println!("orders on {}", incoming.local_addr()?);
    Server::builder().layer(guard).add_service(OrderServiceServer::new(Shop)).serve_with_incoming(incoming).await?;
    // </region>
    Ok(())
}

struct Shop;

#[tonic::async_trait]
impl OrderService for Shop {
    async fn list_prices(&self, _request: Request<ListPricesRequest>) -> Result<Response<ListPricesResponse>, Status> {
        Ok(Response::new(ListPricesResponse { prices: vec!["tea 3".to_owned(), "cake 4".to_owned()] }))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let tenant = &caller(&request)?.tenant;
        Ok(Response::new(ListOrdersResponse { order_ids: vec![format!("{tenant}-1"), format!("{tenant}-2")] }))
    }

    // <region handler>
    async fn refund_order(
        &self,
        request: Request<RefundOrderRequest>,
    ) -> Result<Response<RefundOrderResponse>, Status> {
        let Caller { principal, tenant } = caller(&request)?.clone();
        Ok(Response::new(RefundOrderResponse { refunded_by: principal.id, tenant }))
    }
    // </region>
}

/// Whom the guard let in. That there is nobody can only mean that the method is open by mistake.
fn caller<T>(request: &Request<T>) -> Result<&Caller, Status> {
    request.extensions().get().ok_or_else(|| Status::internal("no guard stands before this method"))
}
