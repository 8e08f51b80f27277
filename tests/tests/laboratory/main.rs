//! Networks as they are, as a table: how soon everything goes on when networks change and servers die, in figures beside their goals.
//!
//! On CI each case that no other test covers runs once, and fails only far beyond its goal. `STARLING_LABORATORY=3` runs all of them, three
//! times each: see CONTRIBUTING.md. Goals are those of a quiet machine and a release build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod calls;
mod chat;
mod faults;
mod rest;
mod speech;
mod table;

use std::{cmp::Reverse, path::PathBuf, time::Duration};

use starling_tests::lab::Lab;
use table::{Row, at_least, at_most, within};

/// So many cases run at once on CI: they wait most of the time.
const WORKERS: usize = 4;

/// How long a packet takes from one end of a call with loss to the other, by either meaning of 50 ms.
const FAR: Duration = Duration::from_millis(50);
const NEAR: Duration = Duration::from_millis(25);
/// What networks with delay take.
const DELAY: &str = "/dev/net/tun and Python";

/// A row that another test covers.
fn row(case: &'static str, goals: &[table::Goal], measure: fn() -> table::Figures) -> Row {
    Row { case, goals: goals.to_vec(), on_ci: None, time: table::TIME, measure }
}

impl Row {
    /// It also runs on CI, where it takes about so many seconds.
    fn on_ci(self, seconds: u64) -> Self {
        Self { on_ci: Some(seconds), ..self }
    }

    /// A repetition may take so many minutes.
    fn within_minutes(self, minutes: u64) -> Self {
        Self { time: Duration::from_secs(60 * minutes), ..self }
    }
}

