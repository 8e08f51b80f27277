//! What the engine takes.

use super::Command;
use crate::{call_media::CallInput, net::NetEvent};

/// What the engine takes.
#[derive(Debug)]
pub enum Input {
    /// A call of the node's user.
    Command(Command),
    /// Something that the network did.
    Net(NetEvent),
    /// From the media of a call.
    Call(CallInput),
    /// Say good-bye and stop.
    Stop,
}

impl Input {
    /// Whether it can wait a moment, so that it shares the commit of something else: acknowledgements, which are made known again after a crash, and
    /// what a member has passed on, which in most cases the log brings in that moment.
    pub fn can_wait(&self) -> bool {
        match self {
            Self::Net(NetEvent::Direct(_, frame)) => {
                frame.entries.is_empty() && frame.signals.is_empty() && frame.history.is_empty()
            }
            Self::Net(NetEvent::Gossip { .. }) => true,
            _ => false,
        }
    }
}

impl From<Command> for Input {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

impl From<NetEvent> for Input {
    fn from(event: NetEvent) -> Self {
        Self::Net(event)
    }
}

impl From<CallInput> for Input {
    fn from(input: CallInput) -> Self {
        Self::Call(input)
    }
}
