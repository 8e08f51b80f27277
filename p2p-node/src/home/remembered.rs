//! The addresses at which servers were reached last, by their names: they are used while names cannot be resolved.

use std::net::IpAddr;

use super::Homes;
use crate::{
    store::{META, Reading, ServerAddress, ServerAddressesRow, StoreError},
    turn::Turn,
};

const KEY: &[u8] = b"server_addresses";
/// Names that are remembered; then the one that changed longest ago is forgotten.
const MAX_NAMES: usize = 32;

impl Homes {
    /// Loads what was remembered.
    pub fn load_remembered(&mut self, read: &impl Reading) -> Result<(), StoreError> {
        self.reached = read.get::<ServerAddressesRow>(META, KEY)?.unwrap_or_default();
        Ok(())
    }

    /// Names of servers, and where they were reached.
    pub fn remembered(&self) -> Vec<(String, IpAddr)> {
        let known = self.reached.servers.iter();
        known.filter_map(|server| Some((server.name.clone(), server.address.parse().ok()?))).collect()
    }

    /// A server was reached at another address of its name than before.
    pub fn note_reached(&mut self, turn: &Turn<'_>, name: String, address: IpAddr) -> Result<(), StoreError> {
        let servers = &mut self.reached.servers;
        servers.retain(|server| server.name != name);
        if servers.len() >= MAX_NAMES {
            servers.remove(0);
        }
        servers.push(ServerAddress { name, address: address.to_string() });
        turn.put(META, KEY, &self.reached)
    }
}
