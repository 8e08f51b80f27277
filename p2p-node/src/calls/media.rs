//! Where the media of calls live: one task that carries out what the engine decides, and one for each call that tells the engine what
//! happened. Both end with the engine; a call ends with its task.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU16,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use starling_media::{Call, CallConfig, CallEvent, CallStats, IceServer, transport::link::Link};
use starling_wire::CallId;
use tokio::sync::{broadcast, mpsc, watch};

use crate::{api::types::CallSetup, limits::CALLS_REMEMBERED, turn::Input};

/// A call of two has one route.
const PEER: u64 = 0;
/// Candidates that are found within this time are told together: each event costs a signature and a write.
const GATHER: Duration = Duration::from_millis(40);

/// Files are complete after this.
const COMPLETED: Duration = Duration::from_secs(4);

/// STUN and TURN servers of a rendezvous.
#[derive(Clone, PartialEq, Eq)]
pub struct CallServer {
    pub urls: Vec<String>,
    pub username: String,
    pub credential: String,
}

impl std::fmt::Debug for CallServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallServer")
    }
}

/// What the engine wants.
#[derive(Clone, Debug, PartialEq)]
pub enum CallCommand {
    /// Begin to capture; make an offer, or answer this one.
    Start {
        id: CallId,
        wire: CallId,
        setup: CallSetup,
        servers: Vec<CallServer>,
        loopback: bool,
        offer: Option<String>,
    },
    /// The answer to our offer of this number: 0 is the first.
    Accept(CallId, u32, String),
    /// Candidates of the other side.
    Candidates(CallId, Vec<String>),
    /// A new offer of the other side, and its number.
    Restart(CallId, u32, String),
    /// A new connection in place of one that could not be made.
    Again(CallId),
    /// On hold, or no longer.
    Hold(CallId, bool),
    /// Record to this file, after a question of this number, or no longer.
    Record(CallId, u32, Option<PathBuf>),
    /// It is over.
    End(CallId),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallInput {
    /// Our offer, at the beginning (number 0) or after the network changed.
    Offer(CallId, u32, String),
    /// Our answer.
    Answer(CallId, String),
    /// Our answer to a new offer.
    Restarted(CallId, u32, String),
    /// Ways to reach us.
    Candidates(CallId, Vec<String>),
    /// Media flow; the emoji that both should see.
    Connected(CallId, String),
    /// Media have stopped.
    Interrupted(CallId),
    /// Something does not work; the call goes on.
    Trouble(CallId, String),
    /// It cannot go on.
    Failed(CallId, String),
    /// The other side hung up.
    Left(CallId),
    /// The recording after this question is over.
    Recorded(CallId, u32),
    /// It cannot be made here: trying again would not help.
    Broken(CallId, String),
}

impl CallInput {
    /// Which call.
    pub fn id(&self) -> CallId {
        match self {
            Self::Offer(id, ..)
            | Self::Answer(id, _)
            | Self::Restarted(id, ..)
            | Self::Candidates(id, _)
            | Self::Connected(id, _)
            | Self::Interrupted(id)
            | Self::Trouble(id, _)
            | Self::Failed(id, _)
            | Self::Left(id)
            | Self::Recorded(id, _)
            | Self::Broken(id, _) => *id,
        }
    }
}

/// A call's media, for who watches or steers them.
#[derive(Clone, Debug)]
pub struct Media {
    /// The call itself.
    pub call: Call,
    /// What happens in it.
    pub news: broadcast::Sender<CallEvent>,
    shared: Arc<Mutex<Shared>>,
    /// Offers of ours after the first: the number of the last.
    offers: Arc<AtomicU32>,
}

/// The terminal that the other side shares.
#[derive(Default)]
struct Shared {
    /// Goes up with each change.
    revision: u64,
    screen: Option<vt100::Parser>,
    /// Our keys reach it.
    hand: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Media {
    /// The terminal that the other side shares: a number that goes up with each change; columns, rows, and bytes that draw it.
    pub fn terminal(&self) -> (u64, Option<(u16, u16, Vec<u8>)>) {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = shared.screen.as_ref().map(|parser| {
            let (rows, columns) = parser.screen().size();
            (columns.get(), rows.get(), parser.screen().state_formatted().into())
        });
        (shared.revision, shown)
    }

    /// Whether the other side handed us the keyboard of its terminal.
    pub fn has_hand(&self) -> bool {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).hand
    }

