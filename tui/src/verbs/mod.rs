//! The verbs of the command line. All of them talk to the node by JSON-RPC.

mod call_media;
mod call_test;
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

use serde_json::{Value, json};

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
pub fn words_of(message: &Value) -> String {
    let call = &message["call"];
    if !call.is_object() {
        return field(message, "text").to_owned();
    }
    let mine = message["from"]["self"] == true;
    if let Some(said) = call["recording"].as_str() {
        let who = if mine { "you" } else { field(&message["from"], "name") };
        return match said {
            "asked" => format!("● {who} asked to record the call"),
            "agreed" => format!("● {who} agreed to the recording of the call"),
            "refused" => format!("● {who} did not agree to a recording of the call"),
            _ => format!("● {who} ended the recording of the call"),
        };
    }
    let kind = if call["video"] == true { "video call" } else { "call" };
    let talked = call["duration_ms"].as_u64().unwrap_or(0);
    let seconds = talked / 1000;
    let how = match (field(call, "reason"), mine) {
        _ if talked > 0 => format!("{kind}, {}:{:02}", seconds / 60, seconds % 60),
        ("no_answer" | "cancelled" | "busy", false) => format!("missed {kind}"),
        ("no_answer", true) => format!("{kind}, no answer"),
        ("cancelled", true) => format!("{kind}, cancelled"),
        ("declined", _) => format!("{kind}, declined"),
        ("busy", true) => format!("{kind}, busy"),
        ("elsewhere", _) => format!("{kind}, taken on another device"),
        ("failed" | "lost", _) => format!("{kind}, not connected"),
        _ => kind.to_owned(),
    };
    format!("☎ {how}")
}

async fn node_of(global: &Global) -> CliResult<(Profile, Client)> {
    let profile = Profile::new(global)?;
    let client = rpc::acquire(&profile, global).await?;
    Ok((profile, client))
}

/// Finds a contact (or a request) by `@name`, name, account, chat id or address. It comes without its safety number.
pub async fn find(client: &Client, who: &str) -> CliResult<Value> {
    find_in(&contacts_in_short(client).await?, who)
}

/// The same with its safety number.
pub async fn find_whole(client: &Client, who: &str) -> CliResult<Value> {
    let contacts = client.call("contacts", json!({})).await?;
    find_in(&contacts, who)
}

/// All contacts, without the safety numbers, which take the node some time.
pub async fn contacts_in_short(client: &Client) -> CliResult<Value> {
    client.call("contacts", json!({ "safety_numbers": false })).await
}

pub fn find_in(contacts: &Value, who: &str) -> CliResult<Value> {
    let all = contacts.as_array().map(Vec::as_slice).unwrap_or_default();
    let by_key = |key: &str, value: &str| all.iter().find(|c| c[key] == value).cloned();
    if let Some(id) = who.strip_prefix("id:") {
        return by_key("chat", id).ok_or_else(|| CliError::not_found(format!("there is no conversation {id}")));
    }
    if let Ok(invite) = who.parse::<starling_keys::Invite>() {
        let account = invite.address.account.to_string();
        return by_key("account", &account).ok_or_else(|| {
            CliError::not_found("nobody with this address is a contact")
                .hint("add them first with `starling contacts add`")
        });
    }
    let id = starling_text::unquoted(who).to_lowercase();
    if let Some(found) = by_key("account", &id).or_else(|| by_key("chat", &id)) {
        return Ok(found);
    }
    let name = who.strip_prefix('@').unwrap_or(who);
    let named = |fits: &dyn Fn(&str) -> bool| -> Vec<&Value> {
        all.iter().filter(|c| c["state"] != "removed" && c["name"].as_str().is_some_and(fits)).collect()
    };
    let exact = named(&|n| n == name);
    let found = if exact.is_empty() { named(&|n| starling_text::same(n, name)) } else { exact };
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let beginning: String = starling_text::folded(name).chars().take(2).collect();
            let close = named(&|n| starling_text::folded(n).starts_with(&beginning));
            let close: Vec<&str> = close.iter().take(3).map(|c| field(c, "name")).collect();
            let error = CliError::not_found(format!("nobody called “{name}” is a contact"));
            Err(if close.is_empty() {
                error.hint("see `starling contacts list`")
            } else {
                error.hint(format!("did you mean {}?", close.join(", ")))
            })
        }
        several => {
            let ids: Vec<String> =
                several.iter().filter_map(|c| c["chat"].as_str()).map(|id| format!("id:{id}")).collect();
            Err(CliError::usage(format!("“{name}” is the name of {} contacts", several.len()))
                .hint(format!("use one of: {}", ids.join(", "))))
        }
    }
}

/// A text field of a JSON object; empty if it is not there.
pub fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
