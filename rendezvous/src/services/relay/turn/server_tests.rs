#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Instant;

use rtc::turn::client::Event;
use tokio::time::timeout;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::{
    clock::now_ms,
    config,
    limits::TURN_STREAM_UNUSED,
    services::relay::turn::{credentials, user_tests::User},
};

#[tokio::test]
async fn webrtc_talks_to_a_peer_over_sockets() {
    let turn = config::Turn {
        enabled: true,
        listen: "127.0.0.1:0".into(),
        first_port: 0,
        last_port: 0,
        private_peers: true,
        ..config::Turn::default()
    };
    let config = Config { turn, ..Config::default() };
    let mut server = TurnServer::bind(&config, [7; 32], &Metrics::new()).await.unwrap();
    server.turn.setup.local_peers = true;
    let address = server.addresses()[0];
    let serving = tokio::spawn(server.run());

    let mut user = User::new(&[7; 32], "anna", address).await;
    // Not the server's own address, to which nothing is relayed.
    let peer = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let peer_address = peer.local_addr().unwrap();

    user.client.allocate(Instant::now()).unwrap();
    let Event::AllocateResponse(_, relayed) = user.event().await else { unreachable!("not allocated") };
    user.client.relay(relayed).unwrap().create_permission(Instant::now(), peer_address).unwrap();
    assert!(matches!(user.event().await, Event::CreatePermissionResponse(_, permitted) if permitted == peer_address));

    let mut buffer = [0; 64];
    // The first goes in a Send indication, and a channel is bound; the later ones go through it.
    for text in [b"one", b"two"] {
        user.client.relay(relayed).unwrap().send_to(Instant::now(), text, peer_address).unwrap();
        user.flush().await;
        let (length, from) = timeout(Duration::from_secs(5), peer.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!((&buffer[..length], from), (text.as_slice(), relayed));
        peer.send_to(b"back", relayed).await.unwrap();
        let Event::DataIndicationOrChannelData(_, from, data) = user.event().await else { unreachable!("no data") };
        assert_eq!((from, data.as_ref()), (peer_address, b"back".as_slice()));
    }
    serving.abort();
}

/// A server on loopback that relays between its own clients, and its address.
async fn serving() -> (SocketAddr, AbortOnDropHandle<()>) {
    let turn = config::Turn {
        enabled: true,
        listen: "127.0.0.1:0".into(),
        private_peers: true,
        allocations_per_user: 64,
        allocations_per_address: 64,
        ..config::Turn::default()
    };
    let server = TurnServer::bind(&Config { turn, ..Config::default() }, [7; 32], &Metrics::new()).await.unwrap();
    (server.addresses()[0], AbortOnDropHandle::new(tokio::spawn(server.run())))
}

/// What a program of coturn prints that is run against a server; `None` where it is not installed.
async fn coturn(program: &str, arguments: &[&str]) -> Option<String> {
    let run = tokio::process::Command::new(program).args(arguments).kill_on_drop(true).output();
    match timeout(Duration::from_secs(60), run).await.unwrap() {
        Ok(output) => Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            starling_tests::skip(&format!("{program} (package coturn)"));
            None
        }
        Err(error) => unreachable!("{error}"),
    }
}

#[tokio::test]
async fn clients_of_coturn_talk_to_one_another() {
    let (address, _serving) = serving().await;
    let credentials = credentials(&[7; 32], now_ms() / 1000 + 600, "anna").unwrap();
    let port = address.port().to_string();
    let login = ["-u", &credentials.username, "-w", &credentials.password, "-p", &port];
    // Each with a second allocation, on the port after that of the first; over channels, and then with Send indications.
    for how in [&["-y"][..], &["-y", "-s"], &["-y", "-c"]] {
        let arguments = [how, &login, &["-n", "5", "-m", "2", "127.0.0.1"]].concat();
        let Some(said) = coturn("turnutils_uclient", &arguments).await else { return };
        let lost = said.contains("Total lost packets 0 (0.000000%)");
        assert!(lost && !said.contains("error"), "{how:?}: {said}");
    }
}

#[tokio::test]
async fn coturns_stun_client_learns_its_address() {
    let (address, _serving) = serving().await;
    let arguments = ["-p", &address.port().to_string(), "127.0.0.1"];
    let Some(said) = coturn("turnutils_stunclient", &arguments).await else { return };
    assert!(said.contains("UDP reflexive addr: 127.0.0.1:"), "{said}");
}

