//! `starling-rendezvous`: the server program.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use libp2p::Multiaddr;
use serde_json::json;
use starling_rendezvous::{
    Server, StartError, ask_admin,
    config::{Config, ConfigError, LogFormat},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// The rendezvous server of Starling: helps peers find and reach each other, and keeps sealed messages for those who are away.
#[derive(Parser)]
#[command(
    name = "starling-rendezvous",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  starling-rendezvous --listen /ip4/0.0.0.0/udp/4001/quic-v1 --data-dir /var/lib/starling-rendezvous"
)]
struct Cli {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
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
enum ConfigCommand {
    /// Check a configuration file, the environment and the flags.
    #[command(after_help = "Example:\n  starling-rendezvous config check --config rendezvous.toml")]
    Check(Serve),
    /// Print the default configuration as TOML.
    #[command(after_help = "Example:\n  starling-rendezvous config print-default > rendezvous.toml")]
    PrintDefault,
}

#[derive(Subcommand)]
enum AdminCommand {
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
        account: String,
    },
    /// Let an account in again.
    #[command(after_help = "Example:\n  starling-rendezvous admin unban ACCOUNT")]
    Unban {
        /// The account.
        account: String,
    },
}

#[derive(Subcommand)]
enum InviteCommand {
    /// Print a new token for `starling init --invite-token`.
    #[command(after_help = "Example:\n  starling-rendezvous admin invite new --uses 10 --days 30")]
    New {
        /// How many accounts it registers.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// Days until it expires.
        #[arg(long, default_value_t = 7)]
        days: u64,
    },
}

#[derive(Args, Default)]
struct Serve {
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
    #[arg(long, env = "STARLING_RENDEZVOUS_HTTP", value_name = "HOST:PORT")]
    http: Option<SocketAddr>,
    /// `redb`.
    #[arg(long, env = "STARLING_RENDEZVOUS_STORE")]
    store: Option<String>,
    /// `text` or `json`.
    #[arg(long, env = "STARLING_RENDEZVOUS_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
    /// Say that the server is ready with one JSON line on standard output.
    #[arg(long)]
    json: bool,
}

impl Serve {
    /// File, then environment and flags (clap has merged those two).
    fn resolve(&self) -> anyhow::Result<Config> {
        Config::check_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        }
        .with_environment(|name| std::env::var(name).ok())?;
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    let result = runtime.block_on(Box::pin(run(cli)));
    // Do not wait for blocking tasks: what was acknowledged is durable.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(hint) = hint(&error) {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    match error.downcast_ref::<StartError>()? {
        StartError::Listen { .. } => {
            Some("the port may be in use by another program; choose one with --listen, port 0 picks a free one")
        }
        StartError::Turn(_) => Some("choose another with turn.listen and turn.public_ip, or turn.enabled = false"),
        StartError::Http { .. } => Some("choose another with --http HOST:PORT, port 0 picks a free one"),
        StartError::DataDir { .. } => Some("choose a directory that this user may write to with --data-dir"),
        _ => None,
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => Box::pin(serve(cli.serve)).await,
        Some(Command::Serve(args)) => Box::pin(serve(args)).await,
        Some(Command::Config { command }) => match command {
            ConfigCommand::Check(args) => {
                args.resolve()?;
                println!("the configuration is valid");
                Ok(())
            }
            ConfigCommand::PrintDefault => {
                print!("{}", toml::to_string_pretty(&Config::default())?);
                Ok(())
            }
        },
        Some(Command::Admin { data_dir, command }) => {
            let command = match command {
                AdminCommand::Status => json!({ "command": "status" }),
                AdminCommand::Invite { command: InviteCommand::New { uses, days } } => {
                    json!({ "command": "invite_new", "uses": uses, "days": days })
                }
                AdminCommand::Ban { account } => json!({ "command": "ban", "account": account }),
                AdminCommand::Unban { account } => json!({ "command": "unban", "account": account }),
            };
            println!("{}", ask_admin(&data_dir, command).await?);
            Ok(())
        }
    }
}

/// Only our own events are logged: those of the libraries hold addresses.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(format!("off,starling_rendezvous={level}"))
        .unwrap_or_else(|_| EnvFilter::new("off,starling_rendezvous=info"))
}

async fn serve(args: Serve) -> anyhow::Result<()> {
    let config = args.resolve()?;
    let (level, set_level) = reload::Layer::new(filter(&config.log_level));
    let output =
        tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(level);
    match config.log_format {
        LogFormat::Text => registry.with(output).init(),
        LogFormat::Json => registry.with(output.json()).init(),
    }
    let (stop, stopped) = watch::channel(false);
    let server = Server::start(&config, stopped).await?;
    let ready = server.ready();
    let addresses: Vec<String> = ready.addresses.iter().map(ToString::to_string).collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        let line = json!({
            "type": "rendezvous.ready",
            "peer_id": ready.peer_id.to_string(),
            "addresses": addresses,
            "http": ready.http.to_string(),
            "turn": ready.turn.map(|t| t.to_string()),
        });
        writeln!(out, "{line}").context("cannot write to standard output")?;
    } else {
        writeln!(out, "Rendezvous {}", ready.peer_id)?;
        writeln!(out, "Give one of these to your users (starling init --rendezvous ADDR):")?;
        for address in &addresses {
            writeln!(out, "  {address}")?;
        }
        if let Some(turn) = ready.turn {
            writeln!(out, "Calls: STUN and TURN on {turn} (UDP)")?;
        }
        writeln!(out, "Operators: http://{}/metrics", ready.http)?;
    }
    out.flush()?;
    drop(out);
    tracing::info!("ready");

    let reload = server.reloader();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => match args.resolve() {
                    Ok(config) => {
                        reload(&config);
                        let _ = set_level.reload(filter(&config.log_level));
                        tracing::info!("configuration reloaded");
                    }
                    Err(error) => tracing::error!("configuration not reloaded: {error:#}"),
                },
            }
        }
        let _ = stop.send(true);
        // A second signal ends the program at once.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(server.run().await?)
}
