//! Signals of calls: the events by which devices find one another for media (docs/protocol.md, calls). They are numbered events of a
//! conversation, so what they carry is bound to the device that wrote it.

use crate::{
    EventError,
    limits::{MAX_CALL_TEXT, MAX_CANDIDATE, MAX_CANDIDATES, MAX_DESCRIPTION},
};

/// A call, as both sides name it: random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CallId(pub [u8; 16]);

impl std::fmt::Debug for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CallId({self})")
    }
}

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for CallId {
    type Err = EventError;

    fn from_str(text: &str) -> Result<Self, EventError> {
        let mut id = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err(EventError::Malformed);
        }
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| EventError::Malformed)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| EventError::Malformed)?;
        }
        Ok(Self(id))
    }
}

/// How a call ended. Numbers are never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CallEnd {
    /// Somebody hung up.
    #[default]
    HungUp,
    /// Who was called did not want to.
    Declined,
    /// Who was called has too many calls.
    Busy,
    /// Nobody answered in time.
    NoAnswer,
    /// Who called hung up before there was an answer.
    Cancelled,
    /// Another device of the account has it.
    Elsewhere,
    /// No connection could be made.
    Failed,
    /// The connection was lost.
    Lost,
    /// The check against somebody in between failed.
    Insecure,
}

impl CallEnd {
    /// Its number on the wire and in the store.
    pub fn number(self) -> u32 {
        match self {
            Self::HungUp => 0,
            Self::Declined => 1,
            Self::Busy => 2,
            Self::NoAnswer => 3,
            Self::Cancelled => 4,
            Self::Elsewhere => 5,
            Self::Failed => 6,
            Self::Lost => 7,
            Self::Insecure => 8,
        }
    }

    /// From its number; a newer one is a hang-up.
    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Declined,
            2 => Self::Busy,
            3 => Self::NoAnswer,
            4 => Self::Cancelled,
            5 => Self::Elsewhere,
            6 => Self::Failed,
            7 => Self::Lost,
            8 => Self::Insecure,
            _ => Self::HungUp,
        }
    }

    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::Declined => "declined",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Cancelled => "cancelled",
            Self::Elsewhere => "elsewhere",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Insecure => "insecure",
        }
    }
}

/// What is said about a recording of a call. Numbers are never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recording {
    /// The sender wants to record.
    Asked,
    /// The sender agrees to be recorded.
    Agreed,
    /// The sender does not agree, or no longer.
    Refused,
    /// The sender no longer records.
    Ended,
}

impl Recording {
    fn number(self) -> u32 {
        match self {
            Self::Asked => 0,
            Self::Agreed => 1,
            Self::Refused => 2,
            Self::Ended => 3,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Asked, Self::Agreed, Self::Refused, Self::Ended].into_iter().find(|r| r.number() == number)
    }

    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Agreed => "agreed",
            Self::Refused => "refused",
            Self::Ended => "ended",
        }
    }
}

/// What a side of a call contributes to its short authentication string: random.
pub type SasNonce = [u8; 32];

/// A hash that binds the side that offers to its [`SasNonce`] before it knows the other one.
pub type SasCommitment = [u8; 32];

