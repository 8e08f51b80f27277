//! What is known of an account's device chain: the sender's own when it has changed, or that of another member of the conversation, which
//! shows its owner what was added behind their back.

use crate::{DeviceLabel, EventError, limits::MAX_DEVICE_LIST};

/// A device chain, with what its devices are called.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Devices {
    /// The encoded chain, at most [`MAX_DEVICE_LIST`] bytes; its signatures were not checked. It names the account.
    pub list: Vec<u8>,
    /// What the devices are called.
    pub labels: Vec<DeviceLabel>,
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Devices {
        #[prost(bytes = "vec", tag = "1")]
        pub list: Vec<u8>,
        #[prost(message, repeated, tag = "2")]
        pub labels: Vec<crate::DeviceLabel>,
    }
}

impl Devices {
    pub(super) fn to_proto(&self) -> proto::Devices {
        proto::Devices { list: self.list.clone(), labels: self.labels.clone() }
    }

    pub(super) fn from_proto(devices: proto::Devices) -> Result<Self, EventError> {
        if devices.list.len() > MAX_DEVICE_LIST {
            return Err(EventError::Malformed);
        }
        let labels = DeviceLabel::received(devices.labels).ok_or(EventError::Malformed)?;
        Ok(Self { list: devices.list, labels })
    }
}
