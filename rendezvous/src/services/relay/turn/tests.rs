#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{sync::LazyLock, time::Duration};

use bytes::BytesMut;
use rtc::{
    sansio::Protocol,
    shared::{TaggedBytesMut, TransportContext, TransportProtocol},
    turn::client::{Client as TurnClient, ClientConfig, Event},
};
use rtc_stun::{
    attributes::*,
    error_code::ErrorCodeAttribute,
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{Getter, Method, Setter, TransactionId},
};

use super::{
    auth::Credentials,
    codec::{address, begin, value},
    quic_port::AtQuicPort,
    *,
};
use crate::limits::*;

const SECRET: [u8; 32] = [7; 32];
const UNIX: u64 = 1_800_000_000;
const FIRST_PORT: u16 = 50_000;
/// Under which the port after an even one is kept.
const TOKEN: Token = [9; 8];
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn at(seconds: u64) -> Moment {
    Moment { instant: *START + Duration::from_secs(seconds), unix_s: UNIX + seconds }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn server() -> SocketAddr {
    addr("192.0.2.1:3478")
}

fn client() -> SocketAddr {
    addr("198.51.100.7:4000")
}

fn peer() -> SocketAddr {
    addr("203.0.113.9:5000")
}

/// A server whose sockets open at once, on ports from [`FIRST_PORT`].
struct World {
    turn: Turn,
    port: u16,
}

impl World {
    fn new(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            realm: "starling".into(),
            secret: SECRET,
            revoked: Revoked::default(),
            quic_clients: QuicClients::default(),
            relay_ips: RelayIps::new(server().ip(), []),
            own: vec![addr("198.51.100.200:1").ip()],
            private_peers: false,
            local_peers: false,
            allocations: 8,
            per_user: 2,
            per_address: 4,
            bytes_per_second: 100_000,
        };
        change(&mut setup);
        Self { turn: Turn::new(setup, at(0).instant), port: FIRST_PORT }
    }

    fn handle(&mut self, s: u64, from: impl Into<Client>, datagram: &[u8]) -> Vec<Action> {
        let mut out = Vec::new();
        self.turn.handle(at(s), from.into(), datagram, &mut out);
        if let Some(Action::Open(id, _, wish)) = out.first() {
            let (id, wish) = (*id, *wish);
            out.clear();
            self.port += u16::from(wish != PortWish::Any && !self.port.is_multiple_of(2));
            let kept = (wish == PortWish::Pair).then_some(TOKEN);
            self.turn.opened(id, Some(Opened { port: self.port, kept }), &mut out);
            self.port += 1;
        }
        out
    }

    fn expire(&mut self, s: u64) -> Vec<Action> {
        let mut out = Vec::new();
        self.turn.expire(at(s).instant, &mut out);
        out
    }

    fn peer_sends(&mut self, s: u64, id: AllocationId, from: SocketAddr, data: &[u8]) -> Vec<Action> {
        let mut out = Vec::new();
        self.turn.relayed(at(s), id, from, data, &mut out);
        out
    }
}

/// The only reply, and to whom it goes.
fn reply(out: Vec<Action>) -> Message {
    let mut replies = out.into_iter().filter_map(|action| match action {
        Action::Reply { data, .. } => Some(data),
        _ => None,
    });
    let data = replies.next().unwrap();
    assert!(replies.next().is_none());
    decode(&data).unwrap()
}

/// The error code, if it is an error.
fn code(message: &Message) -> u16 {
    let mut error = ErrorCodeAttribute::default();
    error.get_from(message).map_or(0, |()| error.code.0)
}

fn text(message: &Message, typ: AttrType) -> Vec<u8> {
    value(&message.attributes.0, typ).unwrap().to_vec()
}

