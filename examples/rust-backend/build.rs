//! Generates a client of Postern and a server of our own service.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../orders");
    println!("cargo:rerun-if-changed=../../proto");

    let postern = protox::compile(["postern/auth/v1/auth.proto"], ["../../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        // Its messages hold tokens and passwords: nothing may print them with `{:?}`.
        .skip_debug([".postern"])
        .compile_fds(postern)?;

    let orders = protox::compile(["orders/v1/orders.proto"], [".."])?;
    tonic_prost_build::configure().build_client(false).compile_fds(orders)?;
    Ok(())
}
