//! `send` and `listen`.

use std::{process::Stdio, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
};

use super::{
    field, find, node_of,
    people::{catch_up, warn_of_clock},
    print, say,
};
use crate::{
    cli::{Global, Send, parse_duration},
    error::{CliError, CliResult},
    profile::Profile,
    rpc::Client,
    signals::{self, Signal},
    terminal::safe,
};

/// Lines that travel to the node together when they are there already.
const BATCH: usize = 500;
/// What a command of `listen --exec` may answer.
const MAX_ANSWER: u64 = 64 * 1024;
/// Messages that may wait for a command of `listen --exec`; then the listener waits.
const EXEC_QUEUE: usize = 1024;
/// How long that command may run for one message.
const EXEC_LIMIT: Duration = Duration::from_secs(300);
/// How long a one-off `send` tries to get its message out before it leaves it to the next run.
const LINGER_MS: u64 = 10_000;

pub async fn send(global: &Global, args: Send) -> CliResult {
    let timeout = parse_duration(&args.timeout)
        .ok_or_else(|| CliError::usage(format!("“{}” is no time: use 10s or 2m", args.timeout.escape_debug())))?;
    let (profile, mut client) = node_of(global).await?;
    let result = send_with(global, &profile, &mut client, &args, timeout).await;
    client.finish().await;
    result
}

async fn send_with(global: &Global, profile: &Profile, client: &mut Client, args: &Send, timeout: u64) -> CliResult {
    // Their invite may have been used while we were away, our clock may be off, and our account may have moved to another device.
    catch_up(global, client).await?;
    let contact = find(client, &args.to).await?;
    let chat = field(&contact, "chat");
    let mut ids: Vec<String> = Vec::new();
    let mut last_text = String::new();
    let from_input = args.text.is_empty() || args.text == ["-"];
    if args.lines {
        let mut lines = BufReader::with_capacity(256 * 1024, tokio::io::stdin()).split(b'\n');
        let mut batch: Vec<String> = Vec::new();
        loop {
            // Lines that are there already go together; a slow producer's lines go one by one.
            let next = if batch.is_empty() {
                lines.next_segment().await?
            } else {
                match tokio::time::timeout(Duration::from_millis(1), lines.next_segment()).await {
                    Ok(line) => line?,
                    Err(_) => {
                        ids.extend(send_batch(client, chat, args, std::mem::take(&mut batch)).await?);
                        continue;
                    }
                }
            };
            let Some(line) = next else { break };
            let line = String::from_utf8(line)
                .map_err(|_| CliError::usage(format!("line {} is not UTF-8", ids.len() + batch.len() + 1)))?;
            let line = line.trim_end_matches('\r');
            if !line.is_empty() {
                batch.push(line.to_owned());
            }
            if batch.len() >= BATCH {
                ids.extend(send_batch(client, chat, args, std::mem::take(&mut batch)).await?);
            }
        }
        if !batch.is_empty() {
            ids.extend(send_batch(client, chat, args, batch).await?);
        }
    } else {
        last_text = if from_input {
            let mut text = String::new();
            let read = tokio::io::stdin().take(1024 * 1024).read_to_string(&mut text).await;
            read.map_err(|e| CliError::usage(format!("standard input is not UTF-8 text: {e}")))?;
            text.trim_end_matches('\n').to_owned()
        } else {
            args.text.join(" ")
        };
        ids.extend(send_batch(client, chat, args, vec![last_text.clone()]).await?);
    }
    let Some(last) = ids.last() else {
        return Err(CliError::usage("there is nothing to send").hint("give the text, or lines on standard input"));
    };
    // Without --wait: a node of our own must at least hand the message over, as far as that is possible now.
    let wait = match args.wait {
        Some(wait) => Some((wait.as_str(), timeout)),
        None if client.is_own() => Some(("sent", LINGER_MS.min(timeout))),
        None => None,
    };
    let (state, reached) = match wait {
        Some((goal, timeout)) => {
            let params = json!({ "chat": chat, "message": last, "state": goal, "timeout_ms": timeout });
            let answer = loop {
                match client.call("wait", params.clone()).await {
                    // It was another command's node, and that command has ended: the message is safe, we go on waiting with our own.
                    Err(error) if error.code == "node_gone" => client.renew(profile, global).await?,
                    answer => break answer?,
                }
            };
            (field(&answer, "state").to_owned(), answer["reached"] == true)
        }
        None => ("queued".to_owned(), true),
    };
    if client.is_own() {
        warn_of_clock(global, &client.call("status", json!({})).await?);
    }
    if global.json {
        let message = client.call("history", json!({ "chat": chat, "message": last })).await?;
        let mut message = message[0].clone();
        if message.is_null() {
            message = json!({ "id": last, "text": last_text, "state": state });
        }
        message["count"] = ids.len().into();
        print(message)?;
    } else {
        say(global, format!("{} message{} {state}", ids.len(), if ids.len() == 1 { "" } else { "s" }));
    }
    if !reached && args.wait.is_some() {
        let chats = client.call("chats", json!({})).await?;
        let row = chats.as_array().into_iter().flatten().find(|c| field(c, "id") == chat);
        let problem = row.and_then(|c| c["problem"].as_str()).map(|p| format!(" ({p})")).unwrap_or_default();
        let hint = match state.as_str() {
            "queued" => "it goes out when the rendezvous or their device can be reached: `starling doctor` tells more",
            "sent" => "it waits at the rendezvous until their device comes for it",
            _ => "they have it; whether they have read it is not known, or not told",
        };
        return Err(CliError::timeout(format!("the message is {state}{problem}; it goes on when it can")).hint(hint));
    }
    if !reached {
        say(global, "It waits here and goes out at the next run.");
    }
    Ok(())
}

