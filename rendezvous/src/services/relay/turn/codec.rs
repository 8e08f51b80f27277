//! Messages: what is read of requests, and how they are answered.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use rtc_stun::{
    attributes::{
        ATTR_CHANNEL_NUMBER, ATTR_DATA, ATTR_EVEN_PORT, ATTR_FINGERPRINT, ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY,
        ATTR_NONCE, ATTR_REALM, ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN,
        ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS, ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS, AttrType, RawAttribute,
    },
    error_code::{CODE_UNKNOWN_ATTRIBUTE, ErrorCode, ErrorCodeAttribute},
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{
        CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, MAGIC_COOKIE, MESSAGE_HEADER_SIZE, Message, MessageClass,
        MessageType, Method, Setter, TransactionId, is_stun_message,
    },
    uattrs::UnknownAttributes,
    xoraddr::{XorMappedAddress, xor_bytes},
};

use super::{CRYPTO, ports::Token};
use crate::limits::TURN_LIFETIME;

/// The attributes that requests need understood. Not DONT-FRAGMENT: no call uses it.
const KNOWN: [AttrType; 12] = [
    ATTR_EVEN_PORT,
    ATTR_RESERVATION_TOKEN,
    ATTR_USERNAME,
    ATTR_MESSAGE_INTEGRITY,
    ATTR_REALM,
    ATTR_NONCE,
    ATTR_CHANNEL_NUMBER,
    ATTR_LIFETIME,
    ATTR_XOR_PEER_ADDRESS,
    ATTR_DATA,
    ATTR_REQUESTED_TRANSPORT,
    ATTR_REQUESTED_ADDRESS_FAMILY,
];

/// What an answer takes from its request.
pub(super) struct RequestHead {
    pub method: Method,
    pub id: TransactionId,
    pub fingerprint: bool,
    /// The client's key, once it has authenticated: then answers are signed.
    pub key: Option<Vec<u8>>,
}

impl RequestHead {
    pub fn of(message: &Message) -> Self {
        Self {
            method: message.typ.method,
            id: message.transaction_id,
            fingerprint: message.contains(ATTR_FINGERPRINT),
            key: None,
        }
    }

    pub fn answer(&self, class: MessageClass) -> Message {
        begin(MessageType::new(self.method, class), self.id)
    }

    pub fn with_code(&self, code: ErrorCode) -> Option<Message> {
        let mut message = self.answer(CLASS_ERROR_RESPONSE);
        // Reasons in words are only for those who are known: answers to strangers are to be small.
        let added = if self.key.is_some() {
            code.add_to(&mut message)
        } else {
            ErrorCodeAttribute { code, reason: Vec::new() }.add_to(&mut message)
        };
        added.ok().map(|()| message)
    }

    pub fn error(&self, code: ErrorCode) -> Option<Vec<u8>> {
        self.seal(self.with_code(code)?)
    }

    pub fn unknown(&self, attributes: Vec<AttrType>) -> Option<Vec<u8>> {
        let mut message = self.with_code(CODE_UNKNOWN_ATTRIBUTE)?;
        UnknownAttributes(attributes).add_to(&mut message).ok()?;
        self.seal(message)
    }

    /// Signs, if the client is known, and adds a fingerprint, if the request had one.
    pub fn seal(&self, mut message: Message) -> Option<Vec<u8>> {
        if let Some(key) = &self.key {
            MessageIntegrity::new_raw_integrity_with_provider(key.clone(), CRYPTO).add_to(&mut message).ok()?;
        }
        if self.fingerprint {
            FINGERPRINT.add_to(&mut message).ok()?;
        }
        Some(message.raw)
    }
}

/// A message that is one from its first to its last byte.
pub(super) fn decode(datagram: &[u8]) -> Option<Message> {
    let length = usize::from(u16::from_be_bytes([*datagram.get(2)?, *datagram.get(3)?]));
    if !is_stun_message(datagram) || datagram.len() != MESSAGE_HEADER_SIZE + length {
        return None;
    }
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok()?;
    let broken = message.contains(ATTR_FINGERPRINT) && FINGERPRINT.check(&message).is_err();
    (!broken).then_some(message)
}

pub(super) fn begin(typ: MessageType, id: TransactionId) -> Message {
    let mut message = Message::new();
    message.typ = typ;
    message.transaction_id = id;
    message.write_header();
    message
}

/// The answer to an Allocate.
pub(super) fn allocated(
    head: &RequestHead,
    relay: SocketAddr,
    client: SocketAddr,
    kept: Option<Token>,
) -> Option<Vec<u8>> {
    let mut message = head.answer(CLASS_SUCCESS_RESPONSE);
    if let Some(token) = kept {
        message.add(ATTR_RESERVATION_TOKEN, &token);
    }
    add_address(&mut message, ATTR_XOR_RELAYED_ADDRESS, relay)?;
    add_lifetime(&mut message, TURN_LIFETIME);
    add_address(&mut message, ATTR_XORMAPPED_ADDRESS, client)?;
    head.seal(message)
}

pub(super) fn add_lifetime(message: &mut Message, life: Duration) {
    message.add(ATTR_LIFETIME, &(life.as_secs() as u32).to_be_bytes());
}

pub(super) fn add_address(message: &mut Message, typ: AttrType, address: SocketAddr) -> Option<()> {
    XorMappedAddress { ip: address.ip(), port: address.port() }.add_to_as(message, typ).ok()
}

/// The first attribute of a type.
pub(super) fn value(attributes: &[RawAttribute], typ: AttrType) -> Option<&[u8]> {
    attributes.iter().find(|attribute| attribute.typ == typ).map(|attribute| attribute.value.as_slice())
}

/// The attributes that would have to be understood, and are not.
pub(super) fn unknown(attributes: &[RawAttribute]) -> Vec<AttrType> {
    attributes.iter().map(|attribute| attribute.typ).filter(|typ| typ.required() && !KNOWN.contains(typ)).collect()
}

/// The address in an XOR-PEER-ADDRESS. rtc-stun takes addresses that are cut off, and only the first one of a message.
pub(super) fn address(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let cookie = MAGIC_COOKIE.to_be_bytes();
    let mask = [cookie.as_slice(), id.0.as_slice()].concat();
    let ([_, family, high, low], ip) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([high ^ cookie[0], low ^ cookie[1]]);
    let ip = match (family, ip.len()) {
        (1, 4) => {
            let mut octets = [0; 4];
            xor_bytes(&mut octets, ip, &mask);
            IpAddr::from(octets)
        }
        (2, 16) => {
            let mut octets = [0; 16];
            xor_bytes(&mut octets, ip, &mask);
            // An IPv4 address in disguise is taken for what it is.
            IpAddr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
