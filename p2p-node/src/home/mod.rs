//! Rendezvous servers: registering, key packages, the inbox, and what their answers mean.

pub mod inbox;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use starling_keys::{DeviceId, DeviceList, RendezvousAddr, Verified};
use starling_wire::{
    CallId, Puzzle,
    rendezvous::{Answer, Ask, KeyPackages, Publish, Refusal, Registration, Response, ServerHello},
};

use crate::{
    api::types::{Live, NodeError},
    conversation::group::GroupId,
    conversation::log::Appended,
    conversation::logged::Trimming,
    limits::{KEY_PACKAGE_STOCK, MAX_WORK_BITS, RETRY_REFUSED_MS},
    net::{HomeId, NetCommand, WorkFor},
    store::{PARCELS, ParcelRow, Reading, prefix},
    turn::{Effect, Engine, EngineError, Turn},
};

/// What a request was for.
#[derive(Debug)]
pub enum Asked {
    /// Nobody waits for the answer.
    Nothing,
    /// Our device list of this version, to register or to bring up to date.
    Publish(u64),
    /// Our own device list, to add this device to it.
    OwnList,
    /// Entries of a log to delete.
    Trim(Trimming),
    /// A user name; the one that was asked for.
    Name(String),
    /// Key packages: how many are left; `true` after they were filled up.
    Packages(bool),
    /// The account snapshot.
    Snapshot,
    /// Our snapshot, stored.
    PutSnapshot,
    /// The inbox.
    Inbox,
    /// A parcel for somebody's inbox, by its key.
    Parcel(Vec<u8>),
    /// An invite that was registered, by its key.
    Invite(Vec<u8>),
    /// A log that is opened.
    LogOpen(GroupId),
    /// A log that is read, in an epoch.
    LogRead(GroupId, u64),
    /// Entries that are appended.
    LogAppend(Appended),
    /// A commit that wants to win.
    LogClose(GroupId),
    /// The device list of somebody we want to connect to.
    ConnectList(u64),
    /// Key packages of these devices, theirs and our other ones, in which attempt.
    ConnectPackages(u64, u32, Vec<DeviceId>),
    /// STUN and TURN servers for a call.
    Turn(CallId),
    /// A place for a short code.
    CodeOpen(u64),
    /// An attempt at a short code.
    CodeTry(u64),
}

pub const SUPERSEDED: &str = "this device is no longer one of its account: it was removed, or the account was restored on another device, which has \
                              taken its place; this profile can only be read";

/// A rendezvous that we use.
#[derive(Default)]
pub struct HomeState {
    pub addresses: Vec<RendezvousAddr>,
    /// One that we have chosen; others are contacts'.
    pub own: bool,
    pub hello: Option<ServerHello>,
    pub registered: bool,
    /// Our key packages are there: others can begin a conversation with us.
    pub stocked: bool,
    pub problem: Option<String>,
    /// It does not answer, though the connection is there.
    pub silent: bool,
    pub clock_offset_ms: i64,
    /// Its clock minus our steady time, which no change of our clock moves.
    pub steady_offset_ms: i64,
    /// Items of our inbox up to here are durable with us.
    pub inbox_cursor: u64,
    pub inbox_reading: bool,
    pub inbox_again: bool,
    /// The inbox was read to its end since the home is up.
    pub inbox_read: bool,
    pub asked: HashMap<u64, Asked>,
    /// When to try again what was refused.
    pub retry_at: Option<u64>,
}

impl HomeState {
    pub fn due(&self) -> Option<u64> {
        self.hello.as_ref().and(self.retry_at)
    }
}

/// The rendezvous servers that we use, and what is to be left in inboxes there.
#[derive(Default)]
pub struct Homes {
    pub servers: HashMap<HomeId, HomeState>,
    /// What waits for others' inboxes, by its key in the store.
    pub parcels: BTreeMap<Vec<u8>, inbox::Parcel>,
}

impl Homes {
    /// Loads what waits from the profile.
    pub fn load(read: &impl Reading) -> Result<Self, EngineError> {
        let mut homes = Self::default();
        for (key, row) in read.range::<ParcelRow>(PARCELS, prefix(b""), usize::MAX, false)? {
            homes.parcels.insert(key, inbox::Parcel::new(row));
        }
        Ok(homes)
    }

