//! Which port an allocation gets, and ports that are kept for the next one (RFC 8656, 7.2).

use std::{net::IpAddr, time::Instant};

use rtc_stun::{
    attributes::{ATTR_EVEN_PORT, ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_RESERVATION_TOKEN, RawAttribute},
    error_code::{CODE_ADDR_FAMILY_NOT_SUPPORTED, CODE_BAD_REQUEST, ErrorCode},
};

use super::codec::value;
use crate::address::RelayIps;

/// What shows that a port was kept for somebody.
pub type Token = [u8; 8];

/// The port that an allocation is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortWish {
    /// Any.
    Any,
    /// An even one.
    Even,
    /// An even one, and the one after it is kept for another allocation.
    Pair,
    /// The one that was kept under this token.
    Kept(Token),
}

/// The port of an allocation whose socket is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The port.
    pub port: u16,
    /// The one after it is kept under this token.
    pub kept: Option<Token>,
}

/// A port that is kept.
pub(super) struct Reservation {
    pub user: String,
    /// The address that it is a port of.
    pub ip: IpAddr,
    pub expires: Instant,
}

/// Which port a request asks for.
///
/// # Errors
/// If what it asks for is malformed, or contradicts itself.
pub(super) fn wish(attributes: &[RawAttribute]) -> Result<PortWish, ErrorCode> {
    match (value(attributes, ATTR_EVEN_PORT), value(attributes, ATTR_RESERVATION_TOKEN)) {
        (None, None) => Ok(PortWish::Any),
        (Some([flags]), None) if flags & 0x80 == 0 => Ok(PortWish::Even),
        (Some([_]), None) => Ok(PortWish::Pair),
        (None, Some(token)) if value(attributes, ATTR_REQUESTED_ADDRESS_FAMILY).is_none() => {
            token.try_into().map(PortWish::Kept).map_err(|_| CODE_BAD_REQUEST)
        }
        _ => Err(CODE_BAD_REQUEST),
    }
}

/// Which of our addresses a request asks for: without a word IPv4, if there is (RFC 8656, 7.2). So clients that cannot ask meet, whatever they come by.
///
/// # Errors
/// If there is none, or it is malformed.
pub(super) fn wished(ours: RelayIps, attributes: &[RawAttribute]) -> Result<IpAddr, ErrorCode> {
    let wished = match value(attributes, ATTR_REQUESTED_ADDRESS_FAMILY) {
        None => ours.of_family(true).or(ours.all().next()),
        Some([1, _, _, _]) => ours.of_family(true),
        Some([2, _, _, _]) => ours.of_family(false),
        Some(_) => None,
    };
    wished.ok_or(CODE_ADDR_FAMILY_NOT_SUPPORTED)
}
