//! One call, as far as this device takes part in it, and who else does.

use std::{collections::BTreeSet, path::PathBuf};

use starling_keys::{AccountId, DeviceId};
use starling_wire::{CallId, EventId};

use super::{
    handoff::Handoff,
    limits::{CALL_HASTE_MS, CALL_RESTART_MS, CALL_TRIES, CALL_TRY_MS, MAX_EARLY_CANDIDATES},
    sas::Sas,
};
use crate::{
    api::{
        problem::CallProblem,
        types::{CallEnded, CallInfo, CallPhase, CallSetup, ChatId, Consent},
    },
    call_media::{CallServer, Leg, RouteId},
};

/// A call that this device makes, is asked to join, or is in. It goes `Starting → Ringing → Connecting → Connected ⇄ Interrupted`, and is dropped at its
/// end.
#[derive(Debug)]
pub struct CallSession {
    /// Its id for users of this node.
    pub id: CallId,
    /// Its id on the wire: another one, after both sides called at once.
    pub wire_id: CallId,
    pub chat: ChatId,
    pub outgoing: bool,
    pub video: bool,
    pub phase: CallPhase,
    /// Place of its note in the timeline.
    pub note: Option<EventId>,
    /// When this phase is given up, in milliseconds that the node has run.
    pub deadline: Option<u64>,
    pub media: MediaState,
    /// Since when people talk here: in milliseconds that the node has run, and by the clock.
    pub connected: Option<(u64, u64)>,
    pub notice: Notice,
    /// Our wish to record it.
    pub recording: OwnRecording,
    pub participants: Vec<Participant>,
    /// How it moves between devices of one account.
    pub handoff: Handoff,
}

/// What is needed to start a call's media, and whether that has happened.
#[derive(Debug, Default)]
pub struct MediaState {
    /// What is captured and where it is played, once the user has said so.
    pub setup: Option<CallSetup>,
    /// STUN and TURN servers that rendezvous have given.
    pub servers: Vec<CallServer>,
    /// Rendezvous that were asked for servers and have not answered.
    pub servers_pending: usize,
    pub started: bool,
}

/// What the user is shown beside the phase.
#[derive(Debug, Default)]
pub struct Notice {
    pub trouble: Option<CallProblem>,
    /// Another call was there first.
    pub waiting: bool,
    /// The user was told that it rings.
    pub announced: bool,
}

/// Our wish to record a call.
#[derive(Debug, Default)]
pub struct OwnRecording {
    pub consent: Consent,
    /// Number of our last question.
    pub question: u32,
    /// Where to, until it begins.
    pub path: Option<PathBuf>,
}

/// Somebody else in a call, and the route that media take between us.
#[derive(Debug)]
pub struct Participant {
    pub account: AccountId,
    /// The device that rings, has answered, or was answered; unknown while we ring.
    pub device: Option<DeviceId>,
    pub route: RouteId,
    /// Its offer, until it is answered.
    pub offer: Option<String>,
    /// Candidates that came before the offer was answered.
    pub early_candidates: Vec<String>,
    /// Devices of the account that are busy.
    pub busy: BTreeSet<DeviceId>,
    /// Number of its newest offer: signals may overtake one another.
    newest_offer: u32,
    /// Its new offers: how many, and when the last one came.
    restarts: (u32, u64),
    /// Connections that were tried.
    pub tries: u8,
    /// Our offer was made in another network: the connection that follows from it is made again at once.
    pub is_offer_stale: bool,
    /// What both sides see if nobody is between them; empty before media flow and both have contributed.
    pub emoji: String,
    /// The exchange behind that.
    pub sas: Sas,
    /// The device that it hands its end of the call over to.
    pub transferee: Option<DeviceId>,
    /// Its wish to record the call.
    pub recorded: PeerRecording,
}

/// A participant's wish to record a call.
#[derive(Debug, Default)]
pub struct PeerRecording {
    pub consent: Consent,
    /// Number of its last question.
    pub question: u32,
    /// How often it has asked.
    pub asked: u8,
}

impl Participant {
    /// Somebody who is on this route.
    pub fn new(account: AccountId, device: Option<DeviceId>, route: RouteId) -> Self {
        Self {
            account,
            device,
            route,
            offer: None,
            early_candidates: Vec::new(),
            busy: BTreeSet::new(),
            newest_offer: 0,
            restarts: (0, 0),
            tries: 1,
            is_offer_stale: false,
            emoji: String::new(),
            sas: Sas::default(),
            transferee: None,
            recorded: PeerRecording::default(),
        }
    }

    /// Keeps candidates for later, as far as there is room.
    pub fn keep_candidates(&mut self, candidates: Vec<String>) {
        if self.early_candidates.len() + candidates.len() <= MAX_EARLY_CANDIDATES {
            self.early_candidates.extend(candidates);
        }
    }

