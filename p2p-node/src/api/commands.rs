//! Calls of the node's user.

use starling_keys::{AccountId, DeviceId, InviteToken, RendezvousAddr, ShortCode};
use starling_wire::{
    Availability, Body, Clock, Profile, Text,
    inbox::DeviceLink,
    limits::{MAX_GREETING, MAX_INVITE_USES, is_username},
    rendezvous::Ask,
};
use tokio::sync::oneshot;

use crate::{
    account::codes::CodeReply,
    api::types::{Chat, ChatId, Contact, ContactState, Device, FeedKind, MessageId, NodeError, Request, Status},
    calls::CallRequest,
    contacts::Person,
    contacts::connect::{Connect, Whom},
    conversation::group::GroupId,
    home::{Asked, SUPERSEDED},
    limits::REACH_TIMEOUT_MS,
    store::{HomesRow, META, REQUESTS, TIMELINE, prefix},
    turn::{Engine, EngineError, Turn},
};

/// Where the answer of a call goes.
pub type Reply<T> = oneshot::Sender<Result<T, NodeError>>;

/// A call of the node's user.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is a method of `Node`, documented there")]
pub enum Command {
    Status(Reply<Status>),
    Flush(Reply<bool>),
    Contacts(Reply<Vec<Contact>>),
    Chats(Reply<Vec<Chat>>),
    Requests(Reply<Vec<Request>>),
    Send {
        chat: ChatId,
        texts: Vec<Text>,
        reply: Reply<Vec<MessageId>>,
    },
    Edit {
        chat: ChatId,
        message: MessageId,
        text: String,
        reply: Reply<()>,
    },
    Delete {
        chat: ChatId,
        message: MessageId,
        reply: Reply<()>,
    },
    React {
        chat: ChatId,
        message: MessageId,
        emoji: String,
        reply: Reply<()>,
    },
    MarkRead {
        chat: ChatId,
        upto: Clock,
        reply: Reply<()>,
    },
    Typing {
        chat: ChatId,
        typing: bool,
    },
    SetAvailability(Availability),
    Invite {
        uses: u32,
        lifetime_ms: u64,
        reply: Reply<(String, u64)>,
    },
    /// For another device of ours, or for a contact.
    OpenCode(bool, Reply<String>),
    JoinAccount {
        code: String,
        home: RendezvousAddr,
        reply: Reply<DeviceLink>,
    },
    Devices(Reply<Vec<Device>>),
    RemoveDevice(DeviceId, Reply<()>),
    UseCode {
        code: String,
        home: Option<RendezvousAddr>,
        reply: Reply<AccountId>,
    },
    Connect {
        account: Option<AccountId>,
        name: Option<String>,
        homes: Vec<RendezvousAddr>,
        token: Option<InviteToken>,
        greeting: String,
        alias: String,
        reply: Reply<AccountId>,
    },
    Accept(AccountId, Reply<()>),
    Decline(AccountId, Reply<()>),
    Rename(AccountId, String, Reply<()>),
    SetVerified(AccountId, bool, Reply<()>),
    Trust(AccountId, Reply<()>),
    Block(AccountId, Reply<()>),
    Unblock(AccountId, Reply<()>),
    Remove(AccountId, Reply<()>),
    SetChat {
        chat: ChatId,
        pinned: Option<bool>,
        muted_until_ms: Option<u64>,
        archived: Option<bool>,
        reply: Reply<()>,
    },
    ClearChat(ChatId, Reply<()>),
    SetPrivacy {
        last_seen: Option<u32>,
        receipts: Option<u32>,
        typing: Option<u32>,
        reply: Reply<[u32; 3]>,
    },
    SetName(String, Reply<()>),
    SetUsername(String, Reply<()>),
    SetHomes {
        homes: Vec<RendezvousAddr>,
        token: String,
        reply: Reply<()>,
    },
    Call(CallRequest),
}

/// Answers a request with an error.
pub(crate) fn fail<T>(reply: Reply<T>, error: NodeError) {
    // Who does not wait any more needs no answer.
    let _ = reply.send(Err(error));
}

