//! One connected device: who it is, what it has opened, and its requests, which are answered in order.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use starling_wire::{
    VERSION,
    rendezvous::{Answer, Ask, Refusal, Refused, Registration, Request, Response, ServerHello},
};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{Services, directory, log};
use crate::{
    clock::now_ms,
    config::RegistrationMode,
    limits::PUSH_QUEUE,
    store::{Key, StoreError, SubscriberId},
};

/// A refusal of a request.
#[derive(Debug)]
pub struct Rejected(pub Refusal, pub u64);

impl From<Refusal> for Rejected {
    fn from(reason: Refusal) -> Self {
        Self(reason, 0)
    }
}

impl From<StoreError> for Rejected {
    fn from(error: StoreError) -> Self {
        Self(
            match error {
                StoreError::NotFound => Refusal::NotFound,
                StoreError::Full => Refusal::Full,
                StoreError::Closed(_) => Refusal::Denied,
                // Somebody else changes the same all the time.
                StoreError::Conflict => Refusal::RateLimited,
                StoreError::Failed(_) | StoreError::Newer(_) | StoreError::InUse => {
                    tracing::error!(%error, "a request failed");
                    Refusal::Internal
                }
            },
            0,
        )
    }
}

/// What a session is and has.
pub struct Session {
    pub services: Arc<Services>,
    pub id: SubscriberId,
    pub device: Key,
    /// The account that the device belongs to, once it is known here.
    pub account: Option<Key>,
    pub nonce: [u8; 32],
    /// Logs whose news are pushed to this session.
    pub followed: HashSet<Key>,
    /// Places of short codes that this session has opened.
    pub codes: Vec<u32>,
    /// What proofs of work of this session have paid for: each pays once.
    pub paid: HashSet<Key>,
    /// Guesses at short codes.
    pub code_tries: u32,
}

/// Also when the task is aborted: a newer session of the device has taken its place.
impl Drop for Session {
    fn drop(&mut self) {
        self.services.leave(self.id, std::mem::take(&mut self.followed));
        for place in std::mem::take(&mut self.codes) {
            self.services.codes.close(place, self.id);
        }
        self.services.metrics.sessions.dec();
    }
}

impl Session {
    /// A session, and what is pushed to it.
    pub async fn enter(services: Arc<Services>, device: Key) -> (Self, mpsc::Receiver<Box<Response>>) {
        let (push, pushed) = mpsc::channel(PUSH_QUEUE);
        let id = services.enter(device, push);
        services.metrics.sessions.inc();
        let mut session = Self {
            account: None,
            services,
            id,
            device,
            nonce: rand::random(),
            followed: HashSet::new(),
            codes: Vec::new(),
            paid: HashSet::new(),
            code_tries: 0,
        };
        session.account = directory::account_of(&session.services, device).await.ok().flatten();
        (session, pushed)
    }

    /// The greeting.
    pub fn hello(&self) -> Response {
        let policy = self.services.policy();
        let registration = match policy.registration.mode {
            RegistrationMode::Open => Registration::Open,
            RegistrationMode::Invite => Registration::Invite,
            RegistrationMode::Closed => Registration::Closed,
        };
        Response {
            id: 0,
            answer: Some(Answer::Hello(ServerHello {
                version: VERSION,
                nonce: Bytes::copy_from_slice(&self.nonce),
                time_ms: now_ms(),
                registration: registration as i32,
                register_bits: policy.registration.work_bits,
                inbox_bits: policy.limits.inbox_work_bits,
            })),
        }
    }

    /// Answers one request.
    pub async fn answer(&mut self, request: Request) -> Response {
        let verb = request.ask.as_ref().map_or("none", verb);
        let Request { id, ask } = request;
        let answer = Box::pin(self.admit(ask)).instrument(tracing::debug_span!("request", verb)).await;
        Response { id, answer: Some(answer) }
    }

    /// Answers, unless the device asks too often.
    async fn admit(&mut self, ask: Option<Ask>) -> Answer {
        self.services.metrics.requests.inc();
        let answer = match self.services.requests.check_key(&self.device) {
            Ok(()) => self.handle(ask).await,
            Err(not_until) => {
                let wait =
                    not_until.wait_time_from(governor::clock::Clock::now(&governor::clock::DefaultClock::default()));
                Err(Rejected(Refusal::RateLimited, wait.as_millis() as u64 + 1))
            }
        };
        answer.unwrap_or_else(|Rejected(reason, retry_after_ms)| {
            tracing::debug!(?reason, retry_after_ms, "refused");
            self.services.metrics.refusals.get_or_create(&reason.into()).inc();
            Answer::Refused(Refused { reason: reason as i32, retry_after_ms })
        })
    }

