//! The verbs of the command line. All of them talk to the node by JSON-RPC.

mod audit;
mod call_media;
mod call_test;
mod call_watch;
mod calls;
mod chats;
mod communities;
mod decisions;
mod devices;
mod doctor;
mod exec;
mod group_links;
mod group_settings;
mod group_updates;
mod groups;
mod history;
mod init;
mod introduction;
mod joining;
mod lines;
mod messages;
mod node;
mod passphrase;
mod patience;
mod people;
mod plain;
mod read_lines;
mod spoken;
mod try_;

use starling_control::{
    methods::{chats::Find as FindChat, contacts},
    objects::{
        CallEnd, CallNote, ChatId, ChatKind, ChatRef, Contact, DeviceChange, DeviceId, DeviceNote, Message,
        RecordingNote, Rendezvous, Transport,
    },
};

use crate::{
    cli::Global,
    error::CliResult,
    profile::Profile,
    rpc::{self, Client},
};

pub use audit::{account_name, member_name, words_of_audit};
pub use calls::calls;
pub use chats::{chats, history, search};
pub use communities::communities;
pub use devices::{devices, place_in_words, short as short_device};
pub use doctor::doctor;
pub use group_updates::{counted_members, updates};
pub use groups::groups;
pub use init::{NewProfile, WordChecks, init, make_profile, parse_home};
pub use introduction::{home_of, introduced, place_of};
pub use joining::Joining;
pub use messages::{listen, send};
pub use node::{daemon, profile, rpc, whoami};
pub use people::{add_contact, contacts, ensure_registered, invite, qr};
pub use plain::plain_chat;
pub use try_::{guide, try_starling};

pub use crate::output::{print, print_object, say};

/// The text of a message, or what the note of a call or of a device says.
pub fn words_of(message: &Message) -> String {
    if let Some(note) = &message.device_note {
        let who = message.from.name.as_deref().unwrap_or_default();
        return words_of_device(note, who, message.from.device.as_ref());
    }
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

/// By whom a message from before this device came was handed on, in words; nothing of others.
pub fn words_of_handed(message: &Message) -> Option<String> {
    let member = message.handed_on_by.as_ref()?;
    Some(format!("handed on by {}", member.name.as_deref().unwrap_or("a member")))
}

/// What a transport is called.
pub fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Quic => "QUIC",
        Transport::Tcp => "TCP",
        Transport::WebSocket => "WebSocket",
        Transport::Proxy => "proxy",
    }
}

/// What there is to tell of how a rendezvous is connected; nothing where it is over QUIC, or through the proxy that is told of by itself.
pub fn words_of_transport(home: &Rendezvous) -> Option<String> {
    let transport = home.transport.filter(|over| matches!(over, Transport::Tcp | Transport::WebSocket))?;
    let over = format!("connected over {}", transport_name(transport));
    Some(if home.udp_blocked { format!("UDP is blocked here: {over}") } else { over })
}

/// What has happened to a device of `who`.
pub fn words_of_device(note: &DeviceNote, who: &str, device: Option<&DeviceId>) -> String {
    let which = called(&note.name, &note.system, device);
    match note.change {
        DeviceChange::Joined => format!("⚿ {who} has a new device: {which}"),
        DeviceChange::Left => format!("⚿ {who} no longer has the device {which}"),
        DeviceChange::Recovered => format!(
            "⚠ {who}’s account was recovered with its phrase, on {which}. All its other devices are out. If {who} does not confirm it, somebody else has the phrase"
        ),
        DeviceChange::Forked => format!(
            "⚠ Somebody who may change {who}’s account has written another history of its devices. It was not taken. Ask {who}: a device may be stolen"
        ),
    }
}

/// What was done to the account behind its user's back, and what to do about it.
pub fn words_of_hidden(who: &str, change: &str, which: &str, by: Option<&DeviceId>) -> String {
    let signer = by.map_or_else(|| "your recovery phrase".to_owned(), |by| format!("the key of {}", short_device(by)));
    let what = match change {
        "joined" => format!("{which} joined your account"),
        "left" => format!("{which} was removed from your account"),
        "recovered" => format!("your account was recovered on {which}"),
        "forked" => format!("a second history of your account was written, with {which}"),
        _ => "your account was changed".to_owned(),
    };
    format!(
        "{what}, signed with {signer}, and your rendezvous was not told: {who} knows it. If it was not you, remove both devices (/devices, `starling device remove`), or run `starling device recover`"
    )
}