impl Command {
    /// Whether a device that its account has given up may still do this: look at what it has, and put its own view in order. Nothing that
    /// is sent, signed, or counts for the account is on this list, and what is new has to be put on it.
    fn is_allowed_after_removal(&self) -> bool {
        match self {
            Self::Status(_) | Self::Flush(_) | Self::Contacts(_) | Self::Chats(_) | Self::Requests(_) => true,
            Self::Devices(_) => true,
            Self::Call(request) => request.is_allowed_after_removal(),
            Self::MarkRead { .. } | Self::SetChat { .. } | Self::ClearChat(..) => true,
            // Without a change it only asks for the settings.
            Self::SetPrivacy { last_seen, receipts, typing, .. } => {
                last_seen.is_none() && receipts.is_none() && typing.is_none()
            }
            _ => false,
        }
    }

    /// Fails a command.
    fn refuse(self, error: NodeError) {
        match self {
            Self::Status(reply) => fail(reply, error),
            Self::Flush(reply) => fail(reply, error),
            Self::Contacts(reply) => fail(reply, error),
            Self::Chats(reply) => fail(reply, error),
            Self::Requests(reply) => fail(reply, error),
            Self::Send { reply, .. } => fail(reply, error),
            Self::Edit { reply, .. }
            | Self::Delete { reply, .. }
            | Self::React { reply, .. }
            | Self::MarkRead { reply, .. }
            | Self::RemoveDevice(_, reply)
            | Self::Accept(_, reply)
            | Self::Decline(_, reply)
            | Self::Rename(_, _, reply)
            | Self::SetVerified(_, _, reply)
            | Self::Trust(_, reply)
            | Self::Block(_, reply)
            | Self::Unblock(_, reply)
            | Self::Remove(_, reply)
            | Self::SetChat { reply, .. }
            | Self::ClearChat(_, reply)
            | Self::SetName(_, reply)
            | Self::SetUsername(_, reply)
            | Self::SetHomes { reply, .. } => fail(reply, error),
            Self::Typing { .. } | Self::SetAvailability(_) => {}
            Self::Invite { reply, .. } => fail(reply, error),
            Self::OpenCode(_, reply) => fail(reply, error),
            Self::JoinAccount { reply, .. } => fail(reply, error),
            Self::Devices(reply) => fail(reply, error),
            Self::UseCode { reply, .. } | Self::Connect { reply, .. } => fail(reply, error),
            Self::SetPrivacy { reply, .. } => fail(reply, error),
            Self::Call(request) => request.refuse(error),
        }
    }
}

