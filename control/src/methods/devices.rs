//! The devices of the account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ASKS_OTHERS, requests};
use crate::objects::{Device, DeviceId, Rights};

requests! {
    /// The devices of the account.
    List = "device.list" -> Vec<Device> => {}

    /// Makes a code with which one other device can ask to join the account within ten minutes: see the event `device.asks`.
    Link = "device.link" -> LinkCode, within |_| ASKS_OTHERS => {
        /// The code ends with this connection.
        while_connected: Option<bool>,
    }

    /// Answers a device that asks to join. The answer comes when a rendezvous has the account's device chain with it.
    AnswerLink = "device.answer" -> Answered, within |_| ASKS_OTHERS => {
        /// The device, as the event names it.
        device: DeviceId,
        /// What it may do; null if it may not join.
        rights: Option<Rights>,
    }

    /// Gives a device of the account other rights.
    SetRights = "device.rights" -> Answered, within |_| ASKS_OTHERS => {
        /// The device, or the beginning of its id.
        device: DeviceId,
        /// What it may do.
        rights: Rights,
    }

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

/// A device that was answered or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// Its id.
    pub device: DeviceId,
}

/// A device that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Its id.
    pub device: DeviceId,
}
