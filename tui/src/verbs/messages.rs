//! `send` and `listen`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use starling_control::{
    methods::{
        messages::{Wait, Waited},
        node,
    },
    objects::DeliveryState,
};
use starling_node::MAX_TEXT;
use starling_text::SafeText;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    exec::Answerer,
    field, find,
    lines::{Sent, send_lines},
    node_of,
    people::{catch_up, warn_of_clock},
    print, say,
};
use crate::{
    cli::{Global, Send, parse_duration},
    error::{CliError, CliResult},
    output::Printable,
    profile::Profile,
    rpc::{self, Client},
    signals::{self, Signal},
};

/// Events that are written together when they are there already.
const BATCH: usize = 500;
/// How long a one-off `send` tries to get its message out before it leaves it to the next run.
const LINGER: Duration = Duration::from_secs(10);
/// The same when no rendezvous takes connections: time to reach a device nearby.
const LINGER_CUT_OFF: Duration = Duration::from_secs(1);
/// How often it is looked which of them it is, in milliseconds.
const LOOK_MS: u64 = 250;

pub async fn send(global: &Global, args: Send) -> CliResult {
    let timeout = parse_duration(&args.timeout)
        .ok_or_else(|| CliError::usage(format!("“{}” is no time: use 10s or 2m", args.timeout)))?;
    let profile = Profile::new(global)?;
    let patience = rpc::FIRST_ANSWER.min(Duration::from_millis(timeout));
    let mut client = rpc::acquire_within(&profile, global, patience).await?;
    let result = send_with(global, &profile, &mut client, &args, timeout).await;
    client.finish().await;
    result
}

async fn send_with(global: &Global, profile: &Profile, client: &mut Client, args: &Send, timeout: u64) -> CliResult {
    // Their invite may have been used while we were away, our clock may be off, and our account may have moved to another device.
    catch_up(global, client).await?;
    let contact = find(client, &args.to).await?;
    let chat = field(&contact, "chat");
    let (sent, last_text) = if args.lines {
        (send_lines(global, client, chat, args).await?, String::new())
    } else {
        let text = if args.text.is_empty() || args.text == ["-"] { read_text().await? } else { args.text.join(" ") };
        if text.len() > MAX_TEXT {
            return Err(too_long(&format!("this one has {} KB", text.len().div_ceil(1024))));
        }
        let ids = send_texts(client, chat, args, vec![text.clone()]).await?;
        (Sent::of(ids), text)
    };
    let Some(last) = &sent.last else {
        sent.result()?;
        return Err(CliError::usage("there is nothing to send").hint("give the text, or lines on standard input"));
    };
    let (state, reached) = match args.wait {
        Some(goal) => {
            let wait = Wait {
                chat: chat.into(),
                message: last.as_str().into(),
                state: goal.state(),
                timeout_ms: Some(timeout),
            };
            let waited = loop {
                match client.request(wait.clone()).await {
                    // It was another command's node, and that command has ended: the message is safe, we go on waiting with our own.
                    Err(error) if error.code == "node_gone" => client.renew(profile, global).await?,
                    waited => break waited?,
                }
            };
            (waited.state, waited.reached)
        }
        // A node of our own must at least hand the message over, as far as that is possible now.
        None if client.is_own() => {
            let waited = hand_over(client, chat, last, LINGER.min(Duration::from_millis(timeout))).await?;
            (waited.state, waited.reached)
        }
        None => (DeliveryState::Queued, true),
    };
    let state = state.as_str();
    if client.is_own() {
        warn_of_clock(global, &client.request(node::Status {}).await?);
    }
    if global.json {
        let message = client.call("history", json!({ "chat": chat, "message": last })).await?;
        let mut message = message[0].clone();
        if message.is_null() {
            message = json!({ "id": last, "text": last_text, "state": state });
        }
        message["count"] = sent.count.into();
        print(message)?;
    } else {
        say(global, format!("{} message{} {state}", sent.count, if sent.count == 1 { "" } else { "s" }));
    }
    if !reached && args.wait.is_some() {
        let chats = client.call("chats", json!({})).await?;
        let row = chats.as_array().into_iter().flatten().find(|c| field(c, "id") == chat);
        let problem = row.and_then(|c| c["problem"].as_str()).map(|p| format!(" ({p})")).unwrap_or_default();
        let hint = match state {
            "queued" => "it goes out when the rendezvous or their device can be reached: `starling doctor` tells more",
            "sent" => "it waits at the rendezvous until their device comes for it",
            _ => "they have it; whether they have read it is not known, or not told",
        };
        return Err(CliError::timeout(format!("the message is {state}{problem}; it goes on when it can")).hint(hint));
    }
    if !reached {
        say(global, "It waits here and goes out at the next run.");
    }
    sent.result()
}