impl Engine {
    pub(crate) fn on_command(&mut self, turn: &mut Turn<'_>, command: Command) -> Result<(), EngineError> {
        if self.counters.row.superseded && !command.is_allowed_after_removal() {
            command.refuse(NodeError::Refused(SUPERSEDED.into()));
            return Ok(());
        }
        match command {
            Command::Call(request) => {
                self.with_calls(turn, |calls, host| calls.on_request(host, request))?;
            }
            Command::Status(reply) => {
                let status = self.status();
                turn.reply(reply, Ok(status));
            }
            Command::Flush(reply) => {
                let owes = self.flush(turn);
                turn.reply(reply, Ok(owes));
            }
            Command::Contacts(reply) => {
                let contacts = self.contacts.people.keys().copied().collect::<Vec<_>>();
                let contacts = contacts.into_iter().filter_map(|a| self.contact(a)).collect();
                turn.reply(reply, Ok(contacts));
            }
            Command::Chats(reply) => {
                let chats = self.chat_list();
                turn.reply(reply, Ok(chats));
            }
            Command::Requests(reply) => {
                let requests = self.requests(turn)?;
                turn.reply(reply, Ok(requests));
            }
            Command::Send { chat, texts, reply } => {
                let result = self.send(turn, chat, texts);
                turn.reply(reply, result);
            }
            Command::Edit { chat, message, text, reply } => {
                let result = self.edit(turn, chat, message, text)?;
                turn.reply(reply, result);
            }
            Command::Delete { chat, message, reply } => {
                let result = self.delete(turn, chat, message)?;
                turn.reply(reply, result);
            }
            Command::React { chat, message, emoji, reply } => {
                let result = self.react(turn, chat, message, &emoji)?;
                turn.reply(reply, result);
            }
            Command::MarkRead { chat, upto, reply } => {
                if self.mark_read(chat, upto) && !self.counters.row.superseded {
                    self.tell_read(turn, chat);
                }
                turn.reply(reply, Ok(()));
            }
            Command::Typing { chat, typing } => self.tell_typing(turn, chat, typing),
            Command::SetAvailability(availability) => {
                if self.presence.availability != availability {
                    self.presence.availability = availability;
                    self.tell_presence_to_all(turn);
                }
            }
            Command::Invite { uses, lifetime_ms, reply } => {
                let expires_at = (turn.agreed_ms() + lifetime_ms) / 1000;
                let result = if uses == 0 || uses > MAX_INVITE_USES {
                    Err(NodeError::Invalid(format!("an invite can be used 1 to {MAX_INVITE_USES} times")))
                } else if lifetime_ms < 1_000 {
                    Err(NodeError::Invalid("an invite has to live for a second at least".into()))
                } else if self.account.identity.homes.is_empty() {
                    Err(NodeError::Invalid(
                        "an invite needs a home rendezvous: none was given at `starling init`".into(),
                    ))
                } else {
                    Ok((self.new_invite(turn, uses, expires_at)?.to_string(), expires_at))
                };
                turn.reply(reply, result);
            }
            Command::OpenCode(for_device, reply) => self.open_code(turn, for_device, reply)?,
            Command::JoinAccount { code, home, reply } => match code.parse::<ShortCode>() {
                Ok(code) => self.use_code(turn, code, Some(home), CodeReply::Account(reply)),
                Err(error) => turn.reply(reply, Err(NodeError::Invalid(error.to_string()))),
            },
            Command::Devices(reply) => {
                let devices = self.device_list();
                turn.reply(reply, Ok(devices));
            }
            Command::RemoveDevice(device, reply) => self.remove_device(turn, device, reply),
            Command::UseCode { code, home, reply } => match code.parse::<ShortCode>() {
                Ok(code) => self.use_code(turn, code, home, CodeReply::Contact(reply)),
                Err(error) => turn.reply(reply, Err(NodeError::Invalid(error.to_string()))),
            },
            Command::Connect { account, name, homes, token, greeting, alias, reply } => {
                let whom = match (account, name) {
                    (Some(account), _) => Whom::Account(account),
                    (None, Some(name)) => Whom::Name(name),
                    (None, None) => return Ok(()),
                };
                let alias = if greeting.len() > MAX_GREETING {
                    Err(NodeError::Invalid(format!("a greeting has at most {MAX_GREETING} bytes")))
                } else {
                    checked_alias(&alias)
                };
                let alias = match alias {
                    Ok(alias) => alias,
                    Err(error) => {
                        turn.reply(reply, Err(error));
                        return Ok(());
                    }
                };
                let until = turn.now() + REACH_TIMEOUT_MS;
                let connect = Connect { token, greeting, alias, reply: Some(reply), ..Connect::to(whom, homes, until) };
                self.connect(turn, connect)?;
            }
            Command::Accept(account, reply) => {
                let result = self.accept(turn, account)?;
                turn.reply(reply, result);
            }
            Command::Decline(account, reply) => {
                turn.delete(REQUESTS, &self.store.name("request", account.as_bytes()))?;
                if !self.contacts.people.contains_key(&account) {
                    self.said_of(turn, account)?;
                }
                turn.reply(reply, Ok(()));
            }
            Command::Rename(account, name, reply) => {
                let result = checked_alias(&name).and_then(|name| self.change(turn, account, |p| p.row.alias = name));
                self.snapshot_soon(turn);
                if result.is_ok() {
                    self.said_of(turn, account)?;
                }
                turn.reply(reply, result);
            }
            Command::SetVerified(account, verified, reply) => {
                let result = self.change(turn, account, |p| {
                    p.row.verified = verified;
                    p.row.key_changed = false;
                });
                self.snapshot_soon(turn);
                if result.is_ok() {
                    self.said_of(turn, account)?;
                }
                turn.reply(reply, result);
            }
            Command::Trust(account, reply) => {
                let result = self.change(turn, account, |p| {
                    p.row.key_changed = false;
                    p.row.verified = false;
                    p.row.trusted_version = p.list.as_ref().map_or(0, |l| l.version);
                });
                if result.is_ok() {
                    let chat = self.chat_with(account);
                    self.renew_outbox(turn, chat)?;
                }
                turn.reply(reply, result);
            }
            Command::Block(account, reply) => {
                let result = self.change(turn, account, |p| p.row.state = ContactState::Blocked.stored());
                if result.is_ok() {
                    self.shut_out(turn, account)?;
                    turn.account_news(FeedKind::Blocked, account, "")?;
                    self.said_of(turn, account)?;
                } else if txn_has_request(self, turn, account)? {
                    // A stranger who asked: kept as a blocked contact, so that they cannot ask again.
                    self.block_stranger(turn, account);
                    turn.delete(REQUESTS, &self.store.name("request", account.as_bytes()))?;
                    self.said_of(turn, account)?;
                    turn.reply(reply, Ok(()));
                    return Ok(());
                }
                turn.reply(reply, result);
            }
            Command::Unblock(account, reply) => {
                let result = match self.contacts.people.get(&account).map(Person::state) {
                    Some(ContactState::Blocked) => {
                        // A stranger who was blocked is a stranger again.
                        let chat = ChatId(self.store.name("direct", account.as_bytes()));
                        let known = self.conversations.chats.get(&chat).is_some_and(|c| !c.row.groups.is_empty());
                        let state = if known { ContactState::Active } else { ContactState::Removed };
                        self.snapshot_soon(turn);
                        self.change(turn, account, |p| p.row.state = state.stored())
                    }
                    Some(_) => Err(NodeError::Invalid("they are not blocked".into())),
                    None => Err(NodeError::NotFound("they are not a contact".into())),
                };
                for id in self.conversations.groups.keys().copied().collect::<Vec<_>>() {
                    self.read_logs(turn, id);
                }
                if result.is_ok() {
                    self.said_of(turn, account)?;
                }
                turn.reply(reply, result);
            }
            Command::Remove(account, reply) => {
                let result = self.change(turn, account, |p| p.row.state = ContactState::Removed.stored());
                if result.is_ok() {
                    self.shut_out(turn, account)?;
                    self.said_of(turn, account)?;
                }
                turn.reply(reply, result);
            }
            Command::SetChat { chat, pinned, muted_until_ms, archived, reply } => {
                let result = match self.conversations.chats.get_mut(&chat) {
                    Some(state) => {
                        state.row.pinned = pinned.unwrap_or(state.row.pinned);
                        state.row.muted_until_ms = muted_until_ms.unwrap_or(state.row.muted_until_ms);
                        state.row.archived = archived.unwrap_or(state.row.archived);
                        state.dirty = true;
                        Ok(())
                    }
                    None => Err(NodeError::NotFound("there is no such conversation".into())),
                };
                turn.reply(reply, result);
            }
            Command::ClearChat(chat, reply) => {
                let result = match self.conversations.chats.get_mut(&chat) {
                    Some(state) => {
                        state.row.unread = 0;
                        state.row.cleared = state.row.newest;
                        state.row.archived = true;
                        state.dirty = true;
                        turn.delete_range(TIMELINE, prefix(&chat.0))?;
                        Ok(())
                    }
                    None => Err(NodeError::NotFound("there is no such conversation".into())),
                };
                turn.reply(reply, result);
            }
            Command::SetPrivacy { last_seen, receipts, typing, reply } => {
                let settings = &mut self.account.settings;
                settings.last_seen = last_seen.unwrap_or(settings.last_seen);
                settings.receipts = receipts.unwrap_or(settings.receipts);
                settings.typing = typing.unwrap_or(settings.typing);
                let now = [settings.last_seen, settings.receipts, settings.typing];
                turn.put(META, b"settings", settings)?;
                turn.reply(reply, Ok(now));
            }
            Command::SetName(name, reply) => {
                let result = checked_name(&name).map(|name| {
                    self.account.identity.row.name.clone_from(&name);
                    self.account.identity.dirty = true;
                    let bot = self.account.identity.row.bot;
                    let linked: Vec<ChatId> =
                        self.conversations.chats.keys().copied().filter(|c| self.check_may_write(*c).is_ok()).collect();
                    for chat in linked {
                        self.write_event(turn, chat, Body::Profile(Profile { name: name.clone(), bot }));
                    }
                });
                turn.reply(reply, result);
            }
            Command::SetUsername(name, reply) => self.claim_name(turn, name, reply),
            Command::SetHomes { homes, token, reply } => {
                self.set_homes(turn, homes, token)?;
                turn.reply(reply, Ok(()));
            }
        }
        Ok(())
    }