    /// Our home's clock minus our steady time, while it is connected.
    pub fn clock_offset(&self) -> Option<i64> {
        self.servers.values().find(|h| h.own && h.hello.is_some()).map(|h| h.steady_offset_ms)
    }
}

impl Engine {
    /// The servers that we want to be connected to: our own, those with our conversations' logs, those that an operation needs.
    pub(crate) fn wanted_homes(&mut self) -> HashMap<HomeId, (Vec<RendezvousAddr>, bool)> {
        let mut wanted: HashMap<HomeId, (Vec<RendezvousAddr>, bool)> = HashMap::new();
        let mut want = |address: &RendezvousAddr, own: bool| {
            let entry = wanted.entry(address.peer).or_default();
            entry.1 |= own;
            if !entry.0.contains(address) && entry.0.len() < 8 {
                entry.0.push(address.clone());
            }
        };
        for home in &self.account.identity.homes {
            want(home, true);
        }
        for entry in self.conversations.groups.values() {
            let linked = entry.row.chat.as_slice().try_into().ok().is_some_and(|id| {
                self.conversations
                    .chats
                    .get(&crate::api::types::ChatId(id))
                    .and_then(|c| self.contacts.people.get(&c.peer))
                    .is_some_and(crate::contacts::Person::is_linked)
            });
            if linked && let Ok(home) = entry.row.home.parse() {
                want(&home, false);
            }
        }
        for person in self.contacts.people.values().filter(|p| p.is_linked()) {
            // Their relays: only through them can they be reached before there is a direct path.
            for home in person.list.iter().flat_map(|l| &l.homes) {
                want(home, false);
            }
        }
        for home in self.account.own_devices.changes.left_homes.iter().filter_map(|h| h.address.parse().ok()) {
            want(&home, false);
        }
        for home in self.homes_to_trim() {
            want(&home, false);
        }
        for connect in self.contacts.connects.values() {
            for home in &connect.homes {
                want(home, false);
            }
        }
        for parcel in self.homes.parcels.values() {
            if let Ok(home) = parcel.row.home.parse() {
                want(&home, false);
            }
        }
        for code in &self.account.used_codes {
            want(&code.home, false);
        }
        for (id, (addresses, own)) in &wanted {
            let state = self.homes.servers.entry(*id).or_default();
            state.addresses.clone_from(addresses);
            state.own = *own;
        }
        self.homes.servers.retain(|id, _| wanted.contains_key(id));
        wanted
    }

