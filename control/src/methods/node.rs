//! The node and the connection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Done, requests};
use crate::objects::{self, ChatId};

requests! {
    /// The node as it is now.
    #[derive(Default)]
    Status = "status" -> objects::Status => {
        /// Whether everybody that the node is connected to is probed first, which takes some seconds if somebody does not answer; the default is
        /// false: then a peer that is frozen may be shown as connected for half a minute.
        check: Option<bool>,
    }

    /// The number of the last durable event.
    Events = "cursor" -> LastEvent => {}

    /// Sends what others still wait for: acknowledgements and receipts.
    Flush = "flush" -> Flushed => {}

    /// Sends the events of this profile as notifications with the method `event`, until the connection closes. Events come after the answer.
    #[derive(Default)]
    Subscribe = "subscribe" -> Subscribed => {
        /// Where to begin: a cursor, `all`, or `now` (the default).
        since: Option<String>,
        /// Only events of this conversation.
        chat: Option<ChatId>,
        /// Whether `stream.keepalive` is sent every 30 s when nothing else is; the default is true.
        keepalive: Option<bool>,
        /// Whether a person looks at what is connected: the node notices within seconds who does not answer any more. The default is false.
        watch: Option<bool>,
    }

    /// Ends the node.
    Stop = "stop" -> Done => {}

    /// This description of all methods, as an OpenRPC document.
    Discover = "rpc.discover" -> serde_json::Value => {}

    /// Gives the token of the control port. Over TCP this has to be the first request.
    Authenticate = "auth" -> Done => {
        /// The token, from the file that `starling daemon --listen` names.
        token: String,
    }
}

impl Subscribe {
    /// To the events of all conversations, beginning after a cursor, with `all` or `now`.
    pub fn since(since: impl Into<String>) -> Self {
        Self { since: Some(since.into()), ..Self::default() }
    }

    /// The same for a view that shows what is connected.
    pub fn watching() -> Self {
        Self { watch: Some(true), ..Self::silent() }
    }

    /// To what happens from now on, without `stream.keepalive`.
    pub fn silent() -> Self {
        Self { keepalive: Some(false), ..Self::since("now") }
    }
}

/// The number of the last durable event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastEvent {
    /// The number.
    pub seq: u64,
}

/// What came of a [`Flush`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flushed {
    /// Something has not left yet.
    pub owes: bool,
}

/// The answer to [`Subscribe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscribed {
    /// Always true.
    pub subscribed: bool,
}
