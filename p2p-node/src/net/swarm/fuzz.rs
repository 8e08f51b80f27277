//! What fuzz targets reach of the decoders of the network side, which are private.

use std::net::IpAddr;

use libp2p::{Multiaddr, PeerId};
use tokio::io::{join, sink};

pub use super::limits::{MAX_LAN_ANNOUNCED, MAX_LAN_DATAGRAM};
use super::{
    lan_packet::{self, Packet},
    lan_query::QUESTION,
    socks,
};
use crate::net::proxy::Login;

/// What devices say on a LAN: a question, and an announcement of two addresses.
pub fn lan_datagrams() -> [Vec<u8>; 2] {
    let addresses = ["/ip4/10.0.0.7/udp/4001/quic-v1", "/ip6/2001:db8::7/tcp/4002"];
    let addresses: Vec<Multiaddr> = addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let name = PeerId::from_bytes(&[&[0x12_u8, 0x20][..], &[7; 32]].concat()).ok();
    let label = "0123456789abcdef0123456789abcdef";
    let announcement = name.and_then(|name| lan_packet::announcement(&name, label, &addresses).ok());
    [QUESTION.to_vec(), announcement.unwrap_or_default()]
}

/// The addresses that a datagram from an address announces: none if it is a question, or none of ours.
pub fn read_lan_datagram(datagram: &[u8], from: IpAddr) -> Vec<String> {
    match lan_packet::read(datagram, from) {
        Some(Packet::Announced(all)) => {
            all.into_iter().map(|(name, address)| format!("{address}/p2p/{name}")).collect()
        }
        Some(Packet::Question) | None => Vec::new(),
    }
}

/// Whether a proxy that answers so has connected, by SOCKS. What is left of the answers comes from behind it.
pub async fn connect_by_socks(answers: &mut &[u8], has_credentials: bool) -> bool {
    let login = if has_credentials { Login::Needed("user", "password") } else { Login::Offered("visit") };
    socks::connect(&mut join(answers, sink()), login, "a.example", 443).await.is_ok()
}
