//! The process: arguments in, exit code out.

use std::process::ExitCode;

use anyhow::Context as _;
use postern::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse_from_process(std::env::args_os()) {
        Ok(cli) => run(cli).unwrap_or_else(|error| cli::complain(&format!("{error:#}")).into()),
        Err(exit) => exit.into(),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut builder = if cli.serves() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().build().context("cannot start the runtime")?;
    Ok(runtime.block_on(cli::run(cli)).into())
}
