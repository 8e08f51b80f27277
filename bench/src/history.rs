//! The history of a device copied to a new one: real processes over loopback, from the first page to the last.

use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{
    client::Starling,
    measure::cpu_s,
    pair::{self, Filled, storage_key},
    processes::Process,
};

/// A command whose lines are JSON.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(command: std::process::Command) -> anyhow::Result<Self> {
        let mut child = Command::from(command).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let out = child.stdout.take().context("no output")?;
        Ok(Self { child, lines: BufReader::new(out).lines() })
    }

    /// Waits until it has ended.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.child.wait().await?;
        Ok(())
    }

    /// Its next line.
    pub async fn line(&mut self) -> anyhow::Result<Value> {
        let line = self.lines.next_line().await?.context("the command has ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}

pub async fn run(messages: u32, size: usize) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let starling = Starling::beside(dir.path())?;
    let mut server = Process::start(&["serve", &dir.path().join("rendezvous").display().to_string()])?;
    let home = server.line().await?;
    let profile = starling.profile("alice");
    pair::create(&profile, "alice", &home)?;
    Filled { conversations: 1, contacts: 1 }.fill(&profile)?;
    starling_node::bench::fill_history(&profile, &storage_key(), messages, size)?;
    let daemon = starling.daemon("alice").await?;

    let mut link =
        Running::start(starling.command("alice", &["device", "link", "--yes", "--history", "all", "--json"]))?;
    let offered = link.line().await?;
    let text = |field: &str| offered[field].as_str().map(str::to_owned).context("no code");
    let args = ["device", "join", &text("code")?, "--rendezvous", &text("rendezvous")?, "--json"];
    let mut join = Running::start(starling.command("laptop", &args))?;
    let pid = join.child.id().context("the command has ended")?;
    let (copy, cpu) = loop {
        let line = join.line().await?;
        if line["state"] == "complete" {
            break (line, cpu_s(pid));
        }
    };
    let number = |field: &str| copy[field].as_u64().unwrap_or_default();
    ensure!(number("copied") >= u64::from(messages), "of {messages} messages only {} were copied", number("copied"));
    let at =
        |field: &str| copy[field].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok()).context("no time");
    let seconds = at("complete_at")?.duration_since(at("started_at")?).as_secs_f64();

    println!("history of {messages} messages of {size} bytes, copied to a new device");
    println!("  {:<38} {:>9.2}", "from the first page to the last, s", seconds);
    println!("  {:<38} {:>9.0}", "messages/s", f64::from(messages) / seconds);
    println!("  {:<38} {:>9.1}", "CPU of the new device each, µs", cpu * 1e6 / f64::from(messages));
    println!(
        "{}",
        json!({
            "bench": "history", "messages": messages, "size": size, "seconds": seconds,
            "per_second": f64::from(messages) / seconds, "cpu_us": cpu * 1e6 / f64::from(messages),
        })
    );
    daemon.stop().await?;
    server.say("").await?;
    Ok(())
}
