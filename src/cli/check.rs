//! `pannier check`: are the settings good, and can the upstream's name be looked up?

use crate::config::Loaded;
use anyhow::Context;
use std::io::Write;
use std::net::ToSocketAddrs;

/// Asks the resolver, but neither binds nor connects. The settings were checked when they were loaded.
pub(super) fn run(loaded: &Loaded, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = &loaded.config;
    let upstream = &config.upstream.url;
    let addresses = (upstream.host.as_str(), upstream.port)
        .to_socket_addrs()
        .with_context(|| format!("upstream.url: {} cannot be looked up", upstream.host))?;
    let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
    match loaded.sources.file() {
        Some(file) => writeln!(out, "ok: {}", file.display())?,
        None => writeln!(out, "ok: defaults, no file")?,
    }
    writeln!(out, "listen    {}", config.server.listen)?;
    writeln!(out, "admin     {}", config.server.admin_listen)?;
    writeln!(out, "upstream  {upstream} ({})", addresses.join(", "))?;
    Ok(())
}
