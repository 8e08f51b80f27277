//! Events: the plaintext inside MLS application messages. Several events that wait together travel as one [`Batch`].
//!
//! Each kind of event has a file with its type and codec. A new kind is a file, a variant of [`Body`] and of the protocol buffer's `oneof`, and
//! a line in each of the two functions between them.

mod audit;
pub mod call;
mod cut;
mod delete;
mod devices;
mod edit;
mod handed;
mod profile;
mod reaction;
mod receipt;
mod removed_device_use;
mod report;
mod sealed_key;
mod text;
mod ways;

use std::fmt;

use bytes::Bytes;
use prost::Message as _;

use crate::{
    Leave,
    limits::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS},
};

pub use audit::{AuditPart, MAX_AUDIT_PART};
pub use call::Call;
pub use cut::{Cut, CutMessage};
pub use delete::Delete;
pub use devices::Devices;
pub use edit::Edit;
pub use handed::{HandedHistory, MAX_HANDED_DEVICES, MAX_HANDED_PART};
pub use profile::Profile;
pub use reaction::Reaction;
pub use receipt::{Delivered, KnownChain, MAX_CHAINS, MAX_MISSING, MissingEvents, Receipt};
pub use removed_device_use::RemovedDeviceUse;
pub use report::{MAX_REPORT_DEVICES, MAX_REPORT_REASON, MAX_REPORT_TEXT, Report, ReportContent};
pub use sealed_key::SealedKey;
pub use text::Text;
pub use ways::{ChannelWay, Ways};

/// A hybrid logical clock (Kulkarni et al. 2014): milliseconds since 1970 in the upper 48 bits, a counter in the lower 16.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Clock(pub u64);

impl Clock {
    /// The clock at a wall time, counter zero.
    pub fn at(ms: u64) -> Self {
        Self(ms << 16)
    }

    /// The wall-clock part in milliseconds since 1970.
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The stamp for a new event: later than every stamp seen, and never behind the wall clock.
    pub fn tick(&mut self, now_ms: u64) -> Self {
        self.0 = (self.0 + 1).max(Self::at(now_ms).0);
        *self
    }

    /// Takes note of a stamp from elsewhere. One further than `max_ahead_ms` in the future is not followed: a wrong clock must not spread.
    pub fn observe(&mut self, seen: Self, now_ms: u64, max_ahead_ms: u64) {
        if seen.ms() <= now_ms.saturating_add(max_ahead_ms) {
            self.0 = self.0.max(seen.0);
        }
    }
}

/// An event's identity, which is also its place in the order: clock, then the sender's tag, then the sender's sequence number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId {
    /// When it was made.
    pub clock: Clock,
    /// First eight bytes of the BLAKE3 hash of the sending device's key.
    pub device: [u8; 8],
    /// Counts the sender's numbered events in this conversation from 1; 0 for events without a number.
    pub sequence: u64,
}

impl EventId {
    /// Length of the encoded form.
    pub const LEN: usize = 24;

    /// The encoded form; its byte order is the order of events.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.clock.0.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.device);
        bytes[16..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// Reads the encoded form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let word = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[i..i + 8]);
            word
        };
        Some(Self {
            clock: Clock(u64::from_be_bytes(word(0))),
            device: word(8),
            sequence: u64::from_be_bytes(word(16)),
        })
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:02x}{:02x}/{}", self.clock.0, self.device[0], self.device[1], self.sequence)
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A message.
    Text(Text),
    /// A message's text was changed by its author.
    Edit(Edit),
    /// A message was deleted for everyone by its author.
    Delete(Delete),
    /// A reaction was set, changed or removed.
    Reaction(Reaction),
    /// Delivery and reading; carries no sequence number.
    Receipt(Receipt),
    /// The sender's display name, and that it is a contact from now on.
    Profile(Profile),
    /// What is known of the device chain of a member.
    Devices(Devices),
    /// A signal of a call.
    Call(Call),
    /// The sender's account has removed a device.
    Cut(Cut),
    /// The sender's account leaves the group.
    Leave(Leave),
    /// A device that the other account has removed was used at the sender's.
    RemovedDeviceUse(RemovedDeviceUse),
    /// A part of the group's audit log, for who has come.
    Audit(AuditPart),
    /// Ways into channels of the community, for who has come.
    Ways(Ways),
    /// A report to those who moderate the group.
    Report(Report),
    /// A part of the group's history, for who has come.
    HandedHistory(HandedHistory),
    /// Something that a newer version knows: the whole event, encoded, so that it can be kept until this program knows it, too. Empty where nothing is
    /// lost without it, as with a signal of a call.
    Unknown(Bytes),
}

