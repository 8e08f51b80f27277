//! Envelopes: entries of a group's log as members pass them on to one another. Whoever is no member of the epoch can make none, so what outsiders
//! send dies at the first member.

use bytes::Bytes;

use crate::limits::{MAX_ENVELOPE, MAX_GOSSIP_ENTRY};

/// The first byte of an envelope.
const VERSION: u8 = 1;
/// What stands before the entry: the version, and the MAC.
const HEAD: usize = 1 + blake3::OUT_LEN;

/// What members of an epoch call the topic on which they pass on its entries. It says nothing to others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 32]);

impl TopicId {
    /// As text: lower-case hexadecimal digits.
    pub fn to_text(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// Reads what [`TopicId::to_text`] has written.
    pub fn from_text(text: &str) -> Option<Self> {
        let hash = blake3::Hash::from_hex(text).ok()?;
        // There is one way to write a topic.
        (hash.to_hex().as_str() == text).then_some(Self(*hash.as_bytes()))
    }
}

impl std::fmt::Debug for TopicId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TopicId({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// What is no envelope of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is too long, or too short.
    #[error("an envelope of a wrong size")]
    Size,
    /// It is of another version.
    #[error("an envelope of an unknown version")]
    Version,
    /// No member of the topic's epoch has made it.
    #[error("an envelope with a wrong code")]
    Code,
}

/// The keys of one epoch's topic, derived from the epoch's exporter secret.
#[derive(Clone, PartialEq, Eq)]
pub struct GossipKey {
    topic: TopicId,
    code: [u8; 32],
}

impl std::fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GossipKey({:?})", self.topic)
    }
}

impl GossipKey {
    /// The keys of this secret.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self {
            topic: TopicId(blake3::derive_key("starling 2026 gossip topic v1", secret)),
            code: blake3::derive_key("starling 2026 gossip envelope v1", secret),
        }
    }

    /// The topic.
    pub fn topic(&self) -> TopicId {
        self.topic
    }

    /// The envelope of a sealed entry: always the same. `None` if the entry is too long to be passed on.
    pub fn seal(&self, entry: &[u8]) -> Option<Bytes> {
        if entry.is_empty() || entry.len() > MAX_GOSSIP_ENTRY {
            return None;
        }
        let code = blake3::keyed_hash(&self.code, entry);
        Some([&[VERSION][..], &code.as_bytes()[..], entry].concat().into())
    }

    /// The sealed entry in an envelope.
    ///
    /// # Errors
    /// If it is none of this topic.
    pub fn open(&self, envelope: &[u8]) -> Result<Bytes, EnvelopeError> {
        if envelope.len() <= HEAD || envelope.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::Size);
        }
        let (head, entry) = envelope.split_at(HEAD);
        if head[0] != VERSION {
            return Err(EnvelopeError::Version);
        }
        let code: [u8; blake3::OUT_LEN] = head[1..].try_into().map_err(|_| EnvelopeError::Size)?;
        // The comparison takes the same time wherever they differ.
        if blake3::keyed_hash(&self.code, entry) != code {
            return Err(EnvelopeError::Code);
        }
        Ok(Bytes::copy_from_slice(entry))
    }
}

/// What an envelope on a topic is known by among those who pass it on.
pub fn envelope_id(topic: &str, envelope: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("starling 2026 gossip message id v1");
    hasher.update(&(topic.len() as u64).to_le_bytes());
    hasher.update(topic.as_bytes());
    hasher.update(envelope);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_opens_on_its_topic_alone() {
        let (ours, other) = (GossipKey::from_secret(&[1; 32]), GossipKey::from_secret(&[2; 32]));
        assert_ne!(ours.topic(), other.topic());
        let envelope = ours.seal(b"sealed").unwrap();
        assert_eq!(ours.open(&envelope), Ok(Bytes::from_static(b"sealed")));
        assert_eq!(ours.seal(b"sealed"), Some(envelope.clone()), "whoever passes it on makes the same");
        assert_eq!(other.open(&envelope), Err(EnvelopeError::Code));
        for at in 1..envelope.len() {
            let mut changed = envelope.to_vec();
            changed[at] ^= 1;
            assert_eq!(ours.open(&changed), Err(EnvelopeError::Code), "{at}");
        }
        let mut newer = envelope.to_vec();
        newer[0] = 2;
        assert_eq!(ours.open(&newer), Err(EnvelopeError::Version));
        for length in 0..=HEAD {
            assert_eq!(ours.open(&envelope[..length]), Err(EnvelopeError::Size));
        }
    }

    #[test]
    fn what_is_too_long_is_not_passed_on() {
        let key = GossipKey::from_secret(&[1; 32]);
        let longest = key.seal(&vec![7; MAX_GOSSIP_ENTRY]).unwrap();
        assert_eq!(longest.len(), MAX_ENVELOPE);
        assert_eq!(key.open(&longest).unwrap().len(), MAX_GOSSIP_ENTRY);
        assert_eq!(key.seal(&vec![7; MAX_GOSSIP_ENTRY + 1]), None);
        assert_eq!(key.seal(&[]), None);
        assert_eq!(key.open(&vec![1; MAX_ENVELOPE + 1]), Err(EnvelopeError::Size));
    }

    #[test]
    fn a_topic_is_written_in_one_way() {
        let topic = GossipKey::from_secret(&[1; 32]).topic();
        let text = topic.to_text();
        assert_eq!(TopicId::from_text(&text), Some(topic));
        assert_eq!(TopicId::from_text(&text.to_uppercase()), None);
        assert_eq!(TopicId::from_text(&text[1..]), None);
        assert_ne!(envelope_id("a", b"bc"), envelope_id("ab", b"c"));
    }
}
