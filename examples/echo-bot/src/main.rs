//! A bot that answers each message with the same text.
//!
//! ```sh
//! starling --profile echo init --name echo --bot --rendezvous ADDR
//! starling --profile echo daemon --json          # prints the socket
//! cargo run -p echo-bot -- SOCKET [CURSOR-FILE]
//! ```
//!
//! With a cursor file it goes on where it was when it is started again: what came meanwhile is answered. It says `answered` when the place is
//! kept; who is killed between the answer and that answers the message once more.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use starling_control::{
    Client,
    event::{Event, EventKind},
    methods::{messages::Send, node::Subscribe},
};

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let socket = args.next().context("usage: echo-bot SOCKET [CURSOR-FILE]")?;
    let cursor_file = args.next();
    let client = Client::connect(Path::new(&socket)).await.with_context(|| format!("cannot connect to {socket}"))?;

    let since = cursor_file.as_deref().and_then(|file| fs::read_to_string(file).ok());
    client.call(Subscribe { since, ..Subscribe::default() }).await?;
    loop {
        let event = client.event().await?.event()?;
        let answered = answer(&client, &event).await?;
        if let Some(file) = &cursor_file {
            // Whoever is killed in between leaves the earlier place, not half of one.
            let new = format!("{file}.new");
            fs::write(&new, event.cursor.as_str())?;
            fs::rename(&new, file)?;
        }
        if matches!(event.kind, EventKind::StreamReady {}) {
            println!("ready");
        } else if answered {
            println!("answered");
        }
    }
}

/// Answers a message of a person; gives whether it is one. A bot does not answer bots: two of them would never end.
async fn answer(client: &Client, event: &Event) -> Result<bool> {
    let EventKind::MessageNew(new) = &event.kind else { return Ok(false) };
    let Some(message) = new.message.whole().filter(|message| !message.from.own && !message.from.bot) else {
        return Ok(false);
    };
    let echo = Send {
        chat: new.chat.id.clone(),
        text: Some(message.text.clone()),
        reply_to: Some(message.id.clone()),
        ..Send::default()
    };
    client.call(echo).await?;
    Ok(true)
}