impl Body {
    /// Whether the event belongs to the sender's numbered sequence, so that its absence is noticed.
    pub fn is_numbered(&self) -> bool {
        !matches!(self, Self::Receipt(_))
    }
}

/// One thing that happened in a conversation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Identity and place in the order. On the wire the device is left out: it is the MLS sender.
    pub id: EventId,
    /// What happened.
    pub body: Body,
}

/// Why a batch was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EventError {
    /// Not a batch, or beyond its limits.
    #[error("not a valid batch of events")]
    Malformed,
}

mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Batch {
        #[prost(message, repeated, tag = "1")]
        pub events: Vec<Event>,
        #[prost(uint64, tag = "2")]
        pub floor: u64,
        #[prost(fixed64, tag = "3")]
        pub before: u64,
    }

    /// The same, with events as they are.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RawBatch {
        #[prost(bytes = "bytes", repeated, tag = "1")]
        pub events: Vec<bytes::Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Event {
        #[prost(fixed64, tag = "1")]
        pub clock: u64,
        #[prost(uint64, tag = "2")]
        pub sequence: u64,
        #[prost(oneof = "Body", tags = "3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 20, 21, 22")]
        pub body: Option<Body>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        #[prost(message, tag = "3")]
        Text(super::text::proto::Text),
        #[prost(message, tag = "4")]
        Edit(super::edit::proto::Edit),
        #[prost(bytes, tag = "5")]
        Delete(Vec<u8>),
        #[prost(message, tag = "6")]
        Reaction(super::reaction::proto::Reaction),
        #[prost(message, tag = "7")]
        Receipt(super::receipt::proto::Receipt),
        #[prost(message, tag = "8")]
        Profile(super::profile::proto::Profile),
        /// The signed device list of version 0.1.
        #[prost(bytes, tag = "10")]
        List(Vec<u8>),
        #[prost(message, tag = "11")]
        Call(super::call::proto::Call),
        #[prost(message, tag = "12")]
        Cut(super::cut::proto::Cut),
        #[prost(message, tag = "13")]
        Devices(super::devices::proto::Devices),
        #[prost(message, tag = "14")]
        Leave(crate::reasons::LeaveProto),
        #[prost(message, tag = "15")]
        RemovedDeviceUse(super::removed_device_use::proto::RemovedDeviceUse),
        #[prost(message, tag = "16")]
        Audit(super::audit::proto::AuditPart),
        #[prost(message, tag = "20")]
        Ways(super::ways::proto::Ways),
        #[prost(message, tag = "21")]
        Report(super::report::proto::Report),
        #[prost(message, tag = "22")]
        HandedHistory(super::handed::proto::HandedHistory),
    }
}

/// The id of an event that another one is about.
fn target(bytes: &[u8]) -> Result<EventId, EventError> {
    EventId::from_bytes(bytes).ok_or(EventError::Malformed)
}

/// A text of at most `max` bytes.
fn bounded(text: String, max: usize) -> Result<String, EventError> {
    if text.len() <= max { Ok(text) } else { Err(EventError::Malformed) }
}