async fn send_batch(client: &Client, chat: &str, args: &Send, texts: Vec<String>) -> CliResult<Vec<String>> {
    let mut params = json!({ "chat": chat, "texts": texts });
    if let Some(reply_to) = &args.reply_to {
        params["reply_to"] = reply_to.clone().into();
    }
    let answer = client.call("send", params).await?;
    Ok(answer["ids"].as_array().into_iter().flatten().filter_map(|id| id.as_str().map(Into::into)).collect())
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
                    Signal::Interrupt => Err(signal.error()),
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
            if let Some(line) = if global.json { Some(event.to_string()) } else { spoken(event) } {
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

/// Runs the command of `listen --exec` beside the listening.
struct Answerer {
    events: mpsc::Sender<Value>,
    worker: tokio::task::JoinHandle<()>,
}

impl Answerer {
    fn start(global: &Global, client: &Arc<Client>, command: &str) -> Self {
        let (events, inbox) = mpsc::channel(EXEC_QUEUE);
        let worker = answer_all(global.clone(), client.clone(), command.to_owned(), inbox);
        Self { events, worker: tokio::spawn(worker) }
    }
}

/// Ends a listener: with what it has still to answer, or at once.
async fn end(answerer: Option<Answerer>, wait: bool, client: &Client) {
    if let Some(Answerer { events, worker }) = answerer {
        drop(events);
        if wait {
            let _ = worker.await;
        } else {
            worker.abort();
        }
    }
    client.finish().await;
}

/// An event for people; nothing for what they need not know.
fn spoken(event: &Value) -> Option<String> {
    let chat = safe(field(&event["chat"], "name"));
    let who = safe(field(&event["message"]["from"], "name"));
    let contact = || safe(field(&event["contact"], "name"));
    Some(match field(event, "type") {
        "message.new" => format!("[{chat}] {who}: {}", safe(field(&event["message"], "text"))),
        "message.edited" => format!("[{chat}] {who} edited: {}", safe(field(&event["message"], "text"))),
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
    })
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

/// Answers one message after the other, beside the listening.
async fn answer_all(global: Global, client: Arc<Client>, command: String, mut events: mpsc::Receiver<Value>) {
    while let Some(event) = events.recv().await {
        let done = match tokio::time::timeout(EXEC_LIMIT, answer(&global, &client, &command, &event)).await {
            Ok(done) => done,
            Err(_) => {
                let seconds = EXEC_LIMIT.as_secs();
                Err(CliError::timeout(format!("“{command}” was ended: it ran for more than {seconds} s")))
            }
        };
        if let Err(error) = done {
            say(&global, format!("error: {}", error.message));
        }
    }
}

/// A command and all that it has started: ended with the listener.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Runs a command for a message; what it prints is the answer. Nothing of the message becomes part of the command line.
async fn answer(global: &Global, client: &Client, command: &str, event: &Value) -> CliResult {
    let mut child = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .env("STARLING_EVENT_TYPE", "message.new")
        .env("STARLING_CHAT", field(&event["chat"], "id"))
        .env("STARLING_MESSAGE", field(&event["message"], "id"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| CliError::usage(format!("cannot run “{command}”: {e}")))?;
    let mut group = Group(child.id().and_then(|id| rustix::process::Pid::from_raw(id as i32)));
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(format!("{event}\n").as_bytes()).await;
    }
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER + 1).read_to_end(&mut said).await?;
    }
    if said.len() as u64 > MAX_ANSWER {
        return Err(CliError::usage(format!(
            "“{command}” answered more than {} KiB: nothing was sent",
            MAX_ANSWER / 1024
        )));
    }
    let status = child.wait().await?;
    group.0 = None;
    if !status.success() {
        say(global, format!("“{command}” ended with {status}"));
    }
    let said = String::from_utf8(said)
        .map_err(|_| CliError::usage(format!("“{command}” answered what is not UTF-8: nothing was sent")))?;
    let said = said.trim_end();
    if !said.is_empty() {
        client.call("send", json!({ "chat": field(&event["chat"], "id"), "text": said, "reply_to": field(&event["message"], "id") })).await?;
    }
    Ok(())
}
