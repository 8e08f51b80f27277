//! Calls as the engine sees them: who rings whom, who answers, how it ends. Media run elsewhere (`crate::calls`), told what to do by
//! effects, and tell what happened by inputs.
//!
//! A call goes `Starting → Ringing → Connecting → Connected ⇄ Interrupted → Ended`. Nothing of it survives a restart but its note in the
//! timeline, which is there from the first ring on: whoever dies while it rings has missed it.

mod ends;
mod heard;
mod media;
mod own;
mod recording;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
};

use rand::RngExt;
use starling_keys::DeviceId;
use starling_wire::{
    Body, Call, CallEnd, CallId, CallSignal, EventId,
    limits::{MAX_CALL_TEXT, MAX_CANDIDATES},
    rendezvous::{Ask, TurnCredentials},
};

use crate::{
    api::Reply,
    api::types::{CallInfo, CallPhase, CallSetup, ChatId, Consent, ContactState, Live, NodeError},
    home::Asked,
    limits::{CALL_CONNECT_MS, CALL_SERVERS_MS, CALL_TRIES, CALL_TRY_MS, MAX_CALLS, RING_MS},
    net::HomeId,
    turn::{Effect, Engine, EngineError, Turn},
};

pub use media::{CallCommand, CallInput, CallServer, CallsHandle, Media, Table, start};

/// All calls.
#[derive(Debug, Default)]
pub struct Calls {
    list: Vec<Talk>,
    /// When contacts rang lately.
    rings: HashMap<ChatId, VecDeque<u64>>,
    /// Who wants to know the servers, for a test; and until when they are waited for.
    wanted: Vec<(u64, Reply<Vec<CallServer>>)>,
    /// Those that other devices of ours have.
    elsewhere: Vec<own::Elsewhere>,
    /// What was said of calls whose ring did not come yet: those of several devices may overtake one another.
    early: VecDeque<own::Early>,
}

/// One call.
#[derive(Debug)]
struct Talk {
    /// Its id for users of this node.
    id: CallId,
    /// Its id for the other side: another one, after both called at once.
    wire: CallId,
    chat: ChatId,
    outgoing: bool,
    video: bool,
    phase: CallPhase,
    /// The device at the other end, once it is known.
    device: Option<DeviceId>,
    /// Place of its note in the timeline.
    note: Option<EventId>,
    /// When this phase is given up.
    due: Option<u64>,
    /// The other side's offer, until it is answered.
    offer: Option<String>,
    early: Vec<String>,
    setup: Option<CallSetup>,
    servers: Vec<CallServer>,
    /// Rendezvous that were asked for servers and have not answered.
    asked: usize,
    /// Media were started.
    media: bool,
    /// Time that the node has run, and the clock's.
    connected: Option<(u64, u64)>,
    emoji: String,
    trouble: Option<String>,
    waiting: bool,
    /// The user was told that it rings.
    announced: bool,
    /// Connections that were tried.
    tries: u8,
    /// Whether we record, the number of our last question, and where to.
    recording: (Consent, u32, Option<PathBuf>),
    /// Whether the other side does, the number of its last question, and how often it asked.
    recorded: (Consent, u32, u8),
    /// Number of the newest offer of the other side: signals may overtake one another.
    newest_offer: u32,
    /// New offers of the other side: how many, and when the last came.
    restarts: (u32, u64),
    /// Devices of the other side that are busy.
    busy: Vec<DeviceId>,
    /// How it moves between devices of one account.
    moving: own::Moving,
}

impl Calls {
    /// When something is given up, in time that the node has run: a clock that is set ends no call.
    pub fn next_due(&self) -> Option<u64> {
        self.list.iter().filter_map(|c| c.due).chain(self.wanted.iter().map(|(due, _)| *due)).min()
    }

    fn find(&mut self, id: CallId) -> Option<&mut Talk> {
        self.list.iter_mut().find(|c| c.id == id)
    }

