//! The contenders: each server that a request can be sent to, started alone on the server's core.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::client::Connection;
use crate::ground::{self, Ground};
use crate::nginx;
use crate::process::{Launch, Process, free_port};

/// The key that every request carries, and by which Pannier knows who asks.
pub const API_KEY: &str = "sk-bench-4f1d0c7a9e";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A stub upstream in the place of the server under test, on its core.
    Direct,
    /// The stub upstream that all the others ask, on the core of its client.
    Beside,
    NginxProxy,
    NginxCache,
    Bare,
    PassThrough,
    Pannier,
    /// Pannier asked in such a way that its fast lane steps aside.
    PannierRoad,
    /// Pannier with nothing behind its memory.
    PannierMemory,
    /// Pannier with tiers behind its memory.
    PannierTiers,
    /// Pannier that wants a key of everybody and keeps books, with nothing behind its memory.
    PannierBooks,
    /// The same without either.
    PannierUnbooked,
}

pub struct Contender {
    pub kind: Kind,
    pub port: u16,
    pub process: Process,
}

// === impl Kind ===

impl Kind {
    pub fn label(self) -> &'static str {
        match self {
            Kind::Direct => "the stub itself",
            Kind::Beside => "the stub, on the client's core",
            Kind::NginxProxy => "nginx, proxy",
            Kind::NginxCache => "nginx, cache hit",
            Kind::Bare => "bare hyper, hash + look-up",
            Kind::PassThrough => "plain Pingora",
            Kind::Pannier => "Pannier",
            Kind::PannierRoad => "Pannier, ordinary road",
            Kind::PannierMemory => "Pannier, memory alone",
            Kind::PannierTiers => "Pannier, all tiers",
            Kind::PannierBooks => "Pannier, keys and books",
            Kind::PannierUnbooked => "Pannier, no keys, no books",
        }
    }

    /// Fields that requests to this contender carry besides the usual ones, as `name: value`. Any
    /// `Cache-Control` takes a request out of the fast lane; this one asks for nothing that a young entry
    /// would not give.
    pub fn extra_field(self) -> Option<(&'static str, &'static str)> {
        (self == Kind::PannierRoad).then_some(("Cache-Control", "max-age=86400"))
    }

    fn is_pannier(self) -> bool {
        match self {
            Kind::Direct | Kind::Beside | Kind::NginxProxy | Kind::NginxCache => false,
            Kind::Bare | Kind::PassThrough => false,
            Kind::Pannier | Kind::PannierRoad | Kind::PannierMemory | Kind::PannierTiers => true,
            Kind::PannierBooks | Kind::PannierUnbooked => true,
        }
    }

    /// What makes it so, beside what every Pannier is given here.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        const ALONE: (&str, &str) = ("PANNIER__CACHE__DATABASE__ENABLED", "false");
        match self {
            Kind::PannierMemory => &[ALONE],
            Kind::PannierBooks => &[ALONE, ("PANNIER__AUTH__MODE", "required")],
            Kind::PannierUnbooked => {
                &[ALONE, ("PANNIER__AUTH__KEYS", "[]"), ("PANNIER__LEDGER__ENABLED", "false")]
            }
            _ => &[],
        }
    }
}

// === impl Contender ===

impl Contender {
    /// Starts it. `settings` are Pannier's own, beyond what every run sets; the others have none.
    pub fn start(ground: &Ground, kind: Kind, settings: &[(&str, &str)]) -> anyhow::Result<Contender> {
        let core = ground.options.server_core;
        if matches!(kind, Kind::Direct | Kind::Beside) {
            return ground::start_stub(ground.dir(), kind, core);
        }
        let port = free_port()?;
        let dir = ground.dir().join(format!("{kind:?}-{port}"));
        std::fs::create_dir_all(&dir)?;
        let (program, args) = command(ground, kind, port, &dir)?;
        let env = if kind.is_pannier() { pannier_env(kind, settings) } else { Vec::new() };
        // Pannier's own answer counts as its first one; the others can only pass one on.
        let ready = if kind.is_pannier() { "/livez" } else { "/api/version" };
        // Workers outlive an nginx that is killed; everything else has none.
        let end = if matches!(kind, Kind::NginxProxy | Kind::NginxCache) { "TERM" } else { "KILL" };
        let name = kind.label();
        let launch = Launch { name, program: &program, args, env, core, port, ready, dir: &dir, end };
        Ok(Contender { kind, port, process: Process::start(launch)? })
    }

