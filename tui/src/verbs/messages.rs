//! `send` and `listen`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use starling_control::{
    Event, EventLine,
    event::{EventKind, MessageChange},
    lines,
    methods::{
        chats,
        messages::{self, History, Wait, Waited},
        node,
    },
    objects::{ChatId, DeliveryState, Message, MessageId, MessageRef},
};
use starling_node::MAX_TEXT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Target,
    exec::Answerer,
    find_chat,
    lines::{Sent, send_lines},
    node_of,
    people::{catch_up, warn_of_clock},
    print_object, say,
    spoken::spoken,
};
use crate::{
    cli::{Global, Send, no_time_span, parse_time_span},
    error::{CliError, CliResult},
    output::{Printable, json_line},
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
    let timeout = parse_time_span(&args.timeout).ok_or_else(|| no_time_span(&args.timeout, "10s or 2m"))?;
    let profile = Profile::new(global)?;
    let patience = rpc::FIRST_ANSWER.min(Duration::from_millis(timeout));
    let find = chats::Find { who: args.to.clone() };
    let (mut client, found) = rpc::acquire_asking(&profile, global, patience, find).await?;
    // Who was invited, or is a contact, while this profile was away is found once it has caught up.
    let found = found.filter(|found| !found.as_ref().is_err_and(|error| error.code == "not_found"));
    let found = found.map(|found| found.map(Target::from));
    let result = send_with(global, &profile, &mut client, found, &args, timeout).await;
    client.finish().await;
    result
}

async fn send_with(
    global: &Global,
    profile: &Profile,
    client: &mut Client,
    found: Option<CliResult<Target>>,
    args: &Send,
    timeout: u64,
) -> CliResult {
    let Target { chat, .. } = match found {
        Some(found) => found?,
        None => {
            // Their invite may have been used while we were away, our clock may be off, and our account may have moved to another device.
            catch_up(global, client).await?;
            find_chat(client, &args.to).await?
        }
    };
    let sent = if args.lines {
        send_lines(global, client, &chat, args).await?
    } else {
        let text = if args.text.is_empty() || args.text == ["-"] { read_text().await? } else { args.text.join(" ") };
        if text.len() > MAX_TEXT {
            return Err(too_long(&format!("this one has {} KB", text.len().div_ceil(1024))));
        }
        Sent::of(send_texts(client, &chat, args, vec![text]).await?)
    };
    let Some(last) = &sent.last else {
        sent.result()?;
        return Err(CliError::usage("there is nothing to send").hint("give the text, or lines on standard input"));
    };
    let (state, reached) = match args.wait {
        Some(goal) => {
            let waited = wait_for(global, profile, client, (&chat, last), (goal.state(), timeout)).await?;
            (waited.state, waited.reached)
        }
        // A node of our own must at least hand the message over, as far as that is possible now.
        None if client.is_own() => {
            let waited = hand_over(client, (&chat, last), LINGER.min(Duration::from_millis(timeout))).await?;
            (waited.state, waited.reached)
        }
        None => (DeliveryState::Queued, true),
    };
    if client.is_own() {
        warn_of_clock(global, &client.call(node::Status::default()).await?);
    }
    if global.json {
        let message = message(client, &chat, last).await?;
        print_object(&lines::Sent { message, count: sent.count })?;
    } else {
        let plural = if sent.count == 1 { "" } else { "s" };
        say(global, format!("{} message{plural} {}", sent.count, state.as_str()));
    }
    if !reached && args.wait.is_some() {
        return Err(not_reached(client, &chat, state).await?);
    }
    if !reached {
        say(global, "It waits here and goes out at the next run.");
    }
    sent.result()
}

