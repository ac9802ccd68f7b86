//! `wagate user`: who may log in.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::door::{Credentials, Opened};
use super::gateway::Gateway;
use super::say;
use crate::auth::OneTimePassword;
use crate::config::Config;
use crate::model::{Role, User, UserId};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    credentials: Credentials,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a user and print a one-time password, good for a day and for choosing a lasting one.
    Add {
        /// The name to log in with.
        name: String,
        /// Allow them to manage users.
        #[arg(long)]
        admin: bool,
    },
    /// List all users.
    List,
    /// Replace a user's password by a one-time password, which is printed, and log them out everywhere.
    Reset {
        /// The user.
        name: String,
    },
    /// Remove a user who owns no sessions.
    Remove {
        /// The user.
        name: String,
    },
}

/// A user, from either door.
#[derive(Debug, Deserialize)]
struct Known {
    id: UserId,
    username: String,
    role: Role,
}

impl From<User> for Known {
    fn from(user: User) -> Self {
        Self { id: user.id, username: user.username, role: user.role }
    }
}

pub(super) async fn run(arguments: Arguments, config: &Config) -> Result<()> {
    if let Some(gateway) = arguments.credentials.knock(config).await? {
        return by_gateway(arguments.command, &gateway).await;
    }
    let opened = match arguments.command {
        Command::Add { .. } => Opened::open(config).await?,
        _ => Opened::existing(config).await?,
    };
    let done = by_database(arguments.command, &opened).await;
    opened.close().await;
    done
}
