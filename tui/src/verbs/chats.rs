//! `chats` and `history`.

use std::io::{BufRead, IsTerminal};

use serde_json::{Value, json};
use starling_control::{
    Method,
    methods::messages::{Back, History},
    objects::{ChatId, MessageId},
};
use starling_text::SafeText;

use super::{field, find, find_whole, node_of, people::catch_up, print, say, words_of};
use crate::{
    cli::{Chats, Global, parse_duration},
    error::{CliError, CliResult},
    local_time::{self, LocalTimes},
    output::ask,
    rpc::Client,
    terminal::{safe, safe_line},
};

pub async fn chats(global: &Global, command: Chats) -> CliResult {
    let (_, client) = node_of(global).await?;
    let result = run(global, &client, command).await;
    client.finish().await;
    result
}

async fn run(global: &Global, client: &Client, command: Chats) -> CliResult {
    let (who, change) = match command {
        Chats::List => return list(global, client).await,
        Chats::Show { chat } => return show(global, client, &chat).await,
        Chats::Pin { chat, undo } => (chat, json!({ "pinned": !undo })),
        Chats::Archive { chat, undo } => (chat, json!({ "archived": !undo })),
        Chats::Mute { chat, time, undo } => {
            let until = match (undo, time) {
                (true, _) => 0,
                (false, None) => u64::MAX / 2,
                (false, Some(time)) => {
                    now_ms()
                        + parse_duration(&time).ok_or_else(|| CliError::usage("--for takes a time such as 8h or 1d"))?
                }
            };
            (chat, json!({ "muted_until_ms": until }))
        }
        Chats::Delete { chat, force } => {
            let contact = find(client, &chat).await?;
            if !force {
                confirm(
                    global,
                    &format!("Delete all messages with {} on this device?", safe_line(field(&contact, "name"))),
                )?;
            }
            client.call("chat.clear", json!({ "chat": field(&contact, "chat") })).await?;
            return if global.json {
                print(json!({ "chat": contact["chat"], "done": "deleted" }))
            } else {
                print("deleted here")
            };
        }
    };
    let contact = find(client, &who).await?;
    let mut params = change;
    params["chat"] = contact["chat"].clone();
    client.call("chat.set", params.clone()).await?;
    if global.json { print(params) } else { print("done") }
}

fn confirm(global: &Global, question: &str) -> CliResult {
    if global.no_input || !std::io::stdin().is_terminal() {
        return Err(CliError::usage("this needs a yes").hint("add --force"));
    }
    ask(format!("{question} [y/N]"));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line.trim().eq_ignore_ascii_case("y") { Ok(()) } else { Err(CliError::new("declined", 1, "nothing was done")) }
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

async fn list(global: &Global, client: &Client) -> CliResult {
    catch_up(global, client).await?;
    let chats = client.call("chats", json!({})).await?;
    let times = LocalTimes::new(global);
    for chat in chats.as_array().into_iter().flatten() {
        if global.json {
            print(chat)?;
            continue;
        }
        let mut notes = Vec::new();
        if let Some(unread) = chat["unread"].as_u64().filter(|n| *n > 0) {
            notes.push(format!("{unread} new"));
        }
        if let Some(queued) = chat["queued"].as_u64().filter(|n| *n > 0) {
            notes.push(format!("⏳ {queued} waiting"));
        }
        for (key, word) in [("pinned", "pinned"), ("archived", "archived")] {
            if chat[key] == true {
                notes.push(word.into());
            }
        }
        print(
            format!(
                "{:<24} {:<16} {}",
                safe_line(field(chat, "name")),
                times.minute(field(chat, "newest")),
                notes.join(", ")
            )
            .trim_end(),
        )?;
    }
    Ok(())
}

async fn show(global: &Global, client: &Client, who: &str) -> CliResult {
    catch_up(global, client).await?;
    let contact = find_whole(client, who).await?;
    let chats = client.call("chats", json!({})).await?;
    let chat =
        chats.as_array().into_iter().flatten().find(|c| c["id"] == contact["chat"]).cloned().unwrap_or(Value::Null);
    if global.json {
        let mut line = chat;
        line["contact"] = contact;
        return print(line);
    }
    print(format!("conversation  id:{}", field(&contact, "chat")))?;
    print(format!("with          {} ({})", safe_line(field(&contact, "name")), field(&contact, "account")))?;
    print(format!("encryption    {}", field(&chat, "cipher")))?;
    print(format!("verified      {}", if contact["verified"] == true { "yes" } else { "no" }))?;
    print(format!("unread        {}", chat["unread"]))?;
    print(format!("waiting       {}", chat["queued"]))?;
    if let Some(problem) = chat["problem"].as_str() {
        print(format!("problem       {problem}"))?;
    }
    Ok(())
}

pub async fn history(
    global: &Global,
    who: &str,
    limit: usize,
    before: Option<String>,
    since: Option<String>,
) -> CliResult {
    let since = earliest(since.as_deref())?;
    let (_, client) = node_of(global).await?;
    catch_up(global, &client).await?;
    let contact = find(&client, who).await?;
    let mut pages = Pages::open(&client, field(&contact, "chat"), limit, before).await?;
    let (times, mut none) = (LocalTimes::new(global), true);
    while let Some(page) = pages.next().await? {
        for message in &page {
            none = false;
            if field(message, "sent_at") < since.as_str() {
                continue;
            }
            if global.json {
                print(message)?;
            } else {
                print(SafeText::block(&line(message, &times)))?;
            }
        }
    }
    client.finish().await;
    if none {
        say(global, "No messages yet.");
    }
    Ok(())
}

/// Messages that are fetched at a time.
const PAGE: usize = 1_000;

/// The newest messages of a conversation in its order, page by page: the memory that is needed does not grow with their number.
struct Pages<'a> {
    client: &'a Client,
    chat: ChatId,
    left: usize,
    /// The first message that is not wanted any more.
    end: Option<MessageId>,
    /// What the next page asks for.
    next: Option<History>,
}

