//! One connected device: who it is, what it has opened, and its requests, which are answered in order.

use std::{
    collections::{BTreeSet, HashSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use starling_wire::{
    VERSION,
    rendezvous::{Refusal, Refused, Registration, Request, RequestBody, Response, ResponseBody, ServerHello},
};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::{Services, TurnEndpoint, directory, log, rates::Asker};
use crate::{
    address::Origin,
    clock::now_ms,
    config::RegistrationMode,
    limits::PUSH_QUEUE,
    store::{Key, StoreError, SubscriberId},
};

/// A refusal of a request.
#[derive(Debug)]
pub struct Rejected {
    pub reason: Refusal,
    /// When it is worth to try again, in milliseconds; 0 if that is not known.
    pub retry_after_ms: u64,
    /// The work that is asked for, if it was too little; else 0.
    pub work_bits: u32,
}

impl Rejected {
    /// The proof of work is missing, wrong or too small.
    pub fn work(work_bits: u32) -> Self {
        Self { work_bits, ..Refusal::Denied.into() }
    }
}

impl From<Refusal> for Rejected {
    fn from(reason: Refusal) -> Self {
        Self { reason, retry_after_ms: 0, work_bits: 0 }
    }
}

impl From<StoreError> for Rejected {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Refusal::NotFound,
            StoreError::Full => Refusal::Full,
            // Somebody else changes the same all the time.
            StoreError::Conflict => Refusal::RateLimited,
            StoreError::Failed(_) | StoreError::Newer(_) | StoreError::InUse => {
                tracing::error!(%error, "a request failed");
                Refusal::Internal
            }
        }
        .into()
    }
}

impl From<Duration> for Rejected {
    /// Too often: wait so long.
    fn from(wait: Duration) -> Self {
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Self { retry_after_ms, ..Refusal::RateLimited.into() }
    }
}

/// What a session is and has.
pub struct Session {
    pub services: Arc<Services>,
    pub id: SubscriberId,
    pub device: Key,
    /// Where the device is; not known of one in this process.
    pub origin: Option<Origin>,
    /// The account that the device belongs to, once it is known here, and unless it is banned.
    pub account: Option<Key>,
    pub nonce: [u8; 32],
    /// Logs whose news are pushed to this session.
    pub followed: BTreeSet<Key>,
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
            directory::code_abandoned(&self.services, place, self.id);
        }
        self.services.metrics.sessions.dec();
    }
}