impl Body {
    fn to_proto(&self) -> Option<proto::Body> {
        Some(match self {
            Self::Text(text) => proto::Body::Text(text.to_proto()),
            Self::Edit(edit) => proto::Body::Edit(edit.to_proto()),
            Self::Delete(delete) => proto::Body::Delete(delete.to_proto()),
            Self::Reaction(reaction) => proto::Body::Reaction(reaction.to_proto()),
            Self::Receipt(receipt) => proto::Body::Receipt(receipt.to_proto()),
            Self::Profile(profile) => proto::Body::Profile(profile.to_proto()),
            Self::Devices(devices) => proto::Body::Devices(devices.to_proto()),
            Self::Call(call) => proto::Body::Call(call.to_proto()),
            Self::Cut(cut) => proto::Body::Cut(cut.to_proto()),
            Self::Leave(leave) => proto::Body::Leave(leave.to_proto()),
            Self::RemovedDeviceUse(used) => proto::Body::RemovedDeviceUse(used.to_proto()),
            Self::Audit(part) => proto::Body::Audit(part.to_proto()),
            Self::Ways(ways) => proto::Body::Ways(ways.to_proto()),
            Self::Report(report) => proto::Body::Report(report.to_proto()),
            Self::HandedHistory(history) => proto::Body::HandedHistory(history.to_proto()),
            Self::Unknown(_) => return None,
        })
    }

    fn from_proto(body: Option<proto::Body>) -> Result<Self, EventError> {
        Ok(match body {
            Some(proto::Body::Text(text)) => Self::Text(Text::from_proto(text)?),
            Some(proto::Body::Edit(edit)) => Self::Edit(Edit::from_proto(edit)?),
            Some(proto::Body::Delete(target)) => Self::Delete(Delete::from_proto(&target)?),
            Some(proto::Body::Reaction(reaction)) => Self::Reaction(Reaction::from_proto(reaction)?),
            Some(proto::Body::Receipt(receipt)) => Self::Receipt(Receipt::from_proto(&receipt)?),
            Some(proto::Body::Profile(profile)) => Self::Profile(Profile::from_proto(&profile)?),
            Some(proto::Body::List(list)) => {
                Self::Devices(Devices::from_proto(devices::proto::Devices { list, labels: Vec::new() })?)
            }
            Some(proto::Body::Devices(devices)) => Self::Devices(Devices::from_proto(devices)?),
            Some(proto::Body::Call(call)) => Call::from_proto(call)?.map_or(Self::Unknown(Bytes::new()), Self::Call),
            Some(proto::Body::Cut(cut)) => Self::Cut(Cut::from_proto(cut)?),
            Some(proto::Body::Leave(leave)) => Self::Leave(Leave::from_proto(&leave)?),
            Some(proto::Body::RemovedDeviceUse(used)) => Self::RemovedDeviceUse(RemovedDeviceUse::from_proto(&used)?),
            Some(proto::Body::Audit(part)) => Self::Audit(AuditPart::from_proto(part)?),
            Some(proto::Body::Ways(ways)) => Self::Ways(Ways::from_proto(ways)?),
            Some(proto::Body::Report(report)) => Self::Report(Report::from_proto(report)?),
            Some(proto::Body::HandedHistory(history)) => Self::HandedHistory(HandedHistory::from_proto(history)?),
            None => Self::Unknown(Bytes::new()),
        })
    }
}

impl Event {
    fn to_proto(&self) -> proto::Event {
        proto::Event { clock: self.id.clock.0, sequence: self.id.sequence, body: self.body.to_proto() }
    }

    /// The encoded body alone, for storing it beside the id.
    pub fn encode_body(body: &Body) -> Vec<u8> {
        if let Body::Unknown(event) = body {
            return event.to_vec();
        }
        proto::Event { clock: 0, sequence: 0, body: body.to_proto() }.encode_to_vec()
    }

    /// Reads what [`Event::encode_body`] made.
    pub fn decode_body(bytes: &[u8]) -> Result<Body, EventError> {
        let event = proto::Event::decode(bytes).map_err(|_| EventError::Malformed)?;
        Body::from_proto(event.body)
    }

