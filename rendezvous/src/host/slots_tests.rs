use super::*;

struct World {
    slots: Slots,
    next: usize,
}

impl World {
    /// A server for 100 connections and 64 handshakes: of one address 32 members, 4 strangers and 2 handshakes.
    fn new() -> Self {
        let proxies = vec!["10.0.0.0/8".parse().unwrap()];
        Self { slots: Slots::new(Bounds { pending: 64, open: 100, per_address: 32, proxies }), next: 0 }
    }

    fn knock(&mut self, ip: &str) -> Result<ConnectionId, NoSlot> {
        self.knock_over(Transport::Tcp, ip)
    }

    fn knock_over(&mut self, transport: Transport, ip: &str) -> Result<ConnectionId, NoSlot> {
        self.next += 1;
        let id = ConnectionId::new_unchecked(self.next);
        self.slots.knock(id, ip.parse().unwrap(), transport).map(|()| id)
    }

    /// A whole handshake; also whom it has displaced.
    fn connect(&mut self, ip: &str) -> Result<(ConnectionId, Option<ConnectionId>), NoSlot> {
        let id = self.knock(ip)?;
        let displaced = self.slots.open(id, PeerId::random())?;
        Ok((id, displaced.map(|(id, _)| id)))
    }
}

#[test]
fn one_address_or_network_cannot_take_all_handshakes() {
    let mut world = World::new();
    world.knock("192.0.2.1").unwrap();
    let second = world.knock("192.0.2.1").unwrap();
    assert_eq!(world.knock("192.0.2.1"), Err(NoSlot::Network));
    // Its neighbours may have twice and four times as many, all together.
    let others = (2..255).filter(|host| world.knock(&format!("192.0.2.{host}")).is_ok()).count();
    assert_eq!(others, 6);
    world.knock("192.0.3.1").unwrap();
    world.slots.closed(second);
    world.knock("192.0.2.1").unwrap();
}

#[test]
fn forged_handshakes_over_quic_keep_nobody_from_tcp() {
    let mut world = World::new();
    let forged =
        (0..10_000).filter(|n| world.knock_over(Transport::Quic, &format!("100.{}.{}.1", n / 250, n % 250)).is_ok());
    assert_eq!(forged.count(), 32);
    // Also with the addresses of others.
    while world.knock_over(Transport::Quic, "192.0.2.1").is_ok() {}
    world.connect("192.0.2.1").unwrap();
    world.connect("203.0.113.1").unwrap();
}

#[test]
fn one_provider_of_ipv6_addresses_cannot_take_all_handshakes() {
    let mut world = World::new();
    let got = (0..1000).filter(|n| world.knock(&format!("2001:db8:1:{n:x}::1")).is_ok()).count();
    assert_eq!(got, 8);
    world.knock("2001:db8:2::1").unwrap();
}

#[test]
fn half_of_the_handshakes_are_kept_for_networks_of_members() {
    let mut world = World::new();
    let (member, _) = world.connect("198.51.100.1").unwrap();
    world.slots.is_member(member);
    let strangers = (0..255).filter(|n| world.knock(&format!("192.0.{n}.1")).is_ok()).count();
    assert_eq!(strangers, 32);
    assert_eq!(world.knock("203.0.113.1"), Err(NoSlot::Total));
    world.knock("198.51.100.1").unwrap();
}

#[test]
fn one_address_cannot_take_all_connections() {
    let mut world = World::new();
    for _ in 0..100 {
        world.connect("192.0.2.1").unwrap();
    }
    assert_eq!(world.slots.total(Class::Stranger), 4);
    // Also with registered accounts.
    let mut world = World::new();
    let members = (0..100).filter_map(|_| world.connect("192.0.2.1").ok());
    let members: Vec<ConnectionId> = members.map(|(id, _)| id).collect();
    for id in members {
        world.slots.is_member(id);
    }
    for _ in 0..100 {
        if let Ok((id, _)) = world.connect("192.0.2.1") {
            world.slots.is_member(id);
        }
    }
    assert_eq!(world.slots.total(Class::Member), 32);
    assert_eq!(world.slots.total(Class::Stranger), 4);
}

#[test]
fn who_comes_when_strangers_fill_their_share_displaces_one_of_the_largest_crowd() {
    let mut world = World::new();
    let (lonely, _) = world.connect("203.0.113.1").unwrap();
    let crowd: Vec<ConnectionId> =
        (0..16).map(|n| world.connect(&format!("192.0.2.{}", n / 4 * 16 + 1)).unwrap().0).collect();
    let others = (0..33).map(|n| world.connect(&format!("198.51.{n}.1")).unwrap());
    assert!(others.map(|(_, displaced)| displaced).all(|displaced| displaced.is_none()));

    let (member, displaced) = world.connect("198.18.0.1").unwrap();
    assert_eq!(displaced, Some(crowd[0]));
    world.slots.is_member(member);
    // Members have places of their own: nobody has to go for the next stranger.
    assert_eq!(world.connect("198.18.1.1").unwrap().1, None);
    assert!(world.slots.slots.contains_key(&lonely));
    assert_eq!(world.slots.total(Class::Stranger), 50);
}

#[test]
fn a_member_gets_in_beside_a_crowd_at_its_own_address_and_in_its_network() {
    let mut world = World::new();
    let crowd: Vec<ConnectionId> = (0..4).map(|_| world.connect("192.0.2.1").unwrap().0).collect();
    let (member, displaced) = world.connect("192.0.2.1").unwrap();
    assert_eq!(displaced, Some(crowd[0]));
    world.slots.is_member(member);
    // Whatever the crowd does now, the member stays, and the crowd grows no larger.
    for host in 0..200 {
        world.connect(&format!("192.0.2.{host}")).unwrap();
    }
    assert!(world.slots.slots.contains_key(&member));
    assert_eq!(world.slots.total(Class::Stranger), 16);
    assert!(world.slots.by_network.iter().all(|((_, class), count)| *class != Class::Stranger || *count <= 16));
}

#[test]
fn members_are_displaced_by_nobody() {
    let mut world = World::new();
    for n in 0..100 {
        let (id, displaced) = world.connect(&format!("198.51.{n}.1")).unwrap();
        assert_eq!(displaced, None);
        world.slots.is_member(id);
    }
    assert_eq!(world.connect("203.0.113.1"), Err(NoSlot::Total));
    assert_eq!(world.slots.total(Class::Member), 100);
}

#[test]
fn a_proxy_may_have_half_of_everything() {
    let mut world = World::new();
    for _ in 0..200 {
        world.connect("10.1.1.1").unwrap();
    }
    assert_eq!(world.slots.total(Class::Stranger), 50);
    world.connect("192.0.2.1").unwrap();
}

#[test]
fn nothing_is_left_of_connections_that_are_gone() {
    let mut world = World::new();
    for n in 0..300 {
        let (id, _) = world.connect(&format!("192.0.{}.1", n % 250)).unwrap();
        if n % 2 == 0 {
            world.slots.is_member(id);
        }
        world.slots.closed(id);
        world.slots.closed(id);
    }
    assert!(world.slots.slots.is_empty() && world.slots.by_network.is_empty());
    assert!(world.slots.strangers.is_empty() && world.slots.crowds.is_empty());
    assert!(world.slots.totals.values().all(|total| *total == 0));
}
