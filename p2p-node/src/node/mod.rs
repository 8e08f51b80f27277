//! The node: a cloneable handle on the engine's thread.

mod account;
mod calls;
mod contacts;
mod conversations;
mod driver;
mod groups;
mod limits;

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use starling_keys::{
    AccountId, AccountKey, DeviceChain, DeviceId, RendezvousAddr, StorageKey,
    chain::{ChainError, SignWith, recovery_hash},
};
use starling_wire::Availability;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use zeroize::zeroize_stack;

use crate::{
    account::link::{AccountLink, NewDevice},
    api::{
        Reply,
        error::NodeError,
        types::{CopyPhase, DurableEvent, Status, TransientEvent},
    },
    call_media::{self, Table},
    engine::{Command, Engine, Input, PresenceCommand},
    mls::{GroupError, derived_seal_keys},
    net::{NetCommand, NetConfig, NetError, Proxy, WeakNetHandle, start},
    store::{CountersRow, HistoryCopyRow, HomesRow, IdentityRow, META, ProfileDir, Store, StoreError},
    timeline::{self},
    turn::{EngineError, Source},
};
pub use calls::Attendant;
use driver::{Inbox, Listeners, Outside, Senders, drive};

/// Transient events that a slow listener may lag behind by; it is told that it has missed some.
const TRANSIENT_QUEUE: usize = 256;
/// As much of the stack is wiped after a profile was made, in bytes: more than what works with its root takes.
const WIPED_STACK: usize = 128 * 1024;

/// Why a node could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The profile's files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Encryption.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The account's device chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Where a new profile's account comes from.
pub enum Origin {
    /// It is new: this is its root, which is forgotten when the profile is made.
    New(AccountKey),
    /// It was restored from its phrase: this device takes the place of those that it had. The root is forgotten when a home knows that.
    Restored(AccountKey),
    /// Another device of it has linked this one.
    Linked(Box<AccountLink>, NewDevice),
}

/// What a new profile is made of.
pub struct NewProfile {
    /// Where its account comes from.
    pub origin: Origin,
    /// Display name.
    pub name: String,
    /// This profile is a program.
    pub bot: bool,
    /// Home rendezvous servers.
    pub homes: Vec<RendezvousAddr>,
    /// The operator's registration token, if the home asks for one.
    pub registration_token: String,
    /// User name to take at the home; empty for none.
    pub username: String,
}

/// Makes a profile's database. Gives its account and device.
pub fn create_profile(dir: ProfileDir, key: &StorageKey, new: NewProfile) -> Result<(AccountId, DeviceId), OpenError> {
    let made = create_profile_at(dir, key, new, now_ms());
    // Where the root was worked with.
    zeroize_stack::<WIPED_STACK>();
    made
}

/// The same, at this time (milliseconds since 1970). Not inlined, so that its variables are where the stack is wiped afterwards.
#[inline(never)]
pub(crate) fn create_profile_at(
    dir: ProfileDir,
    key: &StorageKey,
    new: NewProfile,
    now_ms: u64,
) -> Result<(AccountId, DeviceId), OpenError> {
    let created_at = now_ms / 1000;
    let homes = HomesRow { homes: new.homes.iter().map(ToString::to_string).collect() };
    let mut copy = HistoryCopyRow::default();
    // A device that was linked shows the others that it runs.
    let counters = CountersRow { greeting_pending: matches!(new.origin, Origin::Linked(..)), ..CountersRow::default() };
    let mut row = IdentityRow::default();
    (row.name, row.bot, row.created_at) = (new.name, new.bot, created_at);
    (row.registration_token, row.username) = (new.registration_token, new.username);
    let (chain, account, device) = match new.origin {
        Origin::New(root) => {
            let device = NewDevice::generate()?;
            let (_, recovery_key) = derived_seal_keys(&root.recovery_seed())?;
            let joining = device.joining(&root.id());
            let chain = DeviceChain::create(&root, created_at, recovery_hash(&recovery_key), &joining)?;
            row.recovery_public = recovery_key;
            let chain = match new.homes.as_slice() {
                [] => chain,
                homes => chain.set_homes(&SignWith::Device(&device.key), created_at, homes)?,
            };
            (Some(chain), root.id(), device)
        }
        Origin::Restored(root) => {
            // What the account has is looked up first.
            (row.sealed_root, row.recovery_public) =
                (dir.seal_root(&root)?, derived_seal_keys(&root.recovery_seed())?.1);
            (None, root.id(), NewDevice::generate()?)
        }
        Origin::Linked(link, device) => {
            row.recovery_public = link.recovery_key;
            let account = link.chain.account;
            let linked_by = link.chain.device(&device.id()).and_then(|entry| entry.linked_by);
            copy = history_copy(linked_by, link.history);
            (Some(link.chain), account, device)
        }
    };
    row.device_seed = device.key.seed().to_vec();
    row.seal_secret = device.seal_secret.to_vec();
    row.seal_public = device.seal_public.clone();
    if let Some(chain) = chain {
        row.device_list = chain.as_bytes().to_vec();
        row.certificate = chain.path_to(&device.id()).map(|path| path.to_bytes()).unwrap_or_default();
    }
    Store::create(dir, key, |txn| {
        txn.put(META, b"identity", &row)?;
        txn.put(META, b"counters", &counters)?;
        txn.put(META, b"history_copy", &copy)?;
        txn.put(META, b"homes", &homes)
    })?;
    Ok((account, device.id()))
}

