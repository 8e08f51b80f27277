//! The node's side of JSON-RPC. Each connection has a task that reads and answers in order, and one that writes; a subscription is a task of its
//! own that reads the durable feed by cursor, so that a slow reader holds up nobody but itself.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};
use starling_node::{Audience, Availability, ChatId, Clock, DeliveryState, Live, MessageId, Node, NodeError, Text};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::{broadcast, mpsc, watch},
};

use super::{MAX_LINE, json as shape};
use super::{attended::Attended, client::gone, screen_state::ScreenState};
use crate::error::CliError;

/// Lines that may wait for a reader; beyond that the feed waits with its next page.
const WRITE_QUEUE: usize = 64;
/// News read at a time.
const PAGE: usize = 256;
/// A reader that is this far behind …
const MAX_LAG: u64 = 10_000;
/// … and has not taken a line for so long is sent `stream.shutdown`.
const STALLED: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Messages looked through at a time.
const SEARCH_PAGE: usize = 1_000;

/// What every connection needs.
#[derive(Clone)]
pub struct Served {
    pub node: Node,
    pub profile: String,
    /// Stops the node.
    pub stop: mpsc::Sender<()>,
    /// Who attends which call.
    pub attended: Attended,
    /// What screens keep.
    pub screen: ScreenState,
    /// The node ends: subscriptions and waiting calls end at once, and connections when their client has what it asked for.
    pub ending: watch::Receiver<bool>,
}

impl Served {
    pub fn new(node: Node, profile: &str, screen: ScreenState, stop: mpsc::Sender<()>) -> Self {
        let (attended, ending) = (Attended::default(), watch::channel(false).1);
        Self { node, profile: profile.to_owned(), stop, attended, screen, ending }
    }

    /// Ready when the node ends.
    pub(super) async fn ended(&self) {
        if self.ending.clone().wait_for(|ending| *ending).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Serves one connection until it closes.
pub async fn serve_stream(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, served: Served) {
    let Served { node, profile, stop, attended, .. } = served.clone();
    let connection: u64 = rand::random();
    let (read, mut write) = tokio::io::split(stream);
    let (lines, mut outbox) = mpsc::channel::<String>(WRITE_QUEUE);
    let writer = tokio::spawn(async move {
        while let Some(mut line) = outbox.recv().await {
            line.push('\n');
            while line.len() < 64 * 1024
                && let Ok(next) = outbox.try_recv()
            {
                line.push_str(&next);
                line.push('\n');
            }
            if write.write_all(line.as_bytes()).await.is_err() || write.flush().await.is_err() {
                return None;
            }
        }
        Some(write)
    });
    let mut reader = BufReader::new(read);
    let mut subscriptions = tokio::task::JoinSet::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let follows = !subscriptions.is_empty();
        tokio::select! {
            read = async { (&mut reader).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).await } => {
                if !matches!(read, Ok(1..)) {
                    break;
                }
            }
            // Who follows would stay for ever.
            () = served.ended(), if follows => break,
        }
        if line.len() > MAX_LINE {
            let error = CliError::usage(format!("a line has more than {} MiB", MAX_LINE / 1024 / 1024));
            let _ = lines.send(json!({ "jsonrpc": "2.0", "id": null, "error": error.to_rpc() }).to_string()).await;
            break;
        }
        let request: Value = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(error) => {
                let answer = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32700, "message": format!("not JSON: {error}") } });
                if lines.send(answer.to_string()).await.is_err() {
                    break;
                }
                continue;
            }
        };
        let id = request["id"].clone();
        let method = request["method"].as_str().unwrap_or_default().to_owned();
        let params = request["params"].clone();
        if method == "subscribe" {
            let (node, profile, lines) = (node.clone(), profile.clone(), lines.clone());
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": { "subscribed": true } });
            if lines.send(answer.to_string()).await.is_err() {
                break;
            }
            subscriptions.spawn(async move { subscription(node, profile, params, lines).await });
            continue;
        }
        if method == "call.watch" {
            let media = if subscriptions.is_empty() {
                super::frames::media(&node, &params)
            } else {
                Err(CliError::usage("pictures need a connection of their own"))
            };
            let answer = match &media {
                Ok(_) => json!({ "jsonrpc": "2.0", "id": id, "result": { "frames": true } }),
                Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.to_rpc() }),
            };
            if lines.send(answer.to_string()).await.is_err() {
                break;
            }
            let Ok(media) = media else { continue };
            // The writer ends when the answer is out, and what follows are no lines.
            drop(lines);
            if let Ok(Some(write)) = writer.await {
                Box::pin(super::frames::serve(reader, write, media, &served)).await;
            }
            return;
        }
        if method == "stop" {
            let _ = lines.send(json!({ "jsonrpc": "2.0", "id": id, "result": {} }).to_string()).await;
            let _ = stop.send(()).await;
            continue;
        }
        let call = Box::pin(async {
            match method.strip_prefix("screen.") {
                Some(method) => served.screen.call(method, &params).await,
                None => call(&node, &method, &params).await,
            }
        });
        let result = tokio::select! {
            result = call => result,
            () = served.ended(), if method == "wait" => Err(gone()),
        };
        if !subscriptions.is_empty()
            && let Ok(result) = &result
        {
            let call = match method.as_str() {
                "call.start" | "call.take" => result["call"].as_str(),
                "call.answer" | "call.attend" => params["call"].as_str(),
                _ => None,
            };
            if let Some(call) = call.and_then(|call| call.parse().ok()) {
                attended.attends(connection, call);
            }
        }
        // A call without an id is a notification: no answer.
        if id.is_null() {
            continue;
        }
        let answer = match result {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.to_rpc() }),
        };
        if lines.send(answer.to_string()).await.is_err() {
            break;
        }
    }
    attended.left(connection);
    subscriptions.shutdown().await;
    drop(lines);
    let _ = tokio::time::timeout(Duration::from_secs(1), writer).await;
}

