//! What devices of an account are called. The account's devices say so of one another; a server sees none of it.

use bytes::Bytes;

use crate::name;

/// Most labels that one message carries: an account has at most 8 devices, had at most 16 in version 0.1, and names those that it has
/// removed lately, too.
const MAX_LABELS: usize = 16;
/// Longest kind of a device, in bytes.
pub(crate) const MAX_KIND: usize = 64;

/// What a device is called.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeviceLabel {
    /// The device (32 bytes).
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    /// What its user calls it.
    #[prost(string, tag = "2")]
    pub name: String,
    /// What it is: an operating system, for example.
    #[prost(string, tag = "3")]
    pub kind: String,
}

impl DeviceLabel {
    /// Labels as they came: without what does not belong into a name. `None` if there are too many, or one is beyond its bound.
    pub fn received(labels: Vec<Self>) -> Option<Vec<Self>> {
        if labels.len() > MAX_LABELS {
            return None;
        }
        labels.into_iter().map(Self::cleaned).collect()
    }

    fn cleaned(self) -> Option<Self> {
        let name = name::from_fields("", &self.name)?;
        let kind = (self.kind.len() <= MAX_KIND).then(|| starling_text::received_name(&self.kind))?;
        Some(Self { name, kind, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_cleaned_and_bounded() {
        let label = |name: &str, kind: &str| DeviceLabel { device: Bytes::new(), name: name.into(), kind: kind.into() };
        assert_eq!(
            DeviceLabel::received(vec![label("la\u{1b}[2Jptop", "linux\n")]),
            Some(vec![label("la[2Jptop", "linux")])
        );
        assert_eq!(DeviceLabel::received(vec![label("x", &"k".repeat(MAX_KIND + 1))]), None);
        assert_eq!(DeviceLabel::received(vec![label("x", "y"); MAX_LABELS + 1]), None);
    }
}
