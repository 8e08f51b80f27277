//! The table of limits in `docs/operators.md` says what this program does: a bound that is new or another one here has to be so there, too.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use starling_keys::chain;
use starling_wire::limits as wire;

use crate::{config::Config, limits::*};

const DOCS: &str = include_str!("../../docs/operators.md");
const CODE: &str = include_str!("limits.rs");

/// No client comes up against these: how often the server does something of its own, and what bounds the operator's commands.
const NOT_FOR_CLIENTS: [&str; 10] = [
    "CLAIMS_EVERY",
    "READY_FOR",
    "TOKEN_USES",
    "TOKEN_DAYS",
    "ADMIN_TIMEOUT",
    "ACCOUNTS_PER_SESSION",
    "LAST_SEEN_INTERVAL",
    "DISK_INTERVAL",
    "EXPIRY_INTERVAL",
    "INTERFACES_INTERVAL",
];

/// The constants of `limits.rs`: with what the row begins that each stands in, and how it is written there.
fn constants() -> Vec<(&'static str, &'static str, String)> {
    let rate = |(per_second, at_once): (u64, u64)| format!("{}, and {} at once", size(per_second), size(at_once));
    vec![
        ("HANDSHAKE_TIMEOUT", "time for a handshake", time(HANDSHAKE_TIMEOUT)),
        ("PENDING_CONNECTIONS", "handshakes under way", count(PENDING_CONNECTIONS)),
        ("CONNECTIONS_PER_DEVICE", "open connections", count(CONNECTIONS_PER_DEVICE)),
        ("FAMILIAR_NETWORKS", "handshakes under way", count(FAMILIAR_NETWORKS)),
        ("CONNECTION_BURST_PART", "new connections", part(CONNECTION_BURST_PART.into())),
        ("WIDE_RATE", "new connections", format!("{WIDE_RATE} times")),
        ("PROXY_RATE", "new connections", format!("{PROXY_RATE} times")),
        ("RATED_NETWORKS", "networks whose rates are known", count(RATED_NETWORKS)),
        ("PUSH_QUEUE", "messages that wait for a reader", count(PUSH_QUEUE)),
        ("MAX_FOLLOWED", "logs followed, left", count(MAX_FOLLOWED)),
        ("PAGE_ENTRIES", "entries, bytes of a page", count(PAGE_ENTRIES)),
        ("PAGE_BYTES", "entries, bytes of a page", size(PAGE_BYTES as u64)),
        ("APPEND_ENTRIES", "entries, bytes, device lists at once", format!("{APPEND_ENTRIES} entries")),
        ("APPEND_ENTRIES", "entries, bytes, device lists at once", format!("{} entries", count(4 * APPEND_ENTRIES))),
        ("APPEND_BYTES", "entries, bytes, device lists at once", size(APPEND_BYTES as u64)),
        ("MAX_CODES", "open short codes", count(MAX_CODES)),
        ("CODE_PLACES", "open short codes", count(CODE_PLACES.start())),
        ("CODE_PLACES", "open short codes", count(CODE_PLACES.end())),
        ("CLOSED_PLACE_COST", "guesses at short codes", count(CLOSED_PLACE_COST)),
        ("CODES_PER_SESSION", "open short codes", count(CODES_PER_SESSION)),
        ("DEVICES_PER_CLAIM", "entries, bytes, device lists at once", format!("{DEVICES_PER_CLAIM} devices")),
        ("MAX_PAID", "items that are paid for with work", count(MAX_PAID)),
        ("MAX_PENDING", "uses, life of an invite", count(MAX_PENDING)),
        ("CODE_TRIES_PER_SESSION", "guesses at short codes", format!("{CODE_TRIES_PER_SESSION} for a session")),
        ("CLAIMS_PER_HOUR", "key packages claimed", count(CLAIMS_PER_HOUR)),
        ("CLAIMED_PER_HOUR", "one-time key packages", count(CLAIMED_PER_HOUR)),
        ("LEAVES", "logs followed, left", format!("{} a second and {} at once", count(LEAVES.0), count(LEAVES.1))),
        ("FULL_TOLD_PER_MINUTE", "word that there was no room in a log", count(FULL_TOLD_PER_MINUTE)),
        ("CODE_TRIES_PER_HOUR", "guesses at short codes", count(CODE_TRIES_PER_HOUR)),
        ("PUSH_BYTES", "messages that wait for a reader", size(PUSH_BYTES as u64)),
        ("REFUSED_PAUSE", "requests", time(REFUSED_PAUSE)),
        ("CHAIN_ENTRIES_PER_REQUEST", "device chains", format!("{CHAIN_ENTRIES_PER_REQUEST} entries")),
        ("LOGS_PAGE", "lists of logs", format!("{LOGS_PAGE} logs")),
        ("LOGS_PER_REQUEST", "lists of logs", format!("each {LOGS_PER_REQUEST}")),
        ("SESSIONS", "sessions", format!("{}, and {} at once", SESSIONS.0, SESSIONS.1)),
        ("CONVERSATION_FLOOR", "bytes of logs", size(CONVERSATION_FLOOR)),
        ("NEW_ACCOUNT_SHARE", "bytes of logs", part(NEW_ACCOUNT_SHARE)),
        ("FULL_AGE_DAYS", "bytes of logs", format!("{FULL_AGE_DAYS} days")),
        ("YOUNG_PART", "everything of accounts that are younger", part(YOUNG_PART)),
        ("KEY_PACKAGE_DEVICES", "bytes of key packages", format!("of {} on the first day", KEY_PACKAGE_DEVICES.0)),
        ("KEY_PACKAGE_DEVICES", "bytes of key packages", format!("of {} devices", KEY_PACKAGE_DEVICES.1)),
        ("INBOXES_PER_ACCOUNT", "items, bytes of an inbox", format!("{INBOXES_PER_ACCOUNT} times")),
        ("SNAPSHOT_STEP", "version of a snapshot", count(SNAPSHOT_STEP)),
        ("RECORDS_BYTES", "snapshot and invites", size(RECORDS_BYTES)),
        ("INVITE_COST", "rows", format!("each invite {INVITE_COST}")),
        ("ACCOUNT_COST", "rows", format!("each account {}", size(ACCOUNT_COST))),
        ("MAX_WORK_BITS", "work for an item", format!("{MAX_WORK_BITS} at most")),
        ("MAX_WORK_BITS", "new accounts", format!("{MAX_WORK_BITS} at most")),
        ("CANDIDATE_OVERDRAFT", "commits in a log", size(CANDIDATE_OVERDRAFT)),
        ("CANDIDATES_PER_AUTHOR", "commits in a log", count(CANDIDATES_PER_AUTHOR)),
        ("CANDIDATES_PER_LOG", "commits in a log", count(CANDIDATES_PER_LOG)),
        ("PARTS_PER_AUTHOR", "parts of commits in a log", count(PARTS_PER_AUTHOR)),
        ("PARTS_PER_LOG", "parts of commits in a log", count(PARTS_PER_LOG)),
        ("RECEIPTS_OVERDRAFT", "messages of a writer", format!("{RECEIPTS_OVERDRAFT} entries")),
        ("RECEIPT_BYTES", "messages of a writer", size(RECEIPT_BYTES)),
        ("RECEIPT_BYTES", "messages of a writer", size(RECEIPTS_OVERDRAFT * RECEIPT_BYTES)),
        ("RECEIPT_REPLACES", "messages of a writer", format!("{RECEIPT_REPLACES} others")),
        ("INVITE_LIFE_S", "uses, life of an invite", seconds(INVITE_LIFE_S)),
        ("QUIC_IDLE", "silence", time(QUIC_IDLE)),
        ("PING_INTERVAL", "answers to pings", time(PING_INTERVAL)),
        ("RETURNS_PER_SECOND", "returns after the end of the server", count(RETURNS_PER_SECOND)),
        ("MAX_RETRY_WINDOW", "returns after the end of the server", time(MAX_RETRY_WINDOW)),
        ("LAST_SEEN", "members called back", count(LAST_SEEN)),
        ("CALLED_BACK_AT_ONCE", "members called back", format!("{CALLED_BACK_AT_ONCE} in")),
        ("LAST_SEEN_LIFE", "members called back", time(LAST_SEEN_LIFE)),
        ("CALL_BACK_INTERVAL", "members called back", time(CALL_BACK_INTERVAL)),
        ("NAMES_PER_HOUR", "user names taken", count(NAMES_PER_HOUR)),
        ("NAMES_OF_ACCOUNT_PER_HOUR", "user names taken", count(NAMES_OF_ACCOUNT_PER_HOUR)),
        ("NAME_LOOK_UPS_PER_HOUR", "user names looked up", count(NAME_LOOK_UPS_PER_HOUR)),
        ("NAME_UNUSED_DAYS", "unused user names", format!("{NAME_UNUSED_DAYS} days")),
        ("TURN_DATAGRAM", "relayed bytes", count(TURN_DATAGRAM)),
        ("TURN_REQUEST", "requests to TURN", format!("{} bytes", count(TURN_REQUEST))),
        ("TURN_STREAM_QUEUE", "datagrams that wait to be relayed", format!("{TURN_STREAM_QUEUE} messages")),
        ("TURN_STREAM_SILENCE", "streams to TURN", time(TURN_STREAM_SILENCE)),
        ("TURN_STREAM_UNUSED", "streams to TURN", time(TURN_STREAM_UNUSED)),
        ("TURN_STREAMS_PER_DEVICE", "streams to TURN", count(TURN_STREAMS_PER_DEVICE)),
        ("TURN_USERNAME", "credentials for TURN", format!("{TURN_USERNAME} bytes")),
        ("TURN_PERMISSIONS", "permissions, channels", format!("{TURN_PERMISSIONS}, {TURN_CHANNELS}")),
        ("TURN_CHANNELS", "permissions, channels", format!("{TURN_PERMISSIONS}, {TURN_CHANNELS}")),
        ("TURN_LIFETIME", "life of an allocation", format!("{} after its last refresh", time(TURN_LIFETIME))),
        ("TURN_RESERVATION_LIFE", "life of an allocation", time(TURN_RESERVATION_LIFE)),
        ("TURN_PERMISSION_LIFE", "life of an allocation", format!("a permission {}", time(TURN_PERMISSION_LIFE))),
        ("TURN_CHANNEL_LIFE", "life of an allocation", format!("a channel {}", time(TURN_CHANNEL_LIFE))),
        ("TURN_NONCE_LIFE_S", "credentials for TURN", seconds(TURN_NONCE_LIFE_S)),
        ("TURN_OVERHEAD", "relayed bytes", format!("{TURN_OVERHEAD} bytes more")),
        ("TURN_ANSWERS", "answers of STUN and TURN", rate(TURN_ANSWERS)),
        ("TURN_REQUESTS", "requests to TURN", rate(TURN_REQUESTS)),
        ("TURN_SLOTS", "answers of STUN and TURN", count(TURN_SLOTS)),
        ("TURN_QUEUE", "datagrams that wait to be relayed", count(TURN_QUEUE)),
        ("TURN_QUIC_QUEUE", "datagrams that wait to be relayed", count(TURN_QUIC_QUEUE)),
        ("TURN_QUEUE_PER_RELAY", "datagrams that wait to be relayed", format!("{TURN_QUEUE_PER_RELAY};")),
        ("TURN_PORT_TRIES", "allocations of TURN", format!("{TURN_PORT_TRIES} are tried")),
    ]
}

