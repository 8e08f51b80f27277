//! Times at rest: networks forget connections, machines sleep, servers are restarted.

use std::{
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use starling_tests::{
    Process,
    lab::{AtRest, Lab, deliver},
    run_to_end, until,
};

use super::chat::{AWAY, seconds, send};
use crate::table::Figures;

/// How long nobody does anything: `STARLING_LABORATORY_IDLE` seconds, else a minute, else as long as CI has time.
fn idle() -> Duration {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let default = if number("STARLING_LABORATORY").is_some() { 60 } else { 20 };
    Duration::from_secs(number("STARLING_LABORATORY_IDLE").unwrap_or(default))
}

/// How long a machine sleeps: longer than a connection lives without a sign of life.
const ASLEEP: Duration = Duration::from_secs(40);

/// How long it takes until a network has shown what it keeps.
const MEASURED: Duration = Duration::from_secs(130);
/// What goes on after contacts have come is no rest.
const SETTLED: Duration = Duration::from_secs(60);
/// Nor is it after they have gone: they are looked for ever more seldom, here nine minutes later for the last time before what is counted.
const LEFT_ALONE: Duration = Duration::from_secs(640);
/// How long is counted what goes on at rest.
const COUNTED: Duration = Duration::from_secs(120);

/// Two customers of one carrier, which lets them reach one another neither directly nor by its address outside.
fn behind_a_carrier() -> Option<(Lab, Process, (Process, Process))> {
    let mut lab = Lab::new()?;
    lab.wire("rel", "198.18.0.1");
    lab.wire("cg", "198.18.0.11");
    lab.nat("cg", false);
    lab.behind_carrier("ha", "na", "cg", ("100.64.1", "192.168.11"));
    lab.behind_carrier("hb", "nb", "cg", ("100.64.2", "192.168.12"));
    let (server, home) = lab.rendezvous("rel", "198.18.0.1");
    let daemons = lab.contacts(&[&home]);
    Some((lab, server, daemons))
}

pub fn messages_after_a_time_at_rest() -> Figures {
    let short = Lab::behind_nats_that(false, |lab| {
        for gateway in ["na", "nb"] {
            for timeout in ["udp_timeout", "udp_timeout_stream"] {
                lab.must(gateway, &format!("sysctl -qw net.netfilter.nf_conntrack_{timeout}=15"));
            }
        }
    })?;
    short.0.wait_for_path("direct");
    let carrier = behind_a_carrier()?;
    carrier.0.wait_for_path("relay");
    let symmetric = Lab::behind_nats(true)?;
    symmetric.0.wait_for_path("relay");
    for (lab, ..) in [&short, &carrier, &symmetric] {
        deliver(lab, "ha", "@bob", "before");
    }
    // All three at once. This is the case itself, and waits for nothing.
    sleep(idle());
    seconds([&short, &carrier, &symmetric].map(|(lab, ..)| {
        let there = deliver(lab, "hb", "@alice", "after a time at rest");
        there.max(deliver(lab, "ha", "@bob", "and back"))
    }))
}

/// One host behind a NAT whose packets are counted, with its daemon, a host for others, and a server.
fn resting() -> Option<(Lab, [Process; 2], String)> {
    let mut lab = Lab::new()?;
    lab.wire("rel", "198.18.0.1");
    lab.behind_nat("ha", "na", "198.18.0.11", "192.168.11", false);
    lab.behind_nat("hb", "nb", "198.18.0.12", "192.168.12", false);
    lab.count_packets("ha", "eth0");
    let (server, home) = lab.rendezvous("rel", "198.18.0.1");
    lab.json("ha", &["init", "--name", "alice", "--rendezvous", &home]);
    let alice = lab.daemon("ha");
    Some((lab, [server, alice], home))
}

/// A contact of who rests, at the other host.
fn contact(lab: &Lab, home: &str, number: usize) -> Process {
    let starling = |args: &[&str]| {
        let mut command = lab.command("hb", "starling");
        command.arg("--data-dir").arg(lab.file(&format!("contact-{number}"))).args(args).arg("--json");
        command
    };
    let run = |args: &[&str]| {
        let output = run_to_end(starling(args).stdin(Stdio::null()));
        assert!(output.status.success(), "contact {number}: {args:?} failed");
        output.stdout
    };
    run(&["init", "--name", "bob", "--rendezvous", home]);
    let daemon = Process::start(&mut starling(&["daemon"]));
    assert_eq!(daemon.json()["type"], "daemon.ready");
    let invite = lab.json("ha", &["invite"]);
    run(&["contacts", "add", invite["link"].as_str().expect("a link")]);
    until("her name", || String::from_utf8_lossy(&run(&["contacts", "list"])).contains("alice").then_some(()));
    daemon
}

fn figures(rest: AtRest) -> Figures {
    println!("{rest:.1?}");
    Some(vec![rest.wakeups, rest.packets])
}

/// In a network that has shown what it keeps, with so many contacts, of which so many are online.
pub fn at_rest(contacts: usize, online: usize) -> Figures {
    let (lab, [_server, alice], home) = resting()?;
    let began = Instant::now();
    let mut daemons: Vec<Process> = (0..contacts).map(|number| contact(&lab, &home, number)).collect();
    daemons.truncate(online);
    let settled = if online < contacts { LEFT_ALONE } else { SETTLED };
    // These are the case itself, and wait for nothing.
    sleep(MEASURED.saturating_sub(began.elapsed()).max(settled));
    figures(lab.at_rest("ha", &alice, COUNTED))
}

/// In a network that nothing is known of, alone.
pub fn at_rest_in_a_new_network() -> Figures {
    let (lab, [_server, alice], _home) = resting()?;
    // Until its start is over: that is the case itself.
    sleep(SETTLED / 2);
    figures(lab.at_rest("ha", &alice, SETTLED / 2))
}

pub fn idle_clients() -> Figures {
    let (lab, mut server, _daemons) = Lab::behind_nats(true)?;
    lab.wait_for_path("relay");
    // That they do nothing, and how long the server is away: the case itself, which waits for nothing.
    sleep(idle());
    server.kill();
    sleep(AWAY);
    let _server = lab.rendezvous("rel", "198.18.0.1");
    let back = Instant::now();
    let mut sent = send(&lab, "hb", "@alice", "after the restart", "delivered");
    assert_eq!(sent.wait(), 0, "not delivered");
    seconds([back.elapsed()])
}

pub fn suspended() -> Figures {
    let (lab, _server, (alice, _bob)) = Lab::behind_nats(false)?;
    lab.wait_for_path("direct");
    alice.signal("STOP");
    let to = send(&lab, "hb", "@alice", "for who sleeps", "delivered");
    // The length of the sleep.
    sleep(ASLEEP);
    alice.signal("CONT");
    let woke = Instant::now();
    let from = send(&lab, "ha", "@bob", "from who woke", "delivered");
    let mut times = [None, None];
    let mut sent = [from, to];
    until("both messages", || {
        for (process, time) in sent.iter_mut().zip(&mut times) {
            if time.is_none()
                && let Some(code) = process.ended()
            {
                assert_eq!(code, 0, "not delivered");
                *time = Some(woke.elapsed());
            }
        }
        let [from, to] = times;
        from.zip(to)
    });
    let [from, to] = times;
    seconds([from?, to?])
}