#[tokio::test]
async fn nothing_is_relayed_to_any_address_of_this_host() {
    let turn = config::Turn {
        enabled: true,
        listen: "0.0.0.0:0".into(),
        public_ip: "198.51.100.1".into(),
        private_peers: true,
        ..config::Turn::default()
    };
    let server = TurnServer::bind(&Config { turn, ..Config::default() }, [7; 32], &Metrics::new()).await.unwrap();
    for interface in if_addrs::get_if_addrs().unwrap() {
        assert!(!server.turn.is_reachable(interface.ip()), "{}", interface.ip());
    }
    assert!(server.turn.is_reachable("192.168.77.78".parse().unwrap()));
}

#[tokio::test]
async fn both_protocols_are_served_and_what_comes_by_one_is_answered_by_it() {
    let listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip6/::1/udp/0/quic-v1"].map(|address| address.parse().unwrap());
    let config = Config { listen: listen.into(), ..Config::default() };
    let server = TurnServer::bind(&config, [7; 32], &Metrics::new()).await.unwrap();
    let addresses = server.addresses();
    assert_eq!(addresses.iter().map(SocketAddr::is_ipv4).collect::<Vec<_>>(), [true, false]);
    let _serving = AbortOnDropHandle::new(tokio::spawn(server.run()));
    for at in addresses {
        let from = UdpSocket::bind(SocketAddr::new(at.ip(), 0)).await.unwrap();
        // A binding request, as short as it can be.
        let request = [[0x00, 0x01, 0x00, 0x00], [0x21, 0x12, 0xa4, 0x42], [1; 4], [2; 4], [3; 4]].concat();
        from.send_to(&request, at).await.unwrap();
        let mut buffer = [0; 256];
        let (length, by) = timeout(Duration::from_secs(5), from.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!((by, &buffer[..2]), (at, &[0x01, 0x01][..]));
        assert!(length > 20);
    }
}

#[tokio::test]
async fn a_wildcard_needs_a_public_address() {
    let turn = config::Turn { enabled: true, ..config::Turn::default() };
    let config = Config { turn, ..Config::default() };
    let bound = TurnServer::bind(&config, [7; 32], &Metrics::new()).await;
    assert!(matches!(bound, Err(TurnError::NoPublicIp(_))));
}

/// So many streams of one address to a server that lets it have two allocations; those that are still served after this time.
async fn streams(from: Ipv4Addr, count: usize, after: Duration) -> usize {
    let turn = config::Turn {
        enabled: true,
        listen: "127.0.0.1:0".into(),
        allocations: 3,
        allocations_per_address: 2,
        ..config::Turn::default()
    };
    let server = TurnServer::bind(&Config { turn, ..Config::default() }, [7; 32], &Metrics::new()).await.unwrap();
    let streams = server.streams();
    let _serving = AbortOnDropHandle::new(tokio::spawn(server.run()));
    let mut ends = Vec::new();
    let mut served = Vec::new();
    for n in 0..count {
        let (ours, theirs) = tokio::io::duplex(64);
        ends.push(ours);
        let (streams, proxied) = (streams.clone(), from.is_unspecified());
        let ip = if proxied { Ipv4Addr::new(192, 0, 2, 9) } else { from };
        served.push(tokio::spawn(async move { streams.serve(theirs.compat(), ip.into(), proxied).await }));
        // In their order.
        sleep(Duration::from_millis(n as u64 + 1)).await;
    }
    sleep(after).await;
    served.iter().filter(|task| !task.is_finished()).count()
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_end_when_they_are_not_used() {
    let soon = Duration::from_secs(1);
    assert_eq!(streams(Ipv4Addr::new(192, 0, 2, 1), 5, soon).await, 2, "of one address");
    assert_eq!(streams(Ipv4Addr::UNSPECIFIED, 5, soon).await, 3, "of a proxy, and so of the server");
    assert_eq!(
        streams(Ipv4Addr::new(192, 0, 2, 1), 2, TURN_STREAM_UNUSED + 2 * TICK).await,
        0,
        "without an allocation"
    );
}
