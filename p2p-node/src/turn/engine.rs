//! The engine: a state machine that takes commands and network events, and gives effects.
//!
//! One thread owns it. It works in *turns*: all inputs that wait are handled, what was sent meanwhile is encrypted in batches, everything is
//! committed in one transaction, and only then do the effects leave: frames, requests, answers to callers, news. So nothing is acknowledged
//! before it is durable, and one `fsync` serves many messages. Time is an input. If the store fails the engine stops: the disk has the truth.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use libp2p::Multiaddr;
use starling_keys::{AccountId, AccountKey, Certificate, DeviceId, DeviceKey, DeviceList, RendezvousAddr, Verified};
use starling_wire::{Clock, direct::DirectFrame};
use zeroize::Zeroizing;

use super::{Source, Tracked, Turn, deadlines::Deadlines};
use crate::{
    account::{
        codes::{OpenCode, UsedCode},
        devices,
    },
    api::{
        Command, Reply,
        types::{Audience, ChatId, Live},
    },
    calls::{self, CallCommand, CallInput},
    contacts::{Person, connect::Connect},
    conversation::{
        authors::Authors,
        group::{self, GroupEntry, GroupId},
        logged, mending,
        roster::Roster,
        send,
    },
    delivery::{Link, targets},
    home::{HomeState, inbox},
    limits,
    mls::{GroupError, KeyPackageChange, KeyPackages, Mls},
    net::{HomeId, NetCommand, NetEvent},
    store::{
        AUTHORS, AuthorRow, CHATS, CONTACTS, ChatRow, ContactRow, CountersRow, GROUPS, GroupRow, IdentityRow,
        KEY_PACKAGES, KeyPackageRow, MEMBERS, META, MemberRow, OUTBOX, OutboxRow, Reading, SettingsRow, Store,
        StoreError, prefix,
    },
};

/// What the engine takes.
#[derive(Debug)]
pub enum Input {
    /// A call of the node's user.
    Command(Command),
    /// Something that the network did.
    Net(NetEvent),
    /// From the media of a call.
    Call(CallInput),
    /// Say good-bye and stop.
    Stop,
}

/// The time, as an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For timers: never goes back while the node runs. Starts at the clock's milliseconds since 1970.
    pub steady_ms: u64,
    /// For what is written down: the clock's milliseconds since 1970.
    pub wall_ms: u64,
    /// For what does not outlive the node: since its start, with the time that the machine slept, whatever becomes of the clock.
    pub running_ms: u64,
}

/// What leaves the engine after a turn's commit.
pub enum Effect {
    /// For the network.
    Net(NetCommand),
    /// An answer to a caller.
    Reply(Box<dyn FnOnce() + Send>),
    /// For the media of calls.
    Call(CallCommand),
    /// News that are not kept.
    Live(Live),
}

/// What can go wrong inside a turn so that the engine must stop.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own keys or groups cannot be used.
    #[error("the profile's encryption state cannot be used: {0}")]
    Group(#[from] GroupError),
    /// The identity in the profile cannot be read.
    #[error("the profile's identity is damaged")]
    Identity,
}

/// Who we are.
pub(crate) struct Me {
    pub account_key: AccountKey,
    pub device_key: DeviceKey,
    pub row: IdentityRow,
    pub list: Option<Verified<DeviceList>>,
    pub seal_public: Vec<u8>,
    /// Homes chosen at `init`.
    pub homes: Vec<RendezvousAddr>,
    pub dirty: bool,
}

impl Me {
    pub fn account(&self) -> AccountId {
        self.account_key.id()
    }

    pub fn device(&self) -> DeviceId {
        self.device_key.id()
    }
}

pub(crate) struct ChatState {
    pub id: ChatId,
    pub peer: AccountId,
    pub row: ChatRow,
    pub roster: Roster,
    pub outbox: VecDeque<send::OutItem>,
    /// Written in this turn, not yet encrypted.
    pub pending: Vec<starling_wire::Event>,
    /// When a receipt is to be sent.
    pub receipt_due: Option<u64>,
    pub told_presence_ms: u64,
    /// What keeps messages from getting through, until it is over.
    pub problem: Option<&'static str>,
    pub dirty: bool,
}

