//! `chat --plain`: one line after another, for screen readers and dumb terminals. No colours, no alternate screen, no pictures made of characters.

use std::collections::HashMap;

use starling_control::{
    event::EventKind,
    methods::{
        messages::{Delete, Edit, History, Read, Send},
        node::Subscribe,
    },
    objects::{ChatId, ChatKind, Contact, ContactState, DeliveryState, Message, MessageId},
};
use starling_text::SafeText;
use tokio::io::Stdin;

use super::{
    Target, contacts_in_short, find, find_chat, node_of, print,
    read_lines::{LineError, Lines},
    words_of, words_of_handed,
};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    rpc::Client,
    terminal::{safe, safe_line},
};

/// Messages shown at the start.
const RECENT: u32 = 10;

#[derive(Default)]
struct Handles {
    by_number: HashMap<u64, MessageId>,
    by_id: HashMap<MessageId, u64>,
}

impl Handles {
    fn of(&mut self, id: &MessageId) -> u64 {
        if let Some(n) = self.by_id.get(id) {
            return *n;
        }
        let n = self.by_id.len() as u64 + 1;
        self.by_id.insert(id.clone(), n);
        self.by_number.insert(n, id.clone());
        n
    }
}

/// The chat with somebody, or in a group; with whom the user names when asked.
pub async fn plain_chat(global: &Global, who: Option<&str>) -> CliResult {
    let (_, client) = node_of(global).await?;
    let mut lines = Lines::new(tokio::io::stdin());
    let result = async {
        let chat = match who {
            Some(who) => Some(find_chat(&client, who).await?),
            None => ask(&client, &mut lines).await?,
        };
        match chat {
            Some(chat) => run(&client, chat, &mut lines).await,
            None => Ok(()),
        }
    };
    let result = result.await;
    client.finish().await;
    result
}

/// Asks with whom; nothing if the user leaves. Who has one contact means that one.
async fn ask(client: &Client, lines: &mut Lines<Stdin>) -> CliResult<Option<Target>> {
    let contacts = contacts_in_short(client).await?;
    let mut contacts: Vec<Contact> = contacts.into_iter().filter(|c| c.state == ContactState::Active).collect();
    match contacts.len() {
        0 => {
            return Err(CliError::not_found("there is nobody to chat with yet")
                .hint("make an invite with `starling invite`, or add somebody with `starling contacts add LINK`"));
        }
        1 => return Ok(contacts.pop().map(Target::from)),
        _ => {}
    }
    let names = contacts.iter().map(|contact| safe_line(&contact.name).to_string()).collect::<Vec<_>>();
    print(format!("With whom? {}. Type a name and press Enter, or /quit to leave.", names.join(", ")))?;
    while let Some((_, line)) = lines.next().await? {
        let Some(line) = readable(line)? else { continue };
        match line.trim() {
            "" => {}
            "/quit" => break,
            who => match find_chat(client, who).await {
                Ok(chat) => return Ok(Some(chat)),
                Err(error) => print(format!("Error: {}", error.message))?,
            },
        }
    }
    Ok(None)
}

async fn run(client: &Client, Target { chat, kind, name }: Target, lines: &mut Lines<Stdin>) -> CliResult {
    let name = safe_line(&name);
    let with = match kind {
        ChatKind::Direct => {
            let verified = find(client, &format!("id:{chat}")).await?.verified;
            format!("Chat with {name}, encrypted, {}", if verified { "verified" } else { "not verified" })
        }
        _ => format!("Chat in #{name}, encrypted"),
    };
    print(format!("{with}. Type a message and press Enter. Type /help for commands, /quit to leave."))?;
    client.call(Subscribe { chat: Some(chat.clone()), ..Subscribe::since("now") }).await?;
    let mut handles = Handles::default();
    let recent = History { chat: chat.clone(), limit: Some(RECENT), ..History::default() };
    for message in client.call(recent).await? {
        print(spoken(&message, &mut handles))?;
    }
    client.call(Read { chat: chat.clone(), message: None }).await?;
    loop {
        tokio::select! {
            line = lines.next() => {
                let Some((_, line)) = line? else { return Ok(()) };
                let Some(line) = readable(line)? else { continue };
                if !command(client, &chat, line.trim(), &mut handles).await? {
                    return Ok(());
                }
            }
            event = client.event() => {
                announce(client, &chat, &name, &event?.kind, &mut handles).await?;
            }
        }
    }
}