/// A message on standard input: as much as a message can have, less the line breaks at its end.
async fn read_text() -> CliResult<String> {
    // Room for line breaks at the end.
    const MOST: usize = MAX_TEXT + 1024;
    let mut bytes = Vec::new();
    tokio::io::stdin().take(MOST as u64).read_to_end(&mut bytes).await?;
    let whole = bytes.len() < MOST;
    while bytes.ends_with(b"\n") {
        bytes.pop();
    }
    if !whole || bytes.len() > MAX_TEXT {
        return Err(too_long("standard input has more"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let byte = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        CliError::usage(format!("standard input is not UTF-8 text: line {line}, byte {byte}"))
    })
}

fn too_long(how_long: &str) -> CliError {
    CliError::usage(format!("a message has at most {} KB, {how_long}", MAX_TEXT / 1024))
        .hint("send it in parts; --lines makes a message of each line")
}

/// Gives texts to the node; their ids.
pub(super) async fn send_texts(client: &Client, chat: &str, args: &Send, texts: Vec<String>) -> CliResult<Vec<String>> {
    let mut params = json!({ "chat": chat, "texts": texts });
    if let Some(reply_to) = &args.reply_to {
        params["reply_to"] = reply_to.clone().into();
    }
    let answer = client.call("send", params).await?;
    Ok(answer["ids"].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(Into::into)).collect())
}

/// Waits until a message has left, for so long at most. What has not left goes out at the next run.
async fn hand_over(client: &Client, chat: &str, message: &str, limit: Duration) -> CliResult<Waited> {
    let began = Instant::now();
    loop {
        let wait =
            Wait { chat: chat.into(), message: message.into(), state: DeliveryState::Sent, timeout_ms: Some(LOOK_MS) };
        let waited = client.request(wait).await?;
        let limit = if client.request(node::Status {}).await?.is_cut_off() { LINGER_CUT_OFF.min(limit) } else { limit };
        if waited.reached || began.elapsed() >= limit {
            return Ok(waited);
        }
    }
}

pub async fn listen(
    global: &Global,
    chat: Option<String>,
    since: String,
    exec: Option<String>,
    count: Option<u64>,
) -> CliResult {
    // Who resumes after a cursor wants what was missed answered, too; with `all` they would answer years.
    let resumes = since.starts_with("c1:");
    let mut listener = Listener { chat, since, resumes, left: count, out: tokio::io::stdout() };
    loop {
        let (_, client) = node_of(global).await?;
        let client = Arc::new(client);
        // A node of our own says good-bye.
        let _handled = signals::handle();
        let answerer = exec.as_ref().map(|command| Answerer::start(global, &client, command));
        let followed = tokio::select! {
            // First: events may come faster than they are written.
            biased;
            signal = signals::received() => Err(signal),
            followed = listener.follow(global, &client, answerer.as_ref()) => Ok(followed),
        };
        match followed {
            Err(signal) => {
                end(answerer, false, &client).await;
                return match signal {
                    Signal::Terminate => Ok(()),
                    Signal::Interrupt | Signal::Hangup | Signal::Quit => Err(signal.error()),
                };
            }
            // What we owe to the others (that we have it) leaves before we do.
            Ok(Ok(())) => {
                end(answerer, true, &client).await;
                return Ok(());
            }
            // A node that was another command's ends with that command: then we go on with one of our own, where we were.
            Ok(Err(error)) if matches!(error.code.as_str(), "node_gone" | "lagged") => {
                end(answerer, true, &client).await;
            }
            Ok(Err(error)) => {
                end(answerer, false, &client).await;
                return Err(error);
            }
        }
    }
}

/// Where a listener is.
struct Listener {
    /// Only events of this conversation.
    chat: Option<String>,
    /// The cursor of the last event that was written.
    since: String,
    /// Whether it goes on where another ended.
    resumes: bool,
    /// How many events are still to come; without a number, all.
    left: Option<u64>,
    /// Written by a thread of its own: a reader who has stopped reading holds up nothing else.
    out: tokio::io::Stdout,
}