fn text(params: &Value, name: &str) -> Result<String, CliError> {
    params[name]
        .as_str()
        .map(Into::into)
        .ok_or_else(|| CliError::usage(format!("the parameter “{name}” is missing or no text")))
}

fn id<T: std::str::FromStr>(params: &Value, name: &str) -> Result<T, CliError> {
    text(params, name)?.parse().map_err(|_| CliError::usage(format!("“{name}” is not a valid id")))
}

fn list<T: std::str::FromStr>(params: &Value, name: &str) -> Result<Vec<T>, CliError> {
    let items = params[name].as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .map(|v| {
            v.as_str()
                .and_then(|s| s.parse().ok())
                .ok_or_else(|| CliError::usage(format!("“{name}” holds what is not valid")))
        })
        .collect()
}

/// A device of ours, by the beginning of its id.
pub async fn device(node: &Node, wanted: &str) -> Result<starling_keys::DeviceId, CliError> {
    let devices = node.devices().await?;
    let fits: Vec<_> = devices.iter().map(|d| d.id).filter(|d| d.to_string().starts_with(wanted)).collect();
    match fits.as_slice() {
        [one] if !wanted.is_empty() => Ok(*one),
        [] => {
            Err(CliError::not_found(format!("the account has no device {}", wanted)).hint("see `starling device list`"))
        }
        _ => Err(CliError::usage("several devices begin like that")
            .hint("give more of its id: see `starling device list --json`")),
    }
}