/// The engine.
pub struct Engine {
    pub(crate) store: Arc<Store>,
    pub(crate) mls: Mls,
    pub(crate) me: Me,
    pub(crate) settings: SettingsRow,
    pub(crate) counters: CountersRow,
    pub(crate) clock: Clock,
    pub(crate) contacts: Tracked<AccountId, Person>,
    pub(crate) chats: Tracked<ChatId, ChatState>,
    pub(crate) groups: Tracked<GroupId, GroupEntry>,
    pub(crate) authors: Authors,
    pub(crate) devices: HashMap<DeviceId, AccountId>,
    pub(crate) logs: HashMap<[u8; 32], (GroupId, u64)>,
    pub(crate) homes: HashMap<HomeId, HomeState>,
    pub(crate) links: Tracked<DeviceId, Link>,
    pub(crate) connects: HashMap<u64, Connect>,
    pub(crate) codes: Vec<OpenCode>,
    pub(crate) used_codes: Vec<UsedCode>,
    pub(crate) parcels: BTreeMap<Vec<u8>, inbox::Parcel>,
    pub(crate) logged: logged::LoggedRows,
    pub(crate) availability: starling_wire::Availability,
    pub(crate) mending: mending::Mending,
    pub(crate) own: devices::OwnDevices,
    pub(crate) addresses: (Vec<Multiaddr>, bool),
    pub(crate) seen: (HashSet<[u8; 16]>, VecDeque<[u8; 16]>),
    pub(crate) last_signal_ms: u64,
    pub(crate) calls: calls::Calls,
    /// Who waits for a user name.
    pub(crate) name_reply: Option<Reply<()>>,
    /// When we were last running, before this start.
    pub(crate) away_ms: u64,
    pub(crate) net_changed: bool,
    pub(crate) snapshot_due: Option<u64>,
    pub(crate) told: targets::Told,
    /// The counters have changed in this turn.
    pub(crate) counters_dirty: bool,
    pub(super) deadlines: Deadlines,
    source: Source,
    /// The times of the turn before this.
    last: Now,
}

