//! The node: a cloneable handle on the engine's thread.

mod driver;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use starling_keys::{
    AccountId, AccountKey, DeviceChain, DeviceId, InviteToken, RendezvousAddr, StorageKey,
    chain::{ChainError, Rights, SignWith, recovery_hash},
};
use starling_media::{CallStats, IceServer};
use starling_wire::{Availability, CallId, Clock, Text};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::{
    account::{
        link::{AccountLink, NewDevice},
        recovery::Recovery,
    },
    api::{
        Reply,
        error::{CallRefused, Invalid, NodeError},
        types::{
            Audience, CallElsewhere, CallInfo, CallSetup, Chat, ChatId, Contact, CopyPhase, Device, DurableEvent,
            HistoryState, Message, MessageId, Request, Status, TransientEvent,
        },
    },
    call_media::{self, Media, Table},
    calls::{AttendantId, CallRequest},
    engine::{
        AccountCommand, Command, ContactCommand, ConversationCommand, Engine, HistoryCommand, Input, PresenceCommand,
    },
    mls::{GroupError, derived_seal_keys},
    net::{NetCommand, NetConfig, NetError, WeakNetHandle, start},
    store::{HistoryCopyRow, HomesRow, IdentityRow, META, ProfileDir, Store, StoreError, prefix},
    timeline::{
        self,
        search::{Scan, Search},
    },
    turn::{EngineError, Source},
};
use driver::{Inbox, Listeners, Outside, Senders, drive};

/// Live news that a slow listener may lag behind by; it is told that it has missed some.
const LIVE_QUEUE: usize = 256;

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
    let created_at = now_ms() / 1000;
    let homes = HomesRow { homes: new.homes.iter().map(ToString::to_string).collect() };
    let mut copy = HistoryCopyRow::default();
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
            (row.account_seed, row.recovery_public) =
                (root.seed().to_vec(), derived_seal_keys(&root.recovery_seed())?.1);
            (None, root.id(), NewDevice::generate()?)
        }
        Origin::Linked(link, device) => {
            row.recovery_public = link.recovery_key;
            let account = link.chain.account;
            let linked_by = link.chain.device(&device.id()).and_then(|entry| entry.linked_by);
            if let Some(source) = linked_by.filter(|_| link.history > 0) {
                copy = HistoryCopyRow {
                    source: source.as_bytes().to_vec(),
                    grant: link.history,
                    phase: CopyPhase::Copying.stored(),
                    ..HistoryCopyRow::default()
                };
            }
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
        txn.put(META, b"history_copy", &copy)?;
        txn.put(META, b"homes", &homes)
    })?;
    Ok((account, device.id()))
}