    /// The number of the offer that is made now: answers to older ones no longer count.
    fn next_offer(&self) -> u32 {
        self.offers.fetch_add(1, Relaxed) + 1
    }

    fn shows(&self, event: &CallEvent) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            CallEvent::Shared(_, Some((columns, rows))) => {
                let (rows, columns) = (cells(*rows), cells(*columns));
                match &mut shared.screen {
                    Some(parser) => parser.screen_mut().set_size(rows, columns),
                    None => shared.screen = Some(vt100::Parser::new(rows, columns, 0)),
                }
            }
            CallEvent::Shared(_, None) => (shared.screen, shared.hand) = (None, false),
            CallEvent::Output(_, bytes) => {
                if let Some(parser) = &mut shared.screen {
                    parser.process(bytes);
                }
            }
            CallEvent::Hand(_, given) => shared.hand = *given,
            _ => return,
        }
        shared.revision += 1;
    }
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN)
}

/// All calls' media.
#[derive(Debug, Default)]
pub struct Table {
    active: Mutex<HashMap<CallId, Media>>,
    /// Statistics of those that are over; nothing while they are being completed.
    over: Mutex<VecDeque<(CallId, watch::Receiver<Option<CallStats>>)>>,
}

impl Table {
    /// A call that is not over.
    pub fn get(&self, id: CallId) -> Option<Media> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Waits until the files of calls that are over are complete, or for some seconds.
    pub async fn completed(&self) {
        let over: Vec<_> = {
            let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.iter().map(|(_, stats)| stats.clone()).collect()
        };
        let all = over.into_iter().map(|mut stats| async move { drop(stats.wait_for(Option::is_some).await) });
        let _ = tokio::time::timeout(COMPLETED, futures::future::join_all(all)).await;
    }

    /// Statistics of a call, also of one that is over: then its files are complete.
    pub async fn stats(&self, id: CallId) -> Option<CallStats> {
        if let Some(media) = self.get(id) {
            return Some(media.call.stats());
        }
        let mut over = {
            let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            over.iter().find(|(known, _)| *known == id).map(|(_, stats)| stats.clone())?
        };
        let stats = tokio::time::timeout(Duration::from_secs(5), over.wait_for(Option::is_some)).await;
        stats.ok()?.ok().and_then(|stats| stats.clone())
    }
}

/// The engine's end of the channel to the task. The engine bounds what it sends, and never waits for a task that waits for it.
#[derive(Clone, Debug)]
pub struct CallsHandle {
    commands: mpsc::UnboundedSender<CallCommand>,
    table: Arc<Table>,
}

impl CallsHandle {
    pub fn send(&self, command: CallCommand) {
        // Whatever the task is at: nobody is heard after the end.
        if let CallCommand::End(id) = &command
            && let Some(media) = self.table.get(*id)
        {
            media.call.silence();
        }
        let _ = self.commands.send(command);
    }
}

/// Starts the task. It ends when the handle is dropped, and ends all calls then.
pub fn start(inputs: mpsc::Sender<Input>, table: Arc<Table>) -> CallsHandle {
    let (sender, commands) = mpsc::unbounded_channel();
    // For tests of bad networks, between real programs.
    let link = std::env::var("STARLING_TEST_LINK").ok().and_then(|text| Link::parse(&text));
    tokio::spawn(Actor { inputs, table: table.clone(), link }.run(commands));
    CallsHandle { commands: sender, table }
}

struct Actor {
    inputs: mpsc::Sender<Input>,
    table: Arc<Table>,
    link: Option<Link>,
}

impl Actor {
    async fn run(self, mut commands: mpsc::UnboundedReceiver<CallCommand>) {
        while let Some(command) = commands.recv().await {
            self.carry_out(command).await;
        }
        let rest: Vec<CallId> = {
            let active = self.table.active.lock().unwrap_or_else(PoisonError::into_inner);
            active.keys().copied().collect()
        };
        for id in rest {
            self.end(id);
        }
    }

