//! Times at rest: networks forget connections, machines sleep, servers are restarted.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use starling_tests::{
    Process,
    lab::{Lab, deliver},
    until,
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

/// Two customers of one carrier, which lets them reach one another neither directly nor by its address outside.
fn behind_a_carrier() -> Option<(Lab, Process, (Process, Process))> {
    let mut lab = Lab::new()?;
    lab.wire("rel", "198.18.0.1");
    lab.wire("cg", "198.18.0.11");
    lab.nat("cg", false);
    for (host, gateway, carrier, lan) in
        [("ha", "na", "100.64.1", "192.168.11"), ("hb", "nb", "100.64.2", "192.168.12")]
    {
        assert!(lab.host(gateway) && lab.host(host));
        lab.link("cg", &format!("to_{gateway}"), gateway, "wan", carrier);
        lab.must(gateway, &format!("ip route add default via {carrier}.1"));
        lab.nat(gateway, false);
        lab.link(gateway, "lan", host, "eth0", lan);
        lab.must(host, &format!("ip route add default via {lan}.1"));
    }
    let (server, home) = lab.rendezvous("rel", "198.18.0.1");
    let daemons = lab.contacts(&[&home]);
    Some((lab, server, daemons))
}

pub fn messages_after_a_time_at_rest() -> Figures {
    let short = Lab::behind_nats(false)?;
    short.0.wait_for_path("direct");
    for gateway in ["na", "nb"] {
        for timeout in ["udp_timeout", "udp_timeout_stream"] {
            short.0.must(gateway, &format!("sysctl -qw net.netfilter.nf_conntrack_{timeout}=15"));
        }
    }
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

pub fn idle_clients() -> Figures {
    let (lab, mut server, _daemons) = Lab::behind_nats(true)?;
    lab.wait_for_path("relay");
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
