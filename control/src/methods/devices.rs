//! The devices of the account.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ASKS_OTHERS, Done, requests};
use crate::objects::{self, Device, DeviceId, Rights};

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
        /// It may copy the history that this device has. It may not if this is left out.
        history: Option<bool>,
    }

    /// What is copied between this device and others of the account. The event `device.history` tells how far it is.
    History = "device.history" -> objects::History => {}

    /// Lets another device of the account copy the history that this one has, once. It begins when `device.get_history` is called there.
    GiveHistory = "device.give_history" -> Answered => {
        /// The device, or the beginning of its id.
        device: DeviceId,
    }

    /// Copies the history of another device of the account to this one, as soon as that gives it. It goes on by itself whatever is interrupted.
    GetHistory = "device.get_history" -> Answered => {
        /// The device, or the beginning of its id. May be left out if only one offers its history, or there is only one.
        device: Option<DeviceId>,
    }

    /// Ends the copying to this device, which keeps what has come; takes back what others may copy.
    CancelHistory = "device.cancel_history" -> Done => {}

    /// Gives a device of the account other rights.
    SetRights = "device.rights" -> Answered, within |_| ASKS_OTHERS => {
        /// The device, or the beginning of its id.
        device: DeviceId,
        /// What it may do.
        rights: Rights,
    }

    /// What the recovery phrase's key is to sign so that the device of this profile is the only one of the account. `starling device recover` signs
    /// it, and gives it to `device.recover`: the phrase itself is never given to the node.
    Recovery = "device.recovery" -> ToRecover => {}

    /// Takes the account's device chain with a recovery at its end: all other devices are removed. The answer comes when a rendezvous has it.
    Recover = "device.recover" -> Answered, within |_| ASKS_OTHERS => {
        /// The chain (base64).
        chain: String,
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

/// What is to be signed for a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToRecover {
    /// The account's device chain, as this device knows it (base64).
    pub chain: String,
    /// This device.
    pub device: DeviceId,
    /// Its sealing key (base64).
    pub seal_key: String,
    /// Its signature over its wish to belong to the account (base64).
    pub proof: String,
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