    /// Whether a new offer counts: it is newer than the last, and they do not come too often. Each costs a connection: some are taken while there
    /// is none, then one at a time.
    pub fn admits_offer(&mut self, number: u32, now: u64) -> bool {
        if number <= self.newest_offer {
            return false;
        }
        self.newest_offer = number;
        let soon = now.saturating_sub(self.restarts.1) < CALL_RESTART_MS;
        if soon && self.restarts.0 >= u32::from(CALL_TRIES) {
            return false;
        }
        self.restarts = (self.restarts.0 + 1, now);
        true
    }

    /// Another device of the account is there in its place.
    pub fn moved_to(&mut self, device: DeviceId) {
        self.device = Some(device);
        self.transferee = None;
        (self.newest_offer, self.restarts) = (0, (0, 0));
        (self.recorded.consent, self.recorded.question) = (Consent::No, 0);
    }
}

impl CallSession {
    pub fn new(id: CallId, chat: ChatId, outgoing: bool, video: bool) -> Self {
        Self {
            id,
            wire_id: id,
            chat,
            outgoing,
            video,
            phase: CallPhase::Starting,
            note: None,
            deadline: None,
            media: MediaState::default(),
            connected: None,
            notice: Notice::default(),
            recording: OwnRecording::default(),
            participants: Vec::new(),
            handoff: Handoff::default(),
        }
    }

    /// Adds somebody, on a route of their own.
    pub fn add(&mut self, account: AccountId, device: Option<DeviceId>) -> &mut Participant {
        let route = RouteId(self.participants.iter().map(|p| p.route.0 + 1).max().unwrap_or(0));
        self.participants.push(Participant::new(account, device, route));
        let last = self.participants.len() - 1;
        &mut self.participants[last]
    }

    pub fn on_route(&mut self, route: RouteId) -> Option<&mut Participant> {
        self.participants.iter_mut().find(|p| p.route == route)
    }

    /// The participant that a device speaks for: from the answer on, only the device that gave it has a say.
    pub fn speaker(&mut self, account: AccountId, device: DeviceId) -> Option<&mut Participant> {
        self.participants.iter_mut().find(|p| p.account == account && p.device.is_none_or(|d| d == device))
    }

    pub fn has_device(&self, device: DeviceId) -> bool {
        self.participants.iter().any(|p| p.device == Some(device))
    }

    /// The device of the first participant, once it is known.
    pub fn first_device(&self) -> Option<DeviceId> {
        self.participants.first().and_then(|p| p.device)
    }

    pub fn leg(&self, route: RouteId) -> Leg {
        Leg { call: self.id, route }
    }

    /// It rings here.
    pub fn is_incoming_ring(&self) -> bool {
        !self.outgoing && self.phase == CallPhase::Ringing
    }

    /// We ring, or are about to.
    pub fn is_outgoing_ring(&self) -> bool {
        self.outgoing && matches!(self.phase, CallPhase::Starting | CallPhase::Ringing)
    }

    /// It is connected, or was until a moment ago.
    pub fn is_established(&self) -> bool {
        matches!(self.phase, CallPhase::Connected | CallPhase::Interrupted)
    }

    /// What a connection that we offer, and that is not there yet, begins or ends at is gone: the next try is made soon. Not the last two: a network
    /// that goes on changing does not use them up within seconds.
    pub fn hasten_try(&mut self, route: RouteId, now: u64) {
        let (phase, deadline) = (self.phase, self.deadline);
        let Some(participant) = self.on_route(route) else { return };
        match (phase, deadline) {
            (CallPhase::Connecting, Some(deadline)) if participant.tries + 2 <= CALL_TRIES => {
                // The last try was made so long before it.
                let soonest = deadline.saturating_sub(CALL_TRY_MS - CALL_HASTE_MS);
                self.deadline = Some(deadline.min(now.max(soonest)));
            }
            (CallPhase::Starting | CallPhase::Ringing, _) => participant.is_offer_stale = true,
            _ => {}
        }
    }

    /// Whether the offers are ours to make.
    pub fn makes_offers(&self) -> bool {
        self.outgoing || self.handoff.from.is_some()
    }

    /// What the user is shown; with `end`, that it is over.
    pub fn info(&self, end: Option<CallEnded>) -> CallInfo {
        let recorded = self.participants.iter().map(|p| p.recorded.consent);
        CallInfo {
            id: self.id,
            chat: self.chat,
            outgoing: self.outgoing,
            video: self.video,
            phase: if end.is_some() { CallPhase::Ended } else { self.phase },
            connected_ms: self.connected.map_or(0, |(_, wall)| wall),
            end,
            waiting: self.notice.waiting,
            emoji: self.participants.iter().find(|p| !p.emoji.is_empty()).map_or_else(String::new, |p| p.emoji.clone()),
            trouble: self.notice.trouble.clone(),
            recording: self.recording.consent,
            recorded: recorded.max().unwrap_or_default(),
            replaced_by: None,
            moved: self.handoff.from.is_some(),
            participants: self.participants.iter().map(|p| (p.account, p.device)).collect(),
        }
    }
}
