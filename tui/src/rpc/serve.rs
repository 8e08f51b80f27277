//! What the node does for each method, except those about calls.

use std::{str::FromStr, time::Duration};

use starling_control::{
    Error, Serve,
    methods::{Done, chats, contacts, devices, messages, node, profile, screen},
    objects::{self, AccountId, MessageId, Time},
};
use starling_node::{Availability, ChatId, Clock, DeliveryState, Message, Node, NodeError, NotFound, Search, Text};

use super::{
    client::gone,
    convert::{self, Names},
    groups::not_in_yet,
    session::{Session, Then},
    subscription::Subscription,
};
use crate::error::CliError;

/// Messages that are looked through at a time.
const PAGE: usize = 1_000;

/// Reads an id from a parameter.
pub(super) fn id<T: FromStr>(param: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::invalid_param(param, format!("“{}” is not a valid id", text)))
}

/// The same for one that may be left out.
pub(super) fn optional_id<T: FromStr>(param: &str, text: Option<&str>) -> Result<Option<T>, Error> {
    text.map(|text| id(param, text)).transpose()
}

/// A conversation that there is, from a parameter.
pub(super) fn chat(node: &Node, text: &str) -> Result<ChatId, Error> {
    let chat = id("chat", text)?;
    match node.has_chat(chat).map_err(CliError::from)? {
        true => Ok(chat),
        false => Err(CliError::from(NodeError::from(NotFound::Chat)).into()),
    }
}

/// A message that there is in a conversation, from a parameter.
fn message_in(node: &Node, chat: ChatId, param: &str, text: &str) -> Result<starling_node::MessageId, Error> {
    let message = id(param, text)?;
    match node.message(chat, message).map_err(CliError::from)? {
        Some(_) => Ok(message),
        None => Err(CliError::from(NodeError::from(NotFound::Message)).into()),
    }
}

/// A limit from 1 to the most that is given at once.
fn limit(asked: Option<u32>, most: u32) -> Result<usize, Error> {
    match asked.unwrap_or(messages::DEFAULT_LIMIT) {
        0 => Err(Error::invalid_param("limit", "at least 1")),
        limit if limit <= most => Ok(limit as usize),
        _ => Err(Error::invalid_param("limit", format!("at most {most} at once"))),
    }
}

/// Serves methods whose answer is that they are done.
macro_rules! serve_done {
    ($($method:ty: |$node:ident, $request:ident| $done:expr;)*) => {$(
        impl Serve<$method> for Session {
            async fn serve(&self, $request: $method) -> Result<Done, Error> {
                let $node = &self.served.node;
                let () = $done.await.map_err(CliError::from)?;
                Ok(Done {})
            }
        }
    )*};
}

serve_done! {
    contacts::Accept: |node, request| node.accept(id("account", request.account.as_str())?);
    contacts::Decline: |node, request| node.decline(id("account", request.account.as_str())?);
    contacts::Rename: |node, request| node.rename(id("account", request.account.as_str())?, request.name);
    contacts::Verify: |node, request| {
        node.set_verified(id("account", request.account.as_str())?, request.verified.unwrap_or(true))
    };
    contacts::Trust: |node, request| node.trust(id("account", request.account.as_str())?);
    contacts::Block: |node, request| node.block(id("account", request.account.as_str())?);
    contacts::Unblock: |node, request| node.unblock(id("account", request.account.as_str())?);
    contacts::Remove: |node, request| node.remove(id("account", request.account.as_str())?);
    chats::SetDraft: |node, request| node.set_draft(id("chat", request.chat.as_str())?, request.text);
    chats::Clear: |node, request| node.clear_chat(id("chat", request.chat.as_str())?);
    messages::Edit: |node, request| {
        node.edit(id("chat", request.chat.as_str())?, id("message", request.message.as_str())?, request.text)
    };
    messages::Delete: |node, request| {
        node.delete(id("chat", request.chat.as_str())?, id("message", request.message.as_str())?)
    };
    messages::React: |node, request| {
        node.react(id("chat", request.chat.as_str())?, id("message", request.message.as_str())?, request.emoji)
    };
    messages::Read: |node, request| {
        let chat = chat(node, request.chat.as_str())?;
        let upto = request.message.as_ref().map(|upto| message_in(node, chat, "message", upto.as_str())).transpose()?;
        node.mark_read(chat, upto.map_or(Clock(u64::MAX), |message| message.0.clock))
    };
    devices::CancelHistory: |node, _request| node.cancel_history();
    profile::SetName: |node, request| node.set_name(request.name);
    profile::SetUsername: |node, request| node.set_username(request.name);
    profile::SetRendezvous: |node, request| {
        let homes = request.rendezvous.iter().enumerate();
        let homes = homes.map(|(i, home)| id(&format!("rendezvous[{i}]"), home)).collect::<Result<Vec<_>, Error>>()?;
        node.set_homes(homes, request.token.unwrap_or_default())
    };
}

