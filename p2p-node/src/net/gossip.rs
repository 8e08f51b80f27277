//! What becomes of an envelope that a member has passed on: judged before it goes anywhere, by its size, the rate at which it comes, who brings it,
//! and its code. A state machine with time as an argument; the swarm reports its verdicts to gossipsub, and the test world carries envelopes by them.
//!
//! The rate is looked at first, before gossipsub sees an envelope: it keeps each for some seconds, on whatever topic, and its id for two minutes, so
//! that a copy from somebody else would be dropped as one that was there before.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use bytes::Bytes;
use starling_keys::DeviceId;
use starling_wire::{GossipKey, TopicId, limits::MAX_ENVELOPE};

/// Envelopes that one neighbour may bring in a second: it passes on what all others write, and a group writes some hundred in a burst.
pub const ENVELOPES_PER_SECOND: u64 = 500;
/// … and at once.
pub const ENVELOPE_BURST: u64 = 2_000;
/// Bytes of them in a second …
pub const BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;
/// … and at once. What comes beyond is read in the log.
pub const BYTE_BURST: u64 = 8 * 1024 * 1024;
/// Envelopes that are remembered, so that they are passed on once: those of some minutes of a lively group. gossipsub forgets them sooner.
pub const REMEMBERED: usize = 16 * 1024;

/// A topic that this device takes part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// What envelopes are made and opened with.
    pub key: GossipKey,
    /// The other devices that take part in it. Nothing of the topic goes to others, or is taken from them.
    pub members: BTreeSet<DeviceId>,
}

/// What becomes of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A member has made it, and it is new: it is passed on, and this is the entry in it.
    Accept(Bytes),
    /// It is dropped. Whoever has brought it may be honest.
    Ignore,
    /// It is dropped, and an honest member would not have brought it.
    Reject,
}

/// What a neighbour may still bring.
#[derive(Clone, Copy, Debug)]
struct Budget {
    envelopes: u64,
    bytes: u64,
    /// Up to when it has grown.
    at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { envelopes: ENVELOPE_BURST, bytes: BYTE_BURST, at: now }
    }

    /// Takes an envelope of this length off; `false` if there is no room for it.
    fn take(&mut self, now: Instant, length: u64) -> bool {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX).min(60_000);
        if passed * ENVELOPES_PER_SECOND >= 1_000 {
            self.envelopes = (self.envelopes + passed * ENVELOPES_PER_SECOND / 1_000).min(ENVELOPE_BURST);
            self.bytes = (self.bytes + passed * BYTES_PER_SECOND / 1_000).min(BYTE_BURST);
            self.at = now;
        }
        if self.envelopes == 0 || self.bytes < length {
            return false;
        }
        (self.envelopes, self.bytes) = (self.envelopes - 1, self.bytes - length);
        true
    }
}

/// Devices that take part in something with this one since a topic has changed, and those that do not any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Those that have come.
    pub came: Vec<DeviceId>,
    /// Those that have gone.
    pub gone: Vec<DeviceId>,
}

/// The topics of this device, and what has come on them.
#[derive(Debug, Default)]
pub struct Inspector {
    topics: BTreeMap<TopicId, Topic>,
    /// In how many of them each device takes part: of many topics with many members one changes at a time.
    members: BTreeMap<DeviceId, usize>,
    budgets: BTreeMap<DeviceId, Budget>,
    seen: BTreeSet<[u8; 16]>,
    by_age: VecDeque<[u8; 16]>,
}

impl Inspector {
    /// Takes part in a topic, with these members; or no longer.
    pub fn set(&mut self, id: TopicId, topic: Option<Topic>) -> Moved {
        let mut moved = Moved::default();
        for device in topic.iter().flat_map(|topic| &topic.members) {
            let count = self.members.entry(*device).or_default();
            *count += 1;
            if *count == 1 {
                moved.came.push(*device);
            }
        }
        let before = match topic {
            Some(topic) => self.topics.insert(id, topic),
            None => self.topics.remove(&id),
        };
        for device in before.iter().flat_map(|topic| &topic.members) {
            let Some(count) = self.members.get_mut(device) else { continue };
            *count -= 1;
            if *count == 0 {
                self.members.remove(device);
                moved.gone.push(*device);
            }
        }
        let members = &self.members;
        self.budgets.retain(|device, _| members.contains_key(device));
        moved
    }