async fn call(node: &Node, method: &str, params: &Value) -> Result<Value, CliError> {
    let done = |()| json!({});
    Ok(match method {
        "status" => shape::status(&node.status().await?),
        "contacts" => {
            let me = node.status().await?;
            node.contacts().await?.iter().map(|c| shape::contact(c, &me)).collect()
        }
        "requests" => node.requests().await?.iter().map(shape::request).collect(),
        "chats" => node.chats().await?.iter().map(shape::chat).collect(),
        "cursor" => json!({ "seq": *node.feed().borrow() }),
        "send" => send(node, params).await?,
        "edit" => done(node.edit(id(params, "chat")?, id(params, "message")?, text(params, "text")?).await?),
        "delete" => done(node.delete(id(params, "chat")?, id(params, "message")?).await?),
        "react" => done(node.react(id(params, "chat")?, id(params, "message")?, text(params, "emoji")?).await?),
        "read" => {
            let upto = match params["message"].as_str() {
                Some(_) => id::<MessageId>(params, "message")?.0.clock,
                None => Clock(u64::MAX),
            };
            done(node.mark_read(id(params, "chat")?, upto).await?)
        }
        "typing" => {
            node.typing(id(params, "chat")?, params["typing"].as_bool().unwrap_or(true));
            json!({})
        }
        "availability" => {
            node.set_availability(match params["availability"].as_str() {
                Some("online") => Availability::Online,
                Some("away") => Availability::Away,
                _ => return Err(CliError::usage("“availability” is online or away")),
            });
            json!({})
        }
        "invite" => {
            let uses = params["uses"].as_u64().unwrap_or(1).min(u64::from(u32::MAX)) as u32;
            let lifetime = params["lifetime_ms"].as_u64().unwrap_or(7 * 86_400_000).min(365 * 86_400_000);
            let (link, expires_at) = node.invite(uses, lifetime).await?;
            json!({ "link": link, "expires_at": shape::rfc3339(expires_at * 1000), "uses": uses })
        }
        "flush" => json!({ "owes": node.flush().await? }),
        "device.list" => node.devices().await?.iter().map(shape::device).collect(),
        "device.link" => {
            let code = node.open_device_code().await?;
            let home = node.status().await?.homes.into_iter().find(|h| h.own).map(|h| h.address);
            json!({ "code": code, "rendezvous": home })
        }
        "device.remove" => {
            let device = device(node, &text(params, "device")?).await?;
            node.remove_device(device).await?;
            json!({ "device": device.to_string() })
        }
        "code.open" => json!({ "code": node.open_code().await? }),
        "code.use" => {
            let home = match params["rendezvous"].as_str() {
                Some(_) => Some(id(params, "rendezvous")?),
                None => None,
            };
            json!({ "account": node.use_code(text(params, "code")?, home).await?.to_string() })
        }
        "contacts.add" => {
            let greeting = params["greeting"].as_str().unwrap_or_default().to_owned();
            let alias = params["name"].as_str().unwrap_or_default().to_owned();
            let account = match params["invite"].as_str() {
                Some(link) => {
                    let invite: starling_keys::Invite =
                        link.parse().map_err(|e: starling_keys::InviteError| CliError::usage(e.to_string()))?;
                    let address = invite.address;
                    node.connect(address.account, address.homes, invite.token, greeting, alias).await?
                }
                None => {
                    node.connect_name(text(params, "username")?, id(params, "rendezvous")?, greeting, alias).await?
                }
            };
            json!({ "account": account.to_string() })
        }
        "contacts.accept" => done(node.accept(id(params, "account")?).await?),
        "contacts.decline" => done(node.decline(id(params, "account")?).await?),
        "contacts.rename" => done(node.rename(id(params, "account")?, text(params, "name")?).await?),
        "contacts.verify" => {
            done(node.set_verified(id(params, "account")?, params["verified"].as_bool().unwrap_or(true)).await?)
        }
        "contacts.trust" => done(node.trust(id(params, "account")?).await?),
        "contacts.block" => done(node.block(id(params, "account")?).await?),
        "contacts.unblock" => done(node.unblock(id(params, "account")?).await?),
        "contacts.remove" => done(node.remove(id(params, "account")?).await?),
        "chat.set" => {
            let muted = params["muted_until_ms"].as_u64();
            done(
                node.set_chat(id(params, "chat")?, params["pinned"].as_bool(), muted, params["archived"].as_bool())
                    .await?,
            )
        }
        "chat.clear" => done(node.clear_chat(id(params, "chat")?).await?),
        "profile.name" => done(node.set_name(text(params, "name")?).await?),
        "profile.username" => done(node.set_username(text(params, "name")?).await?),
        "profile.rendezvous" => done(
            node.set_homes(list(params, "rendezvous")?, params["token"].as_str().unwrap_or_default().into()).await?,
        ),
        "profile.privacy" => {
            let audience = |name: &str| -> Result<Option<Audience>, CliError> {
                match params[name].as_str() {
                    None => Ok(None),
                    Some(text) => shape::parse_audience(text)
                        .map(Some)
                        .ok_or_else(|| CliError::usage(format!("“{name}” is everyone, contacts or nobody"))),
                }
            };
            let all = node.set_privacy(audience("last_seen")?, audience("receipts")?, audience("typing")?).await?;
            let [last_seen, receipts, typing] = all.map(shape::audience);
            json!({ "last_seen": last_seen, "receipts": receipts, "typing": typing })
        }
        "history" => history(node, params).await?,
        "search" => search(node, params).await?,
        "wait" => wait(node, params).await?,
        _ if method.starts_with("call.") => match super::calls::call(node, method, params).await? {
            Some(result) => result,
            None => return Err(CliError::usage(format!("there is no method “{}”", method))),
        },
        _ => return Err(CliError::usage(format!("there is no method “{}”", method))),
    })
}

async fn send(node: &Node, params: &Value) -> Result<Value, CliError> {
    let chat: ChatId = id(params, "chat")?;
    let reply_to = match params["reply_to"].as_str() {
        Some(_) => Some(id::<MessageId>(params, "reply_to")?.0),
        None => None,
    };
    let mentions: Vec<starling_keys::AccountId> = list(params, "mentions")?;
    let texts: Vec<String> = match params["texts"].as_array() {
        Some(texts) => texts.iter().filter_map(|t| t.as_str().map(Into::into)).collect(),
        None => vec![text(params, "text")?],
    };
    let texts = texts
        .into_iter()
        .map(|text| Text { text, reply_to, mentions: mentions.iter().map(|m| *m.as_bytes()).collect() })
        .collect();
    let ids = node.send(chat, texts).await?;
    Ok(json!({ "ids": ids.iter().map(ToString::to_string).collect::<Vec<_>>() }))
}

