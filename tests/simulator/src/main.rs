//! The simulated network as a process of its own, for benches and demos.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use wagate_simulator::{Network, NetworkConfig, NetworkError};

/// A simulated WhatsApp network on loopback, to which any WhatsApp Web client can link.
#[derive(Parser)]
#[command(name = "wagate-simulator", version)]
struct Options {
    /// The loopback address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many phones to make at the start.
    #[arg(long, default_value_t = 0)]
    phones: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the simulator cannot run");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), NetworkError> {
    let network = Network::start(NetworkConfig { listen: options.listen, ..NetworkConfig::default() }).await?;
    for number in 1..=options.phones {
        network.add_phone(&format!("Phone {number}"));
    }
    announce(&network);
    end_requested().await;
    network.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "scripts read the address from here")]
fn announce(network: &Network) {
    println!("simulator: listening on {}", network.http_url());
}

/// Resolves on SIGINT or SIGTERM.
async fn end_requested() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}