impl Serve<node::Status> for Session {
    async fn serve(&self, request: node::Status) -> Result<objects::Status, Error> {
        let node = &self.served.node;
        let status = if request.check == Some(true) { node.checked_status().await } else { node.status().await };
        Ok(convert::status(&status.map_err(CliError::from)?))
    }
}

impl Serve<node::Events> for Session {
    async fn serve(&self, _: node::Events) -> Result<node::LastEvent, Error> {
        Ok(node::LastEvent { seq: *self.served.node.last_event().borrow() })
    }
}

impl Serve<node::Flush> for Session {
    async fn serve(&self, _: node::Flush) -> Result<node::Flushed, Error> {
        Ok(node::Flushed { owes: self.served.node.flush().await.map_err(CliError::from)? })
    }
}

impl Serve<node::Subscribe> for Session {
    async fn serve(&self, request: node::Subscribe) -> Result<node::Subscribed, Error> {
        let subscription = Subscription::new(&self.served, request)?;
        self.then(Then::Subscribe(Box::new(subscription)));
        Ok(node::Subscribed { subscribed: true })
    }
}

impl Serve<node::Stop> for Session {
    async fn serve(&self, _: node::Stop) -> Result<Done, Error> {
        self.then(Then::Stop);
        Ok(Done {})
    }
}

impl Serve<node::Authenticate> for Session {
    /// This connection has been admitted already.
    async fn serve(&self, _: node::Authenticate) -> Result<Done, Error> {
        Ok(Done {})
    }
}

impl Serve<contacts::List> for Session {
    async fn serve(&self, request: contacts::List) -> Result<Vec<objects::Contact>, Error> {
        let contacts = self.served.node.contacts().await.map_err(CliError::from)?;
        if request.safety_numbers == Some(false) {
            return Ok(contacts.iter().map(|contact| convert::contact(contact, None)).collect());
        }
        let me = self.served.node.status().await.map_err(CliError::from)?.account;
        let numbers = self.served.safety_numbers.clone();
        // Those of thousands of contacts take seconds.
        let convert = move || {
            contacts.iter().map(|contact| convert::contact(contact, Some(numbers.of(&me, &contact.account)))).collect()
        };
        tokio::task::spawn_blocking(convert).await.map_err(|error| CliError::internal(error).into())
    }
}

impl Serve<contacts::Find> for Session {
    async fn serve(&self, request: contacts::Find) -> Result<objects::Contact, Error> {
        let found = self.served.node.find_contact(request.who).await.map_err(CliError::from)?;
        if request.safety_number != Some(true) {
            return Ok(convert::contact(&found, None));
        }
        let me = self.served.node.status().await.map_err(CliError::from)?.account;
        let numbers = self.served.safety_numbers.clone();
        let convert = move || convert::contact(&found, Some(numbers.of(&me, &found.account)));
        tokio::task::spawn_blocking(convert).await.map_err(|error| CliError::internal(error).into())
    }
}

impl Serve<contacts::Requests> for Session {
    async fn serve(&self, _: contacts::Requests) -> Result<Vec<objects::Request>, Error> {
        let requests = self.served.node.requests().await.map_err(CliError::from)?;
        Ok(requests.iter().map(convert::request).collect())
    }
}

