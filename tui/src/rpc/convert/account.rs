//! The node, and the devices of its account.

use starling_control::objects;
use starling_node::{CopyPhase, Device, HistoryCopy, HistoryState, HomeProblem, Status, Transport};

use super::{id, known_time, path, time};
use crate::error::problem;

pub fn status(s: &Status) -> objects::Status {
    let reachability = if s.public {
        objects::Reachability::Public
    } else if s.homes.iter().any(|h| h.own && h.connected) {
        objects::Reachability::Relay
    } else {
        objects::Reachability::None
    };
    let rendezvous = s.homes.iter().map(|h| {
        let (problem_code, problem) = h.problem.as_ref().map(problem::home).unzip();
        objects::Rendezvous {
            address: h.address.clone(),
            own: h.own,
            connected: h.connected,
            connecting: matches!(h.problem, Some(HomeProblem::Connecting { .. })),
            transport: h.transport.map(transport),
            udp_blocked: h.udp_blocked,
            registered: h.registered,
            problem,
            problem_code: problem_code.map(str::to_owned),
            clock_offset_ms: h.clock_offset_ms,
        }
    });
    objects::Status {
        account: id(s.account),
        device: id(s.device),
        name: s.name.clone(),
        bot: s.bot,
        username: s.username.clone(),
        addresses: s.addresses.clone(),
        address: s.address.clone(),
        rendezvous: rendezvous.collect(),
        reachability,
        peers: objects::Peers { direct: s.peers.0, relayed: s.peers.1 },
        queued: s.queued,
        requests_waiting: s.requests_waiting,
        synced: s.synced,
        removed: s.removed,
        proxy: s.proxy.clone(),
    }
}

fn transport(transport: Transport) -> objects::Transport {
    match transport {
        Transport::Quic => objects::Transport::Quic,
        Transport::Tcp => objects::Transport::Tcp,
        Transport::WebSocket => objects::Transport::WebSocket,
        Transport::Proxy => objects::Transport::Proxy,
    }
}

/// A device of our account.
pub fn device(d: &Device) -> objects::Device {
    objects::Device {
        device: id(d.id),
        name: d.name.clone(),
        system: d.system.clone(),
        added_at: time(d.added_ms),
        rights: match d.rights {
            starling_node::Rights::Admin => objects::Rights::Admin,
            starling_node::Rights::Member => objects::Rights::Member,
            starling_node::Rights::Bot => objects::Rights::Bot,
        },
        linked_by: d.linked_by.map(id),
        this: d.this,
        heard_at: d.heard_ms.map(time),
        connection: path(d.relayed),
        ready: d.conversations.ready,
        conversations: d.conversations.total,
    }
}

/// The copying of the history to this device.
pub(super) fn history_copy(copy: &HistoryCopy) -> objects::HistoryCopy {
    let state = match copy.phase {
        CopyPhase::None => objects::CopyState::None,
        CopyPhase::Wished => objects::CopyState::Wished,
        CopyPhase::Copying => objects::CopyState::Copying,
        CopyPhase::Following | CopyPhase::Done => objects::CopyState::Complete,
        CopyPhase::Refused => objects::CopyState::Refused,
    };
    objects::HistoryCopy {
        device: id(copy.source),
        state,
        total: copy.total,
        done: copy.walked,
        copied: copy.copied,
        started_at: known_time(copy.started_ms),
        complete_at: known_time(copy.complete_ms),
    }
}

/// What is copied between this device and others.
pub fn history(state: &HistoryState) -> objects::History {
    let ids = |devices: &[starling_keys::DeviceId]| devices.iter().map(id).collect();
    objects::History {
        copy: state.copy.as_ref().map(history_copy),
        given: ids(&state.granted),
        wished: ids(&state.wishes),
        offered: ids(&state.offers),
    }
}

/// What a device may do, as the node has it.
pub fn node_rights(rights: objects::Rights) -> starling_node::Rights {
    match rights {
        objects::Rights::Admin => starling_node::Rights::Admin,
        objects::Rights::Member => starling_node::Rights::Member,
        objects::Rights::Bot => starling_node::Rights::Bot,
    }
}