/// What people are told of a device that is there twice.
pub fn words_of_copied(device: &DeviceId) -> String {
    format!(
        "{} is there twice, or an older copy of its profile was put back: messages to it and from it are lost. Link it again as a new device, and remove \
         this one",
        short_device(device)
    )
}

/// What people are told of a device that was removed and is used all the same; `who` is the contact that says so.
pub fn words_of_tried(device: &DeviceId, attempt: &str, who: Option<&str>) -> String {
    let what = match attempt {
        "call" => "has tried to call somebody",
        "enter" => "has tried to enter a conversation",
        "remove" => "has tried to remove another device",
        "link" => "has tried to link another device",
        _ => "has tried to write",
    };
    let device = short_device(device);
    match who {
        Some(who) => format!(
            "{who} says that {device}, which was removed from your account, {what} there: their devices have refused it. If that is true, somebody \
             uses it"
        ),
        None => format!(
            "{device}, which was removed from your account, {what}: somebody uses it. Nothing that it does counts"
        ),
    }
}

/// What people are told of contacts and settings that could not be restored.
pub fn words_of_unreadable(rendezvous: &str) -> String {
    format!(
        "Your contacts and settings are not on this device: the copy of them at {rendezvous} cannot be read. It is kept here and tried again; another device of yours still shows whom to add"
    )
}

/// What people are told of a removed device that has removed another, or has tried to.
pub fn words_of_refused(by: &DeviceId, device: &DeviceId, stands: bool) -> String {
    if stands {
        return format!(
            "{}, which was removed from your account, has removed {} at about the same time: both removals count. If that was not you, somebody has its \
             key: link the device that is gone again from one that is left, or recover the account with its phrase (starling init --restore)",
            short_device(by),
            short_device(device)
        );
    }
    format!(
        "{}, which was removed from your account, has tried to remove {}: somebody has its key, and a rendezvous has forgotten the removal. Nothing \
         was changed",
        short_device(by),
        short_device(device)
    )
}

/// What a user is to know of a conversation whose devices were shown different things by a rendezvous.
pub fn words_of_split(rendezvous: &str) -> String {
    format!(
        "the rendezvous {rendezvous} has shown the devices of this conversation different things. They have found each other again, and what was \
         written meanwhile is sent once more. If it happens again, use another rendezvous"
    )
}

/// A device with its name, what it is, and the beginning of its id, as far as they are known.
pub fn called(name: &str, system: &str, device: Option<&DeviceId>) -> String {
    let id = device.map(short_device);
    match (name, id) {
        ("", id) => id.unwrap_or_default().to_owned(),
        (name, id) => {
            let details: Vec<&str> = [system, id.unwrap_or_default()].into_iter().filter(|d| !d.is_empty()).collect();
            format!("“{name}” ({})", details.join(", "))
        }
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

/// A conversation that the user means.
pub struct Target {
    /// Its id.
    pub chat: ChatId,
    /// What it is.
    pub kind: ChatKind,
    /// What it is called.
    pub name: String,
}

impl From<Contact> for Target {
    fn from(contact: Contact) -> Self {
        Self { chat: contact.chat, kind: ChatKind::Direct, name: contact.name }
    }
}

impl From<ChatRef> for Target {
    fn from(chat: ChatRef) -> Self {
        Self { chat: chat.id, kind: chat.kind, name: chat.name.unwrap_or_default() }
    }
}

/// Finds a conversation: `#group`, or whatever a contact is found by; a name alone where only one has it.
pub async fn find_chat(client: &Client, who: &str) -> CliResult<Target> {
    client.call(FindChat { who: who.to_owned() }).await.map(Into::into)
}

/// A contact with its safety number.
pub async fn find_whole(client: &Client, who: &str) -> CliResult<Contact> {
    client.call(contacts::Find { who: who.to_owned(), safety_number: Some(true) }).await
}

/// All contacts, without the safety numbers, which take the node some time.
pub async fn contacts_in_short(client: &Client) -> CliResult<Vec<Contact>> {
    client.call(contacts::List { safety_numbers: Some(false) }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rendezvous_is_connected_over_is_told_where_it_matters() {
        for (transport, udp_blocked, expected) in [
            (None, false, None),
            (Some(Transport::Quic), false, None),
            (Some(Transport::Proxy), false, None),
            (Some(Transport::Tcp), true, Some("UDP is blocked here: connected over TCP")),
            (Some(Transport::WebSocket), false, Some("connected over WebSocket")),
        ] {
            let home = Rendezvous { transport, udp_blocked, ..Rendezvous::default() };
            assert_eq!(words_of_transport(&home).as_deref(), expected);
        }
    }
}
