//! A report of a message to those who moderate the group. All members see that there is one, and by whom; what it says is sealed for devices of
//! moderators.

use bytes::Bytes;
use prost::Message as _;

use super::sealed_key::{self, SealedKey};
use crate::{
    EventError, EventId,
    log::{pad, unpad},
};

/// Devices that one report is sealed for: each takes 1.2 KB.
pub const MAX_REPORT_DEVICES: usize = 16;
/// Bytes of the reported message's text that go with the report.
pub const MAX_REPORT_TEXT: usize = 4 * 1024;
/// Bytes of a reason.
pub const MAX_REPORT_REASON: usize = 1024;
/// Bytes of the sealed content: it is padded.
const MAX_SEALED: usize = 16 * 1024;

/// A report, sealed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The padded [`ReportContent`], sealed with a key of its own.
    pub sealed: Bytes,
    /// That key, sealed for each device that may read it. At most [`MAX_REPORT_DEVICES`].
    pub keys: Vec<SealedKey>,
}

/// What a report says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReportContent {
    /// The message.
    pub message: EventId,
    /// The account of its author, as the reporter says.
    pub author: [u8; 32],
    /// Its text as the reporter has it, at most [`MAX_REPORT_TEXT`] bytes.
    pub text: String,
    /// Why it is reported, at most [`MAX_REPORT_REASON`] bytes.
    pub reason: String,
}

pub(super) mod proto {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Report {
        #[prost(bytes = "bytes", tag = "1")]
        pub sealed: Bytes,
        #[prost(message, repeated, tag = "2")]
        pub keys: Vec<crate::event::sealed_key::proto::SealedKey>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ReportContent {
        #[prost(bytes = "vec", tag = "1")]
        pub message: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub author: Vec<u8>,
        #[prost(string, tag = "3")]
        pub text: String,
        #[prost(string, tag = "4")]
        pub reason: String,
    }
}

impl Report {
    /// What both seals are bound to: the conversation, and the device that reports, so that nobody passes a report of somebody else off as their own.
    pub fn context(conversation: &[u8; 16], reporter: &[u8; 8]) -> Vec<u8> {
        [&b"starling group report v1\0"[..], conversation, reporter].concat()
    }

    pub(super) fn to_proto(&self) -> proto::Report {
        proto::Report { sealed: self.sealed.clone(), keys: sealed_key::to_proto(&self.keys) }
    }

    pub(super) fn from_proto(report: proto::Report) -> Result<Self, EventError> {
        if report.sealed.len() > MAX_SEALED {
            return Err(EventError::Malformed);
        }
        Ok(Self { sealed: report.sealed, keys: sealed_key::from_proto(report.keys, MAX_REPORT_DEVICES)? })
    }
}

impl ReportContent {
    /// Encodes and pads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let content = proto::ReportContent {
            message: self.message.to_bytes().to_vec(),
            author: self.author.to_vec(),
            text: self.text.clone(),
            reason: self.reason.clone(),
        };
        pad(content.encode_to_vec())
    }

    /// Reads what [`ReportContent::to_bytes`] made.
    ///
    /// # Errors
    /// If it is malformed, or beyond its limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EventError> {
        let bytes = unpad(bytes).map_err(|_| EventError::Malformed)?;
        let content = proto::ReportContent::decode(bytes).map_err(|_| EventError::Malformed)?;
        Ok(Self {
            message: super::target(&content.message)?,
            author: content.author.as_slice().try_into().map_err(|_| EventError::Malformed)?,
            text: super::bounded(content.text, MAX_REPORT_TEXT)?,
            reason: super::bounded(content.reason, MAX_REPORT_REASON)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    #[test]
    fn what_a_report_says_is_read_back_and_its_size_tells_little() {
        let message = EventId { clock: Clock(3), device: [4; 8], sequence: 5 };
        let content = ReportContent { message, author: [7; 32], text: "buy".into(), reason: "advertising".into() };
        let bytes = content.to_bytes();
        assert_eq!(ReportContent::from_bytes(&bytes), Ok(content.clone()));
        let other = ReportContent { text: "buy more".into(), reason: String::new(), ..content.clone() };
        assert_eq!(other.to_bytes().len(), bytes.len());
        let long = ReportContent { text: "x".repeat(MAX_REPORT_TEXT + 1), ..content };
        assert_eq!(ReportContent::from_bytes(&long.to_bytes()), Err(EventError::Malformed));
        assert_eq!(ReportContent::from_bytes(&[0; 64]), Err(EventError::Malformed));
    }

    #[test]
    fn what_is_sealed_for_too_many_is_malformed() {
        let key = || SealedKey { device: [1; 8], sealed: Bytes::from_static(b"key") };
        let report =
            |count| Report { sealed: Bytes::from_static(b"sealed"), keys: (0..count).map(|_| key()).collect() };
        let most = report(MAX_REPORT_DEVICES);
        assert_eq!(Report::from_proto(most.to_proto()), Ok(most));
        assert_eq!(Report::from_proto(report(MAX_REPORT_DEVICES + 1).to_proto()), Err(EventError::Malformed));
        let large = Report { sealed: vec![0; MAX_SEALED + 1].into(), keys: Vec::new() };
        assert_eq!(Report::from_proto(large.to_proto()), Err(EventError::Malformed));
    }
}