    async fn tell(&self, input: CallInput) {
        let _ = self.inputs.send(Input::Call(input)).await;
    }

    async fn carry_out(&self, command: CallCommand) {
        match command {
            CallCommand::Start { id, wire, setup, servers, loopback, offer } => {
                if let Err(error) = self.begin(id, wire, &setup, servers, loopback, offer).await {
                    self.tell(CallInput::Broken(id, error.to_string())).await;
                }
            }
            CallCommand::Accept(id, number, answer) => {
                // An answer to an older offer than the last would spoil the one that it is answered by.
                let Some(media) = self.table.get(id).filter(|media| media.offers.load(Relaxed) == number) else {
                    return;
                };
                if let Err(error) = media.call.accept(PEER, answer).await {
                    self.tell(CallInput::Broken(id, error.to_string())).await;
                }
            }
            CallCommand::Candidates(id, candidates) => {
                let Some(media) = self.table.get(id) else { return };
                for candidate in candidates {
                    if let Err(error) = media.call.candidate(PEER, &candidate).await {
                        tracing::debug!(%error, "a candidate was not taken");
                    }
                }
            }
            CallCommand::Restart(id, number, offer) => {
                let Some(media) = self.table.get(id) else { return };
                match media.call.answer(PEER, offer).await {
                    Ok(answer) => self.tell(CallInput::Restarted(id, number, answer)).await,
                    Err(error) => tracing::debug!(%error, "a new offer was not taken"),
                }
            }
            CallCommand::Again(id) => {
                let Some(media) = self.table.get(id) else { return };
                let number = media.next_offer();
                match media.call.offer_again(PEER).await {
                    Ok(Some(offer)) => self.tell(CallInput::Offer(id, number, offer)).await,
                    Ok(None) => {}
                    Err(error) => self.tell(CallInput::Broken(id, error.to_string())).await,
                }
            }
            CallCommand::Record(id, question, path) => {
                let Some(media) = self.table.get(id) else { return };
                match path {
                    None => media.call.end_record().await,
                    Some(path) => {
                        if let Err(error) = media.call.record(&path, question).await {
                            self.tell(CallInput::Trouble(id, error.to_string())).await;
                            self.tell(CallInput::Recorded(id, question)).await;
                        }
                    }
                }
            }
            CallCommand::Hold(id, hold) => {
                if let Some(media) = self.table.get(id) {
                    media.call.set_hold(hold).await;
                }
            }
            CallCommand::End(id) => self.end(id),
        }
    }

    async fn begin(
        &self,
        id: CallId,
        wire: CallId,
        setup: &CallSetup,
        servers: Vec<CallServer>,
        loopback: bool,
        offer: Option<String>,
    ) -> Result<(), starling_media::MediaError> {
        let mut config = CallConfig::from_specs(&setup.audio_in, &setup.audio_out, &setup.video_in, &setup.video_out);
        config.camera &= setup.camera;
        config.peer.relay_only = setup.relay_only;
        config.peer.loopback = loopback;
        config.peer.link.clone_from(&self.link);
        let server = |s: CallServer| IceServer { urls: s.urls, username: s.username, credential: s.credential };
        config.peer.servers = servers.into_iter().map(server).collect();
        if setup.relay_only && config.peer.servers.iter().all(|s| s.username.is_empty()) {
            return Err(starling_media::MediaError::Transport(
                "it may only go through a relay, and no rendezvous of ours offers one".into(),
            ));
        }
        let (call, events) = Call::start(config)?;
        let (news, _) = broadcast::channel(256);
        let media = Media { call: call.clone(), news, shared: Arc::default(), offers: Arc::default() };
        self.table.active.lock().unwrap_or_else(PoisonError::into_inner).insert(id, media.clone());
        tokio::spawn(Watch { id, wire, media, inputs: self.inputs.clone() }.run(events));
        let input = match offer {
            None => CallInput::Offer(id, 0, call.offer(PEER).await?),
            Some(offer) => CallInput::Answer(id, call.answer(PEER, offer).await?),
        };
        self.tell(input).await;
        Ok(())
    }