/// What one side of a call tells the other. Who runs a version without commitments gives neither commitment nor nonce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallSignal {
    /// A call comes in, with the caller's offer (SDP).
    Ring {
        /// With pictures.
        video: bool,
        /// Session description.
        offer: String,
        /// To the nonce that is revealed after the answer.
        commitment: Option<SasCommitment>,
    },
    /// A device takes it, with its answer (SDP).
    Answer {
        /// Session description.
        answer: String,
        /// The nonce of the device that answers.
        nonce: Option<SasNonce>,
    },
    /// Ways to reach the sender (ICE candidates, JSON), as they are found.
    Candidates(Vec<String>),
    /// A new offer within the call, after the network changed.
    Restart {
        /// Which of the new offers, counted from 1.
        number: u32,
        /// Session description.
        offer: String,
    },
    /// The answer to one of those.
    Restarted {
        /// Number of that offer: an answer to an older one is of no use.
        number: u32,
        /// Session description.
        answer: String,
        /// With the answer to a `Take`: the nonce of the device that answers.
        nonce: Option<SasNonce>,
    },
    /// Who does not make the offers asks for a new one: the network changed, or nothing comes. So either end begins, and offers never cross.
    Reconnect,
    /// It is over.
    End {
        /// Why.
        why: CallEnd,
        /// A word with it; may be empty.
        text: String,
    },
    /// About a recording: asked, agreed or not. Both sides keep it in their timelines.
    Recording {
        /// What is said.
        what: Recording,
        /// The question that it is about: who asks counts.
        question: u32,
    },
    /// The sender hands the call over to another device of its account.
    Transfer {
        /// The device (32 bytes) that may take it.
        to: [u8; 32],
        /// The device (32 bytes) at the call's other end.
        with: [u8; 32],
        /// With pictures.
        video: bool,
    },
    /// The device that a call was handed over to takes it, with its offer (SDP).
    Take {
        /// Session description.
        offer: String,
        /// To the nonce that is revealed after the answer.
        commitment: Option<SasCommitment>,
    },
    /// The nonce that the offer's commitment is about: sent once there is an answer with a nonce.
    Reveal {
        /// The nonce.
        nonce: SasNonce,
        /// The device (32 bytes) whose answer the sender has taken: others that have answered, too, are out. Older versions don't say.
        to: Option<[u8; 32]>,
    },
    /// The sender wants to have a call that another device of its account has.
    Fetch,
    /// What is kept of a call in a timeline. Never sent; ignored when received.
    Note {
        /// How it ended.
        why: CallEnd,
        /// With pictures.
        video: bool,
        /// How long people talked, in milliseconds; 0 if they did not.
        duration_ms: u64,
    },
}

/// A signal of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Which.
    pub id: CallId,
    /// What.
    pub signal: CallSignal,
}