    /// How often a stub has been asked for `path`.
    pub fn calls(&self, path: &str) -> anyhow::Result<u64> {
        let request = format!("GET /stub/counts HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.port);
        let answer = Connection::open(self.port)?.exchange(request.as_bytes())?;
        let counts: serde_json::Value = serde_json::from_slice(&answer.body)?;
        counts[path].as_u64().with_context(|| format!("the stub does not count {path}"))
    }

    /// Those of `kinds` that start. What keeps one from starting is returned beside them.
    pub fn start_all(
        ground: &Ground,
        kinds: &[Kind],
        settings: &[(&str, &str)],
    ) -> (Vec<Contender>, Vec<(Kind, String)>) {
        let mut started = Vec::new();
        let mut failed = Vec::new();
        for kind in kinds {
            match Contender::start(ground, *kind, settings) {
                Ok(contender) => started.push(contender),
                Err(error) => {
                    eprintln!("  {}: {error:#}", kind.label());
                    failed.push((*kind, format!("{error:#}")));
                }
            }
        }
        (started, failed)
    }
}

fn command(ground: &Ground, kind: Kind, port: u16, dir: &Path) -> anyhow::Result<(PathBuf, Vec<OsString>)> {
    let myself = std::env::current_exe()?;
    let port_text = port.to_string();
    let upstream = ground.stub.port.to_string();
    Ok(match kind {
        Kind::NginxProxy | Kind::NginxCache => {
            let config = dir.join("nginx.conf");
            let text = nginx::config(dir, port, ground.stub.port, kind == Kind::NginxCache);
            std::fs::write(&config, text)?;
            let args: [OsString; 6] = [
                "-p".into(),
                dir.into(),
                "-c".into(),
                config.into(),
                "-e".into(),
                dir.join("error.log").into(),
            ];
            ("nginx".into(), args.to_vec())
        }
        Kind::Bare => (myself, vec!["--bare".into(), port_text.into()]),
        Kind::PassThrough => {
            (myself, ["--pass-through", &port_text, "--upstream", &upstream].map(Into::into).to_vec())
        }
        Kind::Direct | Kind::Beside => (myself, vec!["--stub".into(), port_text.into()]),
        Kind::Pannier
        | Kind::PannierRoad
        | Kind::PannierMemory
        | Kind::PannierTiers
        | Kind::PannierBooks
        | Kind::PannierUnbooked => {
            let listen = format!("127.0.0.1:{port}");
            let admin = format!("127.0.0.1:{}", free_port()?);
            let upstream = format!("http://127.0.0.1:{upstream}");
            let mut args: Vec<OsString> =
                ["serve", "--listen", &listen, "--admin-listen", &admin, "--upstream", &upstream]
                    .map(Into::into)
                    .to_vec();
            args.extend(["--data-dir".into(), dir.join("data").into()]);
            (std::path::absolute(&ground.options.pannier)?, args)
        }
    })
}

/// One worker, as the rivals have, and some known keys, so that there is something to look up.
pub fn pannier_env(kind: Kind, settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let keys = format!(
        "[{{name=\"alice\",team=\"lab\",key=\"sk-bench-alice\"}},\
          {{name=\"bench\",team=\"lab\",key=\"{API_KEY}\"}},\
          {{name=\"carol\",key=\"sk-bench-carol\"}}]"
    );
    let mut env = vec![
        ("PANNIER__SERVER__THREADS".to_owned(), "1".to_owned()),
        ("PANNIER__AUTH__KEYS".to_owned(), keys),
    ];
    let own = kind.settings().iter().chain(settings);
    env.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    env
}