/// What other crates bound and the server checks.
fn of_other_crates() -> Vec<(&'static str, String)> {
    let (devices, homes, entries) = (chain::MAX_DEVICES, chain::MAX_HOMES, chain::MAX_LINKS);
    let (packages, package) = (wire::MAX_KEY_PACKAGES, size(wire::MAX_KEY_PACKAGE as u64));
    vec![
        ("devices, homes, entries of a device chain", format!("{devices}, {homes}, {entries}")),
        ("guesses at short codes", format!("{} for a code", wire::CODE_FAILURES)),
        ("open short codes", seconds(wire::CODE_LIFETIME_S)),
        ("bytes of key packages", format!("{packages} of {package}")),
        ("bytes of one thing", format!("a key package {package}")),
        // Sealing and padding add up to 64 KiB.
        ("bytes of one thing", format!("an entry {}", size(wire::MAX_ENTRY as u64 + 64 * 1024))),
        ("parts of commits in a log", format!("of {} bytes", count(wire::MAX_PART_ENTRY))),
        ("bytes of one thing", format!("an item {}", size(wire::MAX_INBOX_ITEM as u64))),
        ("bytes of one thing", format!("a signal {} bytes", count(wire::MAX_SIGNAL + 64))),
        ("bytes of one thing", size(wire::MAX_RENDEZVOUS_FRAME as u64)),
        ("snapshot and invites", size(wire::MAX_SNAPSHOT as u64)),
        ("uses, life of an invite", count(wire::MAX_INVITE_USES)),
    ]
}