/// A running node. Clones share it; it stops when [`Node::stop`] is called or the last clone is dropped.
#[derive(Clone)]
pub struct Node {
    inputs: mpsc::Sender<Input>,
    /// Empty once the node has stopped: the profile's lock goes with the store.
    store: Arc<Mutex<Option<Arc<Store>>>>,
    feed: watch::Receiver<u64>,
    live: broadcast::Sender<TransientEvent>,
    ended: watch::Receiver<bool>,
    failure: Arc<OnceLock<String>>,
    calls: Arc<Table>,
    net: WeakNetHandle,
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
        let handle = start(&engine.account.identity.device_key, &net, network).await?;
        let (calls, weak) = (Arc::new(Table::default()), handle.downgrade());
        let outside = Outside { net: handle, calls: call_media::start(media, calls.clone()) };
        let (feed_tx, feed) = watch::channel(engine.feed());
        let (live, _) = broadcast::channel(LIVE_QUEUE);
        let (ended_tx, ended) = watch::channel(false);
        let listeners = Listeners { feed: feed_tx, live: live.clone() };
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
                    let _ = listeners.live.send(TransientEvent::Failed(error.to_string()));
                }
                // The store closes with the engine; only then may another process open the profile.
                drop(engine);
                *shared.lock().unwrap_or_else(PoisonError::into_inner) = None;
                let _ = ended_tx.send(true);
            })
            .map_err(OpenError::Thread)?;
        Ok(Self { inputs, store: slot, feed, live, ended, failure, calls, net: weak, watches: Arc::default() })
    }

    fn store(&self) -> Result<Arc<Store>, NodeError> {
        let slot = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or_else(|| self.why_stopped())
    }

    /// Why a call gets no answer: the engine has failed, or was told to stop.
    fn why_stopped(&self) -> NodeError {
        self.failure.get().map_or(NodeError::Stopped, |reason| NodeError::Store(reason.clone()))
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
        self.call(Command::Status).await
    }

    /// The same after everybody that we are connected to was probed: who is shown as connected has answered just now. Takes a few seconds if
    /// somebody does not answer.
    pub async fn checked_status(&self) -> Result<Status, NodeError> {
        self.call(Command::CheckedStatus).await
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

    /// Everybody we know, also those blocked.
    pub async fn contacts(&self) -> Result<Vec<Contact>, NodeError> {
        self.call(ContactCommand::List).await
    }

    /// The one contact that `who` means: a name, with or without `@`, an account, an address or invite, or the id of a conversation, with or without
    /// `id:`.
    ///
    /// # Errors
    /// [`NodeError::Unfound`] if it is nobody, or if several have the name.
    pub async fn find_contact(&self, who: String) -> Result<Contact, NodeError> {
        self.call(|reply| ContactCommand::Find(who, reply)).await
    }

    /// Conversations: pinned first, then by newest message.
    pub async fn chats(&self) -> Result<Vec<Chat>, NodeError> {
        self.call(ConversationCommand::List).await
    }

    /// Contact requests that wait for the user.
    pub async fn requests(&self) -> Result<Vec<Request>, NodeError> {
        self.call(ContactCommand::Requests).await
    }

    /// Writes messages. When this is ready they are durable here and in the outbox; news tell how far they come.
    pub async fn send(&self, chat: ChatId, texts: Vec<Text>) -> Result<Vec<MessageId>, NodeError> {
        self.call(|reply| ConversationCommand::Send { chat, texts, reply }).await
    }

    /// Changes the text of a message of ours.
    pub async fn edit(&self, chat: ChatId, message: MessageId, text: String) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::Edit { chat, message, text, reply }).await
    }

    /// Deletes a message of ours for everyone, within 48 hours.
    pub async fn delete(&self, chat: ChatId, message: MessageId) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::Delete { chat, message, reply }).await
    }

    /// Sets our reaction to a message; an empty emoji removes it.
    pub async fn react(&self, chat: ChatId, message: MessageId, emoji: String) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::React { chat, message, emoji, reply }).await
    }

    /// Calls somebody. Progress is told by [`TransientEvent::Call`].
    pub async fn call_start(&self, chat: ChatId, setup: CallSetup) -> Result<CallId, NodeError> {
        check_files(&setup).await?;
        self.call(|reply| CallRequest::Start { chat, setup, reply }).await
    }

    /// Answers a call that rings.
    pub async fn call_answer(&self, id: CallId, setup: CallSetup) -> Result<(), NodeError> {
        check_files(&setup).await?;
        self.call(|reply| CallRequest::Answer { id, setup, reply }).await
    }

    /// Hangs up, declines (with a word, if there is one) or cancels.
    pub async fn call_hang_up(&self, id: CallId, text: String) -> Result<(), NodeError> {
        self.call(|reply| CallRequest::HangUp { id, text, reply }).await
    }

    /// Hands a call over to another device of ours, the only one if none is said: it rings there, and goes on here until it is taken.
    pub async fn call_transfer(&self, id: CallId, to: Option<DeviceId>) -> Result<(), NodeError> {
        self.call(|reply| CallRequest::Transfer { id, to, reply }).await
    }

    /// Takes the call that another device of ours has, in a chat or in any.
    pub async fn call_fetch(&self, chat: Option<ChatId>, setup: CallSetup) -> Result<CallId, NodeError> {
        check_files(&setup).await?;
        self.call(|reply| CallRequest::Fetch { chat, setup, reply }).await
    }

    /// Calls that other devices of ours have.
    pub async fn calls_elsewhere(&self) -> Result<Vec<CallElsewhere>, NodeError> {
        self.call(CallRequest::ListOnOtherDevices).await
    }

    /// Asks the other side whether a call may be recorded to a file (`.mp4`, or `.ogg` for sound alone), which begins when it agrees; or
    /// ends that.
    pub async fn call_record(&self, id: CallId, path: Option<PathBuf>) -> Result<(), NodeError> {
        if let Some(path) = &path {
            starling_media::record::check(path).map_err(CallRefused::RecordingFile)?;
        }
        self.call(|reply| CallRequest::Record { id, path, reply }).await
    }

    /// A front end that attends calls. It is told to be gone when the handle is dropped: then calls that nobody else attends fall silent at once, and are
    /// hung up after a while unless somebody attends them again.
    pub fn attendant(&self) -> Attendant {
        Attendant { id: AttendantId(rand::random()), node: self.clone(), attends: AtomicBool::new(false) }
    }

    /// Tells the engine that a front end is gone, even if its queue is full now.
    fn attendant_left(&self, attendant: AttendantId) {
        let (inputs, left) = (self.inputs.clone(), Input::Command(CallRequest::AttendantLeft(attendant).into()));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { inputs.send(left).await })),
            Err(_) => drop(inputs.blocking_send(left)),
        }
    }

    /// Opens the microphone of a call for this time, at most two seconds, as long as a key is held: to be said again before that. With `None` the
    /// microphone is left as it is, and no longer closed by itself.
    pub async fn call_talk(&self, id: CallId, time: Option<Duration>) -> Result<(), NodeError> {
        let for_ms = time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self.call(|reply| CallRequest::Talk { id, for_ms, reply }).await
    }

    /// Agrees to be recorded by the other side, or does not, or no longer.
    pub async fn call_consent(&self, id: CallId, agree: bool) -> Result<(), NodeError> {
        self.call(|reply| CallRequest::Consent { id, agree, reply }).await
    }

    /// Calls that are not over.
    pub async fn calls(&self) -> Result<Vec<CallInfo>, NodeError> {
        self.call(CallRequest::List).await
    }

    /// STUN and TURN servers of our rendezvous, to test them; none if there are none.
    pub async fn call_servers(&self) -> Result<Vec<IceServer>, NodeError> {
        let servers = self.call(CallRequest::Servers).await?;
        let server =
            |s: call_media::CallServer| IceServer { urls: s.urls, username: s.username, credential: s.credential };
        Ok(servers.into_iter().map(server).collect())
    }

    /// The media of a call, to steer and to watch; nothing before it was started here or answered.
    pub fn call_media(&self, id: CallId) -> Option<Media> {
        self.calls.get(id)
    }

    /// Statistics of a call. Of one that is over they come when its files are complete.
    pub async fn call_stats(&self, id: CallId) -> Option<CallStats> {
        self.calls.stats(id).await
    }

    /// The user has read a chat up to a clock; the other side is told if the settings say so.
    pub async fn mark_read(&self, chat: ChatId, upto: Clock) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::MarkRead { chat, upto, reply }).await
    }

    /// The user types, or has stopped. Not kept; dropped if the engine is busy.
    pub fn typing(&self, chat: ChatId, typing: bool) {
        let _ = self.inputs.try_send(Input::Command(PresenceCommand::Typing { chat, typing }.into()));
    }

    /// The user is here, or away. Dropped if the engine is busy.
    pub fn set_availability(&self, availability: Availability) {
        let _ = self.inputs.try_send(Input::Command(PresenceCommand::SetAvailability(availability).into()));
    }

    /// A new invite, as a link, and when it expires, in seconds since 1970.
    pub async fn invite(&self, uses: u32, lifetime_ms: u64) -> Result<(String, u64), NodeError> {
        self.call(|reply| ContactCommand::Invite { uses, lifetime_ms, reply }).await
    }

    /// A new short code; it works while this node runs, for ten minutes. [`TransientEvent::CodeEnded`] tells how it ends.
    pub async fn open_code(&self) -> Result<String, NodeError> {
        self.call(|reply| AccountCommand::OpenCode(false, reply)).await
    }

    /// Withdraws a code of this node that nobody waits for any more; one that is not open is none.
    pub async fn close_code(&self, code: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::CloseCode(code, reply)).await
    }

    /// The devices of our account, this one among them.
    pub async fn devices(&self) -> Result<Vec<Device>, NodeError> {
        self.call(AccountCommand::Devices).await
    }

    /// Says what this device is called, and what it is: an operating system, for example. Contacts and the account's other devices see it.
    pub async fn describe_device(&self, name: String, kind: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::Describe { name, kind, reply }).await
    }

    /// A new short code by which another device asks to join our account ([`TransientEvent::LinkRequested`]). It works once, while this node
    /// runs, for ten minutes; [`TransientEvent::CodeEnded`] tells how it ends.
    pub async fn open_device_code(&self) -> Result<String, NodeError> {
        self.call(|reply| AccountCommand::OpenCode(true, reply)).await
    }

    /// Asks, with such a code, for the account that this device is to join: what a profile with [`Origin::Linked`] is made of.
    /// `name` and `kind` are what the user of the other device sees of `device`; `asked` is called once the code was right, and the user of the
    /// other device is asked.
    pub async fn join_account(
        &self,
        code: String,
        home: RendezvousAddr,
        device: NewDevice,
        (name, kind): (String, String),
        asked: impl FnOnce(),
    ) -> Result<(AccountLink, NewDevice), NodeError> {
        let device = Box::new(device);
        let (when_asked, is_asked) = oneshot::channel();
        let joined =
            self.call(|reply| AccountCommand::JoinAccount { code, home, device, name, kind, asked: when_asked, reply });
        let mut joined = std::pin::pin!(joined);
        tokio::select! {
            biased;
            Ok(Ok(())) = is_asked => asked(),
            result = &mut joined => return result,
        }
        joined.await
    }

    /// Goes on with [`Node::join_account`] of an earlier run with this profile, which had asked and did not hear the answer.
    ///
    /// # Errors
    /// [`NotFound::Code`](crate::NotFound::Code) if nothing was asked, or the rendezvous does not know the account;
    /// [`NotAllowed::LinkDeclined`](crate::NotAllowed::LinkDeclined) if the device was not let in.
    pub async fn resume_join(&self) -> Result<(AccountLink, NewDevice), NodeError> {
        self.call(AccountCommand::ResumeJoin).await
    }

    /// The user's answer to a device that asks to join ([`TransientEvent::LinkRequested`]); without rights it may not. With `history` it
    /// may copy the history of this one. Ready when a home has
    /// the account's chain with it.
    pub async fn answer_link(&self, device: DeviceId, rights: Option<Rights>, history: bool) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::AnswerLink { device, rights, history, reply }).await
    }

    /// What is copied between this device and others of the account: see [`TransientEvent::HistoryCopy`].
    pub async fn history_state(&self) -> Result<HistoryState, NodeError> {
        self.call(HistoryCommand::State).await
    }

    /// Lets another device of the account copy the history that this one has, once: it does if its user wants it, too.
    pub async fn give_history(&self, device: DeviceId) -> Result<(), NodeError> {
        self.call(|reply| HistoryCommand::Give(device, reply)).await
    }

    /// Copies the history of another device of the account, or of the only other one, as soon as its user agrees. Gives the device.
    pub async fn get_history(&self, from: Option<DeviceId>) -> Result<DeviceId, NodeError> {
        self.call(|reply| HistoryCommand::Get(from, reply)).await
    }

    /// Gives up what is copied to this device, which keeps what it has; and takes back what others may copy.
    pub async fn cancel_history(&self) -> Result<(), NodeError> {
        self.call(HistoryCommand::Cancel).await
    }

    /// Gives a device of the account other rights.
    pub async fn set_device_rights(&self, device: DeviceId, rights: Rights) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetRights { device, rights, reply }).await
    }

    /// Takes another device off our account: it gets nothing that is written from now on.
    pub async fn remove_device(&self, device: DeviceId) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::RemoveDevice(device, reply)).await
    }

    /// What the account's root is to sign so that this is its only device.
    pub async fn recovery(&self) -> Result<Recovery, NodeError> {
        self.call(AccountCommand::Recovery).await
    }

    /// Takes the chain that the root has signed ([`Recovery::sign`]): all other devices are removed. Ready when a home has it. A device that was
    /// removed does not come back by that: a new one takes the account back ([`Origin::Restored`]).
    pub async fn recover(&self, chain: &DeviceChain) -> Result<(), NodeError> {
        let bytes = chain.as_bytes().to_vec();
        self.call(|reply| AccountCommand::Recover(bytes, reply)).await
    }

    /// Uses a short code that somebody else has opened, at their rendezvous (ours if not given).
    pub async fn use_code(&self, code: String, home: Option<RendezvousAddr>) -> Result<AccountId, NodeError> {
        self.call(|reply| ContactCommand::UseCode { code, home, reply }).await
    }

    /// Makes an account a contact: at once with a good token, else by a request. Ready when the request is stored here to be delivered.
    pub async fn connect(
        &self,
        account: AccountId,
        homes: Vec<RendezvousAddr>,
        token: Option<InviteToken>,
        greeting: String,
        alias: String,
    ) -> Result<AccountId, NodeError> {
        self.call(|reply| ContactCommand::Connect {
            account: Some(account),
            name: None,
            homes,
            token,
            greeting,
            alias,
            reply,
        })
        .await
    }

    /// The same for a user name at a rendezvous.
    pub async fn connect_name(
        &self,
        name: String,
        home: RendezvousAddr,
        greeting: String,
        alias: String,
    ) -> Result<AccountId, NodeError> {
        self.call(|reply| ContactCommand::Connect {
            account: None,
            name: Some(name),
            homes: vec![home],
            token: None,
            greeting,
            alias,
            reply,
        })
        .await
    }

    /// Accepts a request.
    pub async fn accept(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Accept(account, reply)).await
    }

    /// Declines a request; the other side is not told.
    pub async fn decline(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Decline(account, reply)).await
    }

    /// Gives a contact a name of our own; empty for theirs.
    pub async fn rename(&self, account: AccountId, name: String) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Rename(account, name, reply)).await
    }

    /// The user has compared safety numbers (or takes that back).
    pub async fn set_verified(&self, account: AccountId, verified: bool) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::SetVerified(account, verified, reply)).await
    }

    /// Trusts a contact's changed devices; they are unverified until compared again.
    pub async fn trust(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Trust(account, reply)).await
    }

    /// Blocks a contact, or somebody who asks to be one.
    pub async fn block(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Block(account, reply)).await
    }

    /// Takes a block back.
    pub async fn unblock(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Unblock(account, reply)).await
    }

    /// Removes a contact.
    pub async fn remove(&self, account: AccountId) -> Result<(), NodeError> {
        self.call(|reply| ContactCommand::Remove(account, reply)).await
    }

    /// Pins, mutes (until a time in milliseconds since 1970) or archives a chat; `None` leaves it as it is.
    pub async fn set_chat(
        &self,
        chat: ChatId,
        pinned: Option<bool>,
        muted_until_ms: Option<u64>,
        archived: Option<bool>,
    ) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::SetChat { chat, pinned, muted_until_ms, archived, reply }).await
    }

    /// What the user is writing in a chat, for the account's other devices: at most 1,024 bytes; empty for nothing.
    pub async fn set_draft(&self, chat: ChatId, text: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetDraft { chat, text, reply }).await
    }

    /// Deletes a chat's messages here, not elsewhere.
    pub async fn clear_chat(&self, chat: ChatId) -> Result<(), NodeError> {
        self.call(|reply| ConversationCommand::ClearChat(chat, reply)).await
    }

    /// Who may see last seen, read receipts and typing; `None` leaves one as it is. Gives all three.
    pub async fn set_privacy(
        &self,
        last_seen: Option<Audience>,
        receipts: Option<Audience>,
        typing: Option<Audience>,
    ) -> Result<[Audience; 3], NodeError> {
        let stored = |a: Option<Audience>| a.map(Audience::stored);
        let all = self
            .call(|reply| AccountCommand::SetPrivacy {
                last_seen: stored(last_seen),
                receipts: stored(receipts),
                typing: stored(typing),
                reply,
            })
            .await?;
        Ok(all.map(Audience::from_stored))
    }

    /// Changes our display name, and tells contacts.
    pub async fn set_name(&self, name: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetName(name, reply)).await
    }

    /// Takes a user name at our homes; ready when one of them has answered.
    pub async fn set_username(&self, name: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetUsername(name, reply)).await
    }

    /// Moves to other home servers, with the operator's token if they ask for one. Gives up what was known of the old ones.
    pub async fn set_homes(&self, homes: Vec<RendezvousAddr>, token: String) -> Result<(), NodeError> {
        self.call(|reply| AccountCommand::SetHomes { homes, token, reply }).await
    }

    /// News that are not kept.
    pub fn live(&self) -> broadcast::Receiver<TransientEvent> {
        self.live.subscribe()
    }

    /// Sequence number of the newest durable news; changes when there are more.
    pub fn feed(&self) -> watch::Receiver<u64> {
        self.feed.clone()
    }

    /// Durable news after a sequence number, oldest first, about `limit` of them.
    pub fn news_after(&self, after: u64, limit: usize) -> Result<Vec<DurableEvent>, NodeError> {
        Ok(timeline::news_after(&*self.store()?, after, limit)?)
    }

    /// Messages of a chat, oldest first: the last `limit` before `before` (from the end without it).
    pub fn history(&self, chat: ChatId, before: Option<MessageId>, limit: usize) -> Result<Vec<Message>, NodeError> {
        let range = prefix(&chat.0);
        let end = match before {
            Some(before) => std::ops::Bound::Excluded([&chat.0[..], &before.0.to_bytes()].concat()),
            None => range.1,
        };
        let mut messages = timeline::messages(&*self.store()?, chat, (range.0, end), limit, true)?;
        messages.reverse();
        Ok(messages)
    }

    /// Messages that have the words, newest first. Looks through the messages step by step; dropping the future gives up.
    pub async fn search(&self, search: Search) -> Result<Vec<Message>, NodeError> {
        let chats = self.chats().await?.iter().map(|chat| chat.id).collect();
        let mut scan = Scan::new(&search, chats)?;
        loop {
            let store = self.store()?;
            let step = tokio::task::spawn_blocking(move || scan.step(&store).map(|more| (scan, more)));
            let (stepped, more) = step.await.map_err(|_| NodeError::Stopped)??;
            scan = stepped;
            if !more {
                return Ok(scan.into_found());
            }
        }
    }

    /// Messages of a chat after one (from the start without it), oldest first.
    pub fn history_after(
        &self,
        chat: ChatId,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message>, NodeError> {
        let range = prefix(&chat.0);
        let start = match after {
            Some(after) => std::ops::Bound::Excluded([&chat.0[..], &after.0.to_bytes()].concat()),
            None => range.0,
        };
        Ok(timeline::messages(&*self.store()?, chat, (start, range.1), limit, false)?)
    }

    /// One message.
    pub fn message(&self, chat: ChatId, id: MessageId) -> Result<Option<Message>, NodeError> {
        let key = [&chat.0[..], &id.0.to_bytes()].concat();
        Ok(timeline::messages(&*self.store()?, chat, key.clone()..=key, 1, false)?.pop())
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

/// Attends calls until it is dropped.
#[derive(Debug)]
pub struct Attendant {
    id: AttendantId,
    node: Node,
    /// It has attended a call: only then its end is of interest.
    attends: AtomicBool,
}

impl Attendant {
    /// From now on this front end attends a call. Fails if there is no such call.
    pub async fn attend(&self, id: CallId) -> Result<(), NodeError> {
        let attendant = self.id;
        self.attends.store(true, Relaxed);
        self.node.call(|reply| CallRequest::Attend { id, attendant, reply }).await
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        if self.attends.load(Relaxed) {
            self.node.attendant_left(self.id);
        }
    }
}

/// A call whose files cannot be read or written is not made.
async fn check_files(setup: &CallSetup) -> Result<(), NodeError> {
    let (inputs, outputs) = setup.files();
    let checked = tokio::task::spawn_blocking(move || starling_media::files::check(&inputs, &outputs)).await;
    checked.map_err(|_| NodeError::Stopped)?.map_err(|e| Invalid::Files(e).into())
}
