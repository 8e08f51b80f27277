//! The copying of the history from one device of the account to another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeviceId, Time};

words! {
    /// How far the copying of the history is.
    #[derive(Default)]
    CopyState {
        /// There is none, or it was cancelled.
        #[default]
        None = "none",
        /// It waits until the user of the other device agrees: `device.give_history` there.
        Wished = "wished",
        /// Messages come. While the other device is away it waits for it.
        Copying = "copying",
        /// Everything is there.
        Complete = "complete",
        /// The other device has taken its permission back, or is no device of the account any more.
        Refused = "refused",
    }
}

/// The copying of the history to the device of this profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryCopy {
    /// The device that it comes from.
    pub device: DeviceId,
    /// How far it is.
    pub state: CopyState,
    /// About how many messages there are; 0 before the first have come.
    pub total: u64,
    /// How many of them were gone through.
    pub done: u64,
    /// How many were not here yet.
    pub copied: u64,
    /// When the first have come.
    pub started_at: Option<Time>,
    /// When everything was there.
    pub complete_at: Option<Time>,
}

/// What is copied between the device of this profile and others of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// To this device, now or last; null if it never was.
    pub copy: Option<HistoryCopy>,
    /// Devices that may copy from this one, and have not finished.
    pub given: Vec<DeviceId>,
    /// Devices that wish to copy from this one.
    pub wished: Vec<DeviceId>,
    /// Devices that this one may copy from.
    pub offered: Vec<DeviceId>,
}