/// The rows of the table: what each bounds, which some leave to the row above, and how much.
fn rows() -> Vec<(&'static str, &'static str)> {
    let (_, section) = DOCS.split_once("\n## Limits\n").unwrap();
    let (table, _) = section.split_once("\n### ").unwrap();
    let mut last = "";
    let mut rows = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, what, _, how_much, _, _, _] = cells[..] else { panic!("a row with other columns: {row}") };
        if !what.is_empty() {
            last = what;
        }
        rows.push((last, how_much));
    }
    rows
}

/// A number: 20,000.
fn count(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes: 64 KiB.
fn size(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => count(bytes),
    }
}

/// A time: 100 ms, 60 s, 10 min, 366 days.
fn time(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        short @ 1..=60 => format!("{short} s"),
        days if days.is_multiple_of(86_400) => format!("{} days", days / 86_400),
        minutes => format!("{} min", minutes / 60),
    }
}

fn seconds(seconds: u64) -> String {
    time(Duration::from_secs(seconds))
}

/// A part of something.
fn part(of: u64) -> String {
    match of {
        2 => "half".into(),
        4 => "a quarter".into(),
        16 => "a sixteenth".into(),
        of => format!("1/{of}"),
    }
}

/// Whether a figure goes on in what follows it.
fn goes_on(after: &str) -> bool {
    let more = after.strip_prefix([',', '.']);
    after.starts_with(char::is_alphanumeric) || more.is_some_and(|more| more.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a text has a figure that is not a part of another one.
fn has(text: &str, figure: &str) -> bool {
    text.match_indices(figure).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + figure.len()..]);
        !before.ends_with(|c: char| c.is_alphanumeric() || c == ',' || c == '.') && !goes_on(after)
    })
}