/// A line as text; one that cannot be a message is told to the user, who goes on with the next.
fn readable(line: Result<String, LineError>) -> CliResult<Option<String>> {
    match line {
        Ok(line) => Ok(Some(line)),
        Err(error) => {
            print(format!("Error: your line {error}. Nothing was sent."))?;
            Ok(None)
        }
    }
}

fn spoken(message: &Message, handles: &mut Handles) -> SafeText {
    let n = handles.of(&message.id);
    let name = message.from.name.as_deref().unwrap_or_default();
    let who = if message.from.own { "you".into() } else { safe_line(name) };
    let reply = match &message.reply_to {
        Some(id) => format!(", reply to {}", handles.of(id)),
        None => String::new(),
    };
    let text = if message.deleted { "message deleted".into() } else { safe(&words_of(message)) };
    let edited = if message.edited { ", edited" } else { "" };
    let handed = words_of_handed(message).map(|words| format!(", {}", safe_line(&words))).unwrap_or_default();
    SafeText::block(&format!("{n}. {who}{reply}{edited}{handed}: {text}"))
}

async fn announce(client: &Client, chat: &ChatId, name: &str, event: &EventKind, handles: &mut Handles) -> CliResult {
    match event {
        EventKind::MessageNew(new) => {
            if let Some(message) = new.message.whole().filter(|message| !message.from.own) {
                print(spoken(message, handles))?;
                client.call(Read { chat: chat.clone(), message: None }).await?;
            }
        }
        EventKind::MessageEdited(edited) => {
            if let Some(message) = edited.message.whole() {
                print(spoken(message, handles))?;
            }
        }
        EventKind::MessageDeleted(deleted) => {
            print(format!("Message {} was deleted.", handles.of(deleted.message.id())))?;
        }
        EventKind::MessageState { message, state, .. } if *state != DeliveryState::Sent => {
            print(format!("Message {} {}.", handles.of(&message.id), state.as_str()))?;
        }
        EventKind::Typing { typing: true, member, .. } => {
            let member = member.as_ref().map(|member| safe_line(member.name.as_deref().unwrap_or("somebody")));
            print(format!("{} is typing.", member.as_deref().unwrap_or(name)))?;
        }
        _ => {}
    }
    Ok(())
}

async fn send(client: &Client, send: Send) -> CliResult<Vec<MessageId>> {
    Ok(client.call(send).await?.ids)
}

/// Runs a line; `false` to leave.
async fn command(client: &Client, chat: &ChatId, line: &str, handles: &mut Handles) -> CliResult<bool> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (number, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let target = number.parse::<u64>().ok().and_then(|n| handles.by_number.get(&n).cloned());
    let result = match (verb, target) {
        ("", _) => return Ok(true),
        ("/quit", _) => return Ok(false),
        ("/help", _) => {
            print(
                "/reply N TEXT answers message N. /edit N TEXT changes it. /delete N deletes it for everyone. /quit leaves. Two slashes send one.",
            )?;
            return Ok(true);
        }
        ("/reply", Some(id)) => send(client, Send { reply_to: Some(id), ..Send::text(chat.clone(), text) }).await,
        ("/edit", Some(message)) => {
            let edit = Edit { chat: chat.clone(), message, text: text.to_owned() };
            client.call(edit).await.map(|_| Vec::new())
        }
        ("/delete", Some(message)) => client.call(Delete { chat: chat.clone(), message }).await.map(|_| Vec::new()),
        ("/reply" | "/edit" | "/delete", None) => {
            print("There is no message with that number.")?;
            return Ok(true);
        }
        (v, _) if v.starts_with('/') && !v.starts_with("//") => {
            print(format!("There is no command {}. Type /help.", safe_line(v)))?;
            return Ok(true);
        }
        _ => {
            let text = line.strip_prefix('/').filter(|l| l.starts_with('/')).unwrap_or(line);
            send(client, Send::text(chat.clone(), text)).await
        }
    };
    match result {
        Ok(written) => {
            for id in written {
                print(format!("Message {} written.", handles.of(&id)))?;
            }
        }
        Err(error) => print(format!("Error: {}", error.message))?,
    }
    Ok(true)
}