impl<'a> Pages<'a> {
    async fn open(client: &'a Client, chat: &str, limit: usize, before: Option<String>) -> CliResult<Self> {
        let chat = ChatId::from(chat);
        let end = before.map(MessageId::from);
        let history = History { chat: chat.clone(), ..History::default() };
        let next = if limit <= PAGE {
            Some(History { limit: u32::try_from(limit).ok(), before: end.clone(), ..history })
        } else {
            let back = Back { chat: chat.clone(), count: limit as u64, before: end.clone() };
            let first = client.request(back).await?.message;
            first.map(|first| History { message: Some(first), ..history })
        };
        Ok(Self { client, chat, left: limit, end, next })
    }

    async fn next(&mut self) -> CliResult<Option<Vec<Value>>> {
        let Some(request) = self.next.take() else { return Ok(None) };
        let continues = request.message.is_some() || request.after.is_some();
        let request = serde_json::to_value(request).map_err(CliError::internal)?;
        let mut page = match self.client.call(History::NAME, request).await? {
            Value::Array(page) => page,
            _ => Vec::new(),
        };
        let end = page.iter().position(|m| self.end.as_ref().is_some_and(|end| field(m, "id") == end.as_str()));
        page.truncate(end.unwrap_or(page.len()).min(self.left));
        self.left -= page.len();
        if let Some(last) = page.last().filter(|_| continues && self.left > 0 && end.is_none()) {
            let (after, limit) = (MessageId::from(field(last, "id")), self.left.min(PAGE) as u32);
            self.next =
                Some(History { chat: self.chat.clone(), after: Some(after), limit: Some(limit), ..History::default() });
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

/// One message as text lines.
fn line(message: &Value, times: &LocalTimes) -> String {
    let who = if message["from"]["self"] == true { "you" } else { field(&message["from"], "name") };
    let state = match (message["from"]["self"] == true, field(message, "state")) {
        (false, _) => "",
        (_, "queued") => " ⏳",
        (_, "sent") => " ✓",
        (_, "delivered") => " ✓✓",
        (_, "read") => " ✓✓ read",
        _ => " ⚠ failed",
    };
    let time = times.minute(field(message, "sent_at"));
    let text = if message["deleted"] == true { "(deleted)".to_owned() } else { safe(&words_of(message)) };
    let edited = if message["edited"] == true { " (edited)" } else { "" };
    format!("{time}  {}: {}{edited}{state}", safe_line(who), text.replace('\n', "\n                  "))
}

/// `--since` as a time in RFC 3339.
fn earliest(since: Option<&str>) -> Result<String, CliError> {
    let ms = since
        .map_or(Some(0), parse_since)
        .ok_or_else(|| CliError::usage("--since takes a time ago such as 2h or 7d, or a date such as 2026-01-31"))?;
    Ok(crate::rpc::rfc3339(ms))
}

/// A time ago, or a local date.
fn parse_since(text: &str) -> Option<u64> {
    match parse_duration(text) {
        Some(ago) => Some(now_ms().saturating_sub(ago)),
        None => local_time::parse(text),
    }
}

pub async fn search(
    global: &Global,
    query: &str,
    chat: Option<String>,
    from: Option<String>,
    since: Option<String>,
    limit: usize,
) -> CliResult {
    let since = earliest(since.as_deref())?;
    let (_, client) = node_of(global).await?;
    catch_up(global, &client).await?;
    let mut params = json!({ "query": query, "limit": limit });
    if let Some(who) = chat {
        params["chat"] = find(&client, &who).await?["chat"].clone();
    }
    match from.as_deref() {
        None => {}
        Some("me") => params["from"] = "me".into(),
        Some(who) => params["from"] = find(&client, who).await?["account"].clone(),
    }
    params["since"] = since.into();
    let found = client.call("search", params).await?;
    client.finish().await;
    let times = LocalTimes::new(global);
    let mut none = true;
    for message in found.as_array().into_iter().flatten() {
        none = false;
        if global.json {
            print(message)?;
        } else {
            let chat = safe_line(field(&message["chat"], "name"));
            print(SafeText::block(&format!("{chat}  {}", line(message, &times))))?;
        }
    }
    if none {
        say(global, "Nothing found.");
    }
    Ok(())
}