impl Serve<contacts::Add> for Session {
    async fn serve(&self, request: contacts::Add) -> Result<contacts::Account, Error> {
        let node = &self.served.node;
        let (greeting, alias) = (request.greeting.unwrap_or_default(), request.name.unwrap_or_default());
        let account = match (request.invite, request.username, request.rendezvous) {
            (Some(link), ..) => {
                let invite: starling_keys::Invite =
                    link.parse().map_err(|e: starling_keys::InviteError| Error::invalid_param("invite", e))?;
                let address = invite.address;
                node.connect(address.account, address.homes, invite.token, greeting, alias).await
            }
            (None, Some(username), Some(home)) => {
                node.connect_name(username, id("rendezvous", &home)?, greeting, alias).await
            }
            (None, Some(_), None) => return Err(Error::invalid_param("rendezvous", "it is missing")),
            (None, None, _) => return Err(Error::invalid_param("invite", "it is missing, as is “username”")),
        };
        Ok(contacts::Account { account: account.map_err(CliError::from)?.to_string().into() })
    }
}

impl Serve<contacts::Invite> for Session {
    async fn serve(&self, request: contacts::Invite) -> Result<contacts::Invitation, Error> {
        let uses = request.uses.unwrap_or(1);
        let lifetime = request.lifetime_ms.unwrap_or(contacts::INVITE_LIFETIME_MS);
        if uses == 0 {
            return Err(Error::invalid_param("uses", "at least 1"));
        }
        if lifetime == 0 {
            return Err(Error::invalid_param("lifetime_ms", "at least 1"));
        }
        if lifetime > contacts::MAX_INVITE_LIFETIME_MS {
            return Err(Error::invalid_param("lifetime_ms", "an invite is good for a year at most"));
        }
        let (link, expires_at) = self.served.node.invite(uses, lifetime).await.map_err(CliError::from)?;
        Ok(contacts::Invitation { link, expires_at: convert::time(expires_at * 1000), uses })
    }
}

impl Serve<contacts::OpenCode> for Session {
    async fn serve(&self, request: contacts::OpenCode) -> Result<contacts::Code, Error> {
        let code = self.served.node.open_code().await.map_err(CliError::from)?;
        self.holds_code(request.while_connected, &code);
        Ok(contacts::Code { code })
    }
}

impl Serve<contacts::UseCode> for Session {
    async fn serve(&self, request: contacts::UseCode) -> Result<contacts::Account, Error> {
        let home = optional_id("rendezvous", request.rendezvous.as_deref())?;
        let account = self.served.node.use_code(request.code, home).await.map_err(CliError::from)?;
        Ok(contacts::Account { account: AccountId(account.to_string()) })
    }
}

impl Serve<chats::List> for Session {
    async fn serve(&self, _: chats::List) -> Result<Vec<objects::Chat>, Error> {
        Ok(self.served.node.chats().await.map_err(CliError::from)?.iter().map(convert::chat).collect())
    }
}

impl Serve<profile::SetPrivacy> for Session {
    async fn serve(&self, request: profile::SetPrivacy) -> Result<objects::Privacy, Error> {
        let [last_seen, receipts, typing] =
            [request.last_seen, request.receipts, request.typing].map(|a| a.map(convert::node_audience));
        let all = self.served.node.set_privacy(last_seen, receipts, typing).await.map_err(CliError::from)?;
        let [last_seen, receipts, typing] = all.map(convert::audience);
        Ok(objects::Privacy { last_seen, receipts, typing })
    }
}

impl Serve<screen::Get> for Session {
    async fn serve(&self, _: screen::Get) -> Result<screen::Kept, Error> {
        Ok(screen::Kept { rows: self.served.screen.rows() })
    }
}

impl Serve<screen::Set> for Session {
    async fn serve(&self, request: screen::Set) -> Result<Done, Error> {
        self.served.screen.keep(request.row, request.value.unwrap_or_default()).await?;
        Ok(Done {})
    }
}

impl Serve<profile::SetAvailability> for Session {
    async fn serve(&self, request: profile::SetAvailability) -> Result<Done, Error> {
        self.served.node.set_availability(match request.availability {
            profile::Availability::Online => Availability::Online,
            profile::Availability::Away => Availability::Away,
        });
        Ok(Done {})
    }
}