async fn history(node: &Node, params: &Value) -> Result<Value, CliError> {
    let chat: ChatId = id(params, "chat")?;
    let limit = params["limit"].as_u64().unwrap_or(50).min(5_000) as usize;
    let messages = if params["after"].is_string() {
        node.history_after(chat, Some(id(params, "after")?), limit)?
    } else if params["around"].is_string() {
        let middle: MessageId = id(params, "around")?;
        let mut messages = node.history(chat, Some(middle), limit / 2)?;
        messages.extend(node.message(chat, middle)?);
        messages.extend(node.history_after(chat, Some(middle), limit / 2)?);
        messages
    } else if params["message"].is_string() {
        node.message(chat, id(params, "message")?)?.into_iter().collect()
    } else {
        let before = match params["before"].as_str() {
            Some(_) => Some(id(params, "before")?),
            None => None,
        };
        node.history(chat, before, limit)?
    };
    let names = shape::Names::load(node).await?;
    let messages = messages.iter().enumerate().map(|(i, m)| names.message(m, &(i + 1).to_string()));
    Ok(messages.collect())
}

/// Messages whose text holds the words, newest first. Looks through the chat itself, as nothing readable is indexed on the disk.
async fn search(node: &Node, params: &Value) -> Result<Value, CliError> {
    let query = starling_text::folded(&text(params, "query")?);
    let words: Vec<&str> = query.split_whitespace().collect();
    if words.is_empty() {
        return Err(CliError::usage("there is nothing to search for"));
    }
    let limit = params["limit"].as_u64().unwrap_or(50).min(1_000) as usize;
    let chats: Vec<ChatId> = match params["chat"].as_str() {
        Some(_) => vec![id(params, "chat")?],
        None => node.chats().await?.iter().map(|c| c.id).collect(),
    };
    let from = params["from"].as_str();
    let since = params["since"].as_str().unwrap_or_default();
    let names = shape::Names::load(node).await?;
    let mut found = Vec::new();
    for chat in chats {
        let mut before = None;
        let mut here = 0;
        while here < limit {
            let page = node.history(chat, before, SEARCH_PAGE)?;
            before = page.first().map(|m| m.id);
            let matches = |m: &&starling_node::Message| {
                let text = starling_text::folded(&m.text);
                !m.deleted && words.iter().all(|w| text.contains(w))
            };
            let wanted = |m: &Value| {
                let author = &m["from"];
                let by = match from {
                    None => true,
                    Some("me") => author["self"] == true,
                    Some(account) => author["account"] == account,
                };
                by && m["sent_at"].as_str().is_some_and(|at| at >= since)
            };
            let hits =
                page.iter().rev().filter(matches).map(|m| (m.id, names.message(m, ""))).filter(|(_, m)| wanted(m));
            let had = found.len();
            found.extend(hits.map(|(id, m)| (id, chat, m)));
            here += found.len() - had;
            if page.len() < SEARCH_PAGE {
                break;
            }
            // Others on this runtime get their turn.
            tokio::task::yield_now().await;
        }
    }
    found.sort_by_key(|(id, ..)| std::cmp::Reverse(*id));
    found.truncate(limit);
    Ok(found
        .into_iter()
        .map(|(_, chat, mut message)| {
            message["chat"] = names.chat(&chat.to_string());
            message
        })
        .collect())
}

/// Waits until a message has come so far; gives the state that it has at the end.
async fn wait(node: &Node, params: &Value) -> Result<Value, CliError> {
    let chat: ChatId = id(params, "chat")?;
    let message: MessageId = id(params, "message")?;
    let goal = match params["state"].as_str() {
        Some("sent") => DeliveryState::Sent,
        Some("delivered") => DeliveryState::Delivered,
        Some("read") => DeliveryState::Read,
        _ => return Err(CliError::usage("“state” is sent, delivered or read")),
    };
    let timeout = Duration::from_millis(params["timeout_ms"].as_u64().unwrap_or(30_000));
    let mut feed = node.feed();
    let reached = async {
        loop {
            feed.borrow_and_update();
            match node.message(chat, message)? {
                None => return Err(NodeError::NotFound("there is no such message".into())),
                Some(m) if m.state >= goal => return Ok(m.state),
                Some(_) => {}
            }
            if feed.changed().await.is_err() {
                return Err(NodeError::Stopped);
            }
        }
    };
    let state = match tokio::time::timeout(timeout, reached).await {
        Ok(state) => state?,
        Err(_) => node.message(chat, message)?.map_or(DeliveryState::Queued, |m| m.state),
    };
    Ok(json!({ "state": shape::state(state), "reached": state >= goal && state != DeliveryState::Failed }))
}

