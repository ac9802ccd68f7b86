//! Who is killed: the gateway, or the database server below one that lives on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use tokio::time::sleep;
use wagate_tests::process::{Process, Setup};
use wagate_tests::servers::Server;

/// The gateway, its server when it has one, and which of the two is killed.
pub(crate) struct Victim {
    /// `None` between a kill and the start after it only.
    gateway: Option<Process>,
    server: Option<Server>,
    /// How the gateway is started again; `None` when it is the server that is killed.
    setup: Option<Setup>,
}

/// A kill: from before its signal until nothing of a gateway was left, or until a server served again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

impl Victim {
    /// The gateway.
    pub(crate) fn gateway(gateway: Process, setup: Setup, server: Option<Server>) -> Self {
        Self { gateway: Some(gateway), server, setup: Some(setup) }
    }

    /// The server.
    pub(crate) fn server(gateway: Process, server: Option<Server>) -> Result<Self> {
        let server = server.context("there is no server to kill")?;
        Ok(Self { gateway: Some(gateway), server: Some(server), setup: None })
    }

    /// Kills it and starts it again. A gateway whose server is away must be alive and not ready, and come back by itself.
    pub(crate) async fn kill(&mut self) -> Result<Kill> {
        let from = Instant::now();
        if let Some(setup) = &self.setup {
            self.gateway.take().context("the gateway is gone")?.kill().await?;
            let kill = Kill { from, until: Instant::now() };
            self.gateway = Some(setup.start().await?);
            return Ok(kill);
        }
        let gateway = self.gateway.as_mut().context("the gateway is gone")?;
        let server = self.server.as_mut().context("the server is gone")?;
        server.kill()?;
        gateway.wait_unready().await?;
        sleep(Duration::from_millis(rand::rng().random_range(0..3_000))).await;
        server.run().await?;
        gateway.wait_ready().await?;
        Ok(Kill { from, until: Instant::now() })
    }

    /// Ends the gateway; what is left is the server.
    pub(crate) async fn end(self) -> Result<Option<Server>> {
        self.gateway.context("the gateway is gone")?.kill().await?;
        Ok(self.server)
    }
}
