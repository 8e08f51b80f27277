//! The verbs of the command line. All of them talk to the node by JSON-RPC.

mod call_media;
mod call_test;
mod call_watch;
mod calls;
mod chats;
mod devices;
mod doctor;
mod exec;
mod init;
mod lines;
mod messages;
mod node;
mod people;
mod plain;
mod try_;

use starling_control::{
    methods::contacts,
    objects::{CallEnd, CallNote, Contact, Message, RecordingNote},
};

use crate::{
    cli::Global,
    error::CliResult,
    profile::Profile,
    rpc::{self, Client},
};

pub use calls::calls;
pub use chats::{chats, history, search};
pub use devices::{devices, short as short_device};
pub use doctor::doctor;
pub use init::{NewProfile, init, make_profile, parse_home};
pub use messages::{listen, send};
pub use node::{daemon, profile, rpc, whoami};
pub use people::{add_contact, contacts, invite, qr};
pub use plain::plain_chat;
pub use try_::{guide, try_starling};

pub use crate::output::{print, print_object, say};

/// The text of a message, or what the note of a call says.
pub fn words_of(message: &Message) -> String {
    let Some(call) = &message.call else { return message.text.clone() };
    let own = message.from.own;
    match call.recording {
        Some(said) => {
            let who = if own { "you" } else { message.from.name.as_deref().unwrap_or_default() };
            words_of_recording(said, who)
        }
        None => format!("☎ {}", words_of_call(call, own)),
    }
}

fn words_of_recording(said: RecordingNote, who: &str) -> String {
    match said {
        RecordingNote::Asked => format!("● {who} asked to record the call"),
        RecordingNote::Agreed => format!("● {who} agreed to the recording of the call"),
        RecordingNote::Refused => format!("● {who} did not agree to a recording of the call"),
        RecordingNote::Ended => format!("● {who} ended the recording of the call"),
    }
}

fn words_of_call(call: &CallNote, own: bool) -> String {
    let kind = if call.video { "video call" } else { "call" };
    let seconds = call.duration_ms / 1000;
    match (call.reason, own) {
        _ if call.duration_ms > 0 => format!("{kind}, {}:{:02}", seconds / 60, seconds % 60),
        (CallEnd::NoAnswer | CallEnd::Cancelled | CallEnd::Busy, false) => format!("missed {kind}"),
        (CallEnd::NoAnswer, true) => format!("{kind}, no answer"),
        (CallEnd::Cancelled, true) => format!("{kind}, cancelled"),
        (CallEnd::Declined, _) => format!("{kind}, declined"),
        (CallEnd::Busy, true) => format!("{kind}, busy"),
        (CallEnd::Elsewhere, _) => format!("{kind}, taken on another device"),
        (CallEnd::Insecure, _) => format!("{kind}, ended: somebody may have sat between you"),
        (CallEnd::Failed | CallEnd::Lost, _) => format!("{kind}, not connected"),
        (CallEnd::HungUp, _) => kind.to_owned(),
    }
}

async fn node_of(global: &Global) -> CliResult<(Profile, Client)> {
    let profile = Profile::new(global)?;
    let client = rpc::acquire(&profile, global).await?;
    Ok((profile, client))
}

/// Finds a contact by `@name`, name, account, chat id or address. It comes without its safety number.
pub async fn find(client: &Client, who: &str) -> CliResult<Contact> {
    client.call(contacts::Find { who: who.to_owned(), ..contacts::Find::default() }).await
}

/// The same with its safety number.
pub async fn find_whole(client: &Client, who: &str) -> CliResult<Contact> {
    client.call(contacts::Find { who: who.to_owned(), safety_number: Some(true) }).await
}

/// All contacts, without the safety numbers, which take the node some time.
pub async fn contacts_in_short(client: &Client) -> CliResult<Vec<Contact>> {
    client.call(contacts::List { safety_numbers: Some(false) }).await
}
