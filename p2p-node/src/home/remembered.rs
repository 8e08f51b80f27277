//! What outlives the program of what the network side has found out: the addresses at which servers were reached last, by their names, which are used
//! while names cannot be resolved; and how long connections may be silent in the networks that this machine was in.

use std::net::IpAddr;

use super::Homes;
use crate::{
    net::{KnownNetwork, NetworkId},
    store::{KnownNetworkRow, KnownNetworksRow, META, Reading, ServerAddress, ServerAddressesRow, StoreError},
    turn::Turn,
};

const KEY: &[u8] = b"server_addresses";
const NETWORKS: &[u8] = b"known_networks";
/// Names that are remembered; then the one that changed longest ago is forgotten.
const MAX_NAMES: usize = 32;
/// Networks that are remembered, counted for each internet protocol; then the one that was measured longest ago is forgotten.
const MAX_NETWORKS: usize = 64;

impl Homes {
    /// Loads what was remembered.
    pub fn load_remembered(&mut self, read: &impl Reading) -> Result<(), StoreError> {
        self.reached = read.get::<ServerAddressesRow>(META, KEY)?.unwrap_or_default();
        self.networks = read.get::<KnownNetworksRow>(META, NETWORKS)?.unwrap_or_default();
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

    /// Networks that the machine was in.
    pub fn known_networks(&self) -> Vec<KnownNetwork> {
        let known = |row: &KnownNetworkRow| {
            let network = NetworkId(row.network.as_slice().try_into().ok()?);
            Some(KnownNetwork { network, rest_s: row.rest_s, measured_s: row.measured_s })
        };
        self.networks.networks.iter().filter_map(known).collect()
    }

    /// Something else than before is known of a network.
    pub fn note_network(&mut self, turn: &Turn<'_>, known: &KnownNetwork) -> Result<(), StoreError> {
        let networks = &mut self.networks.networks;
        networks.retain(|row| row.network != known.network.0);
        if networks.len() >= MAX_NETWORKS {
            networks.remove(0);
        }
        let network = known.network.0.to_vec();
        networks.push(KnownNetworkRow { network, rest_s: known.rest_s, measured_s: known.measured_s });
        turn.put(META, NETWORKS, &self.networks)
    }
}