    /// Ends a call in a task of its own: files are completed, which takes a moment.
    fn end(&self, id: CallId) {
        let media = self.table.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Some(media) = media else { return };
        let (done, stats) = watch::channel(None);
        let mut over = self.table.over.lock().unwrap_or_else(PoisonError::into_inner);
        over.push_back((id, stats));
        if over.len() > CALLS_REMEMBERED {
            over.pop_front();
        }
        drop(over);
        tokio::spawn(async move {
            let stats = media.call.stats();
            media.call.end().await;
            done.send_replace(Some(stats));
        });
    }
}

/// Tells the engine what happens in a call.
struct Watch {
    id: CallId,
    wire: CallId,
    media: Media,
    inputs: mpsc::Sender<Input>,
}

impl Watch {
    async fn run(self, mut events: mpsc::Receiver<CallEvent>) {
        let id = self.id;
        let mut found: Vec<String> = Vec::new();
        loop {
            let event = if found.is_empty() {
                events.recv().await
            } else {
                match tokio::time::timeout(GATHER, events.recv()).await {
                    Ok(event) => event,
                    Err(_) => {
                        self.tell(CallInput::Candidates(id, std::mem::take(&mut found))).await;
                        continue;
                    }
                }
            };
            let Some(event) = event else { return };
            let input = match &event {
                CallEvent::Candidate(_, json) => {
                    found.push(json.clone());
                    continue;
                }
                CallEvent::Connected(_) => Some(CallInput::Connected(id, self.emoji().await)),
                CallEvent::Interrupted(_) => Some(CallInput::Interrupted(id)),
                CallEvent::Failed(_) => Some(CallInput::Failed(id, "the connection was lost".into())),
                CallEvent::Left(_) => Some(CallInput::Left(id)),
                CallEvent::Recorded(question, _) => Some(CallInput::Recorded(id, *question)),
                CallEvent::Trouble(text) => Some(CallInput::Trouble(id, text.clone())),
                CallEvent::NeedsRestart(_) => {
                    let number = self.media.next_offer();
                    self.media.call.restart(PEER).await.ok().map(|offer| CallInput::Offer(id, number, offer))
                }
                _ => None,
            };
            if let Some(input) = input {
                self.tell(input).await;
            }
            self.media.shows(&event);
            let _ = self.media.news.send(event);
        }
    }

    async fn tell(&self, input: CallInput) {
        let _ = self.inputs.send(Input::Call(input)).await;
    }

    /// A short authentication string: what both sides see of both certificates. Who is between them has to show other ones.
    async fn emoji(&self) -> String {
        let mut prints = self.media.call.fingerprints(PEER).await;
        prints.sort();
        let mut hash = blake3::Hasher::new_derive_key("starling 2026 call emoji");
        hash.update(&self.wire.0);
        for print in prints {
            hash.update(print.as_bytes());
        }
        let bytes = hash.finalize();
        bytes.as_bytes().iter().take(6).map(|b| EMOJI[usize::from(b & 63)]).collect::<Vec<_>>().join(" ")
    }
}

/// Sixty-four pictures that look different at any size and have one common name (those of Matrix' verification).
const EMOJI: [&str; 64] = [
    "🐶", "🐱", "🦁", "🐎", "🦄", "🐷", "🐘", "🐰", "🐼", "🐓", "🐧", "🐢", "🐟", "🐙", "🦋", "🌷", "🌳", "🌵", "🍄",
    "🌏", "🌙", "☁", "🔥", "🍌", "🍎", "🍓", "🌽", "🍕", "🎂", "❤", "😀", "🤖", "🎩", "👓", "🔧", "🎅", "👍", "☂",
    "⌛", "⏰", "🎁", "💡", "📕", "✏", "📎", "✂", "🔒", "🔑", "🔨", "☎", "🏁", "🚂", "🚲", "✈", "🚀", "🏆", "⚽", "🎸",
    "🎺", "🔔", "⚓", "🎧", "📁", "📌",
];
