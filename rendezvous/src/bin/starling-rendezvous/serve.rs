//! Running the server: its log, what it says when it is ready, and the signals that it obeys.

use std::io::{self, IsTerminal, Write};

use anyhow::Context;
use serde_json::json;
use starling_rendezvous::{
    Ready, Server,
    config::{Config, LogFormat},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::cli::Serve;

/// The signals that the server obeys. One that arrives before it is waited for is kept.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until somebody asks the server to stop.
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Reloads for each SIGHUP, until somebody asks the server to stop.
    async fn reload_until_stop(&mut self, mut reload: impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(),
            }
        }
    }
}

/// A server that listens, and what reloads its configuration.
struct Started {
    server: Server,
    reload: Box<dyn FnMut() + Send>,
}

/// Serves until it is asked to stop.
pub async fn serve(args: Serve) -> anyhow::Result<()> {
    // Before anything else, so that no signal ends the process as it would a program that knows nothing of it.
    let mut signals = Signals::install().context("cannot handle signals")?;
    let (stop, stopped) = watch::channel(false);
    // A task of its own: opening a large database takes a while, and writing to a full pipe may take for ever.
    let started = tokio::spawn(start(args, stopped));
    let Started { server, reload } = tokio::select! {
        started = started => started.context("starting failed")??,
        // Nothing is served yet, so there is nothing to drain.
        () = signals.stop() => return Ok(()),
    };
    tokio::spawn(async move {
        signals.reload_until_stop(reload).await;
        let _ = stop.send(true);
        // A second signal ends the program at once.
        signals.stop().await;
        std::process::exit(1);
    });
    Ok(server.run().await?)
}

async fn start(args: Serve, stopped: watch::Receiver<bool>) -> anyhow::Result<Started> {
    let config = args.resolve()?;
    let set_level = start_logging(&config);
    let server = Server::start(&config, stopped).await?;
    match announce(server.ready(), args.json) {
        // Who started the server is gone, or does not want to know: it serves others.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        said => said.context("cannot write to standard output")?,
    }
    tracing::info!("ready");
    let reloader = server.reloader();
    let reload = move || match args.resolve() {
        Ok(new) => {
            reloader(&new);
            set_level(&new.log_level);
            tracing::info!("configuration reloaded");
            let waiting = config.needs_restart(&new);
            if !waiting.is_empty() {
                tracing::warn!(settings = waiting.join(", "), "these settings have changed and need a restart");
            }
        }
        Err(error) => tracing::error!("configuration not reloaded: {error:#}"),
    };
    Ok(Started { server, reload: Box::new(reload) })
}

/// Only our own events are logged: those of the libraries hold addresses.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(format!("off,starling_rendezvous={level}"))
        .unwrap_or_else(|_| EnvFilter::new("off,starling_rendezvous=info"))
}

/// Logs to standard error; gives what changes the level.
fn start_logging(config: &Config) -> impl Fn(&str) + Send + 'static {
    let (level, set_level) = reload::Layer::new(filter(&config.log_level));
    let output = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        // Otherwise it panics when nobody reads standard error.
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(level);
    match config.log_format {
        LogFormat::Text => registry.with(output).init(),
        LogFormat::Json => registry.with(output.json()).init(),
    }
    move |level| {
        let _ = set_level.reload(filter(level));
    }
}

/// Says that the server is ready, and where.
fn announce(ready: &Ready, as_json: bool) -> io::Result<()> {
    let addresses: Vec<String> = ready.addresses.iter().map(ToString::to_string).collect();
    let mut out = io::stdout().lock();
    if as_json {
        let line = json!({
            "type": "rendezvous.ready",
            "peer_id": ready.peer_id.to_string(),
            "address": ready.short.first().map(ToString::to_string),
            "addresses": addresses,
            "http": ready.http.to_string(),
            "turn": ready.turn.map(|t| t.to_string()),
        });
        writeln!(out, "{line}")?;
        return out.flush();
    }
    writeln!(out, "Rendezvous {}", ready.peer_id)?;
    let short: Vec<String> = ready.short.iter().map(ToString::to_string).collect();
    writeln!(out, "Give one of these to your users (starling init --rendezvous ADDR):")?;
    for address in if short.is_empty() { &addresses } else { &short } {
        writeln!(out, "  {address}")?;
    }
    if !short.is_empty() {
        writeln!(out, "The ways that these stand for, and others:")?;
        for address in &addresses {
            writeln!(out, "  {address}")?;
        }
    }
    if let Some(turn) = ready.turn {
        writeln!(out, "Calls: STUN and TURN on {turn} (UDP)")?;
    }
    writeln!(out, "Operators: http://{}/metrics", ready.http)?;
    out.flush()
}