/// Sends event lines from a cursor on.
async fn subscription(node: Node, profile: String, params: Value, lines: mpsc::Sender<String>) {
    let mut feed = node.feed();
    let newest = *feed.borrow();
    let since = params["since"].as_str().unwrap_or("now");
    let mut at = match since {
        "now" => newest,
        "all" => 0,
        cursor => match cursor.strip_prefix("c1:").and_then(|n| n.parse::<u64>().ok()) {
            Some(n) if n <= newest => n,
            _ => {
                let error =
                    CliError::usage("that is no cursor of this profile: use one from an earlier line, “all” or “now”");
                let _ = lines
                    .send(json!({ "jsonrpc": "2.0", "method": "error", "params": error.to_json() }).to_string())
                    .await;
                return;
            }
        },
    };
    // The screen has no use for them, and would be woken.
    let keepalive = if params["keepalive"] == false { Duration::from_secs(86_400) } else { KEEPALIVE };
    let only: Option<String> = params["chat"].as_str().map(Into::into);
    let mut handles: HashMap<String, u64> = HashMap::new();
    let mut live = node.live();
    let Ok(mut names) = shape::Names::load(&node).await else {
        return;
    };
    let event = |line: Value| json!({ "jsonrpc": "2.0", "method": "event", "params": line }).to_string();
    let mut ready = false;
    loop {
        let newest = *feed.borrow_and_update();
        while at < newest {
            let Ok(page) = node.news_after(at, PAGE) else { return };
            if page.is_empty() {
                break;
            }
            for news in page {
                let chat = news.chat.map(|c| c.to_string());
                let unknown = chat.as_ref().is_some_and(|c| !names.knows(c)) || news.account.is_some();
                if unknown {
                    match shape::Names::load(&node).await {
                        Ok(fresh) => names = fresh,
                        Err(_) => return,
                    }
                }
                at = news.sequence;
                if only.is_some() && only != chat {
                    continue;
                }
                let handle = match (&chat, news.kind) {
                    (Some(chat), starling_node::FeedKind::New) => {
                        let n = handles.entry(chat.clone()).or_default();
                        *n += 1;
                        n.to_string()
                    }
                    _ => String::new(),
                };
                let Some(line) = shape::news(&news, &node, &names, &profile, &handle, !ready) else {
                    continue;
                };
                match tokio::time::timeout(STALLED, lines.send(event(line.clone()))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) if ready && node.feed().borrow().saturating_sub(at) > MAX_LAG => {
                        let last = json!({ "v": 1, "type": "stream.shutdown", "seq": at - 1, "cursor": format!("c1:{}", at - 1),
                            "ts": shape::rfc3339(shape::now_ms()), "profile": profile, "reason": "too slow" });
                        let _ = lines.send(event(last)).await;
                        return;
                    }
                    Err(_) => {
                        if lines.send(event(line)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
        if !ready {
            ready = true;
            let line = json!({ "v": 1, "type": "stream.ready", "seq": at, "cursor": format!("c1:{at}"), "ts": shape::rfc3339(shape::now_ms()), "profile": profile });
            if lines.send(event(line)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = feed.changed() => if changed.is_err() { return },
            news = live.recv() => match news {
                Ok(news) => {
                    let of_chat = match &news {
                        Live::Typing { chat, .. } => Some(chat.to_string()),
                        Live::Call(call) => Some(call.chat.to_string()),
                        _ => None,
                    };
                    if only.is_some() && only != of_chat {
                        continue;
                    }
                    let line = shape::live(&news, &names, &profile, at);
                    let line = match (line, &news) {
                        (Some(mut line), Live::Net) => match node.status().await {
                            Ok(status) => {
                                line["net"] = shape::status(&status);
                                Some(line)
                            }
                            Err(_) => return,
                        },
                        (line, _) => line,
                    };
                    if let Some(line) = line
                        && lines.send(event(line)).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = tokio::time::sleep(keepalive) => {
                let line = json!({ "v": 1, "type": "stream.keepalive", "seq": at, "cursor": format!("c1:{at}"), "ts": shape::rfc3339(shape::now_ms()), "profile": profile });
                if lines.send(event(line)).await.is_err() {
                    return;
                }
            }
            () = lines.closed() => return,
        }
    }
}