fn anonymous(method: Method) -> Message {
    let mut message = begin(MessageType::new(method, CLASS_REQUEST), TransactionId::new());
    message.add(ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    message
}

struct User {
    from: Client,
    credentials: Credentials,
    nonce: Vec<u8>,
}

impl User {
    fn new(world: &mut World, s: u64, from: impl Into<Client>, name: &str) -> Self {
        let from = from.into();
        let challenge = reply(world.handle(s, from, &anonymous(METHOD_ALLOCATE).raw));
        assert_eq!(code(&challenge), 401);
        assert_eq!(text(&challenge, ATTR_REALM), b"starling");
        let credentials = credentials(&SECRET, UNIX + 86_400, name).unwrap();
        Self { from, credentials, nonce: text(&challenge, ATTR_NONCE) }
    }

    fn key(&self) -> Vec<u8> {
        let Credentials { username, password } = self.credentials.clone();
        MessageIntegrity::long_term_integrity_key(username, "starling".into(), password, CRYPTO).unwrap()
    }

    fn sign(&self, message: &mut Message) {
        message.add(ATTR_USERNAME, self.credentials.username.as_bytes());
        message.add(ATTR_REALM, b"starling");
        message.add(ATTR_NONCE, &self.nonce);
        MessageIntegrity::new_raw_integrity_with_provider(self.key(), CRYPTO).add_to(message).unwrap();
    }

    fn request(&self, method: Method, fill: impl FnOnce(&mut Message)) -> Message {
        let mut message = begin(MessageType::new(method, CLASS_REQUEST), TransactionId::new());
        fill(&mut message);
        self.sign(&mut message);
        FINGERPRINT.add_to(&mut message).unwrap();
        message
    }

    /// Asks, and looks that the answer is signed.
    fn ask(&self, world: &mut World, s: u64, method: Method, fill: impl FnOnce(&mut Message)) -> Message {
        let request = self.request(method, fill);
        let mut answer = reply(world.handle(s, self.from, &request.raw));
        assert_eq!(answer.transaction_id, request.transaction_id);
        assert!(answer.contains(ATTR_FINGERPRINT));
        if ![401, 438].contains(&code(&answer)) {
            assert!(MessageIntegrity::check(&mut answer, &self.key(), CRYPTO).is_ok());
        }
        answer
    }

    fn allocate(&self, world: &mut World, s: u64) -> u16 {
        code(&self.ask(world, s, METHOD_ALLOCATE, |m| m.add(ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0])))
    }

    fn permit(&self, world: &mut World, s: u64, peers: &[SocketAddr]) -> u16 {
        code(&self.ask(world, s, METHOD_CREATE_PERMISSION, |m| {
            for peer in peers {
                add_address(m, ATTR_XOR_PEER_ADDRESS, *peer).unwrap();
            }
        }))
    }

    fn bind(&self, world: &mut World, s: u64, number: u16, peer: SocketAddr) -> u16 {
        code(&self.ask(world, s, METHOD_CHANNEL_BIND, |m| {
            let [high, low] = number.to_be_bytes();
            m.add(ATTR_CHANNEL_NUMBER, &[high, low, 0, 0]);
            add_address(m, ATTR_XOR_PEER_ADDRESS, peer).unwrap();
        }))
    }

    fn refresh(&self, world: &mut World, s: u64, life: u32) -> u16 {
        code(&self.ask(world, s, METHOD_REFRESH, |m| m.add(ATTR_LIFETIME, &life.to_be_bytes())))
    }
}

fn send_indication(to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut message = begin(MessageType::new(METHOD_SEND, CLASS_INDICATION), TransactionId::new());
    add_address(&mut message, ATTR_XOR_PEER_ADDRESS, to).unwrap();
    message.add(ATTR_DATA, data);
    message.raw
}

fn relayed(to: SocketAddr, data: &[u8]) -> Vec<Action> {
    vec![Action::Relay { allocation: 1, to, data: data.to_vec() }]
}

#[test]
fn a_binding_tells_the_address() {
    let mut world = World::new(|_| {});
    let request = begin(MessageType::new(METHOD_BINDING, CLASS_REQUEST), TransactionId::new());
    let answer = reply(world.handle(0, client(), &request.raw));
    assert_eq!(address(&text(&answer, ATTR_XORMAPPED_ADDRESS), request.transaction_id), Some(client()));
    let mut odd = request;
    odd.add(AttrType(0x0003), &[0; 4]);
    assert_eq!(code(&reply(world.handle(0, client(), &odd.raw))), 420);
}

#[test]
fn a_binding_is_answered_to_another_port_of_the_host_that_asks_for_it() {
    let mut world = World::new(|_| {});
    let mut request = begin(MessageType::new(METHOD_BINDING, CLASS_REQUEST), TransactionId::new());
    let [high, low] = 4321_u16.to_be_bytes();
    request.add(ATTR_RESPONSE_PORT, &[high, low, 0, 0]);
    let out = world.handle(0, client(), &request.raw);
    let there = SocketAddr::new(client().ip(), 4321);
    assert!(matches!(out.as_slice(), [Action::Reply { to, .. }] if *to == Client::from(there)), "{out:?}");
    let answer = reply(out);
    assert_eq!(address(&text(&answer, ATTR_XORMAPPED_ADDRESS), request.transaction_id), Some(client()));
    // Streams have no ports, and other requests no use for it.
    let stream = Client::Stream { number: 1, ip: client().ip(), proxied: false };
    assert_eq!(code(&reply(world.handle(0, stream, &request.raw))), 420);
}

