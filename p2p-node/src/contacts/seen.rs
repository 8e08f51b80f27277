//! What people show of themselves, as far as it was seen.

use std::collections::BTreeMap;

use starling_keys::DeviceId;
use starling_wire::Availability;

/// What somebody shows.
#[derive(Debug, Default)]
pub struct Seen {
    /// The best that one of their devices shows.
    pub availability: Option<Availability>,
    pub typing_until: Option<u64>,
    /// Of each device: the newest signal (an older one is a replay), and what it shows.
    pub devices: BTreeMap<DeviceId, (u64, Option<Availability>)>,
}

impl Seen {
    /// What somebody shows if these are their devices.
    pub fn best(&self) -> Option<Availability> {
        let all = || self.devices.values().filter_map(|(_, availability)| *availability);
        [Availability::Online, Availability::Away].into_iter().find(|a| all().any(|b| b == *a)).or_else(|| all().next())
    }

    /// All but those that are connected have left.
    pub fn left_but_for(&mut self, connected: impl Fn(&DeviceId) -> bool) {
        for (_, (_, availability)) in self.devices.iter_mut().filter(|(device, _)| !connected(device)) {
            *availability = availability.map(|_| Availability::Offline);
        }
    }
}
