//! The devices of the account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ASKS_OTHERS, requests};
use crate::objects::{Device, DeviceId};

requests! {
    /// The devices of the account.
    List = "device.list" -> Vec<Device> => {}

    /// Makes a code with which one other device can join the account within ten minutes. Whoever uses it becomes the user.
    Link = "device.link" -> LinkCode, within |_| ASKS_OTHERS => {}

    /// Removes a device from the account.
    Remove = "device.remove" -> Removed, within |_| ASKS_OTHERS => {
        /// The device, or the beginning of its id.
        device: DeviceId,
    }
}

/// A code for another device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkCode {
    /// The code.
    pub code: String,
    /// The rendezvous at which it can be used.
    pub rendezvous: Option<String>,
}

/// A device that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Its id.
    pub device: DeviceId,
}