    fn by_wire(&self, chat: ChatId, wire: CallId) -> Option<usize> {
        self.list.iter().position(|c| c.chat == chat && c.wire == wire)
    }
}

impl Talk {
    fn new(id: CallId, chat: ChatId, outgoing: bool, video: bool) -> Self {
        Self {
            id,
            wire: id,
            chat,
            outgoing,
            video,
            phase: CallPhase::Starting,
            device: None,
            note: None,
            due: None,
            offer: None,
            early: Vec::new(),
            setup: None,
            servers: Vec::new(),
            asked: 0,
            media: false,
            connected: None,
            emoji: String::new(),
            trouble: None,
            waiting: false,
            announced: false,
            tries: 1,
            recording: Default::default(),
            recorded: Default::default(),
            newest_offer: 0,
            restarts: (0, 0),
            busy: Vec::new(),
            moving: own::Moving::default(),
        }
    }

    /// Whether the offers are ours to make.
    fn offers(&self) -> bool {
        self.outgoing || self.moving.from.is_some()
    }

    fn info(&self, end: Option<(CallEnd, String)>) -> CallInfo {
        CallInfo {
            id: self.id,
            chat: self.chat,
            outgoing: self.outgoing,
            video: self.video,
            phase: if end.is_some() { CallPhase::Ended } else { self.phase },
            connected_ms: self.connected.map_or(0, |(_, wall)| wall),
            end,
            waiting: self.waiting,
            emoji: self.emoji.clone(),
            trouble: self.trouble.clone(),
            recording: self.recording.0,
            recorded: self.recorded.0,
            replaced_by: None,
            moved: self.moving.from.is_some(),
        }
    }
}

impl Engine {
    /// The calls that are not over.
    pub(crate) fn call_list(&self) -> Vec<CallInfo> {
        self.calls.list.iter().map(|c| c.info(None)).collect()
    }

    fn call_changed(&mut self, turn: &mut Turn<'_>, id: CallId) {
        if let Some(talk) = self.calls.find(id) {
            let info = Box::new(talk.info(None));
            turn.live(Live::Call(info));
        }
    }

    fn tell_call(&mut self, turn: &mut Turn<'_>, chat: ChatId, wire: CallId, signal: CallSignal) -> EventId {
        if self.check_may_write(chat).is_err() {
            return EventId::default();
        }
        self.write_event(turn, chat, Body::Call(Call { id: wire, signal }))
    }

    // What the user wants.

    /// Calls somebody; who rings here already is answered.
    pub(crate) fn call_start(
        &mut self,
        turn: &mut Turn<'_>,
        chat: ChatId,
        setup: CallSetup,
    ) -> Result<CallId, NodeError> {
        self.check_may_write(chat)?;
        let peer = self.chats.get(&chat).map(|c| c.peer);
        let person = peer.and_then(|p| self.contacts.get(&p));
        if person.is_none_or(|p| p.state() != ContactState::Active) {
            return Err(NodeError::Refused(
                "they have not accepted you as a contact yet: calls are for contacts".into(),
            ));
        }
        let rings = |c: &&Talk| c.chat == chat && !c.outgoing && c.phase == CallPhase::Ringing && c.setup.is_none();
        if let Some(id) = self.calls.list.iter().find(rings).map(|c| c.id) {
            // They call already: both want to talk.
            return self.call_answer(turn, id, setup).map(|()| id);
        }
        if self.calls.list.iter().any(|c| c.chat == chat) {
            return Err(NodeError::Refused("there is a call with them already".into()));
        }
        if self.calls_elsewhere().iter().any(|c| c.chat == chat) {
            let why = "another device of yours talks to them: starling call take (or /take) brings the call here";
            return Err(NodeError::Refused(why.into()));
        }
        if self.calls.list.len() >= MAX_CALLS {
            return Err(NodeError::Refused("there are too many calls already: hang one up".into()));
        }
        let id = CallId(turn.rng().random());
        let mut talk = Talk::new(id, chat, true, setup.camera);
        talk.setup = Some(setup);
        self.calls.list.push(talk);
        self.hold_others(turn, id);
        self.ask_for_servers(turn, id);
        self.call_changed(turn, id);
        Ok(id)
    }