/// Waits until a message has come so far, for so many milliseconds at most.
async fn wait_for(
    global: &Global,
    profile: &Profile,
    client: &mut Client,
    (chat, message): (&ChatId, &MessageId),
    (state, timeout): (DeliveryState, u64),
) -> CliResult<Waited> {
    let wait = Wait { chat: chat.clone(), message: message.clone(), state, timeout_ms: Some(timeout) };
    loop {
        match client.call(wait.clone()).await {
            // It was another command's node, and that command has ended: the message is safe, we go on waiting with our own.
            Err(error) if error.code == "node_gone" => client.renew(profile, global).await?,
            waited => return waited,
        }
    }
}

/// A message that was just sent.
async fn message(client: &Client, chat: &ChatId, id: &MessageId) -> CliResult<Message> {
    let found = client.call(History { chat: chat.clone(), message: Some(id.clone()), ..History::default() }).await?;
    found.into_iter().next().ok_or_else(|| CliError::not_found("the message was deleted here as soon as it was sent"))
}

/// Why a message has not come as far as it was to come in the time.
async fn not_reached(client: &Client, chat: &ChatId, state: DeliveryState) -> CliResult<CliError> {
    let chats = client.call(chats::List {}).await?;
    let problem = chats.into_iter().find(|c| c.id == *chat).and_then(|chat| chat.problem);
    let problem = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
    let hint = match state {
        DeliveryState::Queued => {
            "it goes out when the rendezvous or their device can be reached: `starling doctor` tells more"
        }
        DeliveryState::Sent => "it waits at the rendezvous until their device comes for it",
        _ => "they have it; whether they have read it is not known, or not told",
    };
    let message = format!("the message is {}{problem}; it goes on when it can", state.as_str());
    Ok(CliError::timeout(message).hint(hint))
}

