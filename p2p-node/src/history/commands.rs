//! What the user asks of the copying of the history.

use starling_keys::DeviceId;

use crate::api::{Reply, error::NodeError, fail, types::HistoryState};

/// A command about the history. Each is a method of `Node`, documented there.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum HistoryCommand {
    State(Reply<HistoryState>),
    Give(DeviceId, Reply<()>),
    /// From a device, or from the only one that it can be.
    Get(Option<DeviceId>, Reply<DeviceId>),
    Cancel(Reply<()>),
}

impl HistoryCommand {
    /// Whether a device that its account has given up may still do this.
    pub(crate) fn is_allowed_after_removal(&self) -> bool {
        matches!(self, Self::State(_))
    }

    /// Fails the command.
    pub(crate) fn refuse(self, error: NodeError) {
        match self {
            Self::State(reply) => fail(reply, error),
            Self::Get(_, reply) => fail(reply, error),
            Self::Give(_, reply) | Self::Cancel(reply) => fail(reply, error),
        }
    }
}