impl Session {
    /// A session, and what is pushed to it.
    pub async fn enter(
        services: Arc<Services>,
        device: Key,
        origin: Option<Origin>,
    ) -> (Self, mpsc::Receiver<Box<Response>>) {
        let (push, pushed) = mpsc::channel(PUSH_QUEUE);
        let id = services.enter(device, push);
        services.metrics.sessions.inc();
        let mut session = Self {
            account: None,
            origin,
            services,
            id,
            device,
            nonce: starling_keys::random(),
            followed: BTreeSet::new(),
            codes: Vec::new(),
            paid: HashSet::new(),
            code_tries: 0,
        };
        // Who is banned has what strangers have.
        session.account = session.registered().await.ok();
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
            body: Some(ResponseBody::Hello(ServerHello {
                version: VERSION,
                nonce: Bytes::copy_from_slice(&self.nonce),
                time_ms: now_ms(),
                registration: registration as i32,
                register_bits: policy.registration.work_bits,
                inbox_bits: policy.limits.inbox_work_bits,
                erasers: true,
                candidates: true,
                name_keys: true,
                pings: true,
                parts: true,
                stun_port: self.services.turn.get().map_or(0, TurnEndpoint::stun_port),
                run: self.services.run,
                retry_window_ms: u64::try_from(self.services.retry_window().as_millis()).unwrap_or(u64::MAX),
            })),
        }
    }

    /// Answers one request.
    pub async fn answer(&mut self, request: Request) -> Response {
        let verb = request.body.as_ref().map_or("none", verb);
        let Request { id, body } = request;
        let answer = Box::pin(self.admit(body)).instrument(tracing::debug_span!("request", verb)).await;
        Response { id, body: Some(answer) }
    }

    /// Whom requests count for.
    pub fn asker(&self) -> Asker {
        match (self.account, self.origin) {
            (Some(account), _) => Asker::Account(account),
            (None, Some(origin)) => Asker::Stranger(origin),
            (None, None) => Asker::Local(self.device),
        }
    }

    /// Counts a request as so many more.
    pub fn count_more(&self, requests: usize) -> Result<(), Rejected> {
        let more = u32::try_from(requests).ok().and_then(NonZeroU32::new);
        more.map_or(Ok(()), |more| self.services.rates.requests.check_n(&self.asker(), more).map_err(Rejected::from))
    }

    /// Answers, unless the device asks too often.
    async fn admit(&mut self, ask: Option<RequestBody>) -> ResponseBody {
        self.services.metrics.requests.inc();
        let answer = match self.services.rates.requests.check(&self.asker()) {
            Ok(()) => self.handle(ask).await,
            Err(wait) => Err(wait.into()),
        };
        answer.unwrap_or_else(|Rejected { reason, retry_after_ms, work_bits }| {
            tracing::debug!(?reason, retry_after_ms, "refused");
            self.services.metrics.refusals.get_or_create(&reason.into()).inc();
            ResponseBody::Refused(Refused { reason: reason as i32, retry_after_ms, work_bits })
        })
    }

    async fn handle(&mut self, ask: Option<RequestBody>) -> Result<ResponseBody, Rejected> {
        let Some(ask) = ask else {
            return Err(Refusal::Malformed.into());
        };
        match ask {
            RequestBody::Ping(_) => Ok(ResponseBody::Done(true)),
            RequestBody::TurnCredentials(_) => directory::turn_credentials(self).await,
            RequestBody::Publish(publish) => directory::publish(self, publish).await,
            RequestBody::ClaimName(name) => directory::claim_name(self, &name).await,
            RequestBody::ClaimNameKey(name) => directory::claim_name_key(self, &name).await,
            RequestBody::LookUpNameKey(name) => directory::look_up_name_key(self, &name).await,
            RequestBody::LookUp(account) => directory::look_up(self, &account).await,
            RequestBody::LookUpSince(since) => directory::look_up_since(self, &since).await,
            RequestBody::LookUpName(name) => directory::look_up_name(self, &name).await,
            RequestBody::PublishKeyPackages(packages) => directory::publish_key_packages(self, packages).await,
            RequestBody::ClaimKeyPackages(devices) => directory::claim_key_packages(self, devices).await,
            RequestBody::RegisterInvite(invite) => directory::register_invite(self, invite).await,
            RequestBody::PutSnapshot(snapshot) => directory::put_snapshot(self, snapshot).await,
            RequestBody::GetSnapshot(_) => directory::get_snapshot(self).await,
            RequestBody::CodeOpen(_) => directory::code_open(self).await,
            RequestBody::CodeTry(message) => directory::code_try(self, message),
            RequestBody::CodeReply(message) => directory::code_reply(self, message),
            RequestBody::CodeClose(place) => directory::code_close(self, place),
            RequestBody::InboxAppend(append) => log::inbox::append(self, append).await,
            RequestBody::InboxRead(after) => log::inbox::read(self, after).await,
            RequestBody::LogOpen(request) => log::open(self, request).await,
            RequestBody::LogAppend(request) => log::append(self, request).await,
            RequestBody::LogRead(request) => log::read(self, request).await,
            RequestBody::LogSignal(request) => log::signal(self, request).await,
            RequestBody::LogTrim(request) => log::trim(self, request).await,
            RequestBody::LogLeave(address) => log::leave(self, &address),
            RequestBody::ListLogs(after) => log::list(self, &after).await,
            RequestBody::DeleteLog(address) => log::delete(self, &address).await,
        }
    }

    /// The account of the asking device, if there is one; refuses devices of those that the operator has banned.
    pub async fn not_banned(&self) -> Result<Option<Key>, Rejected> {
        // Looked up each time, as below.
        match directory::account_of(&self.services, self.device).await? {
            Some(account) if directory::is_banned(&self.services, account).await? => Err(Refusal::Banned.into()),
            account => Ok(account),
        }
    }

    /// The account of the asking device, if it is registered and not banned.
    pub async fn registered(&self) -> Result<Key, Rejected> {
        // Looked up each time: the account may have given this device up since.
        let account = directory::account_of(&self.services, self.device).await?.ok_or(Refusal::NotRegistered)?;
        if directory::is_banned(&self.services, account).await? { Err(Refusal::Banned.into()) } else { Ok(account) }
    }
}

/// The name of a request in spans: no part of what it asks for.
fn verb(ask: &RequestBody) -> &'static str {
    match ask {
        RequestBody::Ping(_) => "ping",
        RequestBody::TurnCredentials(_) => "turn_credentials",
        RequestBody::Publish(_) => "publish",
        RequestBody::ClaimName(_) => "claim_name",
        RequestBody::ClaimNameKey(_) => "claim_name_key",
        RequestBody::LookUpNameKey(_) => "look_up_name_key",
        RequestBody::LookUp(_) => "look_up",
        RequestBody::LookUpSince(_) => "look_up_since",
        RequestBody::LookUpName(_) => "look_up_name",
        RequestBody::PublishKeyPackages(_) => "publish_key_packages",
        RequestBody::ClaimKeyPackages(_) => "claim_key_packages",
        RequestBody::RegisterInvite(_) => "register_invite",
        RequestBody::PutSnapshot(_) => "put_snapshot",
        RequestBody::GetSnapshot(_) => "get_snapshot",
        RequestBody::CodeOpen(_) => "code_open",
        RequestBody::CodeTry(_) => "code_try",
        RequestBody::CodeReply(_) => "code_reply",
        RequestBody::CodeClose(_) => "code_close",
        RequestBody::InboxAppend(_) => "inbox_append",
        RequestBody::InboxRead(_) => "inbox_read",
        RequestBody::LogOpen(_) => "log_open",
        RequestBody::LogAppend(_) => "log_append",
        RequestBody::LogRead(_) => "log_read",
        RequestBody::LogSignal(_) => "log_signal",
        RequestBody::LogTrim(_) => "log_trim",
        RequestBody::LogLeave(_) => "log_leave",
        RequestBody::ListLogs(_) => "list_logs",
        RequestBody::DeleteLog(_) => "delete_log",
    }
}

/// 32 bytes.
pub fn key(bytes: &[u8]) -> Result<Key, Rejected> {
    bytes.try_into().map_err(|_| Refusal::Malformed.into())
}