impl Engine {
    /// Loads a profile.
    pub fn load(store: Arc<Store>, now: u64, source: Source) -> Result<Self, EngineError> {
        let read = store.read()?;
        let row: IdentityRow = read.get(META, b"identity")?.ok_or(EngineError::Identity)?;
        let seed = |bytes: &[u8]| -> Result<Zeroizing<[u8; 32]>, EngineError> {
            bytes.try_into().map(Zeroizing::new).map_err(|_| EngineError::Identity)
        };
        let account_key = AccountKey::from_seed(&*seed(&row.account_seed)?);
        let device_key = DeviceKey::from_seed(&*seed(&row.device_seed)?);
        let homes_row: crate::store::HomesRow = read.get(META, b"homes")?.unwrap_or_default();
        let list = if row.device_list.is_empty() {
            None
        } else {
            Some(Verified::<DeviceList>::from_bytes(&row.device_list).map_err(|_| EngineError::Identity)?)
        };
        let packages = KeyPackages::default();
        for (key, row) in read.range::<KeyPackageRow>(KEY_PACKAGES, prefix(b""), usize::MAX, false)? {
            if !packages.load(key, &row.data) {
                return Err(EngineError::Identity);
            }
        }
        let certificate = Certificate::issue(&account_key, device_key.id(), row.created_at);
        let mls = Mls::new(&certificate, &device_key, packages)?;
        let counters: CountersRow = read.get(META, b"counters")?.unwrap_or_default();
        let mut engine = Self {
            me: Me {
                account_key,
                device_key,
                seal_public: row.seal_public.clone(),
                row,
                list,
                homes: homes_row.homes.iter().filter_map(|h| h.parse().ok()).collect(),
                dirty: false,
            },
            mls,
            settings: read.get(META, b"settings")?.unwrap_or_default(),
            clock: Clock(counters.clock),
            away_ms: if counters.last_run_ms == 0 { 0 } else { now.saturating_sub(counters.last_run_ms) },
            counters,
            contacts: Tracked::default(),
            chats: Tracked::default(),
            groups: Tracked::default(),
            authors: Authors::default(),
            devices: HashMap::new(),
            logs: HashMap::new(),
            homes: HashMap::new(),
            links: Tracked::default(),
            connects: HashMap::new(),
            codes: Vec::new(),
            used_codes: Vec::new(),
            parcels: BTreeMap::new(),
            logged: logged::LoggedRows::new(),
            availability: starling_wire::Availability::Online,
            mending: mending::Mending::default(),
            own: devices::OwnDevices::stored(read.get(META, b"device_changes")?.unwrap_or_default()),
            addresses: (Vec::new(), false),
            seen: Default::default(),
            last_signal_ms: 0,
            calls: calls::Calls::default(),
            name_reply: None,
            net_changed: true,
            snapshot_due: None,
            told: Default::default(),
            counters_dirty: false,
            deadlines: Deadlines::default(),
            source,
            last: Now { steady_ms: now, wall_ms: now, running_ms: 0 },
            store: store.clone(),
        };
        for (_, row) in read.range::<ContactRow>(CONTACTS, prefix(b""), usize::MAX, false)? {
            let account = AccountId::from_bytes(&row.account).map_err(|_| EngineError::Identity)?;
            let list = Verified::<DeviceList>::from_bytes(&row.device_list).ok();
            engine.contacts.insert(account, Person::stored(row, list));
        }
        for (key, row) in read.range::<AuthorRow>(AUTHORS, prefix(b""), usize::MAX, false)? {
            let number = key.as_slice().try_into().map(u32::from_be_bytes).map_err(|_| EngineError::Identity)?;
            engine.authors.insert(number, row);
        }
        for (key, row) in read.range::<ChatRow>(CHATS, prefix(b""), usize::MAX, false)? {
            let id = ChatId(key.as_slice().try_into().map_err(|_| EngineError::Identity)?);
            let peer = AccountId::from_bytes(&row.peer).map_err(|_| EngineError::Identity)?;
            let members = read.range::<MemberRow>(MEMBERS, prefix(&id.0), usize::MAX, false)?;
            let mut outbox = VecDeque::new();
            for (_, item) in read.range::<OutboxRow>(OUTBOX, prefix(&id.0), usize::MAX, false)? {
                outbox.push_back(send::OutItem::from_row(&item));
            }
            engine.chats.insert(
                id,
                ChatState {
                    id,
                    peer,
                    row,
                    roster: Roster::stored(members.into_iter().map(|(_, row)| row)),
                    outbox,
                    pending: Vec::new(),
                    receipt_due: None,
                    told_presence_ms: 0,
                    problem: None,
                    dirty: false,
                },
            );
        }
        for (key, row) in read.range::<GroupRow>(GROUPS, prefix(b""), usize::MAX, false)? {
            let id: GroupId = key.as_slice().try_into().map_err(|_| EngineError::Identity)?;
            let entry = GroupEntry::load(&engine.mls, id, row)?;
            engine.insert_group(entry);
        }
        for (key, row) in
            read.range::<crate::store::ParcelRow>(crate::store::PARCELS, prefix(b""), usize::MAX, false)?
        {
            engine.parcels.insert(key, inbox::Parcel::new(row));
        }
        let logged = read.range::<crate::store::LoggedRow>(crate::store::LOGGED, prefix(b""), usize::MAX, false)?;
        engine.logged = logged.into_iter().map(|(key, row)| (key, logged::Logged::stored(row))).collect();
        engine.index_devices();
        drop(read);
        Ok(engine)
    }

    pub(crate) fn insert_group(&mut self, entry: GroupEntry) {
        for log in &entry.row.logs {
            if let Some(keys) = group::LogKeys::of(log) {
                self.logs.insert(keys.address, (entry.id, log.epoch));
            }
        }
        self.groups.insert(entry.id, entry);
    }

    /// Which account each known device belongs to.
    pub(crate) fn index_devices(&mut self) {
        self.devices.clear();
        for (account, person) in self.contacts.iter() {
            for entry in person.list.iter().flat_map(|l| &l.devices) {
                self.devices.insert(entry.certificate.device(), *account);
            }
        }
        let (account, device) = (self.me.account(), self.me.device());
        for entry in self.me.list.iter().flat_map(|l| &l.devices) {
            if entry.certificate.device() != device {
                self.devices.insert(entry.certificate.device(), account);
            }
        }
        (self.net_changed, self.mending.look) = (true, true);
        // Which groups fit, and who is waited for, may have changed for all of them.
        self.chats.touch_all();
    }