    /// Whether this device takes part in a topic.
    pub fn has(&self, id: &TopicId) -> bool {
        self.topics.contains_key(id)
    }

    /// Whether a device takes part in a topic; none if this device does not.
    pub fn is_member(&self, id: &TopicId, device: &DeviceId) -> Option<bool> {
        self.topics.get(id).map(|topic| topic.members.contains(device))
    }

    /// An envelope of this device leaves: it is not taken when it comes back.
    pub fn note_sent(&mut self, id: &TopicId, envelope: &[u8]) {
        self.remember(short_id(id, envelope));
    }

    /// Whether an envelope of this length is looked at: a neighbour may bring only so much. From others it is taken all the same.
    pub fn admits(&mut self, now: Instant, from: &DeviceId, length: usize) -> bool {
        let budget = self.budgets.entry(*from).or_insert_with(|| Budget::new(now));
        budget.take(now, length as u64)
    }

    /// Judges what a neighbour has brought, and may bring.
    pub fn judge(&mut self, from: &DeviceId, id: &TopicId, envelope: &[u8]) -> Verdict {
        // It may have been on its way when the topic was left.
        let Some(topic) = self.topics.get(id) else { return Verdict::Ignore };
        if !topic.members.contains(from) || envelope.len() > MAX_ENVELOPE {
            return Verdict::Reject;
        }
        let short = short_id(id, envelope);
        if self.seen.contains(&short) {
            return Verdict::Ignore;
        }
        match topic.key.open(envelope) {
            Ok(entry) => {
                self.remember(short);
                Verdict::Accept(entry)
            }
            Err(error) => {
                tracing::debug!(%error, "a neighbour has passed on what no member has made");
                Verdict::Reject
            }
        }
    }

    /// An entry could not be taken over: it is when it comes again.
    pub fn forget(&mut self, id: &TopicId, entry: &[u8]) {
        let envelope = self.topics.get(id).and_then(|topic| topic.key.seal(entry));
        if let Some(envelope) = envelope {
            self.seen.remove(&short_id(id, &envelope));
        }
    }

