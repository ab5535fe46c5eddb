//! `pannier keys`: the API keys that a running Pannier knows, one file a subcommand that takes more than a line.

mod create;
mod show;
mod when;

use super::format::Format;
use super::house::{House, HouseOptions, escaped, wait_for};
use crate::config::Config;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    house: HouseOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key, which is shown once
    Create(create::Options),
    /// All keys that are known by name
    List,
    /// One key
    Show(Which),
    /// Refuse a key for the time being
    Disable(Which),
    /// Accept it again
    Enable(Which),
    /// Change the team of a key, what it may use, or when it expires
    Change(create::Changes),
    /// Another key in place of one; that one may be good for a while yet
    Rotate(create::Rotation),
    /// Forget a key for good
    Delete(Which),
}

/// A key.
#[derive(Debug, Args)]
struct Which {
    /// By its name, or by its id
    key: String,
}

impl Options {
    pub(super) fn run(self, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
        let format = self.house.format;
        let house = House::of(config, self.house.key)?;
        wait_for(async {
            let (method, target, body) = match self.command {
                Command::Create(options) => return options.run(&house, format, out).await,
                Command::Rotate(options) => return options.run(&house, format, out).await,
                Command::List => {
                    let told = house.ask(Method::GET, "/admin/keys", Bytes::new()).await?.json().await?;
                    return show::all(&told, format, out);
                }
                Command::Delete(which) => {
                    house.ask(Method::DELETE, &which.target(), Bytes::new()).await?;
                    return Ok(());
                }
                Command::Show(which) => (Method::GET, which.target(), Value::Null),
                Command::Disable(which) => (Method::PATCH, which.target(), json!({ "disabled": true })),
                Command::Enable(which) => (Method::PATCH, which.target(), json!({ "disabled": false })),
                Command::Change(changes) => (Method::PATCH, changes.which.target(), changes.body()),
            };
            let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
            show::one(&house.ask(method, &target, body).await?.json().await?, format, out)
        })
    }
}

impl Which {
    fn target(&self) -> String {
        format!("/admin/keys/{}", escaped(&self.key))
    }
}
