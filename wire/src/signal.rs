//! Signals: typing and presence. Sealed for the conversation, never stored, may be lost. All members have the key that seals them: which device has
//! sent one shows its signature, or the stream of the device that it came on.

use prost::Message as _;

use crate::limits::{MAX_SIGNAL, MAX_SIGNAL_ADDRESSES, SIGNAL_BUCKET};

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// At the keyboard, or a running bot.
    Online,
    /// Connected, but idle.
    Away,
    /// Said good-bye.
    Offline,
}

/// A signal that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid signal")]
pub struct SignalError;

/// Domain of a signal's signature, which covers the address of the epoch's log and the signal.
pub const SIGNAL_DOMAIN: &str = "starling signal v1";
/// How a signature begins as the last field of a signal: its tag, and its length.
const SIGNATURE_FIELD: [u8; 2] = [6 << 3 | 2, 64];
/// Bytes of a signature with that.
const SIGNATURE_LEN: usize = 66;
/// How the padding before it begins; its length follows in two bytes.
const PADDING_FIELD: u8 = 8 << 3 | 2;

/// A signal, and what shows which device has sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSignal {
    /// The signal.
    pub signal: Signal,
    /// The bytes that are signed, and the signature; versions before 0.2 do not sign.
    signed: Option<(Vec<u8>, Vec<u8>)>,
}

impl SignedSignal {
    /// Encodes a signal for those who know the log at `address`. `sign` gives the device's signature in [`SIGNAL_DOMAIN`].
    pub fn encode(signal: &Signal, address: &[u8; 32], sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Vec<u8> {
        let mut bytes = padded(signal.encode(), SIGNATURE_LEN);
        let signature = sign(&[address, &bytes[..]].concat());
        bytes.extend(SIGNATURE_FIELD);
        bytes.extend(signature);
        bytes
    }

    /// Reads a signal. Nothing is said yet about who has sent it.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignalError> {
        let signal = Signal::decode(bytes)?;
        let signed = match Proto::decode(bytes).map_err(|_| SignalError)?.signature {
            signature if signature.is_empty() => None,
            signature => {
                let field = [&SIGNATURE_FIELD[..], &signature].concat();
                let before = bytes.strip_suffix(&field[..]).filter(|_| signature.len() == 64).ok_or(SignalError)?;
                Some((before.to_vec(), signature))
            }
        };
        Ok(Self { signal, signed })
    }

    /// Whether a device has sent it: it is signed by it, or at least came on its stream. `verify` checks a signature in [`SIGNAL_DOMAIN`].
    pub fn is_authentic(
        &self,
        on_own_stream: bool,
        address: &[u8; 32],
        verify: impl FnOnce(&[u8], &[u8]) -> bool,
    ) -> bool {
        match &self.signed {
            Some((signed, signature)) => verify(&[address, &signed[..]].concat(), signature),
            None => on_own_stream,
        }
    }
}

/// Pads a signal that `more` bytes follow to a bucket, so that whoever passes it on does not see what it says.
fn padded(mut bytes: Vec<u8>, more: usize) -> Vec<u8> {
    let header = 3;
    let len = (bytes.len() + header + more).next_multiple_of(SIGNAL_BUCKET) - more;
    let padding = len - bytes.len() - header;
    // The length of a field may have more bytes than it needs, so that every size can be reached.
    bytes.extend([PADDING_FIELD, (padding & 0x7f) as u8 | 0x80, (padding >> 7) as u8]);
    bytes.resize(len, 0);
    bytes
}

/// A short-lived hint to the other members of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// When it was sent, in milliseconds since 1970: an old one is a replay.
    pub sent_ms: u64,
    /// Whether the sender's user is typing in this conversation.
    pub typing: bool,
    /// Missing where the sender does not show it.
    pub availability: Option<Availability>,
    /// Where the sending device can be reached directly (multiaddrs); only contacts get to see it.
    pub addresses: Vec<Vec<u8>>,
    /// The sender wants to know the same of the receiver.
    pub ask: bool,
    /// What the names follow from under which the sending device announces itself on a LAN; versions before 0.2 have none.
    pub lan_key: Option<[u8; 32]>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Proto {
    #[prost(uint64, tag = "1")]
    sent_ms: u64,
    #[prost(bool, tag = "2")]
    typing: bool,
    #[prost(uint32, tag = "3")]
    availability: u32,
    #[prost(bytes, repeated, tag = "4")]
    addresses: Vec<Vec<u8>>,
    #[prost(bool, tag = "5")]
    ask: bool,
    /// Of the bytes before it; comes last.
    #[prost(bytes = "vec", tag = "6")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    lan_key: Vec<u8>,
    // Tag 8 is the padding, which is not read.
}