/// Whether a text has the name of a setting, and its default behind that.
fn has_default(text: &str, setting: &str, default: i64) -> bool {
    let figures = [default.to_string(), count(default), size(u64::try_from(default).unwrap())];
    let name = format!("`{setting}` (");
    text.split(name.as_str()).skip(1).any(|rest| {
        figures.iter().any(|figure| rest.strip_prefix(figure.as_str()).is_some_and(|after| !goes_on(after)))
    })
}

fn assert_stands(rows: &[(&str, &str)], what: &str, figure: &str, name: &str) {
    let found = rows.iter().any(|(of, how_much)| of.starts_with(what) && has(how_much, figure));
    assert!(found, "{name}: no row “{what}” in the table of docs/operators.md has {figure:?}");
}

#[test]
fn every_bound_of_clients_is_in_the_table_for_operators() {
    let (rows, constants) = (rows(), constants());
    let declared = CODE.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let declared: BTreeSet<&str> = declared.collect();
    let listed: BTreeSet<&str> = constants.iter().map(|(name, ..)| *name).chain(NOT_FOR_CLIENTS).collect();
    let differ: Vec<_> = declared.symmetric_difference(&listed).collect();
    assert!(differ.is_empty(), "in limits.rs or here only: {differ:?}; the table of docs/operators.md needs a row");
    for (name, what, figure) in &constants {
        assert_stands(&rows, what, figure, name);
    }
    for (what, figure) in of_other_crates() {
        assert_stands(&rows, what, &figure, "a bound of another crate");
    }
}

#[test]
fn every_setting_of_a_bound_is_in_the_table_for_operators_with_its_default() {
    let rows = rows();
    let config = toml::Table::try_from(Config::default()).unwrap();
    for section in ["registration", "limits", "relay", "turn"] {
        for (key, value) in config[section].as_table().unwrap() {
            let setting = format!("{section}.{key}");
            let said = match value.as_integer() {
                Some(default) => rows.iter().any(|(_, how_much)| has_default(how_much, &setting, default)),
                // What is no number is said in the text.
                None => DOCS.contains(&format!("`{setting}`")) || DOCS.contains(&format!("`{setting} = ")),
            };
            assert!(said, "docs/operators.md does not say what {setting} is: by default {value}");
        }
    }
}

#[test]
fn a_part_of_a_figure_is_none() {
    assert!(has("8; 1,024, all", "8") && has("8; 1,024, all", "1,024") && has("(64 MiB)", "64 MiB"));
    assert!(!has("1,024", "24") && !has("1,024", "1") && !has("18", "8") && !has("8.5", "8"));
    assert!(has_default("`a.b` (1,024, at most)", "a.b", 1_024) && has_default("`a.b` (2 MiB)", "a.b", 2 << 20));
    assert!(!has_default("`a.b` (1,024)", "a.b", 1) && !has_default("`a.c` (1)", "a.b", 1));
}
