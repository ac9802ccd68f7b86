//! `wagate user`: who may log in.

use anyhow::{Context, Result, anyhow, bail};
use clap::Subcommand;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::door::{Credentials, Opened, Request};
use super::gateway::Gateway;
use super::say;
use crate::auth::OneTimePassword;
use crate::config::Config;
use crate::model::{Role, User, UserId};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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
    /// Choose your own password: the new one is read from standard input, the present one is the login's.
    Password,
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

pub(super) async fn run(arguments: Request<Command>, config: &Config) -> Result<()> {
    if matches!(arguments.command, Command::Password) {
        return choose(&arguments.credentials, config).await;
    }
    if let Some(gateway) = arguments.credentials.enter(config).await? {
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

/// Exchanges the caller's password, a one-time password for instance, for the one on standard input.
async fn choose(credentials: &Credentials, config: &Config) -> Result<()> {
    let gateway = credentials.knock(config).await?;
    let gateway = gateway.context("no gateway runs; start `wagate serve`, or use `wagate user reset NAME`")?;
    let current = credentials.password()?.unwrap_or_default();
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).context("the new password cannot be read from standard input")?;
    let body =
        json!({ "current_password": current.expose_secret(), "new_password": typed.trim_end_matches(['\r', '\n']) });
    let _login: Value = gateway.post("/api/password", Some(body)).await?;
    say::line("The password is changed; earlier logins have ended.");
    Ok(())
}

async fn by_gateway(command: Command, gateway: &Gateway) -> Result<()> {
    let users: Vec<Known> = gateway.get("/api/users").await?;
    match command {
        Command::Password => {}
        Command::Add { name, admin } => {
            let body = json!({ "username": name, "role": role(admin) });
            let added: Added = gateway.post("/api/users", Some(body)).await?;
            show_password(&added.one_time_password);
        }
        Command::List => list(users),
        Command::Reset { name } => {
            let id = find(&users, &name)?;
            show_password(&gateway.post(&format!("/api/users/{id}/reset"), None).await?);
        }
        Command::Remove { name } => {
            let id = find(&users, &name)?;
            let _done: Value = gateway.delete(&format!("/api/users/{id}")).await?;
            say::line(&format!("{name} is removed."));
        }
    }
    Ok(())
}

async fn by_database(command: Command, opened: &Opened) -> Result<()> {
    let users: Vec<Known> = opened.auth.users().await?.into_iter().map(Known::from).collect();
    match command {
        Command::Password => {}
        Command::Add { name, admin } => {
            let (_, one_time) = opened.auth.add_user(&name, role(admin), None).await?;
            show_password(&one_time.context("no one-time password was made")?.into());
        }
        Command::List => list(users),
        Command::Reset { name } => {
            let one_time = opened.auth.reset_password(find(&users, &name)?).await?;
            show_password(&one_time.with_context(|| nobody(&name))?.into());
        }
        Command::Remove { name } => {
            if !opened.auth.remove_user(find(&users, &name)?).await? {
                bail!(nobody(&name));
            }
            say::line(&format!("{name} is removed."));
        }
    }
    Ok(())
}

/// The gateway's answer to a new user.
#[derive(Deserialize)]
struct Added {
    one_time_password: OneTime,
}

/// A one-time password, from either door.
#[derive(Deserialize)]
struct OneTime {
    username: String,
    password: SecretString,
}

impl From<OneTimePassword> for OneTime {
    fn from(given: OneTimePassword) -> Self {
        Self { username: given.username, password: given.password }
    }
}

/// On standard output: the password alone, so that a script can take it.
fn show_password(given: &OneTime) {
    say::aside(&format!("One-time password of {}, good for 24 hours and for choosing a lasting one:", given.username));
    say::line(given.password.expose_secret());
}

fn list(users: Vec<Known>) {
    let row = |user: Known| [user.id.to_string(), user.username, user.role.name().to_owned()];
    say::table(["ID", "NAME", "ROLE"], users.into_iter().map(row));
}

/// Names are compared without case, as the login does.
fn find(users: &[Known], name: &str) -> Result<UserId> {
    let wanted = name.to_lowercase();
    let found = users.iter().find(|user| user.username.to_lowercase() == wanted);
    found.map(|user| user.id).ok_or_else(|| anyhow!(nobody(name)))
}

fn nobody(name: &str) -> String {
    format!("there is no user {name}; see `wagate user list`")
}

fn role(admin: bool) -> Role {
    if admin { Role::Admin } else { Role::User }
}
