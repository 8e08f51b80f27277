//! `chat --plain`: one line after another, for screen readers and dumb terminals. No colours, no alternate screen, no pictures made of characters.

use std::collections::HashMap;

use serde_json::{Value, json};
use starling_text::SafeText;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{field, find, node_of, print, words_of};
use crate::{
    cli::Global,
    error::CliResult,
    rpc::Client,
    terminal::{safe, safe_line},
};

/// Messages shown at the start.
const RECENT: usize = 10;

#[derive(Default)]
struct Handles {
    by_number: HashMap<u64, String>,
    by_id: HashMap<String, u64>,
}

impl Handles {
    fn of(&mut self, id: &str) -> u64 {
        if let Some(n) = self.by_id.get(id) {
            return *n;
        }
        let n = self.by_id.len() as u64 + 1;
        self.by_id.insert(id.to_owned(), n);
        self.by_number.insert(n, id.to_owned());
        n
    }
}

pub async fn plain_chat(global: &Global, who: &str) -> CliResult {
    let (_, client) = node_of(global).await?;
    let result = run(&client, who).await;
    client.finish().await;
    result
}

async fn run(client: &Client, who: &str) -> CliResult {
    let contact = find(client, who).await?;
    let chat = field(&contact, "chat").to_owned();
    let name = safe_line(field(&contact, "name"));
    let verified = if contact["verified"] == true { "verified" } else { "not verified" };
    print(format!(
        "Chat with {name}, encrypted, {verified}. Type a message and press Enter. Type /help for commands, /quit to leave."
    ))?;
    client.call("subscribe", json!({ "since": "now", "chat": chat })).await?;
    let mut handles = Handles::default();
    let recent = client.call("history", json!({ "chat": chat, "limit": RECENT })).await?;
    for message in recent.as_array().into_iter().flatten() {
        print(spoken(message, &mut handles))?;
    }
    client.call("read", json!({ "chat": chat })).await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { return Ok(()) };
                if !command(client, &chat, line.trim(), &mut handles).await? {
                    return Ok(());
                }
            }
            event = client.event() => {
                let event = event?;
                announce(client, &chat, &name, &event, &mut handles).await?;
            }
        }
    }
}

fn spoken(message: &Value, handles: &mut Handles) -> SafeText {
    let n = handles.of(field(message, "id"));
    let who = if message["from"]["self"] == true { "you".into() } else { safe_line(field(&message["from"], "name")) };
    let reply = match message["reply_to"].as_str() {
        Some(id) => format!(", reply to {}", handles.of(id)),
        None => String::new(),
    };
    let text = if message["deleted"] == true { "message deleted".into() } else { safe(&words_of(message)) };
    let edited = if message["edited"] == true { ", edited" } else { "" };
    SafeText::block(&format!("{n}. {who}{reply}{edited}: {text}"))
}

async fn announce(client: &Client, chat: &str, name: &str, event: &Value, handles: &mut Handles) -> CliResult {
    match field(event, "type") {
        "message.new" if event["message"]["from"]["self"] != true => {
            print(spoken(&event["message"], handles))?;
            client.call("read", json!({ "chat": chat })).await?;
        }
        "message.edited" => print(spoken(&event["message"], handles))?,
        "message.deleted" => print(format!("Message {} was deleted.", handles.of(field(&event["message"], "id"))))?,
        "message.state" if field(event, "state") != "sent" => {
            let n = handles.of(field(&event["message"], "id"));
            print(format!("Message {n} {}.", field(event, "state")))?;
        }
        "typing" if event["typing"] == true => print(format!("{name} is typing."))?,
        _ => {}
    }
    Ok(())
}

/// Runs a line; `false` to leave.
async fn command(client: &Client, chat: &str, line: &str, handles: &mut Handles) -> CliResult<bool> {
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
        ("/reply", Some(id)) => client.call("send", json!({ "chat": chat, "text": text, "reply_to": id })).await,
        ("/edit", Some(id)) => client.call("edit", json!({ "chat": chat, "message": id, "text": text })).await,
        ("/delete", Some(id)) => client.call("delete", json!({ "chat": chat, "message": id })).await,
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
            client.call("send", json!({ "chat": chat, "text": text })).await
        }
    };
    match result {
        Ok(answer) => {
            for id in answer["ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                print(format!("Message {} written.", handles.of(id)))?;
            }
        }
        Err(error) => print(format!("Error: {}", error.message))?,
    }
    Ok(true)
}
