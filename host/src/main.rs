//! Parses the arguments, runs the command, and maps its result to an exit code.

use std::process::ExitCode;

use clap::Parser;
use wagate::cli::{self, Cli};

/// Long-lived sessions allocate and free small buffers for weeks; the system's allocator keeps the holes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}
