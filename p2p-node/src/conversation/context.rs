//! What conversations use of the rest of the node within a turn.

use starling_keys::DeviceId;

use crate::{contacts::Directory, home::Homes, mls::Mls, turn::Counters};

/// Which devices a direct stream connects us with.
pub trait Connections {
    /// Whether there is a stream to a device.
    fn is_connected(&self, device: &DeviceId) -> bool;
    /// Whether there is one, and the device does not answer on it.
    fn is_silent(&self, device: &DeviceId) -> bool;
    /// Whether it goes over a relay.
    fn is_relayed(&self, device: &DeviceId) -> bool;
}

/// What conversations read and use of other capabilities.
pub struct Context<'a> {
    /// Who is who.
    pub dir: Directory<'a>,
    /// Which devices are connected.
    pub links: &'a dyn Connections,
    /// What encrypts and decrypts.
    pub mls: &'a Mls,
    /// Where requests to servers go.
    pub homes: &'a mut Homes,
    /// The clock that events are stamped with.
    pub counters: &'a mut Counters,
}