    /// Asks our homes for a user name; it is ours when one of them says so.
    fn claim_name(&mut self, turn: &mut Turn<'_>, name: String, reply: Reply<()>) {
        let homes: Vec<_> =
            self.homes.servers.iter().filter(|(_, h)| h.own && h.registered).map(|(id, _)| *id).collect();
        if !is_username(&name) {
            let problem =
                format!("“{}” is no user name: 2 to 32 of a-z 0-9 . _ -, a letter or digit first", name.escape_debug());
            return turn.reply(reply, Err(NodeError::Invalid(problem)));
        }
        if name == self.account.identity.row.username && !homes.is_empty() {
            return turn.reply(reply, Ok(()));
        }
        if homes.is_empty() || self.account.name_reply.is_some() {
            let problem = "our rendezvous cannot be reached now: try again later".into();
            return turn.reply(reply, Err(NodeError::Unreachable(problem)));
        }
        self.account.name_reply = Some(reply);
        for home in homes {
            self.ask(turn, home, Ask::ClaimName(name.clone()), Asked::Name(name.clone()));
        }
    }

    /// Moves to other home servers. Contacts are told; conversations whose logs we keep elsewhere are made anew at the new home.
    fn set_homes(&mut self, turn: &mut Turn<'_>, homes: Vec<RendezvousAddr>, token: String) -> Result<(), EngineError> {
        turn.put(META, b"homes", &HomesRow { homes: homes.iter().map(ToString::to_string).collect() })?;
        let moved = homes != self.account.identity.homes;
        let before = std::mem::replace(&mut self.account.identity.homes, homes);
        self.account.identity.row.registration_token = token;
        self.account.identity.dirty = true;
        for (id, state) in &mut self.homes.servers {
            state.own = self.account.identity.homes.iter().any(|h| h.peer == *id);
            if state.own {
                state.problem = None;
            }
        }
        turn.set_home_offset(self.homes.clock_offset());
        self.delivery.net_changed = true;
        let renewed = match self.account.identity.list.clone().filter(|_| moved) {
            Some(list) => self.new_list(turn, Some(&list)).is_ok(),
            None => false,
        };
        if renewed {
            self.tell_siblings(turn, None)?;
            self.tell_list(turn);
            self.invites_anew(turn)?;
            let elsewhere = |g: &crate::conversation::GroupEntry| {
                let home = g.row.home.parse::<RendezvousAddr>();
                g.row.ours
                    && !g.row.dead
                    && !home.is_ok_and(|h| self.account.identity.homes.iter().any(|m| m.peer == h.peer))
            };
            let left: Vec<GroupId> =
                self.conversations.groups.values().filter(|g| elsewhere(g)).map(|g| g.id).collect();
            for group in left {
                self.bury_group(turn, group)?;
            }
            self.leave_homes(turn, before);
        }
        self.publish_at_homes(turn);
        turn.live(crate::api::types::Live::Net);
        Ok(())
    }

