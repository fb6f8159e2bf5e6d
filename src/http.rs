//! HTTP/1.1: the operations port for probes, and the gateway for browsers. The gateway is a gRPC client of the service like
//! any other, over a connection or in the same process; this room must not know what stands behind the contract, nor any
//! engine.

mod connection;
pub mod gateway;
pub mod operations;
