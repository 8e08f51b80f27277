//! The processes of a bench: this program again, with a hidden verb; they talk in lines.

use std::{path::PathBuf, process::Stdio};

use anyhow::Context;
use libp2p::{Multiaddr, multiaddr::Protocol};
use starling_rendezvous::{Server, config::Config};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
};

/// A child that ends with its parent.
pub struct Process {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this program with a hidden verb.
    pub fn start(args: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = (input.context("no standard input")?, output.context("no standard output")?);
        Ok(Self { child, input, lines: BufReader::new(output).lines() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    pub async fn say(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    pub async fn line(&mut self) -> anyhow::Result<String> {
        self.lines.next_line().await?.context("a process of the bench has ended")
    }
}

/// A rendezvous; prints its address. Ends with its standard input.
pub async fn serve(dir: PathBuf) -> anyhow::Result<()> {
    let mut config = Config {
        data_dir: dir,
        listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse()?],
        http: ([127, 0, 0, 1], 0).into(),
        ..Config::default()
    };
    // The bench measures what the server can do, not what it allows one client.
    config.limits.requests_per_second = 1_000_000;
    config.limits.request_burst = 1_000_000;
    config.limits.total_requests_per_second = 10_000_000;
    config.limits.log_entries = 10_000_000;
    config.limits.log_bytes = 1 << 40;
    config.limits.account_bytes = 1 << 40;
    config.limits.conversation_bytes = 1 << 40;
    config.limits.store_bytes = 1 << 50;
    config.limits.connections = 100_000;
    // All clients of the bench have one address.
    config.limits.trusted_proxies = vec!["127.0.0.0/8".parse()?];
    serve_with(&config).await
}

/// A rendezvous with the limits that it has by default; prints its addresses over QUIC and TCP.
pub async fn serve_limited(dir: PathBuf) -> anyhow::Result<()> {
    let config = Config {
        data_dir: dir,
        listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse()?, "/ip4/127.0.0.1/tcp/0".parse()?],
        http: ([127, 0, 0, 1], 0).into(),
        ..Config::default()
    };
    serve_with(&config).await
}

async fn serve_with(config: &Config) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let server = Server::start(config, stopped).await?;
    for wanted in &config.listen {
        let is_tcp = |address: &Multiaddr| address.iter().any(|p| matches!(p, Protocol::Tcp(_)));
        let address = server.ready().addresses.iter().find(|address| is_tcp(address) == is_tcp(wanted));
        println!("{}", address.context("not listening")?);
    }
    tokio::spawn(async move {
        let mut line = String::new();
        let _ = BufReader::new(tokio::io::stdin()).read_line(&mut line).await;
        let _ = stop.send(true);
    });
    Ok(server.run().await?)
}