/// A message on standard input: as much as a message can have, less the line breaks at its end.
async fn read_text() -> CliResult<String> {
    // Room for line breaks at the end.
    const MAX_INPUT: usize = MAX_TEXT + 1024;
    let mut bytes = Vec::new();
    tokio::io::stdin().take(MAX_INPUT as u64).read_to_end(&mut bytes).await?;
    let whole = bytes.len() < MAX_INPUT;
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
pub(super) async fn send_texts(
    client: &Client,
    chat: &ChatId,
    args: &Send,
    texts: Vec<String>,
) -> CliResult<Vec<MessageId>> {
    let reply_to = args.reply_to.as_deref().map(MessageId::from);
    let send = messages::Send {
        chat: chat.clone(),
        texts: Some(texts),
        reply_to,
        mentions_all: args.mention_all.then_some(true),
        ..messages::Send::default()
    };
    Ok(client.call(send).await?.ids)
}

/// Waits until a message has left, for so long at most. What has not left goes out at the next run.
async fn hand_over(client: &Client, (chat, message): (&ChatId, &MessageId), limit: Duration) -> CliResult<Waited> {
    let began = Instant::now();
    let (state, timeout_ms) = (DeliveryState::Sent, Some(LOOK_MS));
    let wait = Wait { chat: chat.clone(), message: message.clone(), state, timeout_ms };
    loop {
        let waited = client.call(wait.clone()).await?;
        let limit =
            if client.call(node::Status::default()).await?.is_cut_off() { LINGER_CUT_OFF.min(limit) } else { limit };
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
    // A node of our own says good-bye. Also a signal between two subscriptions ends this verb as one while it listens does.
    let _handled = signals::handle();
    let ended = |signal: Signal| match signal {
        Signal::Terminate => Ok(()),
        Signal::Interrupt | Signal::Hangup | Signal::Quit | Signal::Other(_) => Err(signal.error()),
    };
    loop {
        let client = tokio::select! {
            biased;
            signal = signals::received() => return ended(signal),
            node = node_of(global) => Arc::new(node?.1),
        };
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
                return ended(signal);
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
        let mut subscribe = node::Subscribe::since(self.since.as_str());
        if let Some(who) = &self.chat {
            subscribe.chat = Some(find_chat(client, who).await?.chat);
        }
        client.call(subscribe).await?;
        loop {
            let lines = with_more(client.line().await?, BATCH, || client.try_line());
            let events = lines.into_iter().map(|line| Ok((line.event()?, line)));
            let mut events = events.collect::<CliResult<Vec<_>>>()?;
            self.leave_out_excess(&mut events);
            self.write(global, &events).await?;
            for (event, line) in events {
                self.since = event.cursor.0;
                match event.kind {
                    EventKind::NodeFailed { reason } => return Err(CliError::internal(reason)),
                    EventKind::StreamShutdown { .. } => {
                        return Err(CliError::new(
                            "lagged",
                            1,
                            "the node ended the subscription: its events were read too slowly",
                        )
                        .hint("go on after the last one: --since with its cursor"));
                    }
                    EventKind::MessageNew(new) => {
                        let missed = event.replayed == Some(true);
                        if let Some(answerer) = answerer.filter(|_| wants_answer(&new, missed && !self.resumes)) {
                            let _ = answerer.messages.send((line, new)).await;
                        }
                    }
                    _ => {}
                }
            }
            if self.left == Some(0) {
                return Ok(());
            }
        }
    }

    /// Counts events that are about something that happened, and drops those after the last one that is wanted.
    fn leave_out_excess(&mut self, events: &mut Vec<(Event, EventLine)>) {
        let Some(left) = &mut self.left else { return };
        for (i, (event, _)) in events.iter().enumerate() {
            *left = left.saturating_sub(u64::from(counts(&event.kind)));
            if *left == 0 {
                events.truncate(i + 1);
                return;
            }
        }
    }

    async fn write(&mut self, global: &Global, events: &[(Event, EventLine)]) -> CliResult {
        let mut lines = String::new();
        for (event, line) in events {
            // With what a newer node has added.
            let line = if global.json {
                Some(json_line(&line.json))
            } else {
                spoken(&event.kind).map(|text| text.printable())
            };
            if let Some(line) = line {
                lines.push_str(&line);
                lines.push('\n');
            }
        }
        self.out.write_all(lines.as_bytes()).await?;
        self.out.flush().await?;
        if events.iter().any(|(event, _)| matches!(event.kind, EventKind::StreamReady {})) {
            say(global, "listening");
        }
        Ok(())
    }
}

/// The first, and what is there already, up to so many in all. What is more stays where it is.
fn with_more<T>(first: T, most: usize, more: impl FnMut() -> Option<T>) -> Vec<T> {
    std::iter::once(first).chain(std::iter::from_fn(more)).take(most).collect()
}

/// Whether `--count` counts an event: not those that say how the node, a stream or a person is at the moment.
fn counts(kind: &EventKind) -> bool {
    !matches!(
        kind,
        EventKind::StreamReady {}
            | EventKind::StreamKeepalive {}
            | EventKind::StreamShutdown { .. }
            | EventKind::NetState { .. }
            | EventKind::Presence { .. }
            | EventKind::Typing { .. }
            | EventKind::GroupSlowed { .. }
    )
}

/// Ends a listener: with what it has still to answer, or at once.
async fn end(answerer: Option<Answerer>, wait: bool, client: &Client) {
    if let Some(answerer) = answerer {
        answerer.end(wait).await;
    }
    client.finish().await;
}

/// Whether a command is run for a message: those of people, and no missed ones that are too old.
fn wants_answer(new: &MessageChange, too_old: bool) -> bool {
    // A bot does not answer bots: two of them would never end.
    let MessageRef::Whole(message) = &new.message else { return false };
    !message.from.own && !message.from.bot && !too_old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_a_batch_is_in_the_next_one() {
        let mut waiting = 1..=10;
        let mut taken = Vec::new();
        while let Some(first) = waiting.next() {
            let batch = with_more(first, 4, || waiting.next());
            assert!(batch.len() <= 4);
            taken.extend(batch);
        }
        assert_eq!(taken, (1..=10).collect::<Vec<_>>());
    }
}