impl Serve<messages::Typing> for Session {
    async fn serve(&self, request: messages::Typing) -> Result<Done, Error> {
        let node = &self.served.node;
        node.typing(chat(node, request.chat.as_str())?, request.typing.unwrap_or(true));
        Ok(Done {})
    }
}

impl Serve<messages::Send> for Session {
    async fn serve(&self, request: messages::Send) -> Result<messages::Sent, Error> {
        let (node, wanted) = (&self.served.node, request.chat.clone());
        match send(node, request).await {
            // There may be no conversation yet, and the reason is another one than that.
            Err(error) => Err(not_in_yet(node, wanted.as_str()).await.map_or(error, Into::into)),
            sent => sent,
        }
    }
}

/// Only slow mode keeps the user from writing for a time.
fn too_soon(retry_after_ms: u64, count: usize) -> CliError {
    let wait = retry_after_ms.div_ceil(1_000);
    let text = match count {
        0 | 1 => format!("slow mode: you can write again in {wait} s"),
        _ => format!("slow mode: messages go one by one, the next in {wait} s at the earliest"),
    };
    CliError {
        reason: Some("slow_mode".into()),
        message: text.into(),
        ..CliError::from(NodeError::RateLimited { retry_after_ms })
    }
}

async fn send(node: &Node, request: messages::Send) -> Result<messages::Sent, Error> {
    let chat = chat(node, request.chat.as_str())?;
    let reply_to = request.reply_to.as_ref().map(|to| message_in(node, chat, "reply_to", to.as_str())).transpose()?;
    let mentions = request.mentions.unwrap_or_default();
    let mentions = mentions.iter().enumerate().map(|(i, account)| id(&format!("mentions[{i}]"), account.as_str()));
    let mentions = mentions.collect::<Result<Vec<starling_keys::AccountId>, Error>>()?;
    let texts = match (request.text, request.texts) {
        (Some(text), None) => vec![text],
        (None, Some(texts)) => texts,
        (Some(_), Some(_)) => return Err(Error::invalid_param("texts", "give “text” or “texts”")),
        (None, None) => return Err(Error::invalid_param("text", "it is missing")),
    };
    let message = |text| Text {
        text,
        reply_to: reply_to.map(|message| message.0),
        mentions: mentions.iter().map(|account| *account.as_bytes()).collect(),
        mentions_all: request.mentions_all.unwrap_or_default(),
    };
    let count = texts.len();
    let sent = node.send(chat, texts.into_iter().map(message).collect()).await;
    let ids = sent.map_err(|error| match error {
        NodeError::RateLimited { retry_after_ms } => too_soon(retry_after_ms, count),
        error => error.into(),
    })?;
    Ok(messages::Sent { ids: ids.iter().map(|id| id.to_string().into()).collect() })
}

impl Serve<messages::History> for Session {
    async fn serve(&self, request: messages::History) -> Result<Vec<objects::Message>, Error> {
        let node = &self.served.node;
        let limit = limit(request.limit, messages::MAX_HISTORY)?;
        let messages = history(node, &request, limit)?;
        let names = Names::load(node).await.map_err(CliError::from)?;
        Ok(messages.iter().enumerate().map(|(i, m)| names.message(m, (i + 1).to_string())).collect())
    }
}

fn history(node: &Node, request: &messages::History, limit: usize) -> Result<Vec<Message>, Error> {
    let chat = chat(node, request.chat.as_str())?;
    let place = |name: &str, message: &Option<MessageId>| -> Result<Option<starling_node::MessageId>, Error> {
        message.as_ref().map(|message| message_in(node, chat, name, message.as_str())).transpose()
    };
    let found = if let Some(after) = place("after", &request.after)? {
        node.history_after(chat, Some(after), limit)
    } else if let Some(middle) = place("around", &request.around)? {
        node.history(chat, Some(middle), limit / 2).and_then(|mut messages| {
            messages.extend(node.message(chat, middle)?);
            messages.extend(node.history_after(chat, Some(middle), limit / 2)?);
            Ok(messages)
        })
    } else if let Some(message) = optional_id("message", request.message.as_ref().map(MessageId::as_str))? {
        node.message(chat, message).map(|message| message.into_iter().collect())
    } else {
        node.history(chat, place("before", &request.before)?, limit)
    };
    found.map_err(|error| CliError::from(error).into())
}