    /// Answers a call.
    pub(crate) fn call_answer(&mut self, turn: &mut Turn<'_>, id: CallId, setup: CallSetup) -> Result<(), NodeError> {
        let talk = self.calls.find(id).ok_or_else(no_call)?;
        if talk.outgoing || talk.phase != CallPhase::Ringing || talk.moving.fetched.is_some() {
            return Err(NodeError::Refused("this call does not wait for an answer".into()));
        }
        (talk.setup, talk.waiting) = (Some(setup), false);
        self.hold_others(turn, id);
        self.ask_for_servers(turn, id);
        Ok(())
    }

    /// Hangs up, declines or cancels.
    pub(crate) fn call_hang_up(
        &mut self,
        turn: &mut Turn<'_>,
        id: CallId,
        mut text: String,
    ) -> Result<Result<(), NodeError>, EngineError> {
        let Some(talk) = self.calls.find(id) else { return Ok(Err(no_call())) };
        let why = match (talk.phase, talk.outgoing) {
            (CallPhase::Connected | CallPhase::Interrupted | CallPhase::Connecting, _) => CallEnd::HungUp,
            (_, true) => CallEnd::Cancelled,
            (_, false) => CallEnd::Declined,
        };
        text.truncate(text.floor_char_boundary(MAX_CALL_TEXT));
        self.end_call(turn, id, why, text, true)?;
        Ok(Ok(()))
    }

    /// The node stops: whoever is called or talked to is told.
    pub(crate) fn hang_up_all(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for id in self.calls.list.iter().map(|c| c.id).collect::<Vec<_>>() {
            // A ring is not declined by a program that ends: another may still answer.
            let ringing = self.calls.find(id).is_some_and(|c| !c.outgoing && c.phase == CallPhase::Ringing);
            self.end_call(turn, id, CallEnd::HungUp, String::new(), !ringing)?;
        }
        Ok(())
    }

    /// A conversation that is blocked or removed has no calls.
    pub(crate) fn end_calls_of(&mut self, turn: &mut Turn<'_>, chat: ChatId) -> Result<(), EngineError> {
        let ids: Vec<CallId> = self.calls.list.iter().filter(|c| c.chat == chat).map(|c| c.id).collect();
        for id in ids {
            self.end_call(turn, id, CallEnd::HungUp, String::new(), true)?;
        }
        Ok(())
    }

    /// Who takes a call puts the others on hold.
    fn hold_others(&mut self, turn: &mut Turn<'_>, id: CallId) {
        let others: Vec<CallId> = self.calls.list.iter().filter(|c| c.id != id && c.media).map(|c| c.id).collect();
        for other in others {
            turn.emit(Effect::Call(CallCommand::Hold(other, true)));
        }
    }

    // Servers.

    fn ask_for_servers(&mut self, turn: &mut Turn<'_>, id: CallId) {
        let homes: Vec<HomeId> = self
            .homes
            .iter()
            .filter(|(_, h)| h.own && h.registered && h.hello.is_some())
            .map(|(home, _)| *home)
            .collect();
        let now = turn.running();
        if let Some(talk) = self.calls.find(id) {
            talk.asked = homes.len();
            talk.due = Some(now + CALL_SERVERS_MS);
        }
        for home in &homes {
            self.ask(turn, *home, Ask::TurnCredentials(true), Asked::Turn(id));
        }
        if homes.is_empty() {
            self.start_media(turn, id);
        }
    }