    fn block_stranger(&mut self, turn: &mut Turn<'_>, account: AccountId) {
        let mut person = Person::new(&account, turn.wall());
        person.row.name = account.to_string()[..8].to_owned();
        person.row.state = ContactState::Blocked.stored();
        self.contacts.people.insert(account, person);
    }

    fn change(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        change: impl FnOnce(&mut Person),
    ) -> Result<(), NodeError> {
        let person = self
            .contacts
            .people
            .get_mut(&account)
            .ok_or_else(|| NodeError::NotFound("they are not a contact".into()))?;
        change(person);
        person.dirty = true;
        self.delivery.net_changed = true;
        turn.live(crate::api::types::Live::Net);
        Ok(())
    }
}

fn txn_has_request(engine: &Engine, turn: &mut Turn<'_>, account: AccountId) -> Result<bool, EngineError> {
    use crate::store::Reading;
    let key = engine.store.name("request", account.as_bytes());
    Ok(turn.get::<crate::store::RequestRow>(REQUESTS, &key)?.is_some())
}

fn checked_name(name: &str) -> Result<String, NodeError> {
    starling_text::display_name(name).map_err(|error| NodeError::Invalid(error.to_string()))
}

/// An alias may be empty: then the name shows that they give themselves.
fn checked_alias(alias: &str) -> Result<String, NodeError> {
    if alias.is_empty() { Ok(String::new()) } else { checked_name(alias) }
}
