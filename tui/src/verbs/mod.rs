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
    objects::{CallEnd, CallNote, Contact, ContactState, Message, RecordingNote},
};

use crate::{
    cli::Global,
    error::{CliError, CliResult},
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

/// Finds a contact (or a request) by `@name`, name, account, chat id or address. It comes without its safety number.
pub async fn find(client: &Client, who: &str) -> CliResult<Contact> {
    find_in(&contacts_in_short(client).await?, who).cloned()
}

/// The same with its safety number.
pub async fn find_whole(client: &Client, who: &str) -> CliResult<Contact> {
    find_in(&client.call(contacts::List::default()).await?, who).cloned()
}

/// All contacts, without the safety numbers, which take the node some time.
pub async fn contacts_in_short(client: &Client) -> CliResult<Vec<Contact>> {
    client.call(contacts::List { safety_numbers: Some(false) }).await
}

fn find_in<'a>(all: &'a [Contact], who: &str) -> CliResult<&'a Contact> {
    let by_account = |account: &str| all.iter().find(|c| c.account.as_str() == account);
    let by_chat = |chat: &str| all.iter().find(|c| c.chat.as_str() == chat);
    if let Some(id) = who.strip_prefix("id:") {
        return by_chat(id).ok_or_else(|| CliError::not_found(format!("there is no conversation {id}")));
    }
    if let Ok(invite) = who.parse::<starling_keys::Invite>() {
        let account = invite.address.account.to_string();
        return by_account(&account).ok_or_else(|| {
            CliError::not_found("nobody with this address is a contact")
                .hint("add them first with `starling contacts add`")
        });
    }
    let id = starling_text::unquoted(who).to_lowercase();
    if let Some(found) = by_account(&id).or_else(|| by_chat(&id)) {
        return Ok(found);
    }
    let name = who.strip_prefix('@').unwrap_or(who);
    let named = |fits: &dyn Fn(&str) -> bool| -> Vec<&'a Contact> {
        all.iter().filter(|c| c.state != ContactState::Removed && fits(&c.name)).collect()
    };
    let exact = named(&|n| n == name);
    let found = if exact.is_empty() { named(&|n| starling_text::same(n, name)) } else { exact };
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let beginning: String = starling_text::folded(name).chars().take(2).collect();
            let close = named(&|n| starling_text::folded(n).starts_with(&beginning));
            let close: Vec<&str> = close.iter().take(3).map(|c| c.name.as_str()).collect();
            let error = CliError::not_found(format!("nobody called “{name}” is a contact"));
            Err(if close.is_empty() {
                error.hint("see `starling contacts list`")
            } else {
                error.hint(format!("did you mean {}?", close.join(", ")))
            })
        }
        several => {
            let ids: Vec<String> = several.iter().map(|c| format!("id:{}", c.chat)).collect();
            Err(CliError::usage(format!("“{name}” is the name of {} contacts", several.len()))
                .hint(format!("use one of: {}", ids.join(", "))))
        }
    }
}