fn rows() -> Vec<Row> {
    let messages = [within("message from who moved", 3.0), within("message to who moved", 3.0)];
    let message = [within("message", 3.0)];
    let restored = [within("sound is back", 3.0), within("pictures are back", 5.0)];
    let lost = |connected, score, frames, gap| {
        [
            within("connected after answering", connected).needing(DELAY),
            at_least("PESQ-WB", "MOS-LQO", score).needing(speech::NEEDS),
            at_least("pictures of 320 × 180", "fps", frames).needing(DELAY),
            within("longest gap in sound", gap).needing(DELAY),
        ]
    };
    let translated = [
        within("message to who has IPv6", 1.0).needing("tayga"),
        within("message from who has IPv6", 1.0).needing("tayga"),
        within("call connected after answering", 3.0).needing("tayga"),
    ];
    let at_rest = |online: f64| {
        [
            at_most("wake-ups", "a minute", 4.0 + online),
            // The path to each is kept open from both ends.
            at_most("packets", "a minute", 10.0 + 14.0 * online),
        ]
    };
    vec![
        row("address changes in mid-chat: direct, one side", &messages, chat::one_address_changes),
        row("address changes in mid-chat: relayed, one side", &messages, chat::one_address_changes_behind_a_relay),
        row("address changes in mid-chat: direct, both sides", &message, chat::both_addresses_change),
        row("address changes in mid-chat: relayed, both sides", &message, chat::both_addresses_change_behind_a_relay)
            .on_ci(12),
        row("address changes in mid-call: direct, caller", &restored, calls::caller_moves),
        row("address changes in mid-call: direct, called", &restored, calls::called_moves),
        row("address changes in mid-call: direct, both sides", &restored, calls::both_move),
        row("address changes in mid-call: relayed, one side", &restored, calls::caller_moves_behind_a_relay),
        row("address changes in mid-call: relayed, both sides", &restored, calls::both_move_behind_a_relay).on_ci(18),
        row(
            "server killed, back after 1 s: relayed conversation",
            &[within("message, from the kill on", 5.0)],
            chat::server_is_killed_and_comes_back,
        ),
        row(
            "server killed for good, second home there: relayed conversation",
            &[within("message", 5.0)],
            chat::server_is_killed_for_good,
        ),
        row(
            "server killed for good, second home there: contact away",
            &[within("message stored", 5.0)],
            chat::server_is_killed_for_good_and_a_contact_is_away,
        ),
        row(
            "idle clients, server killed, back after 1 s",
            &[within("message to an idle client, from the return on", 10.0).or(20.0)],
            rest::idle_clients,
        )
        .on_ci(60),
        row("UDP dropped in mid-chat", &[within("message", 5.0)], chat::udp_is_dropped),
        row("UDP dropped in mid-call", &[within("sound is back", 6.0)], calls::udp_is_dropped),
        row(
            "UDP blocked from the start: chat",
            &[within("message", 0.5), within("answer", 0.5)],
            chat::udp_is_blocked_from_the_start,
        ),
        row(
            "UDP blocked from the start: call",
            &[within("connected after answering", 3.0)],
            calls::udp_is_blocked_from_the_start,
        ),
        row("IPv6 alone on both sides: direct call", &[within("connected after answering", 3.0)], calls::ipv6_alone),
        row(
            "IPv4 alone and IPv6 alone: relayed call",
            &[within("connected after answering", 3.0)],
            calls::ipv4_alone_and_ipv6_alone,
        ),
        row(
            "path cut in one direction in mid-call",
            &[within("sound is back, called deaf", 4.0), within("sound is back, caller deaf", 4.0)],
            calls::cut_in_one_direction,
        ),
        row("IPv6 alone with NAT64, and IPv4 alone: chat and call", &translated, calls::ipv6_alone_with_a_translator)
            .on_ci(15),
        row(
            "called moves from IPv4 to IPv6 alone with NAT64 in mid-call",
            &[within("sound is back", 3.0).needing("tayga"), within("pictures are back", 5.0).needing("tayga")],
            calls::called_moves_behind_a_translator,
        )
        .on_ci(18),
        row("call at 5 % loss, 50 ms each way", &lost(1.0, 4.2, 30.0, 0.3), || calls::at_loss(5, FAR)),
        row("call at 15 % loss, 50 ms each way", &lost(2.0, 3.6, 28.0, 0.5), || calls::at_loss(15, FAR)),
        row("call at 30 % loss, 50 ms each way", &lost(4.0, 2.8, 20.0, 1.0), || calls::at_loss(30, FAR)).on_ci(30),
        row("call at 5 % loss, 50 ms there and back", &lost(1.0, 4.2, 30.0, 0.3), || calls::at_loss(5, NEAR)),
        row("call at 15 % loss, 50 ms there and back", &lost(2.0, 3.6, 28.0, 0.5), || calls::at_loss(15, NEAR)),
        row("call at 30 % loss, 50 ms there and back", &lost(4.0, 2.8, 20.0, 1.0), || calls::at_loss(30, NEAR)),
        row(
            "messages after a time at rest",
            &[
                within("NAT mappings of 15 s", 1.0),
                within("carrier NAT without hairpin", 1.0),
                within("double symmetric NAT", 1.0),
            ],
            rest::messages_after_a_time_at_rest,
        )
        .on_ci(50),
        row(
            "at rest, new network",
            &[at_most("wake-ups", "a minute", 12.0), at_most("packets", "a minute", 40.0)],
            rest::at_rest_in_a_new_network,
        )
        .on_ci(65),
        row("at rest, no contacts", &at_rest(0.0), || rest::at_rest(0, 0)),
        row("at rest, 1 contact, away", &at_rest(0.0), || rest::at_rest(1, 0)).within_minutes(20),
        row("at rest, 1 contact, online", &at_rest(1.0), || rest::at_rest(1, 1)),
        row("at rest, 50 contacts, none online", &at_rest(0.0), || rest::at_rest(50, 0)).within_minutes(30),
        row("at rest, 50 contacts, 25 online", &at_rest(25.0), || rest::at_rest(50, 25)).within_minutes(30),
        row("at rest, 50 contacts, all online", &at_rest(50.0), || rest::at_rest(50, 50)).within_minutes(20),
        row(
            "suspended for 40 s",
            &[within("message from who woke", 3.0), within("message that waited for who woke", 3.0)],
            rest::suspended,
        )
        .on_ci(55),
        row(
            "TURN server dies in mid-call, second home there",
            &[within("sound is back", 5.0)],
            calls::turn_server_dies,
        )
        .on_ci(30),
        row(
            "VPN up and down in mid-chat",
            &[within("message after it has come", 3.0), within("message after it has gone", 3.0)],
            faults::vpn_comes_and_goes,
        )
        .on_ci(14),
        row(
            "VPN up and down in mid-call",
            &[within("sound after it has come", 3.0), within("sound after it has gone", 3.0)],
            faults::vpn_comes_and_goes_in_a_call,
        )
        .on_ci(18),
        row(
            "interface flaps ten times a second for 5 s",
            &[
                within("message afterwards", 5.0),
                at_most("processor", "s", 2.0),
                at_most("connections tried", "dials", 40.0),
            ],
            faults::interface_flaps,
        )
        .on_ci(18),
        row(
            "40 addresses on one machine",
            &[within("message", 1.0), within("call connected after answering", 3.0)],
            faults::forty_addresses,
        )
        .on_ci(18),
        row(
            "path MTU black hole at 1,300 bytes",
            &[within("message of 4,000 bytes", 3.0), within("call connected after answering", 3.0)],
            faults::mtu_black_hole,
        )
        .on_ci(18),
        row(
            "path MTU black hole at 1,300 bytes, UDP blocked",
            &[within("contacts are made", 10.0), within("message of 4,000 bytes", 5.0)],
            faults::mtu_black_hole_without_udp,
        ),
        row(
            "captive portal in place of the server",
            &[within("message stored, from its end on", 10.0)],
            faults::captive_portal,
        )
        .on_ci(20),
        row(
            "the server's name leads to another server",
            &[within("message stored, from the return of the server on", 10.0)],
            faults::names_that_lie,
        )
        .on_ci(20),
    ]
}

/// Where the table is written: the target directory.
fn file() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("laboratory.md")
}

fn show(table: &str) {
    std::fs::write(file(), table).unwrap();
}

#[test]
fn everything_goes_on_soon_when_networks_change_and_servers_die() {
    if Lab::new().is_none() {
        return;
    }
    let repetitions = std::env::var("STARLING_LABORATORY").ok().and_then(|number| number.parse().ok());
    let only = std::env::var("STARLING_LABORATORY_ONLY").unwrap_or_default();
    let mut rows = rows();
    rows.retain(|row| row.case.contains(&only));
    if repetitions.is_none() {
        rows.retain(|row| row.on_ci.is_some());
        rows.sort_by_key(|row| Reverse(row.on_ci));
    }
    // Cases that say how long something takes on a quiet machine run alone.
    let workers = if repetitions.is_some() { 1 } else { WORKERS };
    let beyond = table::run(&rows, repetitions.unwrap_or(1), workers, show);
    println!("{}in {}", std::fs::read_to_string(file()).unwrap_or_default(), file().display());
    assert!(beyond.is_empty(), "{beyond:#?}");
}
