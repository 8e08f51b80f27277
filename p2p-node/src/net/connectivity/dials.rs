//! The dials that are under way, and how many there may be.

use libp2p::{Multiaddr, PeerId};
use starling_keys::DeviceId;

use super::{Action, Connectivity, HomeId, peers::Home};

/// Dials under way at a time. A profile with thousands of contacts would otherwise open as many sockets at once when it starts.
pub const MAX_DIALS: usize = 512;
/// Of these, those that are left to servers, two for each. Whoever waits for devices that do not answer would wait for what leads to them, too.
const MAX_HOME_DIALS: usize = 64;

/// A dial that this state machine has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialId(pub u64);

/// What a dial is for.
#[derive(Clone, Copy, Debug)]
pub enum DialFor {
    Device(DeviceId),
    Home(HomeId),
}

impl Connectivity {
    /// Whether there is room for another dial.
    pub(super) fn may_dial(&self) -> bool {
        !self.leaving && self.dials.len() < MAX_DIALS
    }

    /// Whether there is room for a dial to a device, beside those to servers.
    pub(super) fn may_dial_device(&self) -> bool {
        let left_to_homes = (2 * self.homes.len()).min(MAX_HOME_DIALS);
        self.may_dial() && self.dials.len() + left_to_homes < MAX_DIALS
    }

    pub(super) fn dial(&mut self, what: DialFor, peer: PeerId, addresses: Vec<Multiaddr>) -> DialId {
        self.last_dial += 1;
        let dial = DialId(self.last_dial);
        self.dials.insert(dial, what);
        let anywhere = match what {
            DialFor::Home(id) => self.homes.get(&id).is_some_and(Home::is_chosen),
            DialFor::Device(_) => false,
        };
        self.act(Action::Dial { dial, peer, addresses, anywhere });
        dial
    }

    pub(super) fn home_of_dial(&self, dial: Option<DialId>) -> Option<HomeId> {
        match self.dials.get(&dial?)? {
            DialFor::Home(home) => Some(*home),
            DialFor::Device(_) => None,
        }
    }

    pub(super) fn dial_ended(&mut self, dial: Option<DialId>) {
        let Some(dial) = dial else { return };
        match self.dials.remove(&dial) {
            Some(DialFor::Device(id)) => {
                if let Some(device) = self.devices.get_mut(&id) {
                    device.dial_ended(dial);
                }
            }
            Some(DialFor::Home(id)) if self.homes.get_mut(&id).is_some_and(|home| home.dial_ended(dial)) => {
                self.schedule_home(id);
            }
            Some(DialFor::Home(_)) | None => {}
        }
    }
}