    /// Servers for a test: of the first rendezvous that answers.
    pub(crate) fn call_servers(&mut self, turn: &mut Turn<'_>, reply: Reply<Vec<CallServer>>) {
        self.calls.wanted.push((turn.running() + 2 * CALL_SERVERS_MS, reply));
        self.ask_for_servers(turn, CallId::default());
    }

    /// A rendezvous gave its servers, or has none.
    pub(crate) fn on_servers(&mut self, turn: &mut Turn<'_>, id: CallId, servers: Option<TurnCredentials>) {
        if id == CallId::default()
            && let Some(servers) = servers
        {
            let TurnCredentials { urls, username, password: credential, .. } = servers;
            let server = CallServer { urls, username, credential };
            for (_, reply) in std::mem::take(&mut self.calls.wanted) {
                turn.reply(reply, Ok(vec![server.clone()]));
            }
            return;
        }
        let Some(talk) = self.calls.find(id) else { return };
        if talk.media {
            return;
        }
        if let Some(servers) = servers {
            // What a server says is bounded before it is believed.
            let urls = servers.urls.into_iter().filter(|u| u.len() <= 256).take(4).collect();
            if servers.username.len() <= 256 && servers.password.len() <= 256 {
                let (username, credential) = (servers.username, servers.password);
                talk.servers.push(CallServer { urls, username, credential });
            }
        }
        talk.asked = talk.asked.saturating_sub(1);
        if talk.asked == 0 {
            self.start_media(turn, id);
        }
    }

    fn start_media(&mut self, turn: &mut Turn<'_>, id: CallId) {
        let loopback = self.me.homes.iter().any(|h| h.to_string().contains("/ip4/127."));
        let now = turn.running();
        let Some(talk) = self.calls.find(id) else { return };
        let Some(setup) = talk.setup.clone().filter(|_| !talk.media) else { return };
        talk.media = true;
        talk.due = Some(now + if talk.outgoing { RING_MS } else { CALL_CONNECT_MS });
        if talk.moving.from.is_some() {
            talk.due = Some(now + CALL_TRY_MS);
        }
        if !talk.outgoing {
            talk.phase = CallPhase::Connecting;
        }
        let offer = talk.offer.take();
        let (wire, servers) = (talk.wire, std::mem::take(&mut talk.servers));
        let early = std::mem::take(&mut talk.early);
        turn.emit(Effect::Call(CallCommand::Start { id, wire, setup, servers, loopback, offer }));
        if !early.is_empty() {
            turn.emit(Effect::Call(CallCommand::Candidates(id, early)));
        }
        self.call_changed(turn, id);
    }

    // What the media say.