    fn remember(&mut self, short: [u8; 16]) {
        if !self.seen.insert(short) {
            return;
        }
        self.by_age.push_back(short);
        if self.by_age.len() > REMEMBERED
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}

fn short_id(id: &TopicId, envelope: &[u8]) -> [u8; 16] {
    let whole = blake3::keyed_hash(&id.0, envelope);
    let mut short = [0; 16];
    short.copy_from_slice(&whole.as_bytes()[..16]);
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use starling_keys::DeviceKey;

    use super::*;

    fn device(n: u8) -> DeviceId {
        DeviceKey::from_seed(&[n; 32]).id()
    }

    /// The topic of a secret with two other members.
    fn topic(secret: u8) -> (TopicId, Topic) {
        let key = GossipKey::from_secret(&[secret; 32]);
        (key.topic(), Topic { key, members: BTreeSet::from([device(1), device(2)]) })
    }

    #[test]
    fn what_a_member_has_made_is_taken_once() {
        let (id, topic) = topic(1);
        let envelope = topic.key.seal(b"entry").unwrap();
        let mut inspector = Inspector::default();
        assert_eq!(inspector.judge(&device(1), &id, &envelope), Verdict::Ignore, "no topic of ours");
        inspector.set(id, Some(topic));
        assert_eq!(inspector.judge(&device(1), &id, &envelope), Verdict::Accept(Bytes::from_static(b"entry")));
        assert_eq!(inspector.judge(&device(2), &id, &envelope), Verdict::Ignore, "a replay");
        inspector.set(id, None);
        assert_eq!(inspector.judge(&device(2), &id, &envelope), Verdict::Ignore, "an epoch that was left");
    }

    #[test]
    fn a_topic_that_changes_moves_its_own_members_alone() {
        let (first, second) = (topic(1), topic(2));
        let mut inspector = Inspector::default();
        let both = vec![device(1), device(2)];
        let mut came = inspector.set(first.0, Some(first.1.clone()));
        came.came.sort();
        let mut sorted = both.clone();
        sorted.sort();
        assert_eq!((came.came, came.gone), (sorted, Vec::new()));
        assert_eq!(inspector.set(second.0, Some(second.1)), Moved::default(), "they are there already");
        let smaller = Topic { members: BTreeSet::from([device(1), device(3)]), ..first.1 };
        let moved = inspector.set(first.0, Some(smaller));
        assert_eq!(moved, Moved { came: vec![device(3)], gone: Vec::new() }, "the other topic has who has gone");
        assert_eq!(inspector.set(second.0, None).gone, [device(2)]);
        assert_eq!(inspector.set(first.0, None).gone.len(), 2);
    }

    #[test]
    fn what_outsiders_make_or_bring_is_rejected_and_does_not_keep_out_the_true_one() {
        let (id, ours) = topic(1);
        let (_, other) = topic(2);
        let (good, bad) = (ours.key.seal(b"entry").unwrap(), other.key.seal(b"entry").unwrap());
        let mut inspector = Inspector::default();
        inspector.set(id, Some(ours));
        assert_eq!(inspector.judge(&device(1), &id, &bad), Verdict::Reject);
        assert_eq!(inspector.judge(&device(3), &id, &good), Verdict::Reject, "no member");
        assert_eq!(inspector.judge(&device(1), &id, &vec![1; MAX_ENVELOPE + 1]), Verdict::Reject);
        assert!(matches!(inspector.judge(&device(1), &id, &good), Verdict::Accept(_)));
    }

    #[test]
    fn a_neighbour_that_floods_is_held_back_and_the_others_are_not() {
        let (now, (id, topic)) = (Instant::now(), topic(1));
        let envelopes: Vec<Bytes> =
            (0..ENVELOPE_BURST + 10).map(|n| topic.key.seal(&n.to_be_bytes()).unwrap()).collect();
        let mut inspector = Inspector::default();
        inspector.set(id, Some(topic.clone()));
        let taken = |inspector: &mut Inspector, now: Instant, from: DeviceId, envelopes: &[Bytes]| {
            let taken = |envelope: &&Bytes| {
                inspector.admits(now, &from, envelope.len())
                    && matches!(inspector.judge(&from, &id, envelope), Verdict::Accept(_))
            };
            envelopes.iter().filter(taken).count() as u64
        };
        assert_eq!(taken(&mut inspector, now, device(1), &envelopes), ENVELOPE_BURST);
        let rest = &envelopes[ENVELOPE_BURST as usize..];
        assert_eq!(taken(&mut inspector, now, device(2), rest), 10, "from others the rest is taken");
        let more: Vec<Bytes> =
            (0..2_000_u64).map(|n| topic.key.seal(&[&[7][..], &n.to_be_bytes()].concat()).unwrap()).collect();
        let later = now + Duration::from_secs(1);
        assert_eq!(taken(&mut inspector, later, device(1), &more), ENVELOPES_PER_SECOND);
    }

    #[test]
    fn the_bytes_of_a_neighbour_are_bounded_too() {
        let (now, (id, topic)) = (Instant::now(), topic(1));
        let large = |n: u64| topic.key.seal(&n.to_be_bytes().repeat(8 * 1024)).unwrap();
        let mut inspector = Inspector::default();
        inspector.set(id, Some(topic.clone()));
        let taken = (0..200).filter(|n| inspector.admits(now, &device(1), large(*n).len())).count();
        assert_eq!(taken as u64, BYTE_BURST / large(0).len() as u64);
    }

    #[test]
    fn what_there_was_no_time_for_is_taken_when_it_comes_again() {
        let (id, topic) = topic(1);
        let envelope = topic.key.seal(b"entry").unwrap();
        let mut inspector = Inspector::default();
        inspector.set(id, Some(topic));
        for _ in 0..2 {
            let Verdict::Accept(entry) = inspector.judge(&device(1), &id, &envelope) else { panic!("not taken") };
            inspector.forget(&id, &entry);
        }
        assert!(matches!(inspector.judge(&device(2), &id, &envelope), Verdict::Accept(_)));
        assert_eq!(inspector.judge(&device(1), &id, &envelope), Verdict::Ignore);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut inspector = Inspector::default();
        for n in 0..(REMEMBERED as u64 + 100) {
            inspector.note_sent(&TopicId([1; 32]), &n.to_be_bytes());
        }
        assert_eq!((inspector.seen.len(), inspector.by_age.len()), (REMEMBERED, REMEMBERED));
    }
}
