//! What honest clients see of a server under attack: the time to connect, to store an entry and to be told of one, and to have an item in an inbox,
//! quiet and during each attack. The attacker has one core, server and honest clients the other.

pub mod attacker;
mod honest;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use data_encoding::HEXLOWER;
use serde_json::json;
use tokio::time::sleep;

use self::honest::{Honest, Latency, MEASURED};
use crate::processes::Process;

/// The core of the server and the honest clients, and that of the attacker.
const CORES: [&str; 2] = ["0", "1"];
/// The key of the log that the honest clients use, and the attacker has, too.
const LOG: [u8; 32] = [9; 32];
/// Honest clients wait at most so many times as long as when it is quiet, whatever the attack.
const MAX_RATIO: f64 = 3.0;

/// What the attacker does, as fast as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// With the key of a log: fills it, closes it, fills the next.
    Logs,
    /// Connections over TCP that say nothing, from many networks.
    Handshakes,
    /// Handshakes over QUIC that end with their first packet, from many networks.
    QuicHandshakes,
    /// New accounts, each of which stores what it may.
    Accounts,
    /// Items of strangers in an inbox.
    Inbox,
    /// Sessions with new keys, and requests.
    Requests,
    /// Long device chains of accounts that nobody pays for.
    Chains,
    /// Signals, and reading and leaving in turn, in a log that others read.
    Signals,
}

impl Attack {
    /// Its name in commands and reports.
    fn name(self) -> anyhow::Result<String> {
        Ok(self.to_possible_value().context("an attack without a name")?.get_name().to_owned())
    }

    /// Whether the honest clients use TCP, and not QUIC: each transport has its own places for handshakes, and who attacks those of one is felt
    /// over the same transport only.
    fn is_felt_over_tcp(self) -> bool {
        self == Self::Handshakes
    }
}

/// The greatest of some ratios. What cannot be compared is as bad as can be.
fn worst_of(ratios: &[f64]) -> f64 {
    ratios.iter().fold(0.0, |worst, ratio| if ratio.is_nan() { f64::INFINITY } else { worst.max(*ratio) })
}

/// Measures all attacks, or some.
///
/// # Errors
/// If one of them makes honest clients wait more than [`MAX_RATIO`] times as long.
pub async fn run(only: Vec<Attack>, seconds: u64) -> anyhow::Result<()> {
    pin(std::process::id(), CORES[0]);
    let attacks = if only.is_empty() { Attack::value_variants().to_vec() } else { only };
    println!("medians in ms: {MEASURED}");
    println!("{:>16} {:>34} {:>34} {:>28}", "attack", "quiet", "attacked", "ratio");
    let (mut worst, mut too_much) = (0.0_f64, Vec::new());
    for attack in attacks {
        let (quiet, attacked) = measure(attack, Duration::from_secs(seconds)).await?;
        let ratios: Vec<f64> = attacked.iter().zip(&quiet).map(|(attacked, quiet)| attacked / quiet).collect();
        let name = attack.name()?;
        let ratio = worst_of(&ratios);
        worst = worst.max(ratio);
        if ratio > MAX_RATIO {
            too_much.push(format!("{name} ({ratio:.2})"));
        }
        let show = |all: &[f64]| all.iter().map(|one| format!("{one:.2}")).collect::<Vec<_>>().join(" ");
        println!("{name:>16} {:>34} {:>34} {:>28}", show(&quiet), show(&attacked), show(&ratios));
        println!(
            "{}",
            json!({ "bench": "attack", "attack": name, "quiet_ms": quiet, "attacked_ms": attacked, "ratios": ratios })
        );
    }
    println!("worst ratio {worst:.2}");
    if too_much.is_empty() {
        return Ok(());
    }
    bail!("honest clients wait more than {MAX_RATIO} times as long under: {}", too_much.join(", "))
}

async fn measure(attack: Attack, time: Duration) -> anyhow::Result<(Latency, Latency)> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let mut server = Process::start(&["serve-limited", &dir.path().join("rendezvous").display().to_string()])?;
    pin(server.pid(), CORES[0]);
    let quic = server.line().await?;
    let tcp = server.line().await?;
    let home = if attack.is_felt_over_tcp() { &tcp } else { &quic };
    let mut honest = Honest::connect(home.parse()?).await?;
    let quiet = honest.measure(time).await.context("quiet")?;
    let victim = HEXLOWER.encode(&honest.inbox());
    let attacker = Process::start(&["attacker", &attack.name()?, &quic, &tcp, &victim])?;
    pin(attacker.pid(), CORES[1]);
    // Until it is at its full rate.
    sleep(Duration::from_secs(2)).await;
    let attacked = honest.measure(time).await.context("attacked")?;
    drop(attacker);
    server.say("").await?;
    Ok((quiet, attacked))
}

/// Pins a process to a core, as far as the system has `taskset` and that core.
fn pin(pid: u32, core: &str) {
    let mut command = std::process::Command::new("taskset");
    let pinned = command.args(["-a", "-c", "-p", core, &pid.to_string()]).output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        println!("process {pid} is not pinned to core {core}: taskset failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_ratios_is_the_greatest_and_what_is_none_is_worse() {
        assert!((worst_of(&[1.0, 2.9, 0.5]) - 2.9).abs() < 1e-9);
        assert!(worst_of(&[1.0, 2.9]) <= MAX_RATIO && worst_of(&[1.0, 3.1]) > MAX_RATIO);
        assert!(worst_of(&[1.0, f64::NAN, 2.0]).is_infinite());
    }
}