#[test]
fn a_client_is_another_one_at_a_port_of_quic_and_noted_there_while_it_has_an_allocation() {
    let at_quic = |port| {
        let address = SocketAddr::new(client().ip(), port);
        AtQuicPort { address, socket: 0, local: Some(server().ip()) }
    };
    let here = at_quic(client().port());
    let clients = QuicClients::default();
    let mut world = World::new(|setup| setup.quic_clients = clients.clone());
    let by_turn = User::new(&mut world, 0, client(), "anna");
    let by_quic = User::new(&mut world, 0, Client::QuicPort(here), "anna");
    let mixed = User { from: by_quic.from, credentials: by_turn.credentials.clone(), nonce: by_turn.nonce.clone() };
    assert_eq!(mixed.allocate(&mut world, 0), 438, "with the nonce of the other port");
    assert_eq!((by_turn.allocate(&mut world, 0), by_quic.allocate(&mut world, 0)), (0, 0));
    assert!(clients.contains(&here));
    // Data of a channel with a larger number would be taken for a packet of QUIC.
    assert_eq!(by_turn.bind(&mut world, 1, 0x5000, peer()), 0);
    assert_eq!(by_quic.bind(&mut world, 1, 0x5000, peer()), 400);
    assert_eq!(by_quic.bind(&mut world, 1, 0x4fff, peer()), 0);
    let mut request = begin(MessageType::new(METHOD_BINDING, CLASS_REQUEST), TransactionId::new());
    let [high, low] = 4321_u16.to_be_bytes();
    request.add(ATTR_RESPONSE_PORT, &[high, low, 0, 0]);
    let out = world.handle(2, by_quic.from, &request.raw);
    let there = Client::QuicPort(at_quic(4321));
    assert!(matches!(out.as_slice(), [Action::Reply { to, .. }] if *to == there), "{out:?}");
    assert_eq!(by_quic.refresh(&mut world, 3, 0), 0);
    assert!(!clients.contains(&here));
}

#[test]
fn an_allocation_is_made_once_and_given_up() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    let request = user.request(METHOD_ALLOCATE, |m| m.add(ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]));
    let first = world.handle(0, client(), &request.raw);
    assert_eq!(world.handle(1, client(), &request.raw), first, "a retransmission gets the same answer");
    let answer = reply(first);
    assert_eq!(text(&answer, ATTR_LIFETIME), 600_u32.to_be_bytes());
    let relay = address(&text(&answer, ATTR_XOR_RELAYED_ADDRESS), request.transaction_id).unwrap();
    assert_eq!(relay, SocketAddr::new(server().ip(), FIRST_PORT));
    assert_eq!(user.allocate(&mut world, 2), 437, "another request does not");
    let other = User::new(&mut world, 2, client(), "berta");
    assert_eq!(other.refresh(&mut world, 2, 600), 441);

    let renewed = User { credentials: credentials(&SECRET, UNIX + 99_999, "anna").unwrap(), ..user };
    assert_eq!(renewed.refresh(&mut world, 3, 600), 0, "newer credentials of the same user");
    let gone = renewed.request(METHOD_REFRESH, |m| m.add(ATTR_LIFETIME, &[0; 4]));
    assert_eq!(world.handle(4, client(), &gone.raw).first(), Some(&Action::Close(1)));
    assert_eq!((world.turn.allocations(), world.turn.by_user.len(), world.turn.by_address.len()), (0, 0, 0));
    assert_eq!(renewed.refresh(&mut world, 5, 0), 437);
    assert_eq!(renewed.allocate(&mut world, 6), 0);
}

#[test]
fn who_is_revoked_does_not_go_on() {
    let revoked = Revoked::default();
    let mut world = World::new(|setup| setup.revoked = revoked.clone());
    let user = User::new(&mut world, 0, client(), "anna");
    assert_eq!(user.allocate(&mut world, 1), 0);
    revoked.set("anna".into(), true);
    assert_eq!(user.refresh(&mut world, 2, 600), 401);
    revoked.set("anna".into(), false);
    assert_eq!(user.refresh(&mut world, 3, 600), 0);
}

