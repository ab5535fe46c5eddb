//! The command line: one file a subcommand.

mod cache;
mod check;
mod config;
mod embed;
mod format;
mod healthcheck;
mod house;
mod keys;
mod models;
mod out;
mod prices;
mod reports;
mod serve;
mod table;
mod transcriber;
mod version;

use crate::app::CannotBind;
use crate::config::{Flag, Loaded, Problems, Sources};
use clap::{Args, Parser, Subcommand};
use embed::{Incomplete, Stopped};
use house::{Refused, Silent};
use std::io::Write;
use std::path::PathBuf;

pub use out::Out;

/// A sidecar in front of Ollama that remembers, counts and watches what passes.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  all went well
  1  failed while running
  2  bad usage, or bad settings
  3  cannot listen on an address
  4  no running Pannier answers
  5  the admin key is refused
  6  some texts have no vector (embed)
  130  stopped by Ctrl-C (embed)

Settings are read from the built-in defaults, then the file, then the environment
(PANNIER__SECTION__KEY, and names such as OLLAMA_HOST), then the options above; `pannier config`
shows each value and where it came from.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (what happens without a command, too)
    Serve,
    /// Read and check all settings and look up the upstream's name, without serving
    Check,
    /// Print every setting in force and where it came from, secrets masked
    Config(config::Options),
    /// Ask a running Pannier what its cache holds
    Cache(cache::Options),
    /// Have a running Pannier make vectors of many texts
    Embed(embed::Options),
    /// Make, list, change and remove the API keys of a running Pannier
    Keys(keys::Options),
    /// The models that speech is listened to with: list, pull, remove
    Models(models::Options),
    /// What models cost: list, set, import and export the prices of a running Pannier
    Prices(prices::Options),
    /// Who used how much of which model, and what the cache has saved
    Usage(reports::Usage),
    /// What that has cost
    Costs(reports::Options),
    /// Ask a running Pannier with the same settings whether it lives: exit code 0 or 1
    Healthcheck,
    /// Listen to recordings, for the Pannier that starts this
    #[command(hide = true)]
    Transcriber,
    /// Print the version, the revision and the compiler it was built with
    Version,
}

/// Settings that can be given on the command line.
#[derive(Debug, Args)]
struct Options {
    /// The settings file [env: PANNIER_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect [server.listen]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where the house routes have a listener of their own [server.admin_listen]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// Where Ollama is, written as OLLAMA_HOST is [upstream.url]
    #[arg(long, global = true, value_name = "URL")]
    upstream: Option<String>,
    /// Where to keep what must survive [server.data_dir]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<String>,
}

// === impl Cli ===

impl Cli {
    /// Does what was asked. Answers go to `out`, everything else to standard error.
    pub fn run(
        self,
        environment: impl IntoIterator<Item = (String, String)>,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let sources = self.options.sources(environment);
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => serve::run(load(&sources)?.fit_to_serve()?),
            Command::Check => check::run(&load(&sources)?.fit_to_serve()?, out),
            Command::Config(options) => options.run(&sources, out),
            Command::Cache(options) => options.run(&load(&sources)?.config, out),
            Command::Embed(options) => options.run(&load(&sources)?.config, out),
            Command::Keys(options) => options.run(&load(&sources)?.config, out),
            Command::Models(options) => options.run(&load(&sources)?.config, out),
            Command::Prices(options) => options.run(&load(&sources)?.config, out),
            Command::Usage(usage) => usage.run(&load(&sources)?.config, out),
            Command::Costs(options) => options.run("/costs", &load(&sources)?.config, out),
            Command::Healthcheck => healthcheck::run(load(&sources)?.config.server.admin_listen),
            Command::Transcriber => transcriber::run(),
            Command::Version => version::run(out),
        }
    }
}

impl Options {
    fn sources(self, environment: impl IntoIterator<Item = (String, String)>) -> Sources {
        let given = [
            ("--listen", "server.listen", self.listen),
            ("--admin-listen", "server.admin_listen", self.admin_listen),
            ("--upstream", "upstream.url", self.upstream),
            ("--data-dir", "server.data_dir", self.data_dir),
        ];
        let flags =
            given.into_iter().filter_map(|(name, path, value)| Some(Flag { name, path, value: value? }));
        Sources::new(self.config, environment, flags.collect())
    }
}

/// The settings, after their warnings have gone to standard error.
fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let loaded = sources.load()?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(loaded)
}

