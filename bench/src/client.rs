//! The real client program, as users start it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use starling_control::{Client, methods::node};
use starling_keys::KeyFile;

use crate::{measure::rss_kib, pair::storage_key};

/// How often it is looked whether a daemon answers.
const LOOK: Duration = Duration::from_millis(1);
/// A daemon that has not answered by then never does.
const GIVES_UP: Duration = Duration::from_secs(120);

/// The program beside this one, with a directory of profiles.
pub struct Starling {
    program: PathBuf,
    dir: PathBuf,
}

impl Starling {
    /// Finds the program.
    pub fn beside(dir: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("starling");
        let release = if cfg!(debug_assertions) { "" } else { "--release " };
        ensure!(program.exists(), "{} is missing: run `cargo build {release}-p starling` first", program.display());
        Ok(Self { program, dir: dir.to_owned() })
    }

    /// The directory of a profile.
    pub fn profile(&self, name: &str) -> PathBuf {
        self.dir.join("profiles").join(name)
    }

    /// A command of the program for a profile.
    pub fn command(&self, profile: &str, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(["--no-mdns", "--no-input", "--listen-addr", "/ip4/127.0.0.1/udp/0/quic-v1", "--profile", profile])
            .arg("--data-dir")
            .arg(self.dir.join("profiles"))
            .args(args)
            .env("XDG_RUNTIME_DIR", &self.dir)
            .env_remove("SSLKEYLOGFILE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts a daemon for a profile that was made with the bench's key.
    pub async fn daemon(&self, profile: &str) -> anyhow::Result<Daemon> {
        let dir = self.profile(profile);
        std::fs::write(dir.join("key"), KeyFile::plain(&storage_key()).to_bytes())?;
        self.started(profile, Instant::now()).await
    }

    /// The same for a profile with a key of its own.
    pub async fn started(&self, profile: &str, start: Instant) -> anyhow::Result<Daemon> {
        let dir = self.profile(profile);
        let mut command = tokio::process::Command::from(self.command(profile, &["daemon"]));
        let process = command.kill_on_drop(true).spawn()?;
        let client = loop {
            let socket = std::fs::read_to_string(dir.join("control-socket")).unwrap_or_default();
            if let Ok(client) = Client::connect(Path::new(socket.trim_end())).await {
                break client;
            }
            ensure!(start.elapsed() < GIVES_UP, "the daemon has not answered");
            tokio::time::sleep(LOOK).await;
        };
        client.call(node::Events {}).await?;
        let answered = start.elapsed();
        let rss_kib = rss_kib(process.id().context("the daemon has ended")?);
        Ok(Daemon { process, client, answered, rss_kib })
    }
}

/// A running daemon; it is killed when dropped.
pub struct Daemon {
    process: tokio::process::Child,
    client: Client,
    /// From its start to its first answer.
    pub answered: Duration,
    /// Its resident memory then.
    pub rss_kib: u64,
}

impl Daemon {
    /// Its process, or 0 when that has ended.
    pub fn pid(&self) -> u32 {
        self.process.id().unwrap_or(0)
    }

    /// Its control socket.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Stops it, and waits until its profile is free.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.client.call(node::Stop {}).await?;
        self.client.shut_down().await;
        self.process.wait().await?;
        Ok(())
    }
}
