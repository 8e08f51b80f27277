//! Events: one file for each kind, and the registry of them.
//!
//! A kind's file is all that knows it: who may do it (`authorize`), what it changes (`fold`), and what a timeline, a search and a notification
//! show of it (`summary`); its codec is in the file of the same name in `starling-wire`. Events that are written here and events that are
//! received go through the same [`fold`]. What a fold leaves in the timeline does not depend on the order in which events arrive, so all devices
//! of all members come to the same one.
//!
//! A new kind is a file here and one in `wire/src/event`, and a line in [`kind`].

mod audit;
pub mod call;
pub mod copied;
mod cut;
mod delete;
pub mod devices;
mod draft;
mod early;
mod edit;
#[cfg(test)]
mod events_tests;
mod fold;
pub mod handed;
#[cfg(test)]
mod handed_tests;
mod leave;
pub(crate) mod limits;
mod profile;
mod reaction;
mod receipt;
mod removed_device_use;
mod report;
mod text;
mod ways;

use starling_keys::{AccountId, DeviceId};
use starling_wire::{Body, Event, EventId, Text};

pub use draft::{Draft, key};
pub use fold::{Fold, Stored, first_with, last_with};
pub use receipt::{delivered_upto, read_upto};

pub use crate::api::error::EventRefusal as Refusal;
use crate::{
    api::types::{CallNote, DeviceChange, Via},
    store::{EventRow, StoreError},
};

/// Who has written an event, and how it came here.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The account of the MLS sender.
    pub account: AccountId,
    /// The MLS sender.
    pub device: DeviceId,
    /// Number of both among the authors.
    pub author: u32,
    /// It is our account.
    pub own: bool,
    /// How it came; [`Via::Own`] if this device has written it.
    pub via: Via,
}

impl Origin {
    /// Whether this device has written it.
    pub fn is_here(&self) -> bool {
        self.via == Via::Own
    }
}

/// One event, with all that is known of it before it is folded.
pub struct At<'a> {
    /// Its place in the order.
    pub id: EventId,
    /// What has happened.
    pub body: &'a Body,
    /// Who says so.
    pub origin: &'a Origin,
}

/// The message that an event is about.
pub enum Target {
    /// It is not here, or not yet.
    Unknown,
    /// A message.
    Message {
        /// Its row of the timeline.
        row: EventRow,
        /// Its author.
        by: AccountId,
    },
    /// What is kept of a call, or a line about a device.
    Note,
}

/// What is shown of an event.
#[derive(Debug)]
pub enum Summary {
    /// A message.
    Message(Text),
    /// A line about a call.
    Call(CallNote),
    /// A line about a device of its author.
    Device(DeviceChange),
}

/// What becomes of an event that is stamped further ahead than clocks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// It waits until it is due: it would stand at the end of the timeline.
    Hold,
    /// It counts at once: it has no place in the timeline.
    Fold,
    /// It is void: it is about now.
    Void,
}

/// What the node knows of a kind of event.
pub trait Kind {
    /// The message that it is about, if it is about one.
    fn target(&self) -> Option<EventId> {
        None
    }

    /// Whether its author may do this. Every member judges by the same: the event, its author, and the message that it is about. What is about
    /// a message that is not here is judged when that arrives.
    ///
    /// # Errors
    /// Why the event is void.
    fn authorize(&self, at: &At<'_>, target: Option<&Target>) -> Result<(), Refusal>;

    /// What it changes. It has passed [`Kind::authorize`].
    fn fold(&self, fold: &mut Fold<'_>, at: &At<'_>, target: Option<Target>) -> Result<(), StoreError>;

    /// What becomes of one that is stamped ahead.
    fn ahead(&self) -> Ahead {
        Ahead::Hold
    }

    /// What is shown of it; `None` if it is not shown by itself.
    fn summary(&self) -> Option<Summary> {
        None
    }
}

/// Whether an event about a message is its author's, and the message is still there. One that is not here, or not yet, is judged when it is.
fn by_its_author(at: &At<'_>, target: Option<&Target>) -> Result<(), Refusal> {
    match target {
        Some(Target::Message { by, .. }) if *by != at.origin.account => Err(Refusal::NotTheAuthor),
        Some(Target::Message { row, .. }) if row.deleted => Err(Refusal::Deleted),
        Some(Target::Note) => Err(Refusal::NotAMessage),
        _ => Ok(()),
    }
}

/// The registry: what is known of the kind of an event. `None` if a newer version has made it up.
pub fn kind(body: &Body) -> Option<&dyn Kind> {
    Some(match body {
        Body::Text(text) => text,
        Body::Edit(edit) => edit,
        Body::Delete(delete) => delete,
        Body::Reaction(reaction) => reaction,
        Body::Receipt(receipt) => receipt,
        Body::Profile(profile) => profile,
        Body::Devices(devices) => devices,
        Body::Call(call) => call,
        Body::Cut(cut) => cut,
        Body::Leave(leave) => leave,
        Body::RemovedDeviceUse(used) => used,
        Body::Audit(part) => part,
        Body::Ways(ways) => ways,
        Body::Report(report) => report,
        Body::HandedHistory(history) => history,
        Body::Unknown(_) => return None,
    })
}

/// What is shown of a row of the timeline.
pub fn summary(row: &EventRow) -> Option<Summary> {
    if let Some(note) = &row.device_note {
        return Some(Summary::Device(DeviceChange::from_stored(note.change)));
    }
    kind(&Event::decode_body(&row.body).ok()?)?.summary()
}

/// What an event is about, and whether it may be done: what a user's command asks before the event is written.
pub fn check(fold: &Fold<'_>, at: &At<'_>) -> Result<(Option<Target>, Result<(), Refusal>), StoreError> {
    let Some(kind) = kind(at.body) else { return Ok((None, Ok(()))) };
    let target = kind.target().map(|id| fold.target(id)).transpose()?;
    let allowed = match (kind.authorize(at, target.as_ref()), at.body, &target) {
        // Others' messages are deleted by role, at any time.
        (Err(Refusal::NotTheAuthor), Body::Delete(_), Some(Target::Message { row, by }))
            if fold.moderates(&at.origin.account, by) =>
        {
            if row.deleted {
                Err(Refusal::Deleted)
            } else {
                Ok(())
            }
        }
        (Ok(()), Body::Edit(_), Some(Target::Message { row, by })) if !fold.may_edit(by, row) => Err(Refusal::Role),
        (allowed, ..) => allowed,
    };
    Ok((target, allowed))
}

/// Takes an event into the conversation. One that its author may not do changes nothing.
pub fn fold(fold: &mut Fold<'_>, at: &At<'_>) -> Result<(), StoreError> {
    let Some(kind) = kind(at.body) else { return Ok(()) };
    match check(fold, at)? {
        (target, Ok(())) => kind.fold(fold, at, target),
        (_, Err(refusal)) => {
            tracing::debug!(%refusal, "a void event");
            Ok(())
        }
    }
}