    /// One turn. The effects may be carried out: everything that they rest on is durable.
    pub fn turn(&mut self, inputs: impl IntoIterator<Item = Input>, now: Now) -> Result<Vec<Effect>, EngineError> {
        let store = self.store.clone();
        let mut turn = Turn::begin(&store, now, &mut self.source, self.counters.feed)?;
        turn.set_home_offset(self.home_offset());
        self.handle(&mut turn, inputs)?;
        let effects = turn.commit(&mut self.source)?;
        self.last = now;
        Ok(effects)
    }

    fn handle(&mut self, turn: &mut Turn<'_>, inputs: impl IntoIterator<Item = Input>) -> Result<(), EngineError> {
        for input in inputs {
            match input {
                Input::Command(command) => self.on_command(turn, command)?,
                Input::Net(event) => self.on_net(turn, event)?,
                Input::Call(input) => self.with_calls(turn, |calls, host| calls.on_media(host, input))?,
                Input::Stop => {
                    self.with_calls(turn, |calls, host| calls.hang_up_all(host))?;
                    self.say_goodbye(turn);
                }
            }
        }
        self.on_time(turn)?;
        self.flush_pending(turn)?;
        self.pump_logs(turn)?;
        self.pump_links(turn)?;
        self.sync_net(turn);
        self.plan(turn);
        self.save(turn)
    }

    /// Sequence number of the newest piece of news.
    pub fn feed(&self) -> u64 {
        self.counters.feed
    }

    /// How many conversations, groups, contacts and streams were looked at since the start.
    #[cfg(test)]
    pub(crate) fn visits(&self) -> u64 {
        self.chats.visits() + self.groups.visits() + self.contacts.visits() + self.links.visits()
    }

    /// When there is something to do without any input, in milliseconds since 1970.
    pub fn next_due(&self) -> Option<u64> {
        let homes = self.homes.values().filter_map(HomeState::due);
        let connects = self.connects.values().map(|c| c.gives_up_at);
        let codes = self.codes.iter().map(|c| if c.code.is_none() { c.gives_up_at } else { c.expires_ms });
        let used = self.used_codes.iter().map(|c| c.gives_up_at);
        (self.deadlines.next().into_iter())
            .chain(homes)
            .chain(connects)
            .chain(codes)
            .chain(used)
            .chain(self.snapshot_due)
            .chain(self.mending.next_due())
            .chain(self.own.next_due())
            .chain(self.calls.next_due().map(|due| self.last.steady_ms + due.saturating_sub(self.last.running_ms)))
            .min()
    }

    pub(crate) fn on_net(&mut self, turn: &mut Turn<'_>, event: NetEvent) -> Result<(), EngineError> {
        match event {
            NetEvent::DirectUp { device, relayed } => self.link_up(turn, device, relayed),
            NetEvent::DirectDown(device) => self.link_down(turn, device),
            NetEvent::Direct(device, frame) => self.on_frame(turn, device, frame)?,
            NetEvent::HomeUp(home, hello) => self.home_up(turn, home, &hello)?,
            NetEvent::HomeSilent(home, silent) => self.home_silent(turn, home, silent),
            NetEvent::HomeDown(home, reason) => self.home_down(turn, home, reason),
            NetEvent::Home(home, response) => self.on_response(turn, home, response)?,
            NetEvent::Addresses { own, public } => {
                self.addresses = (own, public);
                self.tell_presence_to_all(turn);
            }
        }
        Ok(())
    }

    pub(crate) fn on_frame(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        frame: DirectFrame,
    ) -> Result<(), EngineError> {
        // The device may have been blocked or removed since the frame was read.
        if !self.may_talk(&device) {
            return Ok(());
        }
        if frame.entries.len() > starling_wire::limits::MAX_FRAME_ENTRIES {
            return Ok(());
        }
        for entry in &frame.entries {
            self.on_direct_entry(turn, device, entry)?;
        }
        for ack in &frame.acks {
            self.on_ack(turn, device, &ack.group, ack.upto)?;
        }
        for signal in &frame.signals {
            self.on_signal(turn, &signal.group, &signal.sealed, Some(device));
        }
        Ok(())
    }

