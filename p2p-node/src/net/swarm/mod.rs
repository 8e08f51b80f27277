//! The swarm task. It owns libp2p's `Swarm` and all streams, and carries out what [`Connectivity`] decides.
//!
//! One task runs [`Driver`]; for each device and each rendezvous that is connected there is a task that writes its stream and one that reads it. They
//! belong to the driver's `JoinSet` and end with it. Frames and requests wait in one bounded queue for each peer; a peer that lets it fill loses
//! its stream, and what it has not acknowledged is sent again on the next one.

mod allowance;
mod behaviour;
mod cause;
#[cfg(test)]
mod cause_tests;
mod confine;
mod driver;
mod elsewhere;
mod events;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gossip;
mod introduction;
mod lan;
mod lan_driver;
mod lan_link;
mod lan_packet;
mod lan_query;
mod left;
mod lifetime;
mod limits;
mod mappings;
mod names;
mod nat64;
mod network;
mod paths;
mod probe;
mod proxied;
mod socks;
mod streams;
#[cfg(test)]
mod swarm_tests;
mod transports;
mod visit;
#[cfg(test)]
mod visit_tests;
mod watch;

use libp2p::{Multiaddr, multiaddr::Protocol};
use starling_keys::DeviceKey;
use tokio::sync::mpsc;

use super::{NetCommand, NetEvent, Proxy};
use driver::Driver;
pub use introduction::{Introduction, introduce};
pub use nat64::{Nat64Prefix, translators};

/// How the network side is set up.
#[derive(Clone, Debug)]
pub struct NetConfig {
    /// Addresses to listen on. All of an internet protocol that the system does not have are left out.
    pub listen: Vec<Multiaddr>,
    /// Look for contacts on the LAN.
    pub mdns: bool,
    /// The proxy that everything goes through: then nothing is listened on, and nobody is looked for on the LAN.
    pub proxy: Option<Proxy>,
}

/// Why the network side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A transport cannot be set up.
    #[error("cannot set up the network: {0}")]
    Setup(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(Multiaddr, String),
}

/// The engine's line to the swarm task.
#[derive(Clone, Debug)]
pub struct NetHandle(mpsc::UnboundedSender<NetCommand>);

impl NetHandle {
    /// Passes a command on. Not bounded here: the swarm task waits for the engine at times, so the engine may not wait for it. What the engine
    /// gives is bounded by its windows.
    pub fn send(&self, command: NetCommand) {
        let _ = self.0.send(command);
    }

    /// The same line for somebody who does not keep the task running.
    pub fn downgrade(&self) -> WeakNetHandle {
        WeakNetHandle(self.0.downgrade())
    }
}

/// A line to the swarm task that does not keep it running.
#[derive(Clone, Debug)]
pub struct WeakNetHandle(mpsc::WeakUnboundedSender<NetCommand>);

impl WeakNetHandle {
    /// Passes a command on, if the swarm task still runs.
    pub fn send(&self, command: NetCommand) {
        if let Some(handle) = self.0.upgrade() {
            let _ = handle.send(command);
        }
    }
}

/// The last error of a chain: what the system said.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Whether this stands for all IPv6 addresses of the machine, of which there may be none.
fn is_any_v6(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified())
}

/// Starts the swarm task on the current runtime. It ends when the handle is dropped.
pub fn start(key: &DeviceKey, config: &NetConfig, engine: mpsc::Sender<NetEvent>) -> Result<NetHandle, NetError> {
    let proxy = config.proxy.as_ref().map(Proxy::isolated);
    let mut swarm = behaviour::build(key, proxy.as_ref()).map_err(|e| NetError::Setup(format!("{e}")))?;
    for address in config.listen.iter().filter(|_| proxy.is_none()) {
        match swarm.listen_on(address.clone()) {
            Ok(_) => {}
            Err(error) if is_any_v6(address) => tracing::debug!(%error, "without IPv6"),
            Err(error) => return Err(NetError::Listen(address.clone(), root_cause(&error))),
        }
    }
    let (commands, inbox) = mpsc::unbounded_channel();
    tokio::spawn(Driver::new(swarm, engine, config.mdns && proxy.is_none(), proxy).run(inbox));
    Ok(NetHandle(commands))
}
