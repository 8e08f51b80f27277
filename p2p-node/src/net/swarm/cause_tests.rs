//! What is said of servers that cannot be connected to, by what is really there.

use std::io;

use libp2p::{Multiaddr, TransportError, swarm::DialError};
use rustix::io::Errno;
use starling_keys::DeviceKey;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::{cause::dial_problem, visit};
use crate::net::{ConnectionProblem, peer_of};

/// What a dial to these addresses of loopback ends with.
async fn outcome(addresses: &[String]) -> ConnectionProblem {
    let peer = peer_of(&DeviceKey::from_seed(&[9; 32]).id()).unwrap();
    let addresses = addresses.iter().map(|address| format!("/ip4/127.0.0.1/{address}").parse().unwrap()).collect();
    visit::begin(peer, addresses, None).await.err().expect("no connection")
}

/// A network that wants its users to sign in answers everything with where to do that.
pub(super) async fn captive_portal() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let answer =
                    "HTTP/1.1 302 Found\r\nLocation: http://portal.example/sign-in\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                // Until the other end has read it.
                while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
            });
        }
    });
    port
}

#[tokio::test]
async fn a_portal_that_redirects_everybody_is_told_from_a_server_that_is_away() {
    let port = captive_portal().await;
    for address in [format!("tcp/{port}"), format!("tcp/{port}/ws")] {
        assert_eq!(outcome(std::slice::from_ref(&address)).await, ConnectionProblem::Intercepted, "{address}");
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_never_speaks_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(outcome(&[format!("tcp/{port}")]).await, ConnectionProblem::NoAnswer);
}

#[tokio::test]
async fn a_port_that_refuses_says_more_than_one_that_is_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let _silent = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
    drop(listener);
    let both = [format!("udp/{port}/quic-v1"), format!("tcp/{port}")];
    assert_eq!(outcome(&both).await, ConnectionProblem::Refused);
}

/// Addresses, and the system's error of each.
fn dial(failed: &[(&str, i32)]) -> ConnectionProblem {
    let failed = failed.iter().map(|(address, code)| {
        let address: Multiaddr = address.parse().unwrap();
        (address, TransportError::Other(io::Error::from_raw_os_error(*code)))
    });
    dial_problem(&DialError::Transport(failed.collect()))
}

#[test]
fn whatever_comes_last_what_says_most_is_told() {
    let errors = [
        ("/ip4/192.0.2.1/tcp/1", Errno::CONNREFUSED.raw_os_error()),
        ("/ip4/192.0.2.2/tcp/1", Errno::HOSTUNREACH.raw_os_error()),
        ("/ip4/192.0.2.3/tcp/1", Errno::TIMEDOUT.raw_os_error()),
        ("/ip4/192.0.2.4/tcp/1", Errno::CONNRESET.raw_os_error()),
    ];
    let expected = [
        ConnectionProblem::Refused,
        ConnectionProblem::NoRoute,
        ConnectionProblem::NoAnswer,
        ConnectionProblem::Unreachable,
    ];
    for (first, expected) in expected.into_iter().enumerate() {
        let mut some = errors[first..].to_vec();
        assert_eq!(dial(&some), expected);
        some.reverse();
        assert_eq!(dial(&some), expected);
    }
}

#[test]
fn that_one_internet_protocol_is_missing_is_no_cause_where_the_other_is_there() {
    let no_route = Errno::NETUNREACH.raw_os_error();
    let timeout = Errno::TIMEDOUT.raw_os_error();
    let (v4, v6) = ("/ip4/192.0.2.1/tcp/1", "/ip6/2001:db8::1/tcp/1");
    assert_eq!(dial(&[(v6, no_route), (v4, timeout)]), ConnectionProblem::NoAnswer);
    assert_eq!(dial(&[(v6, timeout), (v4, no_route)]), ConnectionProblem::NoAnswer);
    assert_eq!(dial(&[(v6, no_route), (v4, no_route)]), ConnectionProblem::NoRoute);
    assert_eq!(dial(&[(v6, no_route)]), ConnectionProblem::NoRoute);
    // A datagram that is lost on the same way says less than the router.
    assert_eq!(dial(&[(v4, no_route), ("/ip4/192.0.2.1/udp/1/quic-v1", timeout)]), ConnectionProblem::NoRoute);
}