#[test]
fn who_is_not_authentic_leaves_nothing() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    let wrong = Credentials { password: "x".into(), ..user.credentials.clone() };
    let wrong = User { credentials: wrong, nonce: user.nonce.clone(), from: client().into() };
    assert_eq!(wrong.allocate(&mut world, 1), 401);
    let expired = User { credentials: credentials(&SECRET, UNIX, "anna").unwrap(), nonce: user.nonce.clone(), ..user };
    assert_eq!(expired.allocate(&mut world, 1), 401);

    let good = User::new(&mut world, 1, client(), "anna");
    let elsewhere = User {
        from: addr("198.51.100.7:4001").into(),
        nonce: good.nonce.clone(),
        credentials: good.credentials.clone(),
    };
    assert_eq!(elsewhere.allocate(&mut world, 1), 438, "a nonce is for one address");
    assert_eq!(good.allocate(&mut world, 602), 438, "and for ten minutes");
    let mut bare = anonymous(METHOD_ALLOCATE);
    bare.add(ATTR_MESSAGE_INTEGRITY, &[0; 20]);
    assert_eq!(code(&reply(world.handle(602, client(), &bare.raw))), 400);
    assert_eq!((world.turn.allocations(), world.turn.by_user.len()), (0, 0));
}

#[test]
fn requests_are_checked() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    assert_eq!(user.refresh(&mut world, 0, 600), 437);
    assert_eq!(code(&user.ask(&mut world, 0, METHOD_ALLOCATE, |_| {})), 400);
    let transport = |m: &mut Message, protocol| m.add(ATTR_REQUESTED_TRANSPORT, &[protocol, 0, 0, 0]);
    assert_eq!(code(&user.ask(&mut world, 0, METHOD_ALLOCATE, |m| transport(m, 6))), 442);
    let family = |m: &mut Message| {
        transport(m, 17);
        m.add(ATTR_REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    };
    assert_eq!(code(&user.ask(&mut world, 0, METHOD_ALLOCATE, family)), 440);
    let unfragmented = |m: &mut Message| {
        transport(m, 17);
        m.add(AttrType(0x001a), &[]);
    };
    assert_eq!(code(&user.ask(&mut world, 0, METHOD_ALLOCATE, unfragmented)), 420);
    for malformed in [&[][..], &[0, 0]] {
        let even = |m: &mut Message| {
            transport(m, 17);
            m.add(ATTR_EVEN_PORT, malformed);
        };
        assert_eq!(code(&user.ask(&mut world, 0, METHOD_ALLOCATE, even)), 400);
    }
}