impl Serve<messages::Back> for Session {
    async fn serve(&self, request: messages::Back) -> Result<messages::Place, Error> {
        let chat = chat(&self.served.node, request.chat.as_str())?;
        let mut place = optional_id("before", request.before.as_ref().map(MessageId::as_str))?;
        let mut left = usize::try_from(request.count).unwrap_or(usize::MAX);
        let mut found = None;
        while left > 0 {
            let page = self.served.node.history(chat, place, left.min(PAGE)).map_err(CliError::from)?;
            let Some(first) = page.first() else { break };
            (place, found) = (Some(first.id), Some(first.id));
            left -= page.len();
            // Others on this runtime get their turn.
            tokio::task::yield_now().await;
        }
        Ok(messages::Place { message: found.map(|message| message.to_string().into()) })
    }
}

impl Serve<messages::Search> for Session {
    async fn serve(&self, request: messages::Search) -> Result<Vec<messages::Found>, Error> {
        let node = &self.served.node;
        let author = match request.from.as_deref() {
            None => None,
            Some("me") => Some(node.status().await.map_err(CliError::from)?.account),
            Some(account) => Some(id("from", account)?),
        };
        let since = request.since.as_ref().map(Time::as_str).map(|since| {
            convert::milliseconds(since)
                .ok_or_else(|| Error::invalid_param("since", "a time is like 2026-11-01T12:00:00Z"))
        });
        let search = Search {
            words: request.query,
            chat: request.chat.as_ref().map(|text| chat(node, text.as_str())).transpose()?,
            author,
            since_ms: since.transpose()?.unwrap_or_default(),
            limit: limit(request.limit, messages::MAX_FOUND)?,
        };
        let found = node.search(search).await.map_err(CliError::from)?;
        let names = Names::load(node).await.map_err(CliError::from)?;
        let found = found.iter().map(|message| messages::Found {
            chat: names.chat(message.chat),
            message: names.message(message, String::new()),
        });
        Ok(found.collect())
    }
}

impl Serve<messages::Wait> for Session {
    async fn serve(&self, request: messages::Wait) -> Result<messages::Waited, Error> {
        tokio::select! {
            waited = wait(&self.served.node, request) => waited,
            () = self.served.ended() => Err(gone().into()),
        }
    }
}

/// Waits until a message has come so far; gives the state that it has at the end.
async fn wait(node: &Node, request: messages::Wait) -> Result<messages::Waited, Error> {
    let chat = chat(node, request.chat.as_str())?;
    let message = message_in(node, chat, "message", request.message.as_str())?;
    let goal = match request.state {
        objects::DeliveryState::Sent => DeliveryState::Sent,
        objects::DeliveryState::Delivered => DeliveryState::Delivered,
        objects::DeliveryState::Read => DeliveryState::Read,
        _ => return Err(Error::invalid_param("state", "it is sent, delivered or read")),
    };
    let timeout = Duration::from_millis(request.timeout_ms.unwrap_or(messages::WAIT_MS));
    let mut last_event = node.last_event();
    let reached = async {
        loop {
            last_event.borrow_and_update();
            match node.message(chat, message)? {
                None => return Err(NodeError::from(NotFound::Message)),
                Some(m) if m.state >= goal => return Ok(m.state),
                Some(_) => {}
            }
            if last_event.changed().await.is_err() {
                return Err(NodeError::Stopped);
            }
        }
    };
    let state = match tokio::time::timeout(timeout, reached).await {
        Ok(state) => state.map_err(CliError::from)?,
        Err(_) => node.message(chat, message).map_err(CliError::from)?.map_or(DeliveryState::Queued, |m| m.state),
    };
    Ok(messages::Waited { state: convert::state(state), reached: state >= goal && state != DeliveryState::Failed })
}
