//! How to reach an account, and invites: the link and QR form of an address with a one-time token.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD;

use crate::{AccountId, MAX_HOMES, RendezvousAddr, random};

/// What every invite link begins with (in any case; upper case keeps its QR code small).
pub const LINK_SCHEME: &str = "starling:";
/// Length of an invite's token: 96 bits cannot be guessed, and the link still fits a version 5 QR code.
pub const TOKEN_LEN: usize = 12;
/// Longest text that is read as a link, in bytes.
const MAX_WRITTEN: usize = 8 * 1024;
const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 3;

/// How to reach an account: its key and its home rendezvous servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The account.
    pub account: AccountId,
    /// At most [`MAX_HOMES`].
    pub homes: Vec<RendezvousAddr>,
}

/// What lets the holder of an invite deliver one contact request that is accepted at once.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InviteToken(pub [u8; TOKEN_LEN]);

impl InviteToken {
    /// A new token from the system's random source.
    pub fn generate() -> Self {
        Self(random())
    }

    /// What its holder shows to the account that gave the invite, sealed to it.
    pub fn proof(&self) -> InviteProof {
        InviteProof(blake3::derive_key("starling 2026 invite proof v1", &self.0))
    }
}

/// Proof that somebody holds an invite, for the account that gave it alone. Who has it cannot make the invite again.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteProof(pub [u8; 32]);

impl InviteProof {
    /// What its holder shows to the rendezvous. Who has it can neither make the proof nor pass for its holder.
    pub fn ticket(&self) -> InviteTicket {
        let derived = blake3::derive_key("starling 2026 invite ticket v1", &self.0);
        let mut ticket = [0; TOKEN_LEN];
        ticket.copy_from_slice(&derived[..TOKEN_LEN]);
        InviteTicket(ticket)
    }
}

impl fmt::Debug for InviteProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteProof(…)")
    }
}

/// What lets the holder of an invite write to an inbox at a rendezvous. Versions before 0.2 showed the invite's token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteTicket(pub [u8; TOKEN_LEN]);

impl InviteTicket {
    /// What the rendezvous keeps: it can recognise the ticket, but not make it.
    pub fn hash(&self) -> [u8; 32] {
        blake3::derive_key("starling 2026 invite token v1", &self.0)
    }
}

impl fmt::Debug for InviteTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteTicket(…)")
    }
}

impl fmt::Debug for InviteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteToken(…)")
    }
}

/// Why an invite could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InviteError {
    /// Does not begin with `starling:`.
    #[error("an invite begins with “starling:”")]
    Scheme,
    /// A character that cannot be part of an invite.
    #[error("the invite holds a character that does not belong there")]
    Character,
    /// Letters are missing, added or changed.
    #[error("the invite is damaged: a letter is missing, added or changed. Copy it again, whole")]
    Damaged,
    /// Made by a newer version.
    #[error("the invite was made by a newer version of Starling: update to read it")]
    Newer,
    /// It leads into a group, and not to a contact.
    #[error("this is a link into a group: `starling group join` uses it")]
    OfGroup,
    /// It leads to a contact, and not into a group.
    #[error("this is an invite of a contact: `starling contacts add` uses it")]
    OfContact,
}

/// An address with the token that makes both sides contacts at once; without a token, a plain address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Whom it leads to.
    pub address: Address,
    /// Missing in a plain address, which leads to a request that the other side accepts.
    pub token: Option<InviteToken>,
}

impl fmt::Display for Invite {
    /// The link: `STARLING:` and upper-case base32, so that a QR code can use its alphanumeric mode.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION, u8::from(self.token.is_some())];
        bytes.extend(self.address.account.as_bytes());
        if let Some(token) = &self.token {
            bytes.extend(token.0);
        }
        for home in self.address.homes.iter().take(MAX_HOMES) {
            home.encode(&mut bytes);
        }
        f.write_str(&to_link(bytes))
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let bytes = from_link(text)?;
        if bytes.len() < 2 {
            return Err(InviteError::Damaged);
        }
        let mut rest = &bytes[..];
        if rest[0] == crate::join::VERSION {
            return Err(InviteError::OfGroup);
        }
        if rest[0] != VERSION {
            return Err(InviteError::Newer);
        }
        let has_token = rest[1] & 1 != 0;
        rest = &rest[2..];
        let mut take = |n: usize| -> Result<&[u8], InviteError> {
            let (head, tail) = rest.split_at_checked(n).ok_or(InviteError::Damaged)?;
            rest = tail;
            Ok(head)
        };
        let account = AccountId::from_bytes(take(32)?).map_err(|_| InviteError::Damaged)?;
        let token = if has_token {
            let bytes = take(TOKEN_LEN)?.try_into().map_err(|_| InviteError::Damaged)?;
            Some(InviteToken(bytes))
        } else {
            None
        };
        let mut homes = Vec::new();
        while !rest.is_empty() && homes.len() < MAX_HOMES {
            homes.push(RendezvousAddr::decode(&mut rest).ok_or(InviteError::Newer)?);
        }
        Ok(Self { address: Address { account, homes }, token })
    }
}