#[test]
fn a_server_with_both_protocols_gives_an_address_of_the_one_that_is_asked_for() {
    let (v4, v6) = (server().ip(), addr("[2001:db8::1]:1").ip());
    let mut world = World::new(|setup| {
        setup.relay_ips = RelayIps::new(v6, [v4]);
        (setup.per_user, setup.private_peers) = (4, true);
    });
    // By whatever protocol the client comes itself.
    let clients = ["198.51.100.7:1", "[2001:db8:7::1]:1", "[2001:db8:7::1]:2"].map(addr);
    for (from, family, expected) in [(clients[0], Some(2), v6), (clients[1], Some(1), v4), (clients[2], None, v4)] {
        let user = User::new(&mut world, 0, from, "anna");
        let allocated = user.ask(&mut world, 0, METHOD_ALLOCATE, |m| {
            m.add(ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            if let Some(family) = family {
                m.add(ATTR_REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
            }
        });
        assert_eq!(code(&allocated), 0);
        let relayed = address(&text(&allocated, ATTR_XOR_RELAYED_ADDRESS), allocated.transaction_id).unwrap();
        assert_eq!(relayed.ip(), expected, "{from} {family:?}");
        let other = if expected == v4 { addr("[2001:db8:9::1]:5") } else { peer() };
        let permit = |m: &mut Message, peer: SocketAddr| add_address(m, ATTR_XOR_PEER_ADDRESS, peer).unwrap();
        assert_eq!(code(&user.ask(&mut world, 0, METHOD_CREATE_PERMISSION, |m| permit(m, other))), 443, "{from}");
        let own = SocketAddr::new(expected, 7);
        assert_eq!(code(&user.ask(&mut world, 0, METHOD_CREATE_PERMISSION, |m| permit(m, own))), 0, "{from}");
    }
    let unknown = User::new(&mut world, 0, client(), "anna").ask(&mut world, 0, METHOD_ALLOCATE, |m| {
        m.add(ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        m.add(ATTR_REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0]);
    });
    assert_eq!(code(&unknown), 440);
}

#[test]
fn the_same_port_of_both_protocols_is_two_allocations() {
    let (v4, v6) = (server().ip(), addr("[2001:db8::1]:1").ip());
    let mut world = World::new(|setup| setup.relay_ips = RelayIps::new(v4, [v6]));
    for (from, family) in [(addr("198.51.100.7:1"), 1), (addr("198.51.100.7:2"), 2)] {
        world.port = FIRST_PORT;
        let user = User::new(&mut world, 0, from, "anna");
        let allocated = user.ask(&mut world, 0, METHOD_ALLOCATE, |m| {
            m.add(ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            m.add(ATTR_REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        });
        assert_eq!(code(&allocated), 0);
    }
    assert_eq!(world.turn.by_relayed.len(), 2);
    assert_eq!(world.expire(601).len(), 2);
    assert_eq!(world.turn.by_relayed.len(), 0);
}

#[test]
fn quotas_hold() {
    let mut world = World::new(|setup| setup.allocations = 5);
    let from = |n: u16| addr(&format!("198.51.100.7:{n}"));
    for (n, name, expected) in [(1, "a", 0), (2, "a", 0), (3, "a", 486), (3, "b", 0), (4, "b", 0), (5, "c", 486)] {
        let user = User::new(&mut world, 0, from(n), name);
        assert_eq!(user.allocate(&mut world, 0), expected, "{n} {name}");
    }
    assert_eq!(User::new(&mut world, 0, client(), "d").allocate(&mut world, 0), 486, "by address");
    assert_eq!(User::new(&mut world, 0, addr("198.51.100.8:1"), "d").allocate(&mut world, 0), 0);
    assert_eq!(User::new(&mut world, 0, addr("198.51.100.9:1"), "e").allocate(&mut world, 0), 508, "overall");
    assert_eq!(world.expire(601).len(), 5);
    assert_eq!((world.turn.allocations(), world.turn.by_relayed.len(), world.turn.by_client.len()), (0, 0, 0));
}

#[test]
fn clients_on_streams_are_told_apart_and_count_by_address_unless_it_is_a_proxys() {
    let stream = |number, proxied| Client::Stream { number, ip: client().ip(), proxied };
    let mut world = World::new(|setup| (setup.per_address, setup.per_user) = (2, 8));
    let first = User::new(&mut world, 0, stream(1, false), "anna");
    assert_eq!(first.allocate(&mut world, 0), 0);
    // A nonce is for one stream.
    let other = User { from: stream(2, false), nonce: first.nonce.clone(), credentials: first.credentials.clone() };
    assert_eq!(other.allocate(&mut world, 0), 438);
    let other = User::new(&mut world, 0, stream(2, false), "anna");
    assert_eq!(other.allocate(&mut world, 0), 0);
    let third = User::new(&mut world, 0, stream(3, false), "anna");
    assert_eq!(third.allocate(&mut world, 0), 486);
    let datagrams = User::new(&mut world, 0, client(), "anna");
    assert_eq!(datagrams.allocate(&mut world, 0), 486, "it has the address of the streams");
    for number in 4..8 {
        let proxied = User::new(&mut world, 0, stream(number, true), "anna");
        assert_eq!(proxied.allocate(&mut world, 0), 0);
    }
    // With a stream goes its allocation, and nothing of it is left.
    let mut out = Vec::new();
    world.turn.gone(stream(1, false), &mut out);
    assert_eq!(out, [Action::Close(1)]);
    assert_eq!(third.allocate(&mut world, 0), 0);
    for number in 2..8 {
        world.turn.gone(stream(number, number > 3), &mut out);
    }
    let turn = &world.turn;
    assert_eq!((turn.allocations(), turn.by_client.len(), turn.by_relayed.len()), (0, 0, 0));
    assert_eq!((turn.by_user.len(), turn.by_address.len()), (0, 0));
}

#[test]
fn a_socket_that_cannot_be_opened_is_no_allocation() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    let request = user.request(METHOD_ALLOCATE, |m| m.add(ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]));
    let mut out = Vec::new();
    world.turn.handle(at(0), client().into(), &request.raw, &mut out);
    assert_eq!(out, [Action::Open(1, server().ip(), PortWish::Any)]);
    out.clear();
    world.turn.opened(1, None, &mut out);
    assert_eq!(code(&reply(out)), 508);
    assert_eq!((world.turn.allocations(), world.turn.by_user.len()), (0, 0));
}

#[test]
fn only_permitted_public_peers_are_reached() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    assert_eq!(user.allocate(&mut world, 0), 0);
    assert_eq!(world.handle(0, client(), &send_indication(peer(), b"x")), [], "no permission yet");
    for refused in ["127.0.0.1:1", "10.0.0.1:1", "169.254.1.1:1", "224.0.0.1:1", "0.0.0.0:1", "198.51.100.200:1"] {
        assert_eq!(user.permit(&mut world, 0, &[peer(), addr(refused)]), 403, "{refused}");
    }
    assert_eq!(user.permit(&mut world, 0, &[addr("[2001:4860::8888]:1")]), 443);
    assert_eq!(user.permit(&mut world, 0, &[addr("[::ffff:127.0.0.1]:1")]), 403, "an IPv4 address in disguise");
    assert_eq!(user.permit(&mut world, 0, &[]), 400);
    assert_eq!(world.handle(0, client(), &send_indication(peer(), b"x")), [], "all or nothing");

    assert_eq!(user.permit(&mut world, 0, &[peer(), addr("203.0.113.9:1")]), 0);
    assert_eq!(world.handle(1, client(), &send_indication(peer(), b"x")), relayed(peer(), b"x"));
    assert_eq!(world.handle(1, addr("198.51.100.7:4001"), &send_indication(peer(), b"x")), []);
    let many: Vec<_> = (1..16).map(|n| addr(&format!("203.0.114.{n}:1"))).collect();
    assert_eq!(user.permit(&mut world, 1, &many), 0);
    assert_eq!(user.permit(&mut world, 1, &[addr("203.0.115.1:1")]), 508);
    assert_eq!(world.handle(301, client(), &send_indication(peer(), b"x")), [], "permissions end");
    assert_eq!(user.permit(&mut world, 302, &[addr("203.0.115.1:1")]), 0, "and make room");
}

#[test]
fn also_in_a_private_network_nothing_is_relayed_to_the_server_itself_or_its_link() {
    let mut world = World::new(|setup| {
        setup.private_peers = true;
        setup.own.push(addr("10.0.0.9:1").ip());
    });
    let user = User::new(&mut world, 0, client(), "anna");
    assert_eq!(user.allocate(&mut world, 0), 0);
    for refused in ["127.0.0.1:1", "[::ffff:127.0.0.1]:1", "169.254.169.254:1", "198.51.100.200:1", "10.0.0.9:1"] {
        assert_eq!(user.permit(&mut world, 0, &[addr(refused)]), 403, "{refused}");
    }
    assert_eq!(user.permit(&mut world, 0, &[addr("10.0.0.1:1")]), 0);
}

#[test]
fn data_goes_both_ways() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    assert_eq!(user.allocate(&mut world, 0), 0);
    assert_eq!(world.peer_sends(0, 1, peer(), b"x"), []);
    assert_eq!(user.permit(&mut world, 0, &[peer()]), 0);
    let data = reply(world.peer_sends(1, 1, peer(), b"hello"));
    assert_eq!(text(&data, ATTR_DATA), b"hello");
    assert_eq!(address(&text(&data, ATTR_XOR_PEER_ADDRESS), data.transaction_id), Some(peer()));

    assert_eq!(user.bind(&mut world, 1, 0x4000, peer()), 0);
    assert_eq!(user.bind(&mut world, 1, 0x4000, addr("203.0.113.9:5001")), 400, "the number is taken");
    assert_eq!(user.bind(&mut world, 1, 0x3fff, peer()), 400);
    assert_eq!(user.bind(&mut world, 1, 0x4001, addr("10.0.0.1:1")), 403);
    let framed = |number: u8| [[0x40, number, 0, 5].as_slice(), b"hello"].concat();
    let to_client = |data| [Action::Reply { to: client().into(), data }];
    assert_eq!(world.peer_sends(2, 1, peer(), b"hello"), to_client(framed(0)));
    let padded = [framed(0), vec![0; 3]].concat();
    assert_eq!(world.handle(2, client(), &padded), relayed(peer(), b"hello"));
    assert_eq!(world.handle(2, client(), &framed(1)), [], "no such channel");
    assert_eq!(world.handle(2, client(), &[0x40, 0, 0, 9, 1]), [], "cut off");

    assert_eq!(user.bind(&mut world, 3, 0x4001, peer()), 0, "bound again");
    assert_eq!(world.peer_sends(3, 1, peer(), b"hello"), to_client(framed(1)));
    assert_eq!(world.handle(3, client(), &framed(0)), []);
    assert_eq!(user.refresh(&mut world, 590, 600), 0);
    assert_eq!(world.handle(602, client(), &framed(1)), relayed(peer(), b"hello"));
    assert_eq!(world.handle(604, client(), &framed(1)), [], "neither refreshed nor permitted");
}

