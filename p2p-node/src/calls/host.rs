//! What calls need of the rest of the node: all of it, so that nothing else can be reached from here, and a test can stand in for it.

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Call, CallId, EventId, SasNonce};

use crate::{
    api::{
        Reply,
        error::NodeError,
        types::{ChatId, TransientEvent},
    },
    call_media::CallCommand,
    turn::EngineError,
};

/// The time of a turn, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTime {
    /// Since the node's start. Deadlines are in this time: a clock that is set ends no call.
    pub running: u64,
    /// Since 1970, by this machine's clock.
    pub wall: u64,
    /// Since 1970, as devices agree on it.
    pub agreed: u64,
}

/// The node around the calls.
pub trait CallHost {
    fn time(&self) -> CallTime;
    /// A new random id.
    fn new_id(&mut self) -> CallId;
    /// A new random nonce for a short authentication string.
    fn new_nonce(&mut self) -> SasNonce;
    /// Our account, and this device.
    fn own(&self) -> (AccountId, DeviceId);
    /// The other devices of our account.
    fn own_devices(&self) -> Vec<DeviceId>;
    /// The other accounts of a conversation.
    fn members(&self, chat: ChatId) -> Vec<AccountId>;
    /// The devices that an account, ours or another, lists; none if that is not known.
    fn devices_of(&self, account: AccountId) -> Vec<DeviceId>;
    /// Whether our home is on this machine.
    fn is_loopback(&self) -> bool;

    /// Whether the conversation's members may be called now.
    fn check_may_call(&self, chat: ChatId) -> Result<(), NodeError>;
    /// Writes a signal into the conversation. `None` if nothing can be written there now.
    fn signal(&mut self, chat: ChatId, call: Call) -> Option<EventId>;
    /// What was written into a conversation goes by all ways at once: the one that is used now may be dead.
    fn hasten(&mut self, chat: ChatId);
    /// Writes a row about a call into the timeline, or changes it.
    fn put_row(&mut self, chat: ChatId, at: EventId, own: bool, call: Call) -> Result<(), EngineError>;
    /// The note of a call that is over is complete: the conversation has something new, unread if the call was missed.
    fn note_complete(&mut self, chat: ChatId, note: EventId, missed: bool);
    /// A call that seemed missed was answered on another device.
    fn not_missed(&mut self, chat: ChatId, note: EventId);

    /// Asks our rendezvous for STUN and TURN servers. Returns how many were asked.
    fn ask_for_servers(&mut self, call: CallId) -> usize;
    /// Finds out at once which connections are dead: the network may have changed under them, too.
    fn check_connections(&mut self);
    /// Has the media of calls do something, after this turn.
    fn media(&mut self, command: CallCommand);
    /// Tells whoever follows the node, after this turn.
    fn transient_event(&mut self, event: TransientEvent);
    /// Answers a caller after this turn.
    fn after_turn(&mut self, then: Box<dyn FnOnce() + Send>);
}

/// Answers a caller once the turn is durable.
pub fn reply<T: Send + 'static>(host: &mut dyn CallHost, reply: Reply<T>, value: Result<T, NodeError>) {
    host.after_turn(Box::new(move || drop(reply.send(value))));
}
