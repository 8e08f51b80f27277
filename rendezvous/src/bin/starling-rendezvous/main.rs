//! `starling-rendezvous`: the server program.

mod cli;
mod serve;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use starling_rendezvous::{
    StartError, ask_admin,
    config::{Config, ConfigError},
    preflight,
};

use crate::cli::{AdminCommand, Cli, Command, ConfigCommand, InviteCommand};

fn main() -> ExitCode {
    starling_keys::prevent_core_dumps();
    let cli = cli::parse();
    // The database, the key and the admin socket are for this user alone, also in the moment in which they are made.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    raise_descriptors();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("error: cannot start: {error}"));
            return ExitCode::from(1);
        }
    };
    let result = runtime.block_on(Box::pin(run(cli)));
    // Do not wait for blocking tasks: what was acknowledged is durable.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as with `| head -1`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            if let Some(hint) = error.downcast_ref::<StartError>().and_then(StartError::hint) {
                complain(&format!("hint: {hint}"));
            }
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

/// Each client is a socket: takes as many descriptors as may be had. Shells and services often begin with 1,024 of them.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // Without more the server goes on with what it has, and says when it can accept nobody.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// A line on standard output. Unlike `println!`, it does not panic when nobody reads.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A line on standard error. There is nobody to be told if it cannot be written.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => Box::pin(serve::serve(cli.serve)).await,
        Some(Command::Serve(args)) => Box::pin(serve::serve(args)).await,
        Some(Command::Config { command: ConfigCommand::Check(args) }) => {
            for warning in preflight(&args.resolve()?).await? {
                complain(&format!("warning: {warning}"));
            }
            Ok(say("the configuration is valid")?)
        }
        Some(Command::Config { command: ConfigCommand::PrintDefault }) => {
            Ok(say(toml::to_string_pretty(&Config::default())?.trim_end())?)
        }
        Some(Command::Admin { data_dir, command }) => {
            let command = match command {
                AdminCommand::Status => json!({ "command": "status" }),
                AdminCommand::Invite { command: InviteCommand::New { uses, days } } => {
                    json!({ "command": "invite_new", "uses": uses, "days": days })
                }
                AdminCommand::Ban { account, force } => {
                    json!({ "command": "ban", "account": account, "force": force })
                }
                AdminCommand::Unban { account } => json!({ "command": "unban", "account": account }),
            };
            Ok(say(&ask_admin(&data_dir, command).await?.to_string())?)
        }
    }
}
