//! `send --lines`: standard input of any length, a message for each line. A line that cannot be a message is named; the others are sent.

use std::time::Duration;

use starling_control::{
    lines::SentLine,
    objects::{ChatId, DeliveryState, MessageId},
};

use super::{
    messages::send_texts,
    print_object,
    read_lines::{LineError, Lines},
    say,
};
use crate::{
    cli::{Global, Send},
    error::{CliError, CliResult},
    rpc::Client,
};

/// Most lines that travel to the node together, when they are there already …
const BATCH_LINES: usize = 500;
/// … and their size as JSON: a quarter of the longest request that the node reads.
const BATCH_BYTES: usize = 1024 * 1024;
/// A slow producer's lines go one by one: this long a batch waits for another line.
const LINGER: Duration = Duration::from_millis(1);
/// Lines that were not sent and are named in the error; the others are counted.
const MAX_NAMED: usize = 5;

/// Lines that go to the node together.
#[derive(Default)]
struct Batch {
    numbers: Vec<u64>,
    texts: Vec<String>,
    bytes: usize,
}

impl Batch {
    fn has_room_for(&self, text: &str) -> bool {
        self.texts.is_empty() || self.texts.len() < BATCH_LINES && self.bytes + json_len(text) <= BATCH_BYTES
    }

    fn push(&mut self, number: u64, text: String) {
        self.bytes += json_len(&text);
        self.numbers.push(number);
        self.texts.push(text);
    }
}

/// Bytes of a text as a JSON string, with its comma.
fn json_len(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum::<usize>() + 3
}

/// What became of the lines.
#[derive(Default)]
pub struct Sent {
    /// Messages that the node has.
    pub count: u64,
    /// The id of the last of them.
    pub last: Option<MessageId>,
    named: Vec<String>,
    refused: u64,
}

impl Sent {
    /// Of messages that were all sent.
    pub fn of(ids: Vec<MessageId>) -> Self {
        Self { count: ids.len() as u64, last: ids.into_iter().next_back(), ..Self::default() }
    }

    /// The lines that were not sent, if there are any.
    ///
    /// # Errors
    /// A usage error (exit 2) that names them and says what was sent.
    pub fn result(&self) -> CliResult {
        if self.refused == 0 {
            return Ok(());
        }
        let more = self.refused - self.named.len() as u64;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let (sent, lines) = (self.count, if self.refused == 1 { "line" } else { "lines" });
        Err(CliError::usage(format!("{} {lines} not sent: {}{more}", self.refused, self.named.join(", ")))
            .hint(format!("the other {sent} were sent: repeat only what is named")))
    }

    fn refuse(&mut self, global: &Global, number: u64, error: &LineError) {
        self.refused += 1;
        let problem = format!("line {number} {error}");
        say(global, format!("warning: not sent: {problem}"));
        if self.named.len() < MAX_NAMED {
            self.named.push(problem);
        }
    }

    async fn send(&mut self, global: &Global, client: &Client, chat: &ChatId, args: &Send, batch: Batch) -> CliResult {
        let Some(first) = batch.numbers.first() else {
            return Ok(());
        };
        let ids = send_texts(client, chat, args, batch.texts).await.map_err(|error| CliError {
            message: format!("{}; nothing was sent from line {first} on, {} before it were", error.message, self.count)
                .into(),
            ..error
        })?;
        self.count += ids.len() as u64;
        if global.json {
            for (number, id) in batch.numbers.iter().zip(&ids) {
                print_object(&SentLine { line: *number, id: id.clone(), state: DeliveryState::Queued })?;
            }
        }
        self.last = ids.into_iter().next_back().or(self.last.take());
        Ok(())
    }
}

/// Sends the lines of standard input until it ends. With `--json`, prints the id of each as soon as the node has it.
pub async fn send_lines(global: &Global, client: &Client, chat: &ChatId, args: &Send) -> CliResult<Sent> {
    let mut lines = Lines::new(tokio::io::stdin());
    let (mut sent, mut batch) = (Sent::default(), Batch::default());
    loop {
        let next = if batch.texts.is_empty() {
            lines.next().await?
        } else {
            match tokio::time::timeout(LINGER, lines.next()).await {
                Ok(next) => next?,
                Err(_) => {
                    sent.send(global, client, chat, args, std::mem::take(&mut batch)).await?;
                    continue;
                }
            }
        };
        match next {
            None => break,
            Some((_, Ok(text))) if text.is_empty() => {}
            Some((number, Ok(text))) => {
                if !batch.has_room_for(&text) {
                    sent.send(global, client, chat, args, std::mem::take(&mut batch)).await?;
                }
                batch.push(number, text);
            }
            Some((number, Err(error))) => sent.refuse(global, number, &error),
        }
    }
    sent.send(global, client, chat, args, batch).await?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;
    use starling_node::MAX_TEXT;

    use super::*;

    #[test]
    fn a_batch_fits_a_request_whatever_the_lines_hold() {
        let mut batch = Batch::default();
        for text in
            ["x".repeat(60_000), "\u{1}".repeat(MAX_TEXT), "漢".repeat(20_000), "\"".repeat(MAX_TEXT)].iter().cycle()
        {
            if !batch.has_room_for(text) {
                break;
            }
            batch.push(1, text.clone());
        }
        let request = json!({ "texts": batch.texts }).to_string();
        assert!(
            batch.texts.len() > 1
                && request.len() <= BATCH_BYTES + 100
                && request.len() + 1024 < starling_control::MAX_LINE
        );
    }
}
