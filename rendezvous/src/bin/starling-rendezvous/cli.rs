//! The command line: what it takes, and the configuration that file, environment and flags make together.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use libp2p::Multiaddr;
use starling_rendezvous::{
    config::{Config, ConfigError, LogFormat},
    limits::{TOKEN_DAYS, TOKEN_USES},
};

/// The rendezvous server of Starling: helps peers find and reach each other, and keeps sealed messages for those who are away.
#[derive(Parser)]
#[command(
    name = "starling-rendezvous",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  starling-rendezvous --listen /ip4/0.0.0.0/udp/4001/quic-v1 --data-dir /var/lib/starling-rendezvous"
)]
pub struct Cli {
    #[command(flatten)]
    pub serve: Serve,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the server (the default).
    #[command(after_help = "Example:\n  starling-rendezvous serve --config /etc/starling-rendezvous.toml")]
    Serve(Serve),
    /// Look at the configuration.
    #[command(after_help = "Example:\n  starling-rendezvous config print-default > rendezvous.toml")]
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Ask the running server, over its admin socket.
    #[command(
        after_help = "Example:\n  starling-rendezvous admin status\n  starling-rendezvous admin invite new --uses 10 --days 30"
    )]
    Admin {
        /// The data directory of the running server.
        #[arg(long, global = true, env = "STARLING_RENDEZVOUS_DATA_DIR", default_value = "starling-rendezvous-data")]
        data_dir: PathBuf,
        #[command(subcommand)]
        command: AdminCommand,
    },
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file, the environment and the flags.
    #[command(after_help = "Example:\n  starling-rendezvous config check --config rendezvous.toml")]
    Check(Serve),
    /// Print the default configuration as TOML.
    #[command(after_help = "Example:\n  starling-rendezvous config print-default > rendezvous.toml")]
    PrintDefault,
}

#[derive(Subcommand)]
pub enum AdminCommand {
    /// Counts of accounts, sessions and entries.
    #[command(after_help = "Example:\n  starling-rendezvous admin status --data-dir /var/lib/starling-rendezvous")]
    Status,
    /// Registration tokens.
    #[command(after_help = "Example:\n  starling-rendezvous admin invite new --uses 10")]
    Invite {
        #[command(subcommand)]
        command: InviteCommand,
    },
    /// Shut an account out.
    #[command(after_help = "Example:\n  starling-rendezvous admin ban ACCOUNT")]
    Ban {
        /// The account, as `starling whoami` prints it.
        #[arg(value_parser = account)]
        account: String,
        /// Ban it though it is not registered here.
        #[arg(long)]
        force: bool,
    },
    /// Let an account in again.
    #[command(after_help = "Example:\n  starling-rendezvous admin unban ACCOUNT")]
    Unban {
        /// The account.
        #[arg(value_parser = account)]
        account: String,
    },
}

#[derive(Subcommand)]
pub enum InviteCommand {
    /// Print a new token for `starling init --invite-token`.
    #[command(after_help = "Example:\n  starling-rendezvous admin invite new --uses 10 --days 30")]
    New {
        /// How many accounts it registers.
        #[arg(long, default_value_t = 1, value_parser = |text: &str| within(&TOKEN_USES, text))]
        uses: u64,
        /// Days until it expires.
        #[arg(long, default_value_t = 7, value_parser = |text: &str| within(&TOKEN_DAYS, text))]
        days: u64,
    },
}

#[derive(Args, Default)]
pub struct Serve {
    /// A TOML file.
    #[arg(long, env = "STARLING_RENDEZVOUS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the database, the key and the admin socket are.
    #[arg(long, env = "STARLING_RENDEZVOUS_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where peers connect (several times, or separated by commas); port 0 picks a free one.
    #[arg(long, env = "STARLING_RENDEZVOUS_LISTEN", value_name = "ADDR", value_delimiter = ',')]
    listen: Vec<Multiaddr>,
    /// Addresses to give to users, if they differ from those listened on.
    #[arg(long, env = "STARLING_RENDEZVOUS_PUBLIC_ADDRESS", value_name = "ADDR", value_delimiter = ',')]
    public_address: Vec<Multiaddr>,
    /// Where operators look: /healthz, /readyz, /metrics.
    #[arg(long, env = "STARLING_RENDEZVOUS_HTTP", value_name = "IP:PORT")]
    http: Option<SocketAddr>,
    /// `redb`.
    #[arg(long, env = "STARLING_RENDEZVOUS_STORE")]
    store: Option<String>,
    /// `text` or `json`.
    #[arg(long, env = "STARLING_RENDEZVOUS_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
    /// Say that the server is ready with one JSON line on standard output.
    #[arg(long)]
    pub json: bool,
}

impl Serve {
    /// File, then environment and flags (clap has merged those two).
    pub fn resolve(&self) -> anyhow::Result<Config> {
        Config::check_variables(std::env::vars_os())?;
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        }
        .with_environment(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        if !self.public_address.is_empty() {
            config.public_addresses.clone_from(&self.public_address);
        }
        if let Some(http) = self.http {
            config.http = http;
        } else if self.config.is_none()
            && self.listen.iter().any(|a| a.to_string().contains("/0/") || a.to_string().ends_with("/0"))
        {
            // Free ports for peers mean a trial or a test: then the operators' port is free to choose, too.
            config.http.set_port(0);
        }
        if let Some(store) = &self.store {
            config.store.clone_from(store);
        }
        match self.log_format.as_deref() {
            None => {}
            Some("text") => config.log_format = LogFormat::Text,
            Some("json") => config.log_format = LogFormat::Json,
            Some(other) => {
                let problem = format!("--log-format: “{other}” is neither text nor json");
                return Err(ConfigError::Value(problem).into());
            }
        }
        config.check()?;
        Ok(config)
    }
}

/// The command line of this process.
pub fn parse() -> Cli {
    let matches = without_empty_variables(Cli::command()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// A command line in which a variable that is empty is as good as none: what passes variables on, as container tools do, sets those that nobody has
/// filled in, too.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &&clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let empty: Vec<clap::Id> = command.get_arguments().filter(is_empty).map(|arg| arg.get_id().clone()).collect();
    let without = |command: clap::Command, id| command.mut_arg(id, |arg| arg.env(clap::builder::Resettable::Reset));
    empty.into_iter().fold(command, without).mut_subcommands(without_empty_variables)
}

/// An account's id, as it was given.
fn account(text: &str) -> Result<String, String> {
    match text.parse::<starling_keys::AccountId>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("not an account id: 52 letters and digits, as `starling whoami` prints it".into()),
    }
}

/// A number in a range.
fn within(range: &RangeInclusive<u64>, text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("a whole number from {} to {} is needed", range.start(), range.end()))
}
