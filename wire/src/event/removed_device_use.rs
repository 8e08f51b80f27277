//! A device that the other account has removed was used at the sender's: its owner is to know.

use crate::EventError;

/// What a device has tried to do that its account has removed, as the sender has seen it. Nothing proves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemovedDeviceUse {
    /// The device.
    pub device: [u8; 32],
    /// What it has tried: 1 to write, 2 to call, 3 to enter a conversation, 4 to remove a device, 5 to link one. Others are of newer versions.
    pub attempt: u32,
}

pub(super) mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RemovedDeviceUse {
        #[prost(bytes = "vec", tag = "1")]
        pub device: Vec<u8>,
        #[prost(uint32, tag = "2")]
        pub attempt: u32,
    }
}

impl RemovedDeviceUse {
    pub(super) fn to_proto(self) -> proto::RemovedDeviceUse {
        proto::RemovedDeviceUse { device: self.device.to_vec(), attempt: self.attempt }
    }

    pub(super) fn from_proto(used: &proto::RemovedDeviceUse) -> Result<Self, EventError> {
        let device = used.device.as_slice().try_into().map_err(|_| EventError::Malformed)?;
        Ok(Self { device, attempt: used.attempt })
    }
}
