//! The sender's signed device list has changed.

use crate::{EventError, limits::MAX_DEVICE_LIST};

/// The newest signed device list of the sender's account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Devices {
    /// The encoded list, at most [`MAX_DEVICE_LIST`] bytes; its signature was not checked.
    pub list: Vec<u8>,
}

impl Devices {
    pub(super) fn from_proto(list: Vec<u8>) -> Result<Self, EventError> {
        if list.len() <= MAX_DEVICE_LIST { Ok(Self { list }) } else { Err(EventError::Malformed) }
    }
}