impl Listener {
    /// Writes events until there are enough of them. An error `lagged` or `node_gone` says that it can go on with another subscription.
    async fn follow(&mut self, global: &Global, client: &Client, answerer: Option<&Answerer>) -> CliResult {
        let mut params = json!({ "since": self.since });
        if let Some(who) = &self.chat {
            params["chat"] = find(client, who).await?["chat"].clone();
        }
        client.call("subscribe", params).await?;
        loop {
            let mut events = vec![client.event().await?];
            while events.len() < BATCH
                && let Some(event) = client.try_event()
            {
                events.push(event);
            }
            self.leave_out_excess(&mut events);
            self.write(global, &events).await?;
            for event in &events {
                if let Some(cursor) = event["cursor"].as_str() {
                    self.since = cursor.to_owned();
                }
                if let Some(answerer) = answerer
                    && wants_answer(event, self.resumes)
                {
                    let _ = answerer.events.send(event.clone()).await;
                }
                match field(event, "type") {
                    "node.failed" => return Err(CliError::internal(field(event, "reason"))),
                    "stream.shutdown" => return Err(CliError::new("lagged", 1, "the node ended the subscription")),
                    _ => {}
                }
            }
            if self.left == Some(0) {
                return Ok(());
            }
        }
    }

    /// Counts events that are about something that happened, and drops those after the last one that is wanted.
    fn leave_out_excess(&mut self, events: &mut Vec<Value>) {
        let Some(left) = &mut self.left else { return };
        let counts = |event: &Value| {
            let kind = field(event, "type");
            !kind.starts_with("stream.") && !matches!(kind, "net.state" | "presence" | "typing")
        };
        for (i, event) in events.iter().enumerate() {
            *left = left.saturating_sub(u64::from(counts(event)));
            if *left == 0 {
                events.truncate(i + 1);
                return;
            }
        }
    }

    async fn write(&mut self, global: &Global, events: &[Value]) -> CliResult {
        let mut lines = String::new();
        for event in events {
            let line = if global.json { Some(event.printable()) } else { spoken(event).map(|text| text.printable()) };
            if let Some(line) = line {
                lines.push_str(&line);
                lines.push('\n');
            }
        }
        self.out.write_all(lines.as_bytes()).await?;
        self.out.flush().await?;
        if events.iter().any(|event| event["type"] == "stream.ready") {
            say(global, "listening");
        }
        Ok(())
    }
}

/// Ends a listener: with what it has still to answer, or at once.
async fn end(answerer: Option<Answerer>, wait: bool, client: &Client) {
    if let Some(answerer) = answerer {
        answerer.end(wait).await;
    }
    client.finish().await;
}

/// An event for people; nothing for what they need not know.
fn spoken(event: &Value) -> Option<SafeText> {
    let chat = SafeText::line(field(&event["chat"], "name"));
    let who = SafeText::line(field(&event["message"]["from"], "name"));
    let contact = || SafeText::line(field(&event["contact"], "name"));
    let text = || SafeText::block(field(&event["message"], "text"));
    let line = match field(event, "type") {
        "message.new" => return Some(SafeText::block(&format!("[{chat}] {who}: {}", text()))),
        "message.edited" => return Some(SafeText::block(&format!("[{chat}] {who} edited: {}", text()))),
        "message.deleted" => format!("[{chat}] a message was deleted"),
        "contact.requested" => format!("{} asks to be a contact", contact()),
        "contact.accepted" => format!("{} is a contact now", contact()),
        "contact.key_changed" => format!("WARNING: the devices of {} have changed", contact()),
        "call.incoming" => format!("[{chat}] a call comes in: starling call answer"),
        "call.ended" => {
            let seconds = event["call"]["duration_ms"].as_u64().unwrap_or(0) / 1000;
            let how = field(&event["call"], "reason").replace('_', " ");
            format!("[{chat}] a call: {how}, {}:{:02}", seconds / 60, seconds % 60)
        }
        _ => return None,
    };
    Some(line.into())
}

/// Whether a command is run for an event: messages of people, and after a cursor also those that came meanwhile.
fn wants_answer(event: &Value, resumes: bool) -> bool {
    let from = &event["message"]["from"];
    // A bot does not answer bots: two of them would never end.
    event["type"] == "message.new"
        && from["self"] != true
        && from["bot"] != true
        && (event["replayed"] != true || resumes)
}