    pub(crate) fn home_up(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        hello: &ServerHello,
    ) -> Result<(), EngineError> {
        let (now, steady) = (turn.wall(), turn.now());
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return Ok(());
        };
        let lost = std::mem::take(&mut state.asked);
        for asked in lost.into_values() {
            self.asked_in_vain(turn, asked);
        }
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return Ok(());
        };
        state.hello = Some(hello.clone());
        (state.registered, state.stocked) = (false, false);
        (state.inbox_reading, state.inbox_again, state.inbox_read) = (false, false, false);
        state.retry_at = None;
        state.problem = None;
        state.silent = false;
        state.clock_offset_ms = (hello.time_ms as i64).saturating_sub(now as i64);
        state.steady_offset_ms = (hello.time_ms as i64).saturating_sub(steady as i64);
        let own = state.own;
        turn.set_home_offset(self.homes.clock_offset());
        if own || self.has_left(home) {
            self.publish(turn, home);
        }
        self.logs_up(turn, home);
        self.trims_up(turn, home)?;
        self.receipts_up(turn, home);
        self.connects_up(turn, home);
        self.parcels_up(turn, home);
        self.codes_up(turn, home);
        turn.live(Live::Net);
        Ok(())
    }

    /// A server that is overloaded or frozen: what waits for it is kept, and what is shown is true.
    pub(crate) fn home_silent(&mut self, turn: &mut Turn<'_>, home: HomeId, silent: bool) {
        if let Some(state) = self.homes.servers.get_mut(&home) {
            state.silent = silent;
            turn.live(Live::Net);
        }
    }

    pub(crate) fn home_down(&mut self, turn: &mut Turn<'_>, home: HomeId, reason: String) {
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return;
        };
        state.hello = None;
        state.silent = false;
        state.problem = Some(reason);
        let asked = std::mem::take(&mut state.asked);
        turn.set_home_offset(self.homes.clock_offset());
        for (_, asked) in asked {
            self.asked_in_vain(turn, asked);
        }
        for group in self.groups_at(home) {
            if let Some(entry) = self.conversations.groups.get_mut(&group) {
                entry.readers = 0;
            }
        }
        // The server has forgotten the places of our short codes.
        for open in self.account.codes.iter_mut().filter(|c| c.home == home && c.code.is_some()) {
            open.expires_ms = 0;
        }
        turn.live(Live::Net);
    }

    /// The connection broke before the answer came. What is durable is asked again when the server is back.
    fn asked_in_vain(&mut self, turn: &mut Turn<'_>, asked: Asked) {
        match asked {
            Asked::Parcel(key) => {
                if let Some(parcel) = self.homes.parcels.get_mut(&key) {
                    parcel.under_way = false;
                }
            }
            Asked::ConnectList(id) | Asked::ConnectPackages(id, ..) => {
                let mut again = None;
                if let Some(connect) = self.contacts.connects.get_mut(&id) {
                    connect.asked = false;
                    again = connect.homes.first().map(|h| h.peer);
                }
                // Another home than the one that broke may be up.
                if let Some(home) = again {
                    self.connects_up(turn, home);
                }
            }
            Asked::LogOpen(id) | Asked::LogRead(id, _) | Asked::LogClose(id) => {
                if let Some(entry) = self.conversations.groups.get_mut(&id) {
                    (entry.opening, entry.closing) = (false, false);
                    entry.reading.clear();
                }
            }
            Asked::LogAppend(appended) => {
                if let Some(entry) = self.conversations.groups.get_mut(&appended.place.group) {
                    entry.appending = false;
                }
                self.append_failed(turn, &appended);
            }
            Asked::Trim(trimming) => self.not_trimmed(&trimming),
            Asked::Turn(id) => self.calls.on_servers_lost(id),
            Asked::Publish(_) => self.list_not_published(turn, "the connection broke"),
            Asked::Name(_) => {
                self.name_answered(
                    turn,
                    Err(NodeError::Unreachable("the connection to the rendezvous broke: try again".into())),
                );
            }
            _ => {}
        }
    }

    pub(crate) fn homes_on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let due: Vec<HomeId> = self
            .homes
            .servers
            .iter()
            .filter(|(_, h)| h.due().is_some_and(|at| at <= turn.now()))
            .map(|(id, _)| *id)
            .collect();
        for home in due {
            if let Some(state) = self.homes.servers.get_mut(&home) {
                state.retry_at = None;
                state.inbox_reading = false;
                if state.own && !state.registered && !self.counters.row.superseded {
                    self.publish(turn, home);
                } else if state.own {
                    self.read_inbox(turn, home);
                    self.check_packages(turn, home);
                    self.register_invites(turn, home)?;
                    if self.counters.row.snapshot == 0 {
                        self.ask(turn, home, Ask::GetSnapshot(true), Asked::Snapshot);
                    } else if self.counters.row.snapshot_owed {
                        self.snapshot_soon(turn);
                    }
                    self.regroup(turn)?;
                } else if self.has_left(home) {
                    self.publish(turn, home);
                }
            }
            self.parcels_up(turn, home);
            for id in self.groups_at(home) {
                if self.conversations.groups.get(&id).is_some_and(|g| !g.caught_up) {
                    self.read_logs(turn, id);
                }
            }
            self.trims_up(turn, home)?;
        }
        Ok(())
    }

    /// Registers, or brings our list up to date. A restored profile first looks at the list that its account has.
    pub(crate) fn publish(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        match &self.account.identity.list {
            None => {
                let account = Bytes::copy_from_slice(self.account.id().as_bytes());
                self.ask(turn, home, Ask::LookUp(account), Asked::OwnList);
            }
            Some(list) => {
                let publish = Publish {
                    device_list: Bytes::copy_from_slice(list.as_bytes()),
                    solution: None,
                    token: self.account.identity.row.registration_token.clone(),
                };
                let version = list.version;
                self.ask(turn, home, Ask::Publish(publish), Asked::Publish(version));
            }
        }
    }

    pub(crate) fn on_response(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        response: Response,
    ) -> Result<(), EngineError> {
        let Some(answer) = response.answer else {
            return Ok(());
        };
        if response.id == 0 {
            return self.on_push(turn, home, answer);
        }
        let Some(asked) = self.homes.servers.get_mut(&home).and_then(|h| h.asked.remove(&response.id)) else {
            return Ok(());
        };
        if let Answer::Refused(refused) = &answer {
            let reason = Refusal::try_from(refused.reason).unwrap_or(Refusal::Internal);
            return self.on_refused(turn, home, asked, reason, refused.retry_after_ms);
        }
        match (asked, answer) {
            (Asked::Turn(id), Answer::Turn(servers)) => {
                self.with_calls(turn, |calls, host| calls.on_servers(host, id, servers));
            }
            (Asked::Publish(version), Answer::Done(_)) => self.on_registered(turn, home, version)?,
            (Asked::OwnList, Answer::DeviceList(bytes)) => {
                let ours = |l: &Verified<DeviceList>| l.account == self.account.id();
                let known = Verified::<DeviceList>::from_bytes(&bytes).ok().filter(ours);
                if self.account.identity.row.joins
                    && known.as_ref().is_none_or(|l| l.version < self.account.identity.row.joins_version)
                {
                    self.has_forgotten(turn, home);
                    return Ok(());
                }
                let newest = self.account.list().map_or(0, |l| l.version);
                let settles = |l: &Verified<DeviceList>| {
                    let is_ours = l.device(&self.account.device()).is_some();
                    l.version >= newest
                        && (is_ours || (self.account.identity.list.is_some() && !self.account.identity.row.joins))
                };
                match known {
                    Some(list) if settles(&list) => {
                        if !self.on_own_list(turn, list)? {
                            return Ok(());
                        }
                    }
                    known => {
                        if let Err(error) = self.new_list(turn, known.as_ref()) {
                            if let Some(state) = self.homes.servers.get_mut(&home) {
                                state.problem = Some(error.to_string());
                            }
                            turn.live(Live::Net);
                            return Ok(());
                        }
                    }
                }
                self.publish(turn, home);
            }
            (Asked::Name(name), Answer::Done(_)) if name != self.account.identity.row.username => {
                self.account.identity.row.username = name;
                self.account.identity.dirty = true;
                self.name_answered(turn, Ok(()));
            }
            (Asked::Packages(filled), Answer::KeyPackagesLeft(left)) => {
                let missing = KEY_PACKAGE_STOCK.saturating_sub(left);
                if !filled && missing > KEY_PACKAGE_STOCK / 2 {
                    self.fill_packages(turn, home, missing)?;
                } else if let Some(state) = self.homes.servers.get_mut(&home) {
                    state.stocked = true;
                    turn.live(Live::Net);
                }
            }
            (Asked::Snapshot, Answer::Snapshot(snapshot)) => self.on_snapshot(turn, &snapshot)?,
            (Asked::PutSnapshot, Answer::Done(_)) if self.account.snapshot_due.is_none() => {
                self.counters.row.snapshot_owed = false;
                self.counters.dirty = true;
                if std::mem::take(&mut self.counters.row.greeting_owed) {
                    self.tell_siblings(turn, None)?;
                }
            }
            (Asked::Inbox, Answer::Page(page)) => self.on_inbox(turn, home, page)?,
            (Asked::Parcel(key), Answer::Appended(_)) => self.parcel_delivered(turn, &key)?,
            (Asked::Invite(key), Answer::Done(_)) => self.invite_registered(turn, &key)?,
            (Asked::LogOpen(id), Answer::Done(_)) => {
                if let Some(entry) = self.conversations.groups.get_mut(&id) {
                    entry.opening = false;
                    entry.row.log_opened = true;
                    entry.touch();
                }
                self.read_logs(turn, id);
                for home in self.homes.servers.keys().copied().collect::<Vec<_>>() {
                    self.parcels_up(turn, home);
                }
            }
            (Asked::LogRead(id, epoch), Answer::Page(page)) => self.on_log_page(turn, home, id, epoch, page)?,
            (Asked::LogAppend(appended), Answer::Appended(last)) => self.on_appended(turn, &appended, last)?,
            (Asked::LogAppend(appended), Answer::Closed(_)) => {
                self.append_failed(turn, &appended);
                self.on_log_refused(turn, appended.place.group, false);
            }
            (Asked::Trim(trimming), _) => self.trimmed(turn, trimming)?,
            // Won or lost, the log tells: its closing entry is ours or another's.
            (Asked::LogClose(id), Answer::Appended(_) | Answer::Closed(_)) => self.on_log_refused(turn, id, false),
            (Asked::ConnectList(id), Answer::DeviceList(bytes)) => self.connect_list(turn, id, &bytes),
            (Asked::ConnectPackages(id, attempt, devices), Answer::KeyPackages(claimed)) => {
                self.connect_packages(turn, id, attempt, &devices, claimed.packages)?
            }
            (Asked::CodeOpen(id), Answer::CodePlace(place)) => self.code_opened(turn, home, id, place)?,
            _ => {}
        }
        Ok(())
    }

    fn on_push(&mut self, turn: &mut Turn<'_>, home: HomeId, answer: Answer) -> Result<(), EngineError> {
        match answer {
            // A hint only: what is deleted at the server is what was read in order.
            Answer::Page(page) if page.address.is_empty() => {
                self.read_inbox(turn, home);
                Ok(())
            }
            Answer::Page(page) => self.on_log_push(turn, home, page),
            // Another device of ours has changed it.
            Answer::DeviceList(bytes) => match Verified::<DeviceList>::from_bytes(&bytes) {
                Ok(list) if list.account == self.account.id() && self.is_newer(&list) => {
                    self.on_own_list(turn, list).map(|_| ())
                }
                _ => Ok(()),
            },
            Answer::Signal(signal) => {
                if let Some((group, _)) =
                    <[u8; 32]>::try_from(&*signal.address).ok().and_then(|a| self.conversations.logs.get(&a)).copied()
                {
                    self.on_signal(turn, &group, &signal.sealed, None);
                }
                Ok(())
            }
            Answer::Readers(readers) => {
                self.on_readers(turn, &readers.address, readers.others);
                Ok(())
            }
            Answer::Code(message) => {
                self.on_code(turn, home, &message);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_registered(&mut self, turn: &mut Turn<'_>, home: HomeId, version: u64) -> Result<(), EngineError> {
        let newest = self.account.list().is_some_and(|l| l.version == version);
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return Ok(());
        };
        (state.registered, state.problem) = (true, None);
        if !state.own {
            self.forget_left(home);
            return Ok(());
        }
        if newest {
            self.list_published(turn)?;
        }
        if !self.account.identity.row.username.is_empty() {
            self.ask(
                turn,
                home,
                Ask::ClaimName(self.account.identity.row.username.clone()),
                Asked::Name(self.account.identity.row.username.clone()),
            );
        }
        let count = KeyPackages::default();
        self.ask(turn, home, Ask::PublishKeyPackages(count), Asked::Packages(false));
        self.read_inbox(turn, home);
        if self.counters.row.snapshot == 0 {
            self.ask(turn, home, Ask::GetSnapshot(true), Asked::Snapshot);
        } else if self.counters.row.snapshot_owed {
            self.snapshot_soon(turn);
        }
        self.register_invites(turn, home)?;
        self.logs_up(turn, home);
        self.codes_up(turn, home);
        turn.live(Live::Net);
        self.regroup(turn)
    }

    /// New one-time key packages, and a last-resort one for when they run out.
    fn fill_packages(&mut self, turn: &mut Turn<'_>, home: HomeId, count: u32) -> Result<(), EngineError> {
        let (now, mut packages) = (turn.agreed_ms(), KeyPackages::default());
        for _ in 0..count {
            packages.one_time.push(self.mls.key_package(false, now)?.into());
        }
        packages.last_resort = self.mls.key_package(true, now)?.into();
        self.ask(turn, home, Ask::PublishKeyPackages(packages), Asked::Packages(true));
        Ok(())
    }

    /// Reads our inbox from where we are; the server deletes what lies before that.
    pub(crate) fn read_inbox(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let Some(state) = self.homes.servers.get_mut(&home).filter(|h| h.own) else {
            return;
        };
        if std::mem::replace(&mut state.inbox_reading, true) {
            state.inbox_again = true;
            return;
        }
        let cursor = state.inbox_cursor;
        self.ask(turn, home, Ask::InboxRead(cursor), Asked::Inbox);
    }

    pub(crate) fn check_packages(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        self.ask(turn, home, Ask::PublishKeyPackages(KeyPackages::default()), Asked::Packages(false));
    }

    fn on_refused(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        asked: Asked,
        reason: Refusal,
        retry_after_ms: u64,
    ) -> Result<(), EngineError> {
        let at = turn.now() + retry_after_ms.max(RETRY_REFUSED_MS);
        let again = |engine: &mut Self| {
            if let Some(state) = engine.homes.servers.get_mut(&home) {
                state.retry_at = Some(at);
            }
        };
        let busy = matches!(reason, Refusal::RateLimited | Refusal::Internal | Refusal::Full);
        match asked {
            Asked::Publish(_) if self.has_left(home) && !busy => self.forget_left(home),
            Asked::Publish(_) => self.on_publish_refused(turn, home, reason),
            Asked::Turn(id) => self.calls.on_servers_lost(id),
            Asked::Trim(trimming) if busy => {
                self.not_trimmed(&trimming);
                again(self);
            }
            Asked::Trim(trimming) => self.trimmed(turn, trimming)?,
            Asked::OwnList if reason == Refusal::NotFound => {
                if self.account.identity.row.joins {
                    self.has_forgotten(turn, home);
                    return Ok(());
                }
                if self.account.identity.list.is_none() && self.new_list(turn, None).is_err() {
                    return Ok(());
                }
                self.publish(turn, home);
            }
            Asked::Name(name) if name != self.account.identity.row.username => self.name_answered(
                turn,
                Err(match reason {
                    Refusal::Taken => {
                        NodeError::Refused(format!("the user name “{name}” is taken there: choose another"))
                    }
                    Refusal::RateLimited => NodeError::RateLimited { retry_after_ms },
                    _ => NodeError::Refused("the rendezvous refuses the user name".into()),
                }),
            ),
            Asked::Name(_) => {
                if let Some(state) = self.homes.servers.get_mut(&home) {
                    state.problem = Some(match reason {
                        Refusal::Taken => {
                            format!("the user name “{}” is taken there", self.account.identity.row.username)
                        }
                        Refusal::Malformed => {
                            format!(
                                "“{}” is no valid user name: 2 to 32 of a-z 0-9 . _ -",
                                self.account.identity.row.username
                            )
                        }
                        _ => "the user name was refused".into(),
                    });
                }
            }
            Asked::Parcel(key) => self.parcel_refused(turn, &key, reason, busy)?,
            Asked::LogOpen(id) | Asked::LogRead(id, _) | Asked::LogClose(id) => {
                self.on_log_refused(turn, id, true);
                if reason == Refusal::NotFound {
                    self.log_lost(turn, id)?;
                }
                again(self);
            }
            Asked::LogAppend(appended) if reason == Refusal::Full && appended.items.len() > 1 => {
                // There may be room for some of them.
                if let Some(entry) = self.conversations.groups.get_mut(&appended.place.group) {
                    entry.append_most = appended.items.len() / 2;
                    entry.appending = false;
                }
            }
            Asked::LogAppend(appended) => {
                let problem = match reason {
                    Refusal::Full => "the rendezvous has no more room for this conversation: messages wait here",
                    Refusal::RateLimited => "the rendezvous asks us to slow down: messages wait here",
                    Refusal::Banned => "the rendezvous has banned us: messages go out only while both are online",
                    _ => "the rendezvous does not take messages now: they wait here",
                };
                if !appended.items.is_empty() {
                    self.set_problem(turn, appended.place.chat, Some(problem));
                }
                self.append_failed(turn, &appended);
                self.on_log_refused(turn, appended.place.group, true);
                if reason == Refusal::NotFound {
                    self.log_lost(turn, appended.place.group)?;
                }
                again(self);
            }
            // Without our own others, then: they are added when the conversation is mended.
            Asked::ConnectPackages(id, attempt, devices) if self.are_siblings(&devices) => {
                self.connect_packages(turn, id, attempt, &[], Vec::new())?;
            }
            Asked::ConnectList(id) | Asked::ConnectPackages(id, ..) => {
                let error = match reason {
                    Refusal::NotFound => {
                        NodeError::NotFound("nobody with this address is registered at that rendezvous".into())
                    }
                    Refusal::RateLimited => NodeError::RateLimited { retry_after_ms },
                    Refusal::Malformed => NodeError::Invalid("that is no valid user name".into()),
                    _ => NodeError::Refused(format!("the rendezvous refused: {reason:?}")),
                };
                self.connect_failed(turn, id, error);
            }
            Asked::PutSnapshot if reason == Refusal::Stale => {
                self.ask(turn, home, Ask::GetSnapshot(true), Asked::Snapshot)
            }
            Asked::CodeOpen(id) => self.code_failed(turn, id, reason),
            Asked::CodeTry(id) => self.code_try_refused(turn, id, reason),
            Asked::Inbox
            | Asked::Packages(_)
            | Asked::Snapshot
            | Asked::PutSnapshot
            | Asked::Invite(_)
            | Asked::OwnList
                if busy =>
            {
                again(self)
            }
            _ => {}
        }
        Ok(())
    }

    /// A device that joins its account believes no server that knows less of it than the device that has linked it.
    fn has_forgotten(&mut self, turn: &mut Turn<'_>, home: HomeId) {
        let at = turn.now() + RETRY_REFUSED_MS;
        if let Some(state) = self.homes.servers.get_mut(&home) {
            let problem =
                "it does not know the account's devices: another device of the account has to go online first";
            state.problem = Some(problem.into());
            state.retry_at = Some(at);
        }
        turn.live(Live::Net);
    }

    fn on_publish_refused(&mut self, turn: &mut Turn<'_>, home: HomeId, reason: Refusal) {
        let Some(state) = self.homes.servers.get_mut(&home) else {
            return;
        };
        let Some(hello) = state.hello.clone() else {
            return;
        };
        let open = Registration::try_from(hello.registration) == Ok(Registration::Open);
        let problem = match reason {
            Refusal::Denied if open && hello.register_bits > MAX_WORK_BITS => {
                "it asks for more work than any registration is worth"
            }
            Refusal::Denied if open && state.problem.as_deref() != Some("registering") => {
                // We are new here: registering costs some work.
                state.problem = Some("registering".into());
                let Some(list) = &self.account.identity.list else { return };
                let puzzle =
                    Puzzle::new("register", &home, &hello.nonce, self.account.id().as_bytes(), hello.register_bits);
                let publish = Publish {
                    device_list: Bytes::copy_from_slice(list.as_bytes()),
                    solution: None,
                    token: String::new(),
                };
                let version = list.version;
                let id = turn.fresh_id();
                if let Some(state) = self.homes.servers.get_mut(&home) {
                    state.asked.insert(id, Asked::Publish(version));
                }
                turn.emit(Effect::Net(NetCommand::AskWithWork(home, id, puzzle, WorkFor::Publish(publish))));
                return;
            }
            Refusal::Stale => {
                let account = Bytes::copy_from_slice(self.account.id().as_bytes());
                self.ask(turn, home, Ask::LookUp(account), Asked::OwnList);
                return;
            }
            Refusal::Denied if !open => "it registers only holders of a token: ask its operator for one",
            Refusal::RegistrationClosed => "it takes no new accounts",
            Refusal::Banned => "its operator has banned this account",
            Refusal::RateLimited => "it asks us to slow down",
            _ => "it refused to register this account",
        };
        state.problem = Some(problem.into());
        state.retry_at = Some(turn.now() + 60_000);
        self.list_not_published(turn, problem);
        turn.live(Live::Net);
    }
}