    async fn handle(&mut self, ask: Option<Ask>) -> Result<Answer, Rejected> {
        let Some(ask) = ask else {
            return Err(Refusal::Malformed.into());
        };
        match ask {
            Ask::TurnCredentials(_) => directory::turn_credentials(self).await,
            Ask::Publish(publish) => directory::publish(self, publish).await,
            Ask::ClaimName(name) => directory::claim_name(self, &name).await,
            Ask::LookUp(account) => directory::look_up(self, &account).await,
            Ask::LookUpName(name) => directory::look_up_name(self, &name).await,
            Ask::PublishKeyPackages(packages) => directory::publish_key_packages(self, packages).await,
            Ask::ClaimKeyPackages(devices) => directory::claim_key_packages(self, devices).await,
            Ask::RegisterInvite(invite) => directory::register_invite(self, invite).await,
            Ask::PutSnapshot(snapshot) => directory::put_snapshot(self, snapshot).await,
            Ask::GetSnapshot(_) => directory::get_snapshot(self).await,
            Ask::CodeOpen(_) => directory::code_open(self),
            Ask::CodeTry(message) => directory::code_try(self, message),
            Ask::CodeReply(message) => directory::code_reply(self, message),
            Ask::CodeClose(place) => directory::code_close(self, place),
            Ask::InboxAppend(append) => log::inbox_append(self, append).await,
            Ask::InboxRead(after) => log::inbox_read(self, after).await,
            Ask::LogOpen(request) => log::open(self, request).await,
            Ask::LogAppend(request) => log::append(self, request).await,
            Ask::LogClose(request) => log::close(self, request).await,
            Ask::LogRead(request) => log::read(self, request).await,
            Ask::LogSignal(request) => log::signal(self, request),
            Ask::LogTrim(request) => log::trim(self, request).await,
            Ask::LogLeave(address) => log::leave(self, &address),
        }
    }

    /// The account of the asking device, if it is registered and not banned.
    pub async fn registered(&self) -> Result<Key, Rejected> {
        self.account.ok_or(Refusal::NotRegistered)?;
        // Looked up again: the account may have given this device up since.
        let account = directory::account_of(&self.services, self.device).await?.ok_or(Refusal::NotRegistered)?;
        if directory::is_banned(&self.services, account).await? { Err(Refusal::Banned.into()) } else { Ok(account) }
    }
}

/// The name of a request in spans: no part of what it asks for.
fn verb(ask: &Ask) -> &'static str {
    match ask {
        Ask::TurnCredentials(_) => "turn_credentials",
        Ask::Publish(_) => "publish",
        Ask::ClaimName(_) => "claim_name",
        Ask::LookUp(_) => "look_up",
        Ask::LookUpName(_) => "look_up_name",
        Ask::PublishKeyPackages(_) => "publish_key_packages",
        Ask::ClaimKeyPackages(_) => "claim_key_packages",
        Ask::RegisterInvite(_) => "register_invite",
        Ask::PutSnapshot(_) => "put_snapshot",
        Ask::GetSnapshot(_) => "get_snapshot",
        Ask::CodeOpen(_) => "code_open",
        Ask::CodeTry(_) => "code_try",
        Ask::CodeReply(_) => "code_reply",
        Ask::CodeClose(_) => "code_close",
        Ask::InboxAppend(_) => "inbox_append",
        Ask::InboxRead(_) => "inbox_read",
        Ask::LogOpen(_) => "log_open",
        Ask::LogAppend(_) => "log_append",
        Ask::LogClose(_) => "log_close",
        Ask::LogRead(_) => "log_read",
        Ask::LogSignal(_) => "log_signal",
        Ask::LogTrim(_) => "log_trim",
        Ask::LogLeave(_) => "log_leave",
    }
}

/// 32 bytes.
pub fn key(bytes: &[u8]) -> Result<Key, Rejected> {
    bytes.try_into().map_err(|_| Refusal::Malformed.into())
}