/// What a new device copies of the history of the one that has linked it, with this permission.
fn history_copy(linked_by: Option<DeviceId>, permission: Option<u64>) -> HistoryCopyRow {
    let source = linked_by.map(|device| device.as_bytes().to_vec()).unwrap_or_default();
    match permission {
        Some(0) => HistoryCopyRow::default(),
        _ if source.is_empty() => HistoryCopyRow::default(),
        Some(grant) => {
            HistoryCopyRow { source, grant, phase: CopyPhase::Copying.stored(), ..HistoryCopyRow::default() }
        }
        None => HistoryCopyRow { expected_from: source, ..HistoryCopyRow::default() },
    }
}

/// A running node. Clones share it; it stops when [`Node::stop`] is called or the last clone is dropped.
#[derive(Clone)]
pub struct Node {
    inputs: mpsc::Sender<Input>,
    /// Empty once the node has stopped: the profile's lock goes with the store.
    store: Arc<Mutex<Option<Arc<Store>>>>,
    last_event: watch::Receiver<u64>,
    transient: broadcast::Sender<TransientEvent>,
    ended: watch::Receiver<bool>,
    failure: Arc<OnceLock<String>>,
    calls: Arc<Table>,
    net: WeakNetHandle,
    proxy: Option<Proxy>,
    /// How many [`ConnectionWatch`]es there are.
    watches: Arc<Mutex<usize>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Node")
    }
}

impl Node {
    /// Opens a profile and starts its node. Needs a tokio runtime for the network's tasks.
    pub async fn open(dir: &Path, key: &StorageKey, net: NetConfig) -> Result<Self, OpenError> {
        let store = Arc::new(Store::open(ProfileDir::lock(dir)?, key)?);
        let mut engine = Engine::load(store.clone(), now_ms(), Source::from_system())?;
        let (senders, inbox) = Inbox::new();
        let Senders { network, media, user: inputs } = senders;
        let handle = start(&engine.account.identity.device_key, &net, network)?;
        handle.send(NetCommand::Remember(engine.homes.remembered()));
        handle.send(NetCommand::RememberNetworks(engine.homes.known_networks()));
        let (calls, weak) = (Arc::new(Table::default()), handle.downgrade());
        let outside =
            Outside { net: handle, calls: call_media::start(media, calls.clone(), weak.clone(), net.proxy.is_some()) };
        let (last_event_tx, last_event) = watch::channel(engine.last_event());
        let (transient, _) = broadcast::channel(TRANSIENT_QUEUE);
        let (ended_tx, ended) = watch::channel(false);
        let listeners = Listeners { last_event: last_event_tx, transient: transient.clone() };
        let slot = Arc::new(Mutex::new(Some(store)));
        let failure = Arc::new(OnceLock::new());
        let (shared, failed) = (slot.clone(), failure.clone());
        let runtime = tokio::runtime::Handle::current();
        thread::Builder::new()
            .name("engine".into())
            .spawn(move || {
                if let Err(error) = drive(&mut engine, inbox, &outside, &listeners, &runtime) {
                    tracing::error!(%error, "the engine stops");
                    let _ = failed.set(error.to_string());
                    let _ = listeners.transient.send(TransientEvent::Failed(error.to_string()));
                }
                // The store closes with the engine; only then may another process open the profile.
                drop(engine);
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let _ = ended_tx.send(true);
            })
            .map_err(OpenError::Thread)?;
        Ok(Self {
            inputs,
            store: slot,
            last_event,
            transient,
            ended,
            failure,
            calls,
            net: weak,
            proxy: net.proxy,
            watches: Arc::default(),
        })
    }