    pub(crate) fn on_call_input(&mut self, turn: &mut Turn<'_>, input: CallInput) -> Result<(), EngineError> {
        let id = input.id();
        let now = (turn.running(), turn.wall());
        let Some(talk) = self.calls.find(id) else { return Ok(()) };
        let (chat, wire) = (talk.chat, talk.wire);
        match input {
            CallInput::Offer(_, _, offer) if talk.outgoing && talk.phase == CallPhase::Starting => {
                talk.phase = CallPhase::Ringing;
                let video = talk.video;
                let ring = self.tell_call(turn, chat, wire, CallSignal::Ring { video, offer });
                if let Some(talk) = self.calls.find(id) {
                    talk.note = Some(ring);
                }
                self.note(turn, id, CallEnd::NoAnswer, 0)?;
                self.call_changed(turn, id);
            }
            CallInput::Offer(_, 0, offer) if talk.moving.from.is_some() => {
                self.tell_call(turn, chat, wire, CallSignal::Take { offer });
            }
            CallInput::Offer(_, number, offer) => {
                self.tell_call(turn, chat, wire, CallSignal::Restart { number, offer });
            }
            CallInput::Answer(_, answer) => {
                self.tell_call(turn, chat, wire, CallSignal::Answer { answer });
            }
            CallInput::Restarted(_, number, answer) => {
                self.tell_call(turn, chat, wire, CallSignal::Restarted { number, answer });
            }
            CallInput::Candidates(_, candidates) => {
                for some in candidates.chunks(MAX_CANDIDATES) {
                    self.tell_call(turn, chat, wire, CallSignal::Candidates(some.to_vec()));
                }
            }
            CallInput::Connected(_, emoji) => {
                talk.phase = CallPhase::Connected;
                talk.connected.get_or_insert(now);
                talk.due = None;
                talk.emoji = emoji;
                self.call_changed(turn, id);
            }
            CallInput::Interrupted(_) if talk.connected.is_none() => {}
            CallInput::Interrupted(_) => {
                talk.phase = CallPhase::Interrupted;
                self.call_changed(turn, id);
            }
            CallInput::Trouble(_, text) => {
                talk.trouble = Some(text);
                self.call_changed(turn, id);
            }
            CallInput::Failed(_, _) if talk.phase == CallPhase::Connecting && talk.tries < CALL_TRIES => {
                self.try_again(turn, id);
            }
            CallInput::Failed(_, text) => {
                let why = if talk.connected.is_some() { CallEnd::Lost } else { CallEnd::Failed };
                self.end_call(turn, id, why, text, true)?;
            }
            CallInput::Recorded(_, question) => {
                if talk.recording.1 == question {
                    self.recording_over(turn, id)?;
                }
            }
            CallInput::Broken(_, _) if talk.connected.is_some() => {}
            CallInput::Broken(_, text) => self.end_call(turn, id, CallEnd::Failed, text, true)?,
            CallInput::Left(_) => self.end_call(turn, id, CallEnd::HungUp, String::new(), false)?,
        }
        Ok(())
    }

    /// Rings are announced at the end of a turn: one that was taken back in the same breath never rings.
    pub(crate) fn calls_on_time(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let now = turn.running();
        let rings = |c: &&mut Talk| !c.outgoing && c.phase == CallPhase::Ringing && !c.announced;
        let announce: Vec<CallId> = self
            .calls
            .list
            .iter_mut()
            .filter(rings)
            .map(|talk| {
                talk.announced = true;
                talk.id
            })
            .collect();
        for id in announce {
            self.call_changed(turn, id);
        }
        let over: Vec<_> = self.calls.wanted.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, reply) in over {
            turn.reply(reply, Ok(Vec::new()));
        }
        let due: Vec<CallId> =
            self.calls.list.iter().filter(|c| c.due.is_some_and(|due| due <= now)).map(|c| c.id).collect();
        for id in due {
            let Some(talk) = self.calls.find(id) else { continue };
            if talk.setup.is_some() && !talk.media {
                // The rendezvous does not answer: without its help, then.
                self.start_media(turn, id);
                continue;
            }
            match (talk.phase, talk.outgoing) {
                (CallPhase::Connecting, _) if talk.offers() && talk.tries < CALL_TRIES => self.try_again(turn, id),
                (CallPhase::Connecting, _) => {
                    let text = "no way was found between the two networks".to_owned();
                    self.end_call(turn, id, CallEnd::Failed, text, true)?;
                }
                (_, true) => self.end_call(turn, id, CallEnd::NoAnswer, String::new(), true)?,
                (_, false) => self.end_call(turn, id, CallEnd::NoAnswer, String::new(), false)?,
            }
        }
        Ok(())
    }

    /// Who called makes another connection; who was called waits for it.
    fn try_again(&mut self, turn: &mut Turn<'_>, id: CallId) {
        let now = turn.running();
        let Some(talk) = self.calls.find(id) else { return };
        talk.tries += 1;
        if talk.offers() {
            talk.due = Some(now + CALL_TRY_MS);
            turn.emit(Effect::Call(CallCommand::Again(id)));
        }
    }
}

fn no_call() -> NodeError {
    NodeError::NotFound("there is no such call; see starling call list".into())
}