    /// About how many bytes the event takes inside a batch.
    pub fn encoded_len(&self) -> usize {
        self.to_proto().encoded_len() + 4
    }
}

/// The plaintext of one MLS application message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// In the order of their sequence numbers.
    pub events: Vec<Event>,
    /// Numbered events of the sender before this one will not come (any more): a new member need not wait for them.
    pub floor: u64,
    /// The clock of the sender's numbered event before the first of these; zero if that is not known. Who has another event under that number has
    /// events of a copy of the sender.
    pub before: Clock,
}

impl Batch {
    /// Encodes the batch; `device` of each id is left out.
    pub fn encode(&self) -> Vec<u8> {
        let events = self.events.iter().map(Event::to_proto).collect();
        proto::Batch { events, floor: self.floor, before: self.before.0 }.encode_to_vec()
    }

    /// Reads a batch that `device` (its tag) has sent.
    pub fn decode(bytes: &[u8], device: [u8; 8]) -> Result<Self, EventError> {
        if bytes.len() > MAX_BATCH_BYTES + 4096 {
            return Err(EventError::Malformed);
        }
        let batch = proto::Batch::decode(bytes).map_err(|_| EventError::Malformed)?;
        if batch.events.len() > MAX_BATCH_EVENTS {
            return Err(EventError::Malformed);
        }
        // Mostly all are known: then they are read once.
        let mut raw = None;
        let mut raw_event = |at: usize| {
            let events = raw.get_or_insert_with(|| proto::RawBatch::decode(bytes).unwrap_or_default().events);
            events.get(at).cloned().unwrap_or_default()
        };
        let events = batch
            .events
            .into_iter()
            .enumerate()
            .map(|(at, e)| {
                let body = match e.body {
                    None => Body::Unknown(raw_event(at)),
                    body => Body::from_proto(body)?,
                };
                if !matches!(body, Body::Unknown(_)) && body.is_numbered() != (e.sequence != 0) {
                    return Err(EventError::Malformed);
                }
                Ok(Event { id: EventId { clock: Clock(e.clock), device, sequence: e.sequence }, body })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { events, floor: batch.floor, before: Clock(batch.before) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Delivered, DeviceLabel};

    fn id(clock: u64, sequence: u64) -> EventId {
        EventId { clock: Clock(clock), device: [7; 8], sequence }
    }

    #[test]
    fn a_batch_is_read_back() {
        let bodies = [
            Body::Text(Text {
                text: "hi".into(),
                reply_to: Some(id(1, 1)),
                mentions: vec![[3; 32]],
                mentions_all: true,
            }),
            Body::Edit(Edit { target: id(1, 1), text: "ho".into() }),
            Body::Delete(Delete { target: id(1, 1) }),
            Body::Reaction(Reaction { target: id(1, 1), emoji: "👍".into() }),
            Body::Profile(Profile { name: "alice".into(), bot: true, named: Some((7, 9)), username: "alice".into() }),
            Body::Profile(Profile { name: "🇨🇦".repeat(64), bot: false, named: None, username: String::new() }),
            Body::Devices(Devices {
                list: vec![1, 2, 3],
                labels: vec![DeviceLabel { device: vec![4; 32].into(), name: "laptop".into(), kind: "linux".into() }],
            }),
            Body::Cut(Cut {
                device: [7; 32],
                upto: 5,
                early: vec![[7, 9], [11, 11]],
                since_ms: 8,
                messages: vec![CutMessage { clock: Clock(3), sequence: 5, body: vec![1] }],
            }),
            Body::Ways(Ways {
                ways: vec![ChannelWay {
                    conversation: [1; 16],
                    group: [2; 16],
                    secret: [3; 32],
                    home: "home".into(),
                    name: "news".into(),
                }],
            }),
            Body::Report(Report {
                sealed: vec![1; 300].into(),
                keys: vec![SealedKey { device: [2; 8], sealed: vec![3; 40].into() }],
            }),
            Body::HandedHistory(HandedHistory {
                sealed: vec![1; 300].into(),
                keys: vec![SealedKey { device: [2; 8], sealed: vec![3; 40].into() }],
            }),
            Body::Leave(Leave { account: [1; 32], device: [7; 32], group: [2; 16], epoch: 3, signature: [9; 64] }),
            Body::RemovedDeviceUse(RemovedDeviceUse { device: [7; 32], attempt: 2 }),
            Body::Audit(AuditPart { first: 3, before: [4; 32], entries: vec![Bytes::from_static(b"entry")] }),
            Body::Call(Call {
                id: crate::CallId([3; 16]),
                signal: crate::CallSignal::Ring { video: true, offer: "v=0".into(), commitment: Some([7; 32]) },
            }),
            Body::Call(Call {
                id: crate::CallId([3; 16]),
                signal: crate::CallSignal::Candidates(vec!["a".into(), "b".into()]),
            }),
            Body::Call(Call {
                id: crate::CallId([3; 16]),
                signal: crate::CallSignal::End { why: crate::CallEnd::Busy, text: "later".into() },
            }),
            Body::Call(Call { id: crate::CallId([3; 16]), signal: crate::CallSignal::Reconnect }),
        ];
        let mut events: Vec<Event> = bodies
            .into_iter()
            .enumerate()
            .map(|(i, body)| Event { id: id(9 + i as u64, 2 + i as u64), body })
            .collect();
        events.push(Event {
            id: id(99, 0),
            body: Body::Receipt(Receipt {
                delivered: vec![Delivered { device: [1; 8], upto: 4, clock: Clock(9) }],
                read: Clock(5),
                chains: vec![KnownChain { account: [2; 32], length: 3, head: [4; 32] }],
                missing: vec![MissingEvents { device: [5; 8], first: 7, last: 9 }],
            }),
        });
        let batch = Batch { events, floor: 3, before: Clock(2) };
        assert_eq!(Batch::decode(&batch.encode(), [7; 8]), Ok(batch));
    }

    #[test]
    fn the_order_of_encoded_ids_is_the_order_of_events() {
        let mut ids = [id(2, 1), id(1, 9), id(1, 2), id(u64::MAX, 0)];
        let mut bytes: Vec<_> = ids.iter().map(|i| i.to_bytes()).collect();
        ids.sort();
        bytes.sort();
        assert_eq!(ids.iter().map(|i| i.to_bytes()).collect::<Vec<_>>(), bytes);
        assert_eq!(EventId::from_bytes(&bytes[0]), Some(ids[0]));
    }

    #[test]
    fn an_unknown_event_of_a_newer_peer_is_kept_in_sequence() {
        // Field 100 of an event, as some later version might send it.
        let newer = [&[0x0a, 0x0f][..], &[0x09, 1, 0, 0, 0, 0, 0, 0, 0, 0x10, 5, 0xa2, 0x06, 0x01, 0x61]].concat();
        let batch = Batch::decode(&newer, [0; 8]).unwrap();
        let event = Bytes::copy_from_slice(&newer[2..]);
        assert_eq!(batch.events[0].body, Body::Unknown(event.clone()));
        assert_eq!(Event::encode_body(&batch.events[0].body), event);
        assert!(matches!(Event::decode_body(&event), Ok(Body::Unknown(_))), "until the program knows it");
        assert_eq!(batch.events[0].id.sequence, 5);
    }

    #[test]
    fn a_clock_from_the_far_future_is_not_followed() {
        let mut clock = Clock::at(1000);
        clock.observe(Clock::at(1_000_000), 1000, 500);
        assert_eq!(clock, Clock::at(1000));
        clock.observe(Clock::at(1400), 1000, 500);
        assert!(clock.tick(1000) > Clock::at(1400));
    }
}
