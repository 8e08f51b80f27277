//! The same for what comes from the network and the system beside the messages of the protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::{net::IpAddr, time::Duration};

use bolero::check;
use futures::FutureExt;
use starling_control::{frames, jsonrpc::Line};
use starling_fuzz::{
    mutated,
    node::{MAX_LAN_ANNOUNCED, MAX_LAN_DATAGRAM, connect_by_socks, lan_datagrams, read_lan_datagram},
    rendezvous::{OfStranger, places, send_to_turn, split_at_quic_port},
};
use starling_rendezvous::config::Config;

const TIME: Duration = Duration::from_secs(2);

#[test]
fn lan_datagrams_of_anybody() {
    let valid = lan_datagrams();
    // What has come to be known of an address is one on the network that the datagram has come from.
    let senders = [("192.168.1.9", "/ip4/192.168.1.9/"), ("2001:db8::9", "/ip6/2001:db8::9/"), ("fe80::9", "/ip6/")];
    let senders = senders.map(|(from, begin)| (from.parse::<IpAddr>().unwrap(), begin));
    assert!(valid.iter().any(|datagram| !read_lan_datagram(datagram, senders[0].0).is_empty()));
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        for datagram in valid.iter().map(|valid| mutated(valid, input)) {
            let datagram = &datagram[..datagram.len().min(MAX_LAN_DATAGRAM)];
            for (from, begin) in senders {
                let announced = read_lan_datagram(datagram, from);
                assert!(announced.len() <= MAX_LAN_ANNOUNCED);
                assert!(announced.iter().all(|address| address.starts_with(begin)), "{announced:?} from {from}");
            }
        }
    });
}

#[test]
fn answers_of_a_socks_proxy() {
    // The longest answers: a login, and a name as the address that is bound.
    const MOST: usize = 2 + 2 + 4 + 1 + 255 + 2;
    let by_ip = [5_u8, 0, 5, 0, 0, 1, 192, 0, 2, 1, 0x1f, 0x90];
    let by_name = [&[5, 2, 1, 0, 5, 0, 0, 3, 9][..], b"a.example", &[0x1f, 0x90]].concat();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        for (valid, has_credentials) in [(&by_ip[..], false), (&by_name[..], false), (&by_name[..], true)] {
            let answers = mutated(valid, input);
            let mut left = &answers[..];
            if connect_by_socks(&mut left, has_credentials).now_or_never().expect("there is nothing to wait for") {
                assert!(answers.ends_with(left) && answers.len() - left.len() <= MOST, "what is behind it was read");
            }
        }
    });
}

#[test]
fn requests_to_turn() {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let binding = [&[0, 1, 0, 0][..], &COOKIE, &[7; 12]].concat();
    let allocate = [&[0, 3, 0, 8][..], &COOKIE, &[7; 12], &[0, 0x19, 0, 4, 17, 0, 0, 0]].concat();
    let data = vec![0x40, 0, 0, 4, 1, 2, 3, 4];
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let datagrams = [&binding, &allocate, &data].map(|valid| mutated(valid, input));
        let of_stranger = send_to_turn(datagrams.iter().map(Vec::as_slice).chain([input]));
        assert_eq!(of_stranger, OfStranger::default(), "something is done for who has no credentials");
    });
}

#[test]
fn datagrams_at_a_port_of_quic() {
    let binding = [&[0_u8, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let initial = [&[0xc3_u8, 0, 0, 0, 1][..], &[7; 15]].concat();
    let messages = [&binding[..], &initial, &binding, &[0x40, 0, 0, 4, 1, 2, 3, 4]].concat();
    let data = [[0x40_u8, 0, 0, 4, 1, 2, 3, 4], [0x40, 0, 0, 9, 1, 2, 3, 4]].concat();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        for (valid, stride) in [(&messages, 20), (&data, 8)] {
            let all = mutated(valid, input);
            for has_allocation in [false, true] {
                let mut buffer = all.clone();
                let (left, taken) = split_at_quic_port(&mut buffer, stride, has_allocation);
                assert!(has_allocation || taken.iter().all(|datagram| datagram[4..8] == [0x21, 0x12, 0xa4, 0x42]));
                // Each is there once, in its order.
                let mut kept = buffer[..left].chunks(stride).peekable();
                let mut taken = taken.iter().map(Vec::as_slice).peekable();
                for datagram in all.chunks(stride) {
                    assert!(kept.next_if_eq(&datagram).is_some() || taken.next_if_eq(&datagram).is_some());
                }
                assert!(kept.next().is_none() && taken.next().is_none());
            }
        }
    });
}

#[test]
fn addresses_that_outlive_a_server() {
    let v4 = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1, 0x0f, 0xa1]].concat();
    let v6 = [&[0x20, 1, 0x0d, 0xb8][..], &[7; 12], &[0x0f, 0xa1]].concat();
    let valid = [v4, v6].concat();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let records = mutated(&valid, input);
        let found: Vec<_> = places(&records).collect();
        assert!(18 * found.len() <= records.len());
        assert!(found.iter().all(|at| at.port() != 0 && !at.ip().is_unspecified() && !at.ip().is_multicast()));
    });
}

#[test]
fn settings_of_a_server() {
    let valid = b"listen = [\"/ip4/0.0.0.0/udp/4001/quic-v1\"]\nlog_level = \"info\"\n[limits]\nconnections = 64\n\
        trusted_proxies = [\"10.0.0.0/8\"]\n[turn]\nenabled = true\nfirst_port = 49152\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("starling.toml");
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        std::fs::write(&file, mutated(valid, input)).unwrap();
        if let Ok(config) = Config::read(&file) {
            assert!(config.needs_restart(&config).is_empty());
        }
    });
}

#[test]
fn lines_and_frames_of_the_control_socket() {
    let line = br#"[{"jsonrpc":"2.0","id":1,"method":"message.send","params":{"to":"bob","text":"hi"}}]"#;
    let tile = frames::Tile { stream: frames::PEER, width: 2, height: 1 };
    let parts = [frames::Part::Tile(tile, vec![7; 6]), frames::Part::Terminal(80, 24, b"text".to_vec())];
    let frame = frames::encode(&parts)[4..].to_vec();
    check!().with_test_time(TIME).for_each(|input: &[u8]| {
        let _ = Line::parse(&mutated(line, input));
        let mut parts = frames::decode(&mutated(&frame, input));
        // Figures that are too large for their types are none any more.
        parts.retain(|part| !matches!(part, frames::Part::Stats(_)));
        assert_eq!(frames::decode(&frames::encode(&parts)[4..]).len(), parts.len());
    });
}