    fn store(&self) -> Result<Arc<Store>, NodeError> {
        let slot = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or_else(|| self.why_stopped())
    }

    /// Why a call gets no answer: the engine has failed, or was told to stop.
    fn why_stopped(&self) -> NodeError {
        self.failure.get().map_or(NodeError::Stopped, |reason| NodeError::Store(reason.clone()))
    }

    /// Why the node has stopped by itself, if it has: its store failed.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    async fn call<T, C: Into<Command>>(&self, command: impl FnOnce(Reply<T>) -> C) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Command(command(reply).into())).await.map_err(|_| self.why_stopped())?;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => {
                // The reason is there once the engine's thread has ended.
                self.stopped().await;
                Err(self.why_stopped())
            }
        }
    }

    /// Says good-bye to contacts and stops. What was written is durable; what was not sent goes out at the next start.
    pub async fn stop(&self) {
        let _ = self.inputs.send(Input::Stop).await;
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
        self.calls.completed().await;
    }

    /// Ready when the node has stopped, by itself or by a call.
    pub async fn stopped(&self) {
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Who we are, and how we are connected.
    pub async fn status(&self) -> Result<Status, NodeError> {
        self.with_proxy(self.call(Command::Status).await)
    }

    /// The same after everybody that we are connected to was probed: who is shown as connected has answered just now. Takes a few seconds if
    /// somebody does not answer.
    pub async fn checked_status(&self) -> Result<Status, NodeError> {
        self.with_proxy(self.call(Command::CheckedStatus).await)
    }

    /// Whether everything goes through a proxy.
    pub fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    fn with_proxy(&self, status: Result<Status, NodeError>) -> Result<Status, NodeError> {
        Ok(Status { proxy: self.proxy.as_ref().map(ToString::to_string), ..status? })
    }

    /// A user looks at who is connected: as long as the watch exists, what [`Node::status`] and presence say is true within seconds. Without
    /// one it may take half a minute until a peer that is frozen is noticed, unless something was sent to it.
    pub fn watch_connections(&self) -> ConnectionWatch {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        *watches += 1;
        self.net.send(NetCommand::Watch(true));
        ConnectionWatch { net: self.net.clone(), watches: self.watches.clone() }
    }

    /// Tells at once what would be told in a moment: receipts, the account's snapshot. `true` while something is still under way.
    pub async fn flush(&self) -> Result<bool, NodeError> {
        self.call(Command::Flush).await
    }

    /// The user is here, or away. Dropped if the engine is busy.
    pub fn set_availability(&self, availability: Availability) {
        let _ = self.inputs.try_send(Input::Command(PresenceCommand::SetAvailability(availability).into()));
    }

    /// Events that are not kept.
    pub fn transient_events(&self) -> broadcast::Receiver<TransientEvent> {
        self.transient.subscribe()
    }

    /// Sequence number of the newest durable event; changes with each.
    pub fn last_event(&self) -> watch::Receiver<u64> {
        self.last_event.clone()
    }

    /// Durable events after a sequence number, oldest first, about `limit` of them.
    pub fn events_after(&self, after: u64, limit: usize) -> Result<Vec<DurableEvent>, NodeError> {
        Ok(timeline::events_after(&*self.store()?, after, limit)?)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Has connections watched closely until it is dropped.
#[derive(Debug)]
pub struct ConnectionWatch {
    net: WeakNetHandle,
    watches: Arc<Mutex<usize>>,
}

impl Drop for ConnectionWatch {
    fn drop(&mut self) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        *watches -= 1;
        if *watches == 0 {
            self.net.send(NetCommand::Watch(false));
        }
    }
}