pub(crate) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Call {
        #[prost(bytes, tag = "1")]
        pub id: Vec<u8>,
        #[prost(oneof = "Signal", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16")]
        pub signal: Option<Signal>,
        /// With `Ring` and `Take` a commitment, with `Answer` and `Restarted` a nonce. Older versions skip it.
        #[prost(bytes = "vec", tag = "13")]
        pub sas: Vec<u8>,
        /// With `Reveal` the device that it is for. Older versions skip it.
        #[prost(bytes = "vec", tag = "15")]
        pub to: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Signal {
        #[prost(message, tag = "2")]
        Ring(Ring),
        #[prost(string, tag = "3")]
        Answer(String),
        #[prost(message, tag = "4")]
        Candidates(Candidates),
        #[prost(message, tag = "5")]
        Restart(Renewal),
        #[prost(message, tag = "6")]
        Restarted(Renewal),
        #[prost(message, tag = "7")]
        End(End),
        #[prost(message, tag = "8")]
        Note(Note),
        #[prost(message, tag = "9")]
        Recording(Record),
        #[prost(message, tag = "10")]
        Transfer(Transfer),
        #[prost(string, tag = "11")]
        Take(String),
        #[prost(bool, tag = "12")]
        Fetch(bool),
        #[prost(bytes, tag = "14")]
        Reveal(Vec<u8>),
        #[prost(bool, tag = "16")]
        Reconnect(bool),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Transfer {
        #[prost(bytes = "vec", tag = "1")]
        pub to: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub with: Vec<u8>,
        #[prost(bool, tag = "3")]
        pub video: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Ring {
        #[prost(bool, tag = "1")]
        pub video: bool,
        #[prost(string, tag = "2")]
        pub offer: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Renewal {
        #[prost(uint32, tag = "1")]
        pub number: u32,
        #[prost(string, tag = "2")]
        pub description: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Candidates {
        #[prost(string, repeated, tag = "1")]
        pub candidates: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct End {
        #[prost(uint32, tag = "1")]
        pub why: u32,
        #[prost(string, tag = "2")]
        pub text: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Record {
        #[prost(uint32, tag = "1")]
        pub what: u32,
        #[prost(uint32, tag = "2")]
        pub question: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Note {
        #[prost(uint32, tag = "1")]
        pub why: u32,
        #[prost(bool, tag = "2")]
        pub video: bool,
        #[prost(uint64, tag = "3")]
        pub duration_ms: u64,
    }
}

impl Call {
    pub(crate) fn to_proto(&self) -> proto::Call {
        let signal = match &self.signal {
            CallSignal::Ring { video, offer, .. } => {
                proto::Signal::Ring(proto::Ring { video: *video, offer: offer.clone() })
            }
            CallSignal::Answer { answer, .. } => proto::Signal::Answer(answer.clone()),
            CallSignal::Candidates(candidates) => {
                proto::Signal::Candidates(proto::Candidates { candidates: candidates.clone() })
            }
            CallSignal::Restart { number, offer } => {
                proto::Signal::Restart(proto::Renewal { number: *number, description: offer.clone() })
            }
            CallSignal::Restarted { number, answer, .. } => {
                proto::Signal::Restarted(proto::Renewal { number: *number, description: answer.clone() })
            }
            CallSignal::End { why, text } => proto::Signal::End(proto::End { why: why.number(), text: text.clone() }),
            CallSignal::Recording { what, question } => {
                proto::Signal::Recording(proto::Record { what: what.number(), question: *question })
            }
            CallSignal::Transfer { to, with, video } => {
                proto::Signal::Transfer(proto::Transfer { to: to.to_vec(), with: with.to_vec(), video: *video })
            }
            CallSignal::Take { offer, .. } => proto::Signal::Take(offer.clone()),
            CallSignal::Fetch => proto::Signal::Fetch(true),
            CallSignal::Reveal { nonce, .. } => proto::Signal::Reveal(nonce.to_vec()),
            CallSignal::Reconnect => proto::Signal::Reconnect(true),
            CallSignal::Note { why, video, duration_ms } => {
                proto::Signal::Note(proto::Note { why: why.number(), video: *video, duration_ms: *duration_ms })
            }
        };
        let sas = match &self.signal {
            CallSignal::Ring { commitment: sas, .. }
            | CallSignal::Take { commitment: sas, .. }
            | CallSignal::Answer { nonce: sas, .. }
            | CallSignal::Restarted { nonce: sas, .. } => sas.map(Vec::from),
            _ => None,
        };
        let to = if let CallSignal::Reveal { to, .. } = &self.signal { to.map(Vec::from) } else { None };
        let (sas, to) = (sas.unwrap_or_default(), to.unwrap_or_default());
        proto::Call { id: self.id.0.to_vec(), signal: Some(signal), sas, to }
    }

    /// Nothing for a signal that a newer version knows.
    pub(crate) fn from_proto(call: proto::Call) -> Result<Option<Self>, EventError> {
        let id = CallId(call.id.as_slice().try_into().map_err(|_| EventError::Malformed)?);
        let bounded =
            |text: String, most: usize| if text.len() <= most { Ok(text) } else { Err(EventError::Malformed) };
        let bytes = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| EventError::Malformed);
        let sas = if call.sas.is_empty() { None } else { Some(bytes(call.sas)?) };
        let Some(signal) = call.signal else { return Ok(None) };
        let signal = match signal {
            proto::Signal::Ring(ring) => {
                CallSignal::Ring { video: ring.video, offer: bounded(ring.offer, MAX_DESCRIPTION)?, commitment: sas }
            }
            proto::Signal::Answer(answer) => {
                CallSignal::Answer { answer: bounded(answer, MAX_DESCRIPTION)?, nonce: sas }
            }
            proto::Signal::Candidates(list) => {
                if list.candidates.len() > MAX_CANDIDATES || list.candidates.iter().any(|c| c.len() > MAX_CANDIDATE) {
                    return Err(EventError::Malformed);
                }
                CallSignal::Candidates(list.candidates)
            }
            proto::Signal::Restart(proto::Renewal { number, description }) => {
                CallSignal::Restart { number, offer: bounded(description, MAX_DESCRIPTION)? }
            }
            proto::Signal::Restarted(proto::Renewal { number, description }) => {
                CallSignal::Restarted { number, answer: bounded(description, MAX_DESCRIPTION)?, nonce: sas }
            }
            proto::Signal::End(end) => {
                CallSignal::End { why: CallEnd::from_number(end.why), text: bounded(end.text, MAX_CALL_TEXT)? }
            }
            proto::Signal::Recording(record) => match Recording::from_number(record.what) {
                Some(what) => CallSignal::Recording { what, question: record.question },
                None => return Ok(None),
            },
            proto::Signal::Transfer(transfer) => {
                let (to, with) = (bytes(transfer.to)?, bytes(transfer.with)?);
                CallSignal::Transfer { to, with, video: transfer.video }
            }
            proto::Signal::Take(offer) => CallSignal::Take { offer: bounded(offer, MAX_DESCRIPTION)?, commitment: sas },
            proto::Signal::Fetch(_) => CallSignal::Fetch,
            proto::Signal::Reconnect(_) => CallSignal::Reconnect,
            proto::Signal::Reveal(nonce) => {
                let to = if call.to.is_empty() { None } else { Some(bytes(call.to)?) };
                CallSignal::Reveal { nonce: bytes(nonce)?, to }
            }
            proto::Signal::Note(note) => CallSignal::Note {
                why: CallEnd::from_number(note.why),
                video: note.video,
                duration_ms: note.duration_ms,
            },
        };
        Ok(Some(Self { id, signal }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn ids_and_ends_are_read_back() {
        let id = CallId([0xa5; 16]);
        assert_eq!(id.to_string().parse::<CallId>().unwrap(), id);
        assert!("xyz".parse::<CallId>().is_err());
        assert!("ä5".repeat(16).parse::<CallId>().is_err());
        for number in 0..9 {
            assert_eq!(CallEnd::from_number(number).number(), number);
        }
        assert_eq!(CallEnd::from_number(99), CallEnd::HungUp);
    }

    #[test]
    fn too_much_is_refused() {
        let call = |signal| Call { id: CallId([1; 16]), signal }.to_proto();
        let long = call(CallSignal::Answer { answer: "x".repeat(MAX_DESCRIPTION + 1), nonce: None });
        assert_eq!(Call::from_proto(long), Err(EventError::Malformed));
        let many = call(CallSignal::Candidates(vec![String::new(); MAX_CANDIDATES + 1]));
        assert_eq!(Call::from_proto(many), Err(EventError::Malformed));
        let newer = proto::Call { id: vec![1; 16], signal: None, sas: Vec::new(), to: Vec::new() };
        assert_eq!(Call::from_proto(newer), Ok(None));
        let newer = proto::Call {
            id: vec![1; 16],
            signal: Some(proto::Signal::Recording(proto::Record { what: 99, question: 1 })),
            sas: Vec::new(),
            to: Vec::new(),
        };
        assert_eq!(Call::from_proto(newer), Ok(None));
        let agreed =
            Call { id: CallId([1; 16]), signal: CallSignal::Recording { what: Recording::Agreed, question: 7 } };
        assert_eq!(Call::from_proto(agreed.to_proto()), Ok(Some(agreed)));
        let asked = Call { id: CallId([1; 16]), signal: CallSignal::Reconnect };
        assert_eq!(Call::from_proto(asked.to_proto()), Ok(Some(asked)));
        let moved = |to: &[u8]| {
            let transfer = proto::Transfer { to: to.to_vec(), with: vec![2; 32], video: true };
            let signal = Some(proto::Signal::Transfer(transfer));
            Call::from_proto(proto::Call { id: vec![1; 16], signal, sas: Vec::new(), to: Vec::new() })
        };
        let transfer = CallSignal::Transfer { to: [1; 32], with: [2; 32], video: true };
        assert_eq!(moved(&[1; 32]), Ok(Some(Call { id: CallId([1; 16]), signal: transfer })));
        assert_eq!(moved(&[1; 31]), Err(EventError::Malformed));
    }

    #[test]
    fn commitments_and_nonces_are_read_back_and_an_older_version_gives_none() {
        let (answer, offer) = (String::from("answer"), String::from("offer"));
        for sas in [None, Some([9; 32])] {
            let signals = [
                CallSignal::Ring { video: true, offer: offer.clone(), commitment: sas },
                CallSignal::Take { offer: offer.clone(), commitment: sas },
                CallSignal::Answer { answer: answer.clone(), nonce: sas },
                CallSignal::Restarted { number: 0, answer: answer.clone(), nonce: sas },
                CallSignal::Reveal { nonce: [8; 32], to: sas },
            ];
            for signal in signals {
                let call = Call { id: CallId([1; 16]), signal };
                assert_eq!(Call::from_proto(call.to_proto()), Ok(Some(call)));
            }
        }
        let signal = CallSignal::Reveal { nonce: [8; 32], to: None };
        let short = proto::Call { sas: vec![1; 31], ..Call { id: CallId([1; 16]), signal }.to_proto() };
        assert_eq!(Call::from_proto(short), Err(EventError::Malformed));
    }
}
