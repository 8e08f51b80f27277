//! What a listener says of events in words.

use starling_control::{
    event::{EventKind, MessageChange},
    objects::ContactRef,
};
use starling_text::SafeText;

use super::{
    called, words_of, words_of_copied, words_of_hidden, words_of_refused, words_of_split, words_of_tried,
    words_of_unreadable,
};

/// An event for people; nothing for what they need not know.
pub(super) fn spoken(kind: &EventKind) -> Option<SafeText> {
    let written = |change: &MessageChange, how: &str| {
        let message = change.message.whole();
        let (who, text) = message.map(|m| (shown(&m.from.name), SafeText::block(&m.text))).unwrap_or_default();
        SafeText::block(&format!("[{}] {who}{how}: {text}", shown(&change.chat.name)))
    };
    let line = match kind {
        EventKind::MessageNew(new) => return Some(written(new, "")),
        EventKind::MessageEdited(edited) => return Some(written(edited, " edited")),
        EventKind::MessageDeleted(deleted) => format!("[{}] a message was deleted", shown(&deleted.chat.name)),
        EventKind::ContactRequested { contact } => format!("{} asks to be a contact", shown(&contact.name)),
        EventKind::ContactAccepted { contact } => format!("{} is a contact now", shown(&contact.name)),
        EventKind::ContactDevices { chat, message, .. } => {
            let words = SafeText::line(&message.whole().map(words_of).unwrap_or_default());
            format!("[{}] {words}", shown(&chat.name))
        }
        EventKind::CallIncoming { chat, .. } => {
            format!("[{}] a call comes in: starling call answer", shown(&chat.name))
        }
        EventKind::CallEnded { chat, call, .. } => {
            let seconds = call.as_ref().map_or(0, |call| call.duration_ms / 1000);
            let how = call.as_ref().map(|call| call.reason.as_str().replace('_', " ")).unwrap_or_default();
            format!("[{}] a call: {how}, {}:{:02}", shown(&chat.name), seconds / 60, seconds % 60)
        }
        _ => warned(kind).or_else(|| spoken_of_group(kind))?,
    };
    Some(line.into())
}

/// A name as a line shows it.
fn shown(name: &Option<String>) -> SafeText {
    SafeText::line(name.as_deref().unwrap_or_default())
}

/// What people are warned of.
fn warned(kind: &EventKind) -> Option<String> {
    let words = match kind {
        EventKind::ContactKeyChanged { contact } => format!("the devices of {} have changed", shown(&contact.name)),
        EventKind::DeviceHidden { contact, change, device, name, by } => {
            let which = called(name, "", Some(device));
            let words = words_of_hidden(contact.name.as_deref().unwrap_or_default(), change, &which, by.as_ref());
            SafeText::line(&words).to_string()
        }
        EventKind::DeviceCopied { device } => words_of_copied(device),
        EventKind::DeviceRefused { by, device, stands } => words_of_refused(by, device, *stands),
        EventKind::DeviceTried { device, attempt, contact: by } => {
            let who = by.as_ref().map(|who| who.name.as_deref().unwrap_or("a contact"));
            SafeText::line(&words_of_tried(device, attempt, who)).to_string()
        }
        EventKind::AccountUnreadable { rendezvous } => SafeText::line(&words_of_unreadable(rendezvous)).to_string(),
        EventKind::ChatSplit { chat, rendezvous } => {
            let words = SafeText::line(&words_of_split(rendezvous));
            return Some(format!("[{}] WARNING: {words}", shown(&chat.name)));
        }
        _ => return None,
    };
    Some(format!("WARNING: {words}"))
}

/// What has happened in a group.
fn spoken_of_group(kind: &EventKind) -> Option<String> {
    let contact = |contact: &ContactRef| shown(&contact.name);
    let (chat, words) = match kind {
        EventKind::GroupInvited { chat, contact: who } => {
            let (who, group) = (contact(who), shown(&chat.name));
            return Some(format!("{who} invites you into #{group}: starling group accept id:{}", chat.id));
        }
        EventKind::GroupJoined { chat, member } => (chat, format!("{} has come", contact(member))),
        EventKind::GroupLeft { chat, member } => (chat, format!("{} has left", contact(member))),
        EventKind::GroupRemoved { chat, member } => (chat, format!("{} was removed", contact(member))),
        EventKind::GroupBanned { chat, member } => (chat, format!("{} was banned", contact(member))),
        EventKind::GroupLink { chat, link, change, .. } => (chat, format!("the link {link} was {}", change.as_str())),
        EventKind::GroupRequest { chat, contact: who } => (chat, format!("{} asks to be let in", contact(who))),
        EventKind::GroupReported { chat, member, .. } => {
            (chat, format!("{} reports a message: starling group reports id:{}", contact(member), chat.id))
        }
        EventKind::GroupHistory { chat, member, messages } => {
            (chat, format!("{} has handed on {messages} earlier messages", contact(member)))
        }
        EventKind::GroupSlowed { chat, member, .. } => (chat, format!("{} writes very much", contact(member))),
        EventKind::GroupPolicy { chat } => (chat, "the group has other settings".to_owned()),
        EventKind::GroupRole { chat, member, role } => (chat, format!("{} is {} now", contact(member), role.as_str())),
        EventKind::GroupTopic { chat } => (chat, "the group has another name or topic".to_owned()),
        EventKind::GroupRefused { chat, reason, .. } => {
            (chat, format!("a change was not made: {}", SafeText::line(reason)))
        }
        _ => return None,
    };
    Some(format!("[{}] {words}", shown(&chat.name)))
}