#[test]
fn clients_of_one_server_meet_without_sockets() {
    let mut world = World::new(|_| {});
    let other = addr("198.51.100.8:4000");
    for (from, name) in [(client(), "anna"), (other, "berta")] {
        let user = User::new(&mut world, 0, from, name);
        assert_eq!(user.allocate(&mut world, 0), 0);
        assert_eq!(user.permit(&mut world, 0, &[SocketAddr::new(server().ip(), 9)]), 0);
    }
    let to_other = SocketAddr::new(server().ip(), FIRST_PORT + 1);
    let data = reply(world.handle(0, client(), &send_indication(to_other, b"hi")));
    let from = address(&text(&data, ATTR_XOR_PEER_ADDRESS), data.transaction_id);
    assert_eq!(from, Some(SocketAddr::new(server().ip(), FIRST_PORT)));
    assert_eq!(world.handle(0, client(), &send_indication(server(), b"hi")), [], "no other port of this host");
}

#[test]
fn an_allocation_has_a_rate() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    assert_eq!((user.allocate(&mut world, 0), user.permit(&mut world, 0, &[peer()])), (0, 0));
    let datagram = send_indication(peer(), &[0; 936]);
    let passed = (0..1000).filter(|_| !world.handle(0, client(), &datagram).is_empty()).count();
    assert_eq!(passed, 100);
    assert_eq!(world.peer_sends(0, 1, peer(), b"x"), [], "both directions together");
    assert_eq!(world.turn.take_counts(), Counts { bytes: 93_600, dropped: 901 });
    assert_eq!(world.handle(1, client(), &datagram).len(), 1);
}

