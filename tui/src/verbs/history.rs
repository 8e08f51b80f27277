//! `device history`: the history of one device is copied to another.

use std::time::{Duration, Instant};

use starling_control::{
    event::EventKind,
    lines::{DeviceDone, HistoryDone},
    methods::{
        devices::{CancelHistory, GetHistory, GiveHistory, History},
        node::Subscribe,
    },
    objects::{CopyState, DeviceId, HistoryCopy},
};

use super::{devices::short, print, print_object, say};
use crate::{
    cli::{Global, HistoryCommand},
    error::{CliError, CliResult},
    rpc::Client,
};

/// A line about progress is printed at most this often.
const EVERY: Duration = Duration::from_secs(1);
/// Without progress for so long the other device is not there.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn history(global: &Global, client: &Client, command: Option<HistoryCommand>) -> CliResult {
    match command {
        None => show(global, client).await,
        Some(HistoryCommand::Give { device }) => give(global, client, device).await,
        Some(HistoryCommand::Get { device }) => get(global, client, device).await,
        Some(HistoryCommand::Cancel) => {
            client.call(CancelHistory {}).await?;
            match global.json {
                true => print_object(&HistoryDone { done: "cancelled".into() }),
                false => print("Nothing is copied to or from this device any more; what has come stays."),
            }
        }
    }
}

async fn show(global: &Global, client: &Client) -> CliResult {
    let history = client.call(History {}).await?;
    if global.json {
        return print_object(&history);
    }
    match &history.copy {
        Some(copy) => print(words(copy))?,
        None => print("Nothing was copied to this device.")?,
    }
    let lists = [
        (&history.given, "may copy the history of this device, and has not everything yet"),
        (&history.wished, "wishes to copy the history of this device: starling device history give"),
        (&history.offered, "lets this device copy its history: starling device history get"),
    ];
    for (devices, what) in lists {
        for device in devices {
            print(format!("{} {what}", short(device)))?;
        }
    }
    Ok(())
}

async fn give(global: &Global, client: &Client, device: String) -> CliResult {
    let device = client.call(GiveHistory { device: device.into() }).await?.device;
    if global.json {
        print_object(&DeviceDone { device: device.clone(), done: "given".into() })?;
    } else {
        print(format!("{} may copy the history of this device", short(&device)))?;
        say(global, "It does as soon as it is told to: starling device history get");
    }
    serve(global, client, &device).await
}

async fn get(global: &Global, client: &Client, device: Option<String>) -> CliResult {
    client.call(Subscribe::since("now")).await?;
    let device = client.call(GetHistory { device: device.map(Into::into) }).await?.device;
    if global.json {
        print_object(&DeviceDone { device: device.clone(), done: "wished".into() })?;
    }
    follow(global, client).await
}

/// Waits until all of the history is here, and shows how far it is. It goes on without this, too, as long as there is a node. The client is
/// subscribed to events.
pub async fn follow(global: &Global, client: &Client) -> CliResult {
    let (mut told, mut moved) = (None::<Instant>, Instant::now());
    let mut copy = client.call(History {}).await?.copy.unwrap_or_default();
    if copy.state == CopyState::Wished {
        say(global, format!("Waiting for {}: say yes there with `starling device history give`", short(&copy.device)));
    }
    loop {
        let over = !matches!(copy.state, CopyState::Wished | CopyState::Copying);
        if over || told.is_none_or(|told| told.elapsed() >= EVERY) {
            told = Some(Instant::now());
            match global.json {
                true => print_object(&copy)?,
                false if copy.state != CopyState::Wished => say(global, words(&copy)),
                false => {}
            }
        }
        match copy.state {
            CopyState::Complete => return Ok(()),
            CopyState::Wished | CopyState::Copying => {}
            CopyState::None | CopyState::Refused => {
                return Err(CliError::new("not_copied", 6, "the history is not copied any more")
                    .hint("see `starling device history` on both devices"));
            }
        }
        let waits = copy.state == CopyState::Wished;
        match tokio::time::timeout(EVERY, client.event()).await {
            Ok(event) => {
                if let EventKind::DeviceHistory { copy: now } = event?.kind {
                    (copy, moved) = (now, Instant::now());
                }
            }
            Err(_) if !waits && moved.elapsed() > PATIENCE => {
                say(global, "The other device is away. The copying goes on by itself when both run.");
                return Ok(());
            }
            Err(_) => {}
        }
    }
}

/// The node of this command has the history: it stays until the other device has copied it.
pub async fn serve(global: &Global, client: &Client, device: &DeviceId) -> CliResult {
    if !client.is_own() {
        return Ok(());
    }
    say(global, "The history is copied now; Ctrl-C ends that, and it goes on when both devices run.");
    while client.call(History {}).await?.given.contains(device) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// How far the copying is, in words.
pub fn words(copy: &HistoryCopy) -> String {
    let (from, done, total) = (short(&copy.device), copy.done, copy.total);
    match copy.state {
        CopyState::None => format!("History from {from}: not copied any more, {} messages have come", copy.copied),
        CopyState::Wished => format!("History from {from}: waits until it is given there"),
        CopyState::Copying if total == 0 => format!("History from {from}: waits for the first messages"),
        CopyState::Copying => format!("History from {from}: {done} of {total} ({} %)", done * 100 / total),
        CopyState::Complete => format!("History from {from}: complete, {} messages have come", copy.copied),
        CopyState::Refused => format!("History from {from}: not given any more, {} messages have come", copy.copied),
    }
}