impl Signal {
    /// Encodes the signal.
    pub fn encode(&self) -> Vec<u8> {
        Proto {
            sent_ms: self.sent_ms,
            typing: self.typing,
            availability: match self.availability {
                None => 0,
                Some(Availability::Online) => 1,
                Some(Availability::Away) => 2,
                Some(Availability::Offline) => 3,
            },
            addresses: self.addresses.clone(),
            ask: self.ask,
            signature: Vec::new(),
            lan_key: self.lan_key.map(Vec::from).unwrap_or_default(),
        }
        .encode_to_vec()
    }

    /// Reads a signal.
    pub fn decode(bytes: &[u8]) -> Result<Self, SignalError> {
        if bytes.len() > MAX_SIGNAL {
            return Err(SignalError);
        }
        let proto = Proto::decode(bytes).map_err(|_| SignalError)?;
        if proto.addresses.len() > MAX_SIGNAL_ADDRESSES {
            return Err(SignalError);
        }
        Ok(Self {
            sent_ms: proto.sent_ms,
            typing: proto.typing,
            availability: match proto.availability {
                1 => Some(Availability::Online),
                2 => Some(Availability::Away),
                3 => Some(Availability::Offline),
                _ => None,
            },
            addresses: proto.addresses,
            ask: proto.ask,
            lan_key: proto.lan_key.try_into().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_signature_covers_the_signal_and_its_log_and_nothing_follows_it() {
        let signal = Signal {
            sent_ms: 7,
            typing: true,
            availability: Some(Availability::Away),
            addresses: vec![vec![4; 20]],
            ask: false,
            lan_key: Some([3; 32]),
        };
        // Stands for a signature: anything that depends on all of the message.
        let sign = |message: &[u8]| {
            let hash = *blake3::hash(message).as_bytes();
            <[u8; 64]>::try_from([hash, hash].concat()).unwrap()
        };
        let verify = |message: &[u8], signature: &[u8]| sign(message) == signature;
        let bytes = SignedSignal::encode(&signal, &[9; 32], sign);
        assert_eq!(Signal::decode(&bytes).unwrap(), signal, "older versions skip the signature");
        let read = SignedSignal::decode(&bytes).unwrap();
        assert_eq!(read.signal, signal);
        assert!(read.is_authentic(false, &[9; 32], verify));
        assert!(!read.is_authentic(true, &[8; 32], verify));
        let mut changed = bytes.clone();
        changed[1] ^= 1;
        assert!(!SignedSignal::decode(&changed).unwrap().is_authentic(true, &[9; 32], verify));
        assert!(SignedSignal::decode(&[&bytes[..], &[0x28, 1]].concat()).is_err());
        let unsigned = SignedSignal::decode(&signal.encode()).unwrap();
        assert!(unsigned.is_authentic(true, &[9; 32], verify) && !unsigned.is_authentic(false, &[9; 32], verify));
    }

    #[test]
    fn signals_are_of_one_size_whatever_they_say() {
        let quiet = Signal {
            sent_ms: 1_800_000_000_000,
            typing: false,
            availability: None,
            addresses: Vec::new(),
            ask: false,
            lan_key: None,
        };
        let addresses = |len: usize| vec![vec![4; len]; 8];
        let asking = Signal { ask: true, lan_key: Some([3; 32]), ..quiet.clone() };
        let typing = Signal { typing: true, availability: Some(Availability::Online), ..quiet.clone() };
        let several = (0..=96).map(|len| Signal { addresses: addresses(len), ..typing.clone() });
        for signal in [quiet, asking].into_iter().chain(several) {
            let bytes = SignedSignal::encode(&signal, &[9; 32], |_| [5; 64]);
            assert_eq!(bytes.len(), SIGNAL_BUCKET);
            assert_eq!(SignedSignal::decode(&bytes).unwrap().signal, signal);
        }
        let most = Signal { addresses: vec![vec![4; 108]; 16], ..Signal::decode(&[]).unwrap() };
        let bytes = SignedSignal::encode(&most, &[9; 32], |_| [5; 64]);
        assert_eq!((bytes.len(), SignedSignal::decode(&bytes).unwrap().signal), (MAX_SIGNAL, most));
    }
}
