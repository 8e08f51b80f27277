//! `chats` and `history`.

use std::io::{BufRead, IsTerminal};

use starling_control::{
    lines::{ChatDetails, ChatDone},
    methods::{
        chats::{Arrange, Clear, List, Set},
        messages::{Back, History, Search},
    },
    objects::{ChatId, ChatKind, DeliveryState, Message, MessageId, Time},
};
use starling_text::SafeText;

use super::{
    Target, counted_members, find, find_chat, find_whole, groups::find_group, node_of, people::catch_up, print,
    print_object, say, words_of, words_of_handed,
};
use crate::{
    cli::{Chats, Global, parse_duration, parse_time_span},
    error::{CliError, CliResult},
    local_time::{self, LocalTimes},
    output::ask,
    rpc::{Client, now_ms, rfc3339},
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
        Chats::Pin { chat, undo } => (chat, Set { pinned: Some(!undo), ..Set::default() }),
        Chats::Archive { chat, undo } => (chat, Set { archived: Some(!undo), ..Set::default() }),
        Chats::Folder { chat, name } => (chat, Set { folder: Some(name.unwrap_or_default()), ..Set::default() }),
        Chats::Sort { chats, activity } => return sort(global, client, &chats, activity).await,
        Chats::Mute { chat, time, undo } => {
            let until = match (undo, time) {
                (true, _) => 0,
                (false, None) => u64::MAX / 2,
                (false, Some(time)) => {
                    now_ms()
                        + parse_time_span(&time)
                            .ok_or_else(|| CliError::usage("--for takes a time such as 8h or 1d"))?
                }
            };
            (chat, Set { muted_until_ms: Some(until), ..Set::default() })
        }
        Chats::Delete { chat, force } => {
            let found = find_chat(client, &chat).await?;
            if !force {
                confirm(global, &format!("Delete all messages of {} on this device?", safe_line(&found.name)))?;
            }
            client.call(Clear { chat: found.chat.clone() }).await?;
            return if global.json {
                print_object(&ChatDone { chat: found.chat, done: "deleted".into() })
            } else {
                print("deleted here")
            };
        }
    };
    let change = Set { chat: find_chat(client, &who).await?.chat, ..change };
    client.call(change.clone()).await?;
    if global.json { print_object(&change) } else { print("done") }
}

