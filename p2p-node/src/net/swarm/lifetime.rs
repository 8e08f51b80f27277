//! Measures how long the network keeps a mapping on which nothing is sent (RFC 5780, section 4.6): a socket has one made and is silent, then another one
//! has the server answer to the first. What a socket sends itself after its silence would say nothing: many NATs make the same mapping
//! again, while nothing has come in meanwhile.
//!
//! Each silence has two sockets of its own, so all are measured at once, and no connection that is in use takes part.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};

/// The silences that are tried, the shortest first.
pub(super) const SILENCES: [Duration; 4] =
    [Duration::from_secs(25), Duration::from_secs(40), Duration::from_secs(75), Duration::from_secs(110)];
/// Exchanges before the silence, with [`Pace::apart`] between them: many NATs keep what is used for longer than what was used once.
const EXCHANGES: usize = 3;
/// How often something is sent that is not answered.
const TRIES: usize = 3;

/// The header of a STUN message (RFC 8489, section 5).
const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
const RESPONSE_PORT: [u8; 2] = [0x00, 0x27];

type Transaction = [u8; 12];

/// Times of a measurement, beside its silence.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between the exchanges before the silence.
    apart: Duration,
    /// How long an answer may take.
    answer: Duration,
}

/// Linux takes a flow for a lasting one after two seconds.
const PACE: Pace = Pace { apart: Duration::from_secs(3), answer: Duration::from_secs(1) };

/// A Binding request; its answer goes to this port of the asking host.
fn request(id: Transaction, answer_to: Option<u16>) -> Vec<u8> {
    let attribute: Vec<u8> = match answer_to {
        Some(port) => [RESPONSE_PORT, [0, 4], port.to_be_bytes(), [0, 0]].concat(),
        None => Vec::new(),
    };
    let length = attribute.len() as u16;
    let length = length.to_be_bytes();
    [BINDING_REQUEST.as_slice(), length.as_slice(), COOKIE.as_slice(), id.as_slice(), attribute.as_slice()].concat()
}

/// The port that the server has seen, if this is the answer to a Binding request.
fn mapped_port(datagram: &[u8], id: &Transaction) -> Option<u16> {
    let (header, mut attributes) = datagram.split_at_checked(HEADER)?;
    if !header.starts_with(&BINDING_SUCCESS) || header.get(4..8)? != COOKIE || header.get(8..)? != id {
        return None;
    }
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let length = usize::from(u16::from_be_bytes([*head.get(2)?, *head.get(3)?]));
        let value = rest.get(..length)?;
        if head.starts_with(&XOR_MAPPED_ADDRESS) {
            return Some(u16::from_be_bytes([value.get(2)? ^ COOKIE[0], value.get(3)? ^ COOKIE[1]]));
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// A socket that only the server can send to.
struct Asker {
    socket: UdpSocket,
    answer: Duration,
}

impl Asker {
    async fn towards(server: SocketAddr, answer: Duration) -> Option<Self> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.ok()?;
        socket.connect(server).await.ok()?;
        Some(Self { socket, answer })
    }

    /// What the server answers on this socket, within the time that an answer may take.
    async fn answered(&self, id: &Transaction) -> Option<u16> {
        let answer = async {
            let mut buffer = [0; 512];
            loop {
                // An error is one that the network has reported of what was sent.
                let length = self.socket.recv(&mut buffer).await.ok()?;
                if let Some(port) = buffer.get(..length).and_then(|datagram| mapped_port(datagram, id)) {
                    return Some(port);
                }
            }
        };
        timeout(self.answer, answer).await.ok().flatten()
    }

    /// Asks for the port of this socket, as the server sees it.
    async fn port(&self) -> Option<u16> {
        for _ in 0..TRIES {
            let id = rand::random();
            // What cannot be sent is not answered either.
            let _ = self.socket.send(&request(id, None)).await;
            if let Some(port) = self.answered(&id).await {
                return Some(port);
            }
        }
        None
    }
}

/// Whether a mapping outlives a silence. Nothing, if the server does not answer.
async fn outlives(server: SocketAddr, silence: Duration, pace: Pace) -> Option<bool> {
    let silent = Asker::towards(server, pace.answer).await?;
    let mut port = silent.port().await?;
    for _ in 1..EXCHANGES {
        sleep(pace.apart).await;
        port = silent.port().await?;
    }
    sleep(silence).await;
    let other = Asker::towards(server, pace.answer).await?;
    for _ in 0..TRIES {
        let id = rand::random();
        let _ = other.socket.send(&request(id, Some(port))).await;
        if silent.answered(&id).await.is_some() {
            return Some(true);
        }
    }
    // A server that is gone says nothing of the network.
    other.port().await.map(|_| false)
}

/// The longest silence that a mapping has outlived, as it has all shorter ones; nothing if not even the shortest could be tried.
fn longest(outlived: impl IntoIterator<Item = (Duration, Option<bool>)>) -> Option<Duration> {
    let mut kept = None;
    for (silence, outlived) in outlived {
        match outlived {
            Some(true) => kept = Some(silence),
            Some(false) => return kept.or(Some(Duration::ZERO)),
            None => return kept,
        }
    }
    kept
}

/// Measures for how long the network keeps mappings, with a STUN server outside of it that knows RESPONSE-PORT. It takes two minutes and some forty
/// packets. Nothing, if the server does not answer.
pub(super) fn measure(server: SocketAddr) -> impl Future<Output = Option<Duration>> + Send + 'static {
    measure_at(server, SILENCES.to_vec(), PACE)
}

