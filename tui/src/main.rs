//! `starling`: the terminal client.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod error;
mod local_time;
mod output;
mod profile;
mod rpc;
mod screen;
mod signals;
mod terminal;
mod verbs;

use std::{io::IsTerminal, process::ExitCode};

use clap::{CommandFactory, Parser};
use starling_text::SafeText;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Verb};
use error::{CliError, CliResult};

fn main() -> ExitCode {
    starling_keys::prevent_core_dumps();
    // libp2p's TLS would write session keys to this file.
    // Reading the environment is all that is needed here: unsetting it is `unsafe` in edition 2024, so we refuse to run instead.
    if std::env::var_os("SSLKEYLOGFILE").is_some() {
        let error = CliError::usage("SSLKEYLOGFILE is set: it would write the keys of connections to a file")
            .hint("run `env -u SSLKEYLOGFILE starling …`");
        output::complain_of(&error, false);
        return ExitCode::from(2);
    }
    let cli = match cli::parse() {
        Ok(cli) => cli,
        // Help and version, which hold nothing of others.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            if std::env::args_os().any(|a| a == "--json") {
                output::complain_of(&usage_error(&error), true);
            } else {
                output::complain(quoted_safely(&error));
            }
            return ExitCode::from(2);
        }
    };
    let json = cli.global.json;
    output::show_panics_safely();
    init_logging(cli.global.verbose, matches!(cli.verb, None | Some(Verb::Try { headless: false })));
    let result = signals::install().and_then(|()| run_to_end(cli));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            output::complain_of(&error, json);
            ExitCode::from(error.exit)
        }
    }
}

/// Runs a verb until it is done or a signal ends it.
fn run_to_end(cli: Cli) -> CliResult {
    let runtime = runtime_for(&cli).enable_all().build()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = Box::pin(run(cli)) => result,
            signal = signals::unhandled() => Err(signal.error()),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

/// A command that asks a node which runs already does not start threads: they would take longer than what is asked.
fn runtime_for(cli: &Cli) -> tokio::runtime::Builder {
    let node_runs = || {
        let profile = profile::Profile::new(&cli.global);
        profile.is_ok_and(|profile| profile.sockets().iter().any(|socket| socket.exists()))
    };
    if cli.verb.as_ref().is_some_and(Verb::is_short) && node_runs() {
        return tokio::runtime::Builder::new_current_thread();
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2);
    builder
}

/// What clap says of a command line that it does not understand; the arguments that it quotes are made safe first.
fn quoted_safely(error: &clap::Error) -> SafeText {
    let shown = std::env::args_os().map(|arg| String::from(SafeText::line(&arg.to_string_lossy())));
    let shown = Cli::try_parse_from(shown).err();
    SafeText::block(shown.as_ref().unwrap_or(error).render().to_string().trim_end())
}

/// The same as an error object: its first paragraph names the arguments that are meant.
fn usage_error(error: &clap::Error) -> CliError {
    let text = quoted_safely(error);
    let mut paragraphs = text.split("\n\n");
    let joined = |paragraph: &str| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let message = joined(paragraphs.next().unwrap_or_default());
    let tip = paragraphs.next().and_then(|p| p.trim().strip_prefix("tip: ")).map(joined);
    CliError::usage(message.trim_start_matches("error: ")).hint(tip.unwrap_or_else(|| "see `starling --help`".into()))
}

/// Only our own events: those of the libraries hold addresses. The screen logs to a file, as it has the terminal for itself.
fn init_logging(verbose: u8, screen: bool) {
    let wanted = std::env::var("STARLING_LOG");
    // Without a log its filter, which is costly to make, is not needed: a short command starts in a few milliseconds.
    if verbose == 0 && wanted.is_err() {
        return;
    }
    let level = match verbose {
        0 => "off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = match wanted {
        Ok(filter) => EnvFilter::new(filter),
        Err(_) => EnvFilter::new(format!("off,starling={level},starling_node={level},starling_media={level}")),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    if !screen {
        let _ = builder.with_ansi(false).with_writer(|| output::LogWriter).try_init();
        return;
    }
    if verbose == 0 {
        return;
    }
    if let Some(file) = profile::log_file() {
        let _ = builder.with_ansi(false).with_writer(std::sync::Mutex::new(file)).try_init();
    }
}

async fn run(cli: Cli) -> CliResult {
    let global = &cli.global;
    let Some(verb) = cli.verb else {
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return Err(CliError::usage("the screen needs a terminal").hint("without one, use the verbs: send, listen, history, contacts, … (see `starling --help`), or `starling chat --plain WHO`"));
        }
        if !terminal::can_show_the_screen() {
            return verbs::plain_chat(global, None).await;
        }
        return Box::pin(screen::run(global)).await;
    };
    match verb {
        Verb::Try { headless } => Box::pin(verbs::try_starling(global, headless)).await,
        Verb::Init(args) => verbs::init(global, args).await,
        Verb::Whoami => verbs::whoami(global).await,
        Verb::Invite { uses, expires, qr, code } => verbs::invite(global, uses, &expires, qr, code).await,
        Verb::Contacts { command } => verbs::contacts(global, command).await,
        Verb::Device { command } => verbs::devices(global, command).await,
        Verb::Call { command } => Box::pin(verbs::calls(global, command)).await,
        Verb::Group { command } => verbs::groups(global, command).await,
        Verb::Community { command } => verbs::communities(global, command).await,
        Verb::Chats { command } => verbs::chats(global, command).await,
        Verb::Send(args) => verbs::send(global, args).await,
        Verb::Listen { chat, since, exec, count } => verbs::listen(global, chat, since, exec, count).await,
        Verb::History { chat, limit, before, since } => verbs::history(global, &chat, limit, before, since).await,
        Verb::Search { query, chat, from, since, limit } => {
            verbs::search(global, &query, chat, from, since, limit).await
        }
        Verb::Chat { plain: _, who } => verbs::plain_chat(global, Some(&who)).await,
        Verb::Profile { command } => verbs::profile(global, command).await,
        Verb::Daemon { listen, stop } => verbs::daemon(global, listen, stop).await,
        Verb::Rpc { method, params } => verbs::rpc(global, &method, params.as_deref()).await,
        Verb::Doctor => verbs::doctor(global).await,
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "starling", &mut script);
            output::write(&script)
        }
        Verb::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            output::write(&page)
        }
        Verb::Guide => verbs::guide(global).await,
    }
}