async fn sort(global: &Global, client: &Client, chats: &[String], activity: bool) -> CliResult {
    let mut wanted = Arrange { by_activity: Some(activity), ..Arrange::default() };
    for who in chats {
        wanted.chats.push(find_chat(client, who).await?.chat);
    }
    client.call(wanted.clone()).await?;
    if global.json { print_object(&wanted) } else { print("done") }
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

async fn list(global: &Global, client: &Client) -> CliResult {
    catch_up(global, client).await?;
    let times = LocalTimes::new(global);
    for chat in client.call(List {}).await? {
        if global.json {
            print_object(&chat)?;
            continue;
        }
        let mut notes = Vec::new();
        if chat.unread > 0 {
            notes.push(format!("{} new", chat.unread));
        }
        if chat.queued > 0 {
            notes.push(format!("⏳ {} waiting", chat.queued));
        }
        notes.extend([(chat.pinned, "pinned"), (chat.archived, "archived")].iter().filter(|n| n.0).map(|n| n.1.into()));
        notes.extend(chat.folder.as_deref().map(|folder| format!("in {}", safe_line(folder))));
        let newest = chat.newest.as_ref().map(|newest| times.minute(newest)).unwrap_or_default();
        print(format!("{:<24} {newest:<16} {}", safe_line(&chat.name), notes.join(", ")).trim_end())?;
    }
    Ok(())
}

async fn show(global: &Global, client: &Client, who: &str) -> CliResult {
    catch_up(global, client).await?;
    let Target { chat: id, kind, .. } = find_chat(client, who).await?;
    let named = format!("id:{id}");
    let (contact, group) = match kind {
        ChatKind::Direct => (Some(find_whole(client, &named).await?), None),
        _ => (None, Some(find_group(client, &named).await?)),
    };
    let chat = client.call(List {}).await?.into_iter().find(|chat| chat.id == id);
    let chat = chat.ok_or_else(|| CliError::not_found(format!("there is no conversation {id}")))?;
    if global.json {
        return print_object(&ChatDetails { chat, contact, group });
    }
    print(format!("conversation  id:{}", chat.id))?;
    if let Some(contact) = &contact {
        print(format!("with          {} ({})", safe_line(&contact.name), contact.account))?;
    }
    if let Some(group) = &group {
        let members = counted_members(group.members.len());
        print(format!("{:<12}  #{}, {members}", group.kind.as_str(), safe_line(&group.name)))?;
    }
    print(format!("encryption    {}", chat.cipher))?;
    if let Some(contact) = &contact {
        print(format!("verified      {}", if contact.verified { "yes" } else { "no" }))?;
    }
    print(format!("unread        {}", chat.unread))?;
    print(format!("waiting       {}", chat.queued))?;
    if let Some(problem) = &chat.problem {
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
    let chat = find_chat(&client, who).await?.chat;
    let mut pages = Pages::open(&client, chat, limit, before).await?;
    let (times, mut none) = (LocalTimes::new(global), true);
    while let Some(page) = pages.next().await? {
        for message in &page {
            none = false;
            if message.sent_at < since {
                continue;
            }
            if global.json {
                print_object(message)?;
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
    async fn open(client: &'a Client, chat: ChatId, limit: usize, before: Option<String>) -> CliResult<Self> {
        let end = before.map(MessageId::from);
        let history = History { chat: chat.clone(), ..History::default() };
        let next = if limit <= PAGE {
            Some(History { limit: u32::try_from(limit).ok(), before: end.clone(), ..history })
        } else {
            let back = Back { chat: chat.clone(), count: limit as u64, before: end.clone() };
            let first = client.call(back).await?.message;
            first.map(|first| History { message: Some(first), ..history })
        };
        Ok(Self { client, chat, left: limit, end, next })
    }

    async fn next(&mut self) -> CliResult<Option<Vec<Message>>> {
        let Some(request) = self.next.take() else { return Ok(None) };
        let continues = request.message.is_some() || request.after.is_some();
        let mut page = self.client.call(request).await?;
        let end = page.iter().position(|m| self.end.as_ref() == Some(&m.id));
        page.truncate(end.unwrap_or(page.len()).min(self.left));
        self.left -= page.len();
        if let Some(last) = page.last().filter(|_| continues && self.left > 0 && end.is_none()) {
            let (after, limit) = (Some(last.id.clone()), Some(self.left.min(PAGE) as u32));
            self.next = Some(History { chat: self.chat.clone(), after, limit, ..History::default() });
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

/// One message as text lines.
fn line(message: &Message, times: &LocalTimes) -> String {
    let who = if message.from.own { "you" } else { message.from.name.as_deref().unwrap_or_default() };
    let state = match message.state {
        _ if !message.from.own => "",
        DeliveryState::Queued => " ⏳",
        DeliveryState::Sent => " ✓",
        DeliveryState::Delivered => " ✓✓",
        DeliveryState::Read => " ✓✓ read",
        DeliveryState::Failed => " ⚠ failed",
    };
    let time = times.minute(&message.sent_at);
    let text = if message.deleted { "(deleted)".to_owned() } else { safe(&words_of(message)) };
    let edited = if message.edited { " (edited)" } else { "" };
    let handed = words_of_handed(message).map(|words| format!(" ({})", safe_line(&words))).unwrap_or_default();
    format!("{time}  {}{handed}: {}{edited}{state}", safe_line(who), text.replace('\n', "\n                  "))
}

/// What `--since` means; the beginning of time without it.
fn earliest(since: Option<&str>) -> CliResult<Time> {
    let ms = since
        .map_or(Some(0), parse_since)
        .ok_or_else(|| CliError::usage("--since takes a time ago such as 2h or 7d, or a date such as 2026-01-31"))?;
    Ok(Time(rfc3339(ms)))
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
    let limit = Some(u32::try_from(limit).unwrap_or(u32::MAX));
    let mut search = Search { query: query.to_owned(), limit, since: Some(since), ..Search::default() };
    if let Some(who) = chat {
        search.chat = Some(find_chat(&client, &who).await?.chat);
    }
    search.from = match from.as_deref() {
        Some(who) if who != "me" => Some(find(&client, who).await?.account.0),
        me => me.map(Into::into),
    };
    let found = client.call(search).await?;
    client.finish().await;
    let times = LocalTimes::new(global);
    for found in &found {
        if global.json {
            print_object(found)?;
        } else {
            let chat = safe_line(found.chat.name.as_deref().unwrap_or_default());
            print(SafeText::block(&format!("{chat}  {}", line(&found.message, &times))))?;
        }
    }
    if found.is_empty() {
        say(global, "Nothing found.");
    }
    Ok(())
}