#[test]
fn what_follows_the_integrity_does_not_count() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    assert_eq!(user.allocate(&mut world, 0), 0);
    let mut request = begin(MessageType::new(METHOD_CREATE_PERMISSION, CLASS_REQUEST), TransactionId::new());
    add_address(&mut request, ATTR_XOR_PEER_ADDRESS, peer()).unwrap();
    user.sign(&mut request);
    let added = addr("203.0.113.10:1");
    add_address(&mut request, ATTR_XOR_PEER_ADDRESS, added).unwrap();
    assert_eq!(code(&reply(world.handle(0, client(), &request.raw))), 0);
    assert_eq!(world.handle(0, client(), &send_indication(added, b"x")), []);
    assert_eq!(world.handle(0, client(), &send_indication(peer(), b"x")).len(), 1);
}

#[test]
fn strangers_are_answered_little() {
    let mut world = World::new(|_| {});
    let mut sent = 0;
    for _ in 0..1000 {
        let request = begin(MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST), TransactionId::new());
        for action in world.handle(0, client(), &request.raw) {
            let Action::Reply { data, .. } = action else { panic!("not a reply") };
            assert!(data.len() <= request.raw.len() + 56, "{}", data.len());
            sent += data.len() as u64;
        }
    }
    assert!(sent > 0 && sent <= TURN_ANSWERS.1, "{sent}");
    assert_eq!(world.turn.allocations() + world.turn.by_user.len() + world.turn.by_address.len(), 0);
    User::new(&mut world, 60, client(), "anna");
}

#[test]
fn garbage_is_survived() {
    let mut world = World::new(|_| {});
    let user = User::new(&mut world, 0, client(), "anna");
    assert_eq!((user.allocate(&mut world, 0), user.bind(&mut world, 0, 0x4000, peer())), (0, 0));
    let valid = [
        user.request(METHOD_CHANNEL_BIND, |m| m.add(ATTR_CHANNEL_NUMBER, &[0x40, 0, 0, 0])).raw,
        user.request(METHOD_REFRESH, |_| {}).raw,
        anonymous(METHOD_ALLOCATE).raw,
        send_indication(peer(), b"data"),
        vec![0x40, 0, 0, 1, 1],
    ];
    for round in 0..20_000_u64 {
        let mut bytes = valid[round as usize % valid.len()].clone();
        for _ in 0..rand::random_range(0..4) {
            let index = rand::random_range(0..bytes.len());
            bytes[index] = rand::random();
        }
        bytes.truncate(rand::random_range(0..=bytes.len()));
        world.handle(round / 100, client(), &bytes);
        world.peer_sends(round / 100, 1, peer(), &bytes);
    }
    for length in 0..64 {
        for first in 0..=255 {
            world.handle(300, addr("198.51.100.9:1"), &vec![first; length]);
        }
    }
}

/// webrtc's client against the server, without sockets.
struct Webrtc {
    world: World,
    client: TurnClient,
    /// What went to peers.
    relayed: Vec<(SocketAddr, Vec<u8>)>,
}