    pub(crate) fn may_talk(&self, device: &DeviceId) -> bool {
        match self.devices.get(device) {
            Some(account) if *account == self.me.account() => true,
            Some(account) => self.contacts.get(account).is_some_and(Person::is_linked),
            None => false,
        }
    }

    pub(crate) fn on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        self.take_due(turn)?;
        self.expire_operations(turn);
        self.expire_removals(turn);
        self.expire_left_homes(turn);
        self.homes_on_time(turn)?;
        self.snapshot_on_time(turn);
        self.with_calls(turn, |calls, host| calls.on_time(host))?;
        self.mend_on_time(turn)
    }

    /// The conversation with an account, made if needed.
    pub(crate) fn chat_with(&mut self, peer: AccountId) -> ChatId {
        let id = ChatId(self.store.name("direct", peer.as_bytes()));
        let own = self.me.account();
        self.chats.get_or_insert_with(id, || ChatState {
            id,
            peer,
            row: ChatRow { peer: peer.as_bytes().to_vec(), ..ChatRow::default() },
            roster: Roster::of(own, peer),
            outbox: VecDeque::new(),
            pending: Vec::new(),
            receipt_due: None,
            told_presence_ms: 0,
            problem: None,
            dirty: true,
        });
        id
    }

    /// Notes what keeps a conversation's messages from getting through, or that nothing does any more.
    pub(crate) fn set_problem(&mut self, turn: &mut Turn<'_>, chat: ChatId, problem: Option<&'static str>) {
        if let Some(state) = self.chats.get_mut(&chat)
            && state.problem != problem
        {
            state.problem = problem;
            turn.live(Live::Net);
        }
    }

    pub(crate) fn allows(audience: u32) -> bool {
        Audience::from_stored(audience) != Audience::Nobody
    }

    /// Writes what has changed in this turn.
    pub(crate) fn save(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let mut changed = std::mem::take(&mut self.counters_dirty) || self.counters.feed != turn.feed();
        self.counters.feed = turn.feed();
        if std::mem::take(&mut self.me.dirty) {
            turn.put(META, b"identity", &self.me.row)?;
        }
        if std::mem::take(&mut self.own.dirty) {
            turn.put(META, b"device_changes", &self.own.changes)?;
        }
        for account in self.contacts.take_touched() {
            let dirty = self.contacts.settle(&account).filter(|p| p.dirty);
            if let Some(person) = dirty {
                (person.dirty, changed) = (false, true);
                turn.put(CONTACTS, &self.store.name("contact", account.as_bytes()), &person.row)?;
            }
        }
        for id in self.chats.take_touched() {
            let Some(chat) = self.chats.settle(&id) else { continue };
            if std::mem::take(&mut chat.dirty) {
                changed = true;
                turn.put(CHATS, &id.0, &chat.row)?;
            }
            changed |= chat.roster.save(turn, &self.store, id)?;
        }
        for id in self.groups.take_touched() {
            if let Some(group) = self.groups.settle(&id)
                && group.take_dirty()
            {
                changed = true;
                group.store_value()?;
                turn.put(GROUPS, &id, &group.row)?;
            }
        }
        // After the groups: writing one deletes the key package by which it was joined.
        for change in self.mls.packages().take_changes() {
            changed = true;
            match change {
                KeyPackageChange::Put(id, data) => {
                    let row = KeyPackageRow { data: data.to_vec(), last_resort: false };
                    turn.put(KEY_PACKAGES, &id, &row)?;
                }
                KeyPackageChange::Delete(id) => turn.delete(KEY_PACKAGES, &id)?,
            }
        }
        if changed || self.counters.clock != self.clock.0 {
            self.counters.clock = self.clock.0;
            self.counters.last_run_ms = turn.wall();
            turn.put(META, b"counters", &self.counters)?;
        }
        Ok(())
    }
}

/// Remembers hashes of what was processed, so that copies are dropped before they are decrypted.
pub(crate) fn first_time(seen: &mut (HashSet<[u8; 16]>, VecDeque<[u8; 16]>), bytes: &[u8]) -> bool {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    if !seen.0.insert(hash) {
        return false;
    }
    seen.1.push_back(hash);
    if seen.1.len() > limits::SEEN_HASHES
        && let Some(oldest) = seen.1.pop_front()
    {
        seen.0.remove(&oldest);
    }
    true
}
