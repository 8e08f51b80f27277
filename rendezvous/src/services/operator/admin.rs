//! The admin socket: one JSON object a line each way, over a Unix socket with mode 0600 in the data directory.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use starling_keys::AccountId;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use crate::{
    clock::now_ms,
    limits::{ADMIN_TIMEOUT, TOKEN_DAYS, TOKEN_USES},
    services::{Services, TurnEndpoint},
    store::{Account, Collection, Key, Store, StoreError, Token, discard, load, replace},
};

/// Longest request line.
const MAX_LINE: u64 = 64 * 1024;

/// Bans looked at together.
const BANS_PAGE: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
enum Command {
    Status,
    InviteNew {
        uses: u64,
        days: u64,
    },
    Ban {
        account: String,
        /// Also one that is not registered.
        #[serde(default)]
        force: bool,
    },
    Unban {
        account: String,
    },
}

/// Answers operators until the task is dropped.
pub async fn serve(listener: UnixListener, services: Arc<Services>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer(stream, services.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin socket failed");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, services: Arc<Services>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read.take(MAX_LINE)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let reply = match serde_json::from_str(&line) {
            Ok(command) => run(command, &services).await.unwrap_or_else(|e| json!({ "error": e })),
            Err(e) => json!({ "error": format!("not a command: {e}") }),
        };
        if write.write_all(format!("{reply}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn run(command: Command, services: &Services) -> Result<Value, String> {
    match command {
        Command::Status => status(services).await,
        Command::InviteNew { uses, days } => new_token(services, uses, days).await,
        Command::Ban { account, force } => {
            let id = account_id(&account)?;
            if !force && load_account(services, *id.as_bytes()).await?.is_none() {
                return Err("no such account is registered here; --force bans it all the same".into());
            }
            set_banned(services, id, true).await
        }
        Command::Unban { account } => {
            let id = account_id(&account)?;
            let ban = services.store.records.get(Collection::Bans, *id.as_bytes()).await;
            if ban.map_err(|e| e.to_string())?.is_none() {
                return Err("no such account is banned here".into());
            }
            set_banned(services, id, false).await
        }
    }
}

async fn status(services: &Services) -> Result<Value, String> {
    let text = |e: StoreError| e.to_string();
    let records = &services.store.records;
    let totals = services.store.streams.totals().await.map_err(text)?;
    Ok(json!({
        "accounts": records.count(Collection::Accounts).await.map_err(text)?,
        "names": records.count(Collection::Names).await.map_err(text)?,
        "queues": totals.streams,
        "entries": totals.entries,
        "sessions": services.metrics.sessions.get(),
        "connections": services.metrics.connections.get(),
        "circuits": services.metrics.circuits.get(),
        "draining": services.is_draining(),
        "sockets": services.sockets.get(),
    }))
}

async fn new_token(services: &Services, uses: u64, days: u64) -> Result<Value, String> {
    for (name, value, range) in [("uses", uses, TOKEN_USES), ("days", days, TOKEN_DAYS)] {
        if !range.contains(&value) {
            return Err(format!("{name}: {value} is outside of {} to {}", range.start(), range.end()));
        }
    }
    let token = BASE32_NOPAD.encode(&rand::random::<[u8; 15]>()).to_lowercase();
    let hash = *blake3::hash(token.as_bytes()).as_bytes();
    let expires_at = now_ms() / 1000 + days * 86_400;
    let uses = u32::try_from(uses).map_err(|e| e.to_string())?;
    put_token(services, hash, uses, expires_at).await.map_err(|e| e.to_string())?;
    tracing::info!(uses, days, "operator: new registration token");
    Ok(json!({ "token": token, "uses": uses, "expires_at": rfc_3339(expires_at)? }))
}

/// Seconds since 1970 as people and programs read them.
fn rfc_3339(unix_s: u64) -> Result<String, String> {
    let seconds = i64::try_from(unix_s).map_err(|e| e.to_string())?;
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).map_err(|e| e.to_string())
}

fn account_id(text: &str) -> Result<AccountId, String> {
    text.parse().map_err(|_| "not an account id: 52 letters and digits, as `starling whoami` prints it".to_owned())
}

async fn load_account(services: &Services, account: Key) -> Result<Option<Account>, String> {
    let loaded = load::<Account>(&*services.store.records, Collection::Accounts, account).await;
    loaded.map(|(record, _)| record).map_err(|e| e.to_string())
}

async fn set_banned(services: &Services, account: AccountId, banned: bool) -> Result<Value, String> {
    put_ban(services, *account.as_bytes(), banned).await.map_err(|e| e.to_string())?;
    tracing::info!(banned, "operator: ban of an account");
    Ok(json!({ "account": account.to_string(), "banned": banned }))
}

/// Stores a registration token by its hash.
pub async fn put_token(services: &Services, hash: Key, uses: u32, expires_at: u64) -> Result<(), StoreError> {
    let token = Token { uses, expires_at, pending: Vec::new() };
    replace(&*services.store.records, Collection::Tokens, hash, token.encode_to_vec().into()).await.map(|_| ())
}

/// Bans or unbans; a ban of an unknown account holds, too. Sessions of who is banned end.
pub async fn put_ban(services: &Services, account: Key, banned: bool) -> Result<(), StoreError> {
    let records = &*services.store.records;
    if let Some(turn) = services.turn.get() {
        turn.set_revoked(&account, banned, now_ms() / 86_400_000);
    }
    if banned {
        replace(records, Collection::Bans, account, Bytes::new()).await?;
        let (record, _) = load::<Account>(records, Collection::Accounts, account).await?;
        let devices = record.into_iter().flat_map(|record| record.devices);
        services.end_sessions(devices.filter_map(|device| Key::try_from(device).ok()));
        Ok(())
    } else {
        discard(records, Collection::Bans, account).await
    }
}

/// Revokes the credentials for TURN of all who are banned, as those from before a restart count on.
pub async fn revoke_banned(store: &Store, turn: &TurnEndpoint) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = store.records.scan(Collection::Bans, after, BANS_PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
        for (account, _) in &page {
            turn.set_revoked(account, true, now_ms() / 86_400_000);
        }
    }
}

/// Why a running server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No server listens on the socket.
    #[error("no server answers on {path}: {error}. Is it running, with this --data-dir, and are you its user?")]
    NotRunning {
        /// The socket.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The server took too long.
    #[error("the server does not answer: it may be stopped, or busy with its disk")]
    TimedOut,
    /// The connection broke.
    #[error("the server closed the connection")]
    Closed,
    /// The server refused.
    #[error("{0}")]
    Refused(String),
}

/// Sends one command to the running server of a data directory.
pub async fn ask(data_dir: &Path, command: Value) -> Result<Value, AdminError> {
    let path = data_dir.join("admin.sock");
    let answer = tokio::time::timeout(ADMIN_TIMEOUT, exchange(&path, command)).await;
    answer.unwrap_or(Err(AdminError::TimedOut))
}

async fn exchange(path: &Path, command: Value) -> Result<Value, AdminError> {
    let mut stream = UnixStream::connect(path)
        .await
        .map_err(|error| AdminError::NotRunning { path: path.display().to_string(), error })?;
    stream.write_all(format!("{command}\n").as_bytes()).await.map_err(|_| AdminError::Closed)?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line).await.map_err(|_| AdminError::Closed)?;
    let reply: Value = serde_json::from_str(&line).map_err(|_| AdminError::Closed)?;
    match reply.get("error") {
        Some(error) => Err(AdminError::Refused(error.as_str().unwrap_or("refused").to_owned())),
        None => Ok(reply),
    }
}