/// What a failure means to whoever started Pannier; listed in `--help`.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Problems>() {
        2
    } else if error.is::<CannotBind>() {
        3
    } else if error.is::<Silent>() {
        4
    } else if error.is::<Refused>() {
        5
    } else if error.is::<Incomplete>() {
        6
    } else if error.is::<Stopped>() {
        130
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, SocketAddr};

    /// Runs a command line in an empty environment; what it printed, or its error and exit code.
    fn run(arguments: &[&str]) -> Result<String, (String, u8)> {
        let mut out = Vec::new();
        let cli = Cli::parse_from([&["pannier"], arguments].concat());
        match cli.run(HashMap::new(), &mut out) {
            Ok(()) => Ok(String::from_utf8(out).unwrap()),
            Err(error) => Err((error.to_string(), exit_code(&error))),
        }
    }

    #[test]
    fn help_names_every_command_and_exit_code() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for line in [
            "  0  all went well",
            "  1  failed while running",
            "  2  bad usage, or bad settings",
            "  3  cannot listen on an address",
            "  4  no running Pannier answers",
            "  5  the admin key is refused",
            "  6  some texts have no vector",
            "  130  stopped by Ctrl-C",
            "cache",
            "embed",
            "keys",
            "models",
            "prices",
            "usage",
            "costs",
            "serve",
            "check",
            "config",
            "healthcheck",
            "version",
            "--config <FILE>",
            "--listen <ADDRESS:PORT>",
            "--admin-listen <ADDRESS:PORT>",
            "--upstream <URL>",
            "--data-dir <DIRECTORY>",
        ] {
            assert!(help.contains(line), "{line} is not in\n{help}");
        }
    }

    #[test]
    fn options_may_stand_before_and_after_the_command() {
        for arguments in [["--listen", "127.0.0.1:7", "config"], ["config", "--listen", "127.0.0.1:7"]] {
            let printed = run(&arguments).unwrap();
            let line = printed.lines().find(|line| line.starts_with("server.listen")).unwrap();
            assert!(line.starts_with("server.listen = \"127.0.0.1:7\" "), "{line}");
            assert!(line.ends_with("# flag --listen"), "{line}");
        }
    }

    #[test]
    fn every_option_is_a_setting_of_its_name() {
        let arguments = [
            ["--listen", "127.0.0.1:1"],
            ["--admin-listen", "127.0.0.1:2"],
            ["--upstream", "example.com:3"],
            ["--data-dir", "/four"],
        ];
        let arguments = [arguments.as_flattened(), &["config", "--json"]].concat();
        let shown: serde_json::Value = serde_json::from_str(&run(&arguments).unwrap()).unwrap();
        assert_eq!(shown["server.listen"]["value"], "127.0.0.1:1");
        assert_eq!(shown["server.admin_listen"]["value"], "127.0.0.1:2");
        assert_eq!(shown["upstream.url"]["value"], "example.com:3");
        assert_eq!(shown["server.data_dir"]["value"], "/four");
        assert_eq!(shown["server.data_dir"]["origin"], "flag --data-dir");
        assert_eq!(shown["server.threads"]["origin"], "default");
    }

    #[test]
    fn the_default_file_is_printed_as_it_is() {
        assert_eq!(run(&["config", "--default"]).unwrap(), crate::config::DEFAULT);
    }

    #[test]
    fn check_says_where_things_are() {
        let printed = run(&["check", "--upstream", "127.0.0.1:9"]).unwrap();
        assert!(printed.contains("http://127.0.0.1:9"), "{printed}");
        assert!(printed.starts_with("ok"), "{printed}");
    }

    #[test]
    fn bad_settings_are_exit_code_2() {
        let (message, code) = run(&["check", "--listen", "here"]).unwrap_err();
        assert!(message.starts_with("--listen: server.listen: "), "{message}");
        assert_eq!(code, 2);
    }

    #[test]
    fn an_upstream_that_nobody_knows_is_exit_code_1() {
        // No label of a name is longer than 63 characters, so no resolver needs to be asked.
        let name = "x".repeat(64);
        let (message, code) = run(&["check", "--upstream", &name]).unwrap_err();
        assert!(message.contains(&name), "{message}");
        assert_eq!(code, 1);
    }

    #[test]
    fn a_port_in_use_is_exit_code_3() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let source = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        let error = anyhow::Error::from(CannotBind { address, source }).context("while starting");
        assert_eq!(exit_code(&error), 3);
    }

    #[test]
    fn version_names_the_compiler() {
        let printed = run(&["version"]).unwrap();
        assert!(printed.starts_with(concat!("pannier ", env!("CARGO_PKG_VERSION"))), "{printed}");
        assert!(printed.contains("rustc 1."), "{printed}");
    }
}