async fn measure_at(server: SocketAddr, silences: Vec<Duration>, pace: Pace) -> Option<Duration> {
    let outlived = join_all(silences.iter().map(|silence| outlives(server, *silence, pace))).await;
    longest(silences.into_iter().zip(outlived))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::{collections::HashMap, time::Instant};

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    /// Long enough for a busy machine.
    const QUICK: Pace = Pace { apart: Duration::from_millis(10), answer: Duration::from_millis(500) };

    fn answer(request: &[u8], port: u16) -> Vec<u8> {
        let mapped = port ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        // One before it that means nothing, and is filled up.
        let mut attributes = vec![0x80, 0x22, 0, 1, 7, 0, 0, 0];
        attributes.extend(XOR_MAPPED_ADDRESS);
        attributes.extend([0, 8, 0, 1]);
        attributes.extend(mapped.to_be_bytes());
        attributes.extend([0; 4]);
        let mut answer = BINDING_SUCCESS.to_vec();
        answer.extend((attributes.len() as u16).to_be_bytes());
        answer.extend(&request[4..HEADER]);
        answer.extend(attributes);
        answer
    }

    /// A server behind a NAT that forgets what was silent for so long. It answers those who ask for themselves if `answers`.
    async fn server(forgets_after: Duration, answers: bool) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut last = HashMap::new();
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let request = &buffer[..length];
                let now = Instant::now();
                last.insert(from.port(), now);
                let to = match &request[HEADER..] {
                    [_, _, _, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
                    _ => from.port(),
                };
                let is_kept = now - last[&to] < forgets_after;
                if answers && is_kept {
                    socket.send_to(&answer(request, from.port()), (from.ip(), to)).await.unwrap();
                }
            }
        });
        address
    }

    #[test]
    fn answers_are_read_and_those_to_others_are_not() {
        let id = [7; 12];
        let asked = request(id, None);
        assert_eq!(asked.len(), HEADER);
        assert_eq!(request(id, Some(0x1234))[HEADER..], [0, 0x27, 0, 4, 0x12, 0x34, 0, 0]);
        let answered = answer(&asked, 4321);
        assert_eq!(mapped_port(&answered, &id), Some(4321));
        assert_eq!(mapped_port(&answered, &[8; 12]), None);
        for length in 0..answered.len() {
            assert_eq!(mapped_port(&answered[..length], &id), None);
        }
        assert_eq!(mapped_port(&asked, &id), None);
    }

    #[test]
    fn a_silence_counts_if_all_shorter_ones_were_outlived() {
        let of = |outlived: &[Option<bool>]| longest((1..).map(|n| n * MS).zip(outlived.iter().copied()));
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(of(&[yes, yes, yes]), Some(3 * MS));
        assert_eq!(of(&[yes, no, yes]), Some(MS));
        assert_eq!(of(&[no, yes]), Some(Duration::ZERO));
        assert_eq!(of(&[yes, None, yes]), Some(MS));
        assert_eq!(of(&[None, yes]), None);
    }

    #[tokio::test]
    async fn the_longest_silence_that_a_nat_keeps_is_found() {
        let silences = vec![50 * MS, 100 * MS, 5_000 * MS];
        let nat = server(Duration::from_secs(2), true).await;
        assert_eq!(measure_at(nat, silences.clone(), QUICK).await, Some(100 * MS));
        let none = server(Duration::from_secs(3600), false).await;
        assert_eq!(measure_at(none, silences, QUICK).await, None);
    }
}