impl Webrtc {
    fn deliver(&mut self, s: u64, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Reply { data, .. } => {
                    let transport = TransportContext {
                        local_addr: client(),
                        peer_addr: server(),
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    };
                    let message = BytesMut::from(data.as_slice());
                    self.client.handle_read(TaggedBytesMut { now: at(s).instant, transport, message }).unwrap();
                }
                Action::Relay { to, data, .. } => self.relayed.push((to, data)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn pump(&mut self, s: u64) {
        while let Some(datagram) = self.client.poll_write() {
            let actions = self.world.handle(s, client(), &datagram.message);
            self.deliver(s, actions);
        }
    }
}

#[test]
fn webrtc_calls_for_hours() {
    let credentials = credentials(&SECRET, UNIX + 86_400, "anna").unwrap();
    let config = ClientConfig {
        turn_serv_addr: server().to_string(),
        local_addr: client(),
        username: credentials.username,
        password: credentials.password,
        ..ClientConfig::default()
    };
    let turn = TurnClient::new(config, rtc::crypto::default_provider().unwrap()).unwrap();
    let mut call = Webrtc { world: World::new(|_| {}), client: turn, relayed: Vec::new() };
    call.client.allocate(at(0).instant).unwrap();
    call.pump(0);
    let Some(Event::AllocateResponse(_, relay)) = call.client.poll_event() else { panic!("not allocated") };
    assert_eq!(relay, SocketAddr::new(server().ip(), FIRST_PORT));
    // Two peers: both permissions have to be renewed.
    let second = addr("203.0.113.10:5000");
    for peer in [peer(), second] {
        call.client.relay(relay).unwrap().create_permission(at(0).instant, peer).unwrap();
        call.pump(0);
        assert!(matches!(call.client.poll_event(), Some(Event::CreatePermissionResponse(..))));
    }
    // Longer than allocation, permission, channel and nonce last.
    for s in (0..10_000).step_by(5) {
        assert_eq!(call.world.expire(s), [], "{s}");
        call.client.handle_timeout(at(s).instant).unwrap();
        call.pump(s);
        for peer in [peer(), second] {
            call.client.relay(relay).unwrap().send_to(at(s).instant, b"there", peer).unwrap();
            call.pump(s);
            assert_eq!(call.relayed.drain(..).collect::<Vec<_>>(), [(peer, b"there".to_vec())], "{s}");
            let actions = call.world.peer_sends(s, 1, peer, b"back");
            call.deliver(s, actions);
            let Some(Event::DataIndicationOrChannelData(channel, from, data)) = call.client.poll_event() else {
                panic!("no data at {s}")
            };
            assert!(channel.is_some() && from == peer && data.as_ref() == b"back");
        }
    }
    call.client.relay(relay).unwrap().close(at(10_000).instant).unwrap();
    let datagram = call.client.poll_write().unwrap();
    assert_eq!(call.world.handle(10_000, client(), &datagram.message).first(), Some(&Action::Close(1)));
}

#[test]
fn the_port_after_an_even_one_is_kept_for_its_user_alone_and_for_half_a_minute() {
    let mut world = World::new(|_| {});
    let udp = |m: &mut Message| m.add(ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let kept = |m: &mut Message| {
        udp(m);
        m.add(ATTR_RESERVATION_TOKEN, &TOKEN);
    };
    let even = |flags: u8| {
        move |m: &mut Message| {
            udp(m);
            m.add(ATTR_EVEN_PORT, &[flags]);
        }
    };
    let anna = User::new(&mut world, 0, client(), "anna");
    let berta = User::new(&mut world, 0, addr("198.51.100.8:1"), "berta");
    let request = anna.request(METHOD_ALLOCATE, even(0x80));
    let first = world.handle(0, client(), &request.raw);
    assert_eq!(world.handle(1, client(), &request.raw), first, "a retransmission gets the same answer");
    assert_eq!(text(&reply(first), ATTR_RESERVATION_TOKEN), TOKEN);
    assert_eq!(code(&berta.ask(&mut world, 1, METHOD_ALLOCATE, kept)), 508, "it is another's");
    let second = User::new(&mut world, 1, addr("198.51.100.7:4001"), "anna");
    assert_eq!(code(&second.ask(&mut world, 1, METHOD_ALLOCATE, even(0))), 486, "what is kept counts");
    assert_eq!(code(&second.ask(&mut world, 2, METHOD_ALLOCATE, kept)), 0);
    assert_eq!(code(&second.ask(&mut world, 3, METHOD_ALLOCATE, kept)), 437);

    // One that nobody comes for is free again.
    assert_eq!(code(&berta.ask(&mut world, 4, METHOD_ALLOCATE, even(0xff))), 0);
    assert_eq!(world.expire(33), []);
    assert_eq!(world.expire(34), [Action::Release(TOKEN)]);
    let late = User::new(&mut world, 35, addr("198.51.100.8:2"), "berta");
    assert_eq!(code(&late.ask(&mut world, 35, METHOD_ALLOCATE, kept)), 508);
    let both = |m: &mut Message| {
        kept(m);
        m.add(ATTR_EVEN_PORT, &[0]);
    };
    assert_eq!(code(&late.ask(&mut world, 35, METHOD_ALLOCATE, both)), 400);
}