/// The link with these bytes: `STARLING:` and upper-case base32, with a checksum at its end.
pub(crate) fn to_link(mut bytes: Vec<u8>) -> String {
    let sum = checksum(&bytes);
    bytes.extend(sum);
    format!("{}{}", LINK_SCHEME.to_uppercase(), BASE32_NOPAD.encode(&bytes))
}

/// The bytes of a link, however it was pasted, without its checksum, which is right.
pub(crate) fn from_link(text: &str) -> Result<Vec<u8>, InviteError> {
    let text = starling_text::unquoted(starling_text::shortened(text, MAX_WRITTEN));
    // What a mail puts into a link that it wraps is no letter of it, either.
    let text: String = text.chars().filter(|c| !matches!(c, ' ' | '>' | '|')).collect();
    let text = text.to_uppercase();
    let payload = text.strip_prefix(&LINK_SCHEME.to_uppercase()).ok_or(InviteError::Scheme)?;
    let payload = payload.strip_prefix("//").unwrap_or(payload);
    if !payload.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7')) {
        return Err(InviteError::Character);
    }
    let mut bytes = BASE32_NOPAD.decode(payload.as_bytes()).map_err(|_| InviteError::Damaged)?;
    let length = bytes.len().checked_sub(CHECKSUM_LEN).ok_or(InviteError::Damaged)?;
    if checksum(&bytes[..length]) != bytes[length..] {
        return Err(InviteError::Damaged);
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut sum = [0; CHECKSUM_LEN];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM_LEN]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccountKey, EndpointError, Host, ServerPlace, Transport};

    fn invite(host: Host) -> Invite {
        Invite {
            address: Address {
                account: AccountKey::from_seed(&[1; 32]).id(),
                homes: vec![RendezvousAddr {
                    peer: *AccountKey::from_seed(&[2; 32]).id().as_bytes(),
                    host,
                    port: 4001,
                    transport: Transport::Quic,
                }],
            },
            token: Some(InviteToken::generate()),
        }
    }

    #[test]
    fn a_link_is_read_back_in_any_case_and_with_line_breaks() {
        for host in [
            Host::V4([203, 0, 113, 7].into()),
            Host::V6(std::net::Ipv6Addr::LOCALHOST),
            Host::Dns("rendezvous.example".into()),
        ] {
            let invite = invite(host);
            let link = invite.to_string();
            assert_eq!(link.parse(), Ok(invite.clone()));
            let (a, b) = link.split_at(40);
            assert_eq!(format!(" {}\n{b}", a.to_lowercase()).parse(), Ok(invite));
        }
    }

    #[test]
    fn a_link_is_read_however_it_was_pasted() {
        let invite = invite(Host::V4([203, 0, 113, 7].into()));
        let link = invite.to_string();
        let (a, b) = link.split_at(60);
        for pasted in [
            format!("<{link}>"),
            format!("“{link}”."),
            format!("({link}),"),
            format!("\u{feff}{link}\u{200b}\r\n"),
            format!("> {a}\n> {b}\n"),
            format!("{a}\u{ad}{b}"),
            format!("starling://{}", &link["starling:".len()..]),
        ] {
            assert_eq!(pasted.parse(), Ok(invite.clone()), "{pasted:?}");
        }
    }

    #[test]
    fn the_qr_code_of_a_link_fits_a_version_5_symbol() {
        let link = invite(Host::V4([203, 0, 113, 7].into())).to_string();
        assert!(link.len() <= 154, "{} characters", link.len());
    }

    #[test]
    fn a_mistyped_link_is_refused() {
        let link = invite(Host::V4([203, 0, 113, 7].into())).to_string();
        let mut typo: Vec<char> = link.chars().collect();
        typo[30] = if typo[30] == 'A' { 'B' } else { 'A' };
        let typo: String = typo.into_iter().collect();
        assert_eq!(typo.parse::<Invite>(), Err(InviteError::Damaged));
        assert_eq!(link[..60].parse::<Invite>(), Err(InviteError::Damaged));
        assert_eq!("hello".parse::<Invite>(), Err(InviteError::Scheme));
        assert_eq!("starling:1!".parse::<Invite>(), Err(InviteError::Character));
    }

    #[test]
    fn an_endpoint_is_read_back_from_its_multiaddr() {
        for transport in [Transport::Quic, Transport::Tcp, Transport::Ws, Transport::Wss, Transport::Any] {
            let mut addr = invite(Host::Dns("a.example".into())).address.homes.remove(0);
            addr.transport = transport;
            assert_eq!(addr.to_string().parse(), Ok(addr));
        }
    }

    #[test]
    fn a_short_address_is_read_as_it_is_typed_and_stands_for_all_ways() {
        let v6: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
        let mut home = invite(Host::Dns("rendezvous.example".into())).address.homes.remove(0);
        home.transport = Transport::Any;
        let peer = home.peer_id();
        for (host, port, shown, typed) in [
            (
                Host::Dns("rendezvous.example".into()),
                4001,
                "rendezvous.example",
                "Starling-Server://rendezvous.example",
            ),
            (Host::Dns("a.b".into()), 443, "a.b:443", "a.b:443"),
            (Host::V4([203, 0, 113, 7].into()), 4001, "203.0.113.7", "203.0.113.7:4001"),
            (Host::V6(v6), 4001, "[2001:db8::1]", "2001:db8::1"),
            (Host::V6(v6), 5, "[2001:db8::1]:5", " [2001:db8::1]:5"),
        ] {
            let address = RendezvousAddr { host, port, ..home.clone() };
            assert_eq!(address.to_string(), format!("starling-server:{shown}/{peer}"));
            for text in [address.to_string(), format!("{typed}/{peer}"), format!("“{typed}/{peer}”\n")] {
                assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            }
            let ways = address.multiaddrs();
            assert_eq!(ways.len(), 2);
            let ways: Vec<RendezvousAddr> = ways.iter().map(|way| RendezvousAddr::try_from(way).unwrap()).collect();
            assert_eq!(RendezvousAddr::shortened(&ways), std::slice::from_ref(&address));
            assert_eq!(RendezvousAddr::shortened(&ways[1..]), []);
            assert!(ways.iter().all(|way| way.last_resort().is_none()));
            let last = RendezvousAddr::try_from(&address.last_resort().unwrap()).unwrap();
            assert_eq!(last, RendezvousAddr { port: 443, transport: Transport::Wss, ..address });
        }
        let error = |text: &str| text.parse::<RendezvousAddr>().unwrap_err();
        for text in ["rendezvous.example", "starling-server:rendezvous.example:4001", "[::1]:4001/", "203.0.113.7"] {
            assert_eq!(error(text), EndpointError::NoPeer, "{text}");
            let place: ServerPlace = text.parse().unwrap();
            let whole = place.clone().with_key(home.peer);
            assert_eq!(whole.to_string(), format!("starling-server:{place}/{peer}"));
            assert!(whole.to_string().parse::<RendezvousAddr>().as_ref() == Ok(&whole) && place.is_of(&whole));
        }
        let place = ServerPlace { host: Host::Dns("rendezvous.example".into()), port: 5 };
        assert_eq!("rendezvous.example:5".parse(), Ok(place.clone()));
        let same: ServerPlace = "Rendezvous.Example.:5".parse().unwrap();
        assert!(same.is_of(&place.clone().with_key(home.peer)));
        let ways = place.ways().map(|way| way.to_string());
        assert_eq!(ways, ["/dns/rendezvous.example/udp/5/quic-v1", "/dns/rendezvous.example/tcp/5"]);
        assert!(place.web().to_string().starts_with("/dns/rendezvous.example/tcp/443/wss"));
        for text in ["", "a b:0", "/ip4/203.0.113.7/udp/4001/quic-v1", "user@host", "https://rendezvous.example", "a/b"]
        {
            assert_eq!(text.parse::<ServerPlace>(), Err(EndpointError::Syntax), "{text}");
        }
        for place in ["", "a..\u{e9}", "a:0", "a:99999", "[::1", "::1:4001:", "a:b", "user@host"] {
            assert_eq!(error(&format!("starling-server:{place}/{peer}")), EndpointError::Syntax, "{place}");
        }
        assert_eq!(error("rendezvous.example/12D3KooWnonsense"), EndpointError::Peer);
        for text in [format!("rendezvous.example/{peer}/more"), format!("ip4/203.0.113.7/tcp/1/p2p/{peer}")] {
            assert_eq!(error(&text), EndpointError::Syntax, "{text}");
        }
    }
}
