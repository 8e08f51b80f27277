//! Who reads which log now: new entries and signals are passed on at once, and members see whether others are there. Nobody is told who; and to
//! ask one has to hold the log's key. In memory only.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use starling_wire::rendezvous::{Answer, Page, Readers, Response};
use tokio::sync::mpsc;

use crate::{
    limits::PUSH_BYTES,
    store::{Entry, Key},
};

/// A session, for the lifetime of this process.
pub type SessionId = u64;

/// What can be pushed to a session. Boxed: the queue keeps room for 32 of them for every session, also for idle ones.
pub type Push = mpsc::Sender<Box<Response>>;

#[derive(Default)]
struct State {
    next: SessionId,
    sessions: HashMap<SessionId, Push>,
    readers: HashMap<Key, HashSet<SessionId>>,
    by_device: HashMap<Key, SessionId>,
}

/// The sessions and what they read.
#[derive(Default)]
pub struct Presence {
    state: Mutex<State>,
}

impl Presence {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave the maps half changed: no call below panics between changes.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A session of a device begins; an older one of the same device gets no more news.
    pub fn enter(&self, device: Key, push: Push) -> SessionId {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.sessions.insert(id, push);
        state.by_device.insert(device, id);
        id
    }

    /// A session ends.
    pub fn leave(&self, id: SessionId, device: Key, followed: impl IntoIterator<Item = Key>) {
        for log in followed {
            self.unfollow(id, log);
        }
        let mut state = self.lock();
        state.sessions.remove(&id);
        if state.by_device.get(&device) == Some(&id) {
            state.by_device.remove(&device);
        }
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.lock().sessions.len()
    }

    /// A session follows a log.
    pub fn follow(&self, id: SessionId, log: Key) {
        let mut state = self.lock();
        state.readers.entry(log).or_default().insert(id);
        state.tell_readers(log);
    }

    /// A session follows a log no more.
    pub fn unfollow(&self, id: SessionId, log: Key) {
        let mut state = self.lock();
        if let Some(readers) = state.readers.get_mut(&log) {
            readers.remove(&id);
            if readers.is_empty() {
                state.readers.remove(&log);
            } else {
                state.tell_readers(log);
            }
        }
    }

    /// Passes something on to all who read a log, except the session that it comes from.
    pub fn pass_on(&self, log: Key, from: SessionId, answer: &Answer) {
        self.lock().pass_on(log, from, answer);
    }

    /// New entries of a log.
    pub fn new_entries(&self, log: Key, from: SessionId, entries: &[Entry]) {
        let large = entries.iter().map(|e| e.sealed.len()).sum::<usize>() > PUSH_BYTES;
        let answer = Answer::Page(if large { page(&log, &[], true) } else { page(&log, entries, false) });
        self.lock().pass_on(log, from, &answer);
    }

    /// There are new items in an inbox: the device is told to read it, as only what was read in order is deleted.
    pub fn new_items(&self, device: Key) {
        let mut state = self.lock();
        if let Some(id) = state.by_device.get(&device).copied() {
            state.push(id, Answer::Page(page(&[], &[], true)));
        }
    }

    /// The newest list of an account, for its devices and those that it has given up: all but the one that told it.
    pub fn new_devices(&self, devices: &[Key], from: SessionId, list: &bytes::Bytes) {
        let mut state = self.lock();
        for device in devices {
            if let Some(id) = state.by_device.get(device).copied().filter(|id| *id != from) {
                state.push(id, Answer::DeviceList(list.clone()));
            }
        }
    }

    /// Tells one session something.
    pub fn tell(&self, id: SessionId, answer: Answer) -> bool {
        self.lock().push(id, answer)
    }

    /// Tells every session something.
    pub fn tell_all(&self, answer: &Answer) {
        let mut state = self.lock();
        let all: Vec<_> = state.sessions.keys().copied().collect();
        for id in all {
            state.push(id, answer.clone());
        }
    }
}

impl State {
    fn tell_readers(&mut self, log: Key) {
        let readers: Vec<SessionId> = self.readers.get(&log).map(|r| r.iter().copied().collect()).unwrap_or_default();
        let others = readers.len().saturating_sub(1) as u32;
        for id in readers {
            let address = bytes::Bytes::copy_from_slice(&log);
            self.push(id, Answer::Readers(Readers { address, others }));
        }
    }

    fn pass_on(&mut self, log: Key, from: SessionId, answer: &Answer) {
        let readers: Vec<SessionId> =
            self.readers.get(&log).map(|r| r.iter().copied().filter(|id| *id != from).collect()).unwrap_or_default();
        for id in readers {
            self.push(id, answer.clone());
        }
    }

    /// A session whose queue is full is dropped from here: its task sees the closed queue and disconnects the device.
    fn push(&mut self, id: SessionId, answer: Answer) -> bool {
        let Some(push) = self.sessions.get(&id) else {
            return false;
        };
        let response = Response { id: 0, answer: Some(answer) };
        let sent = push.try_send(Box::new(response)).is_ok();
        if !sent {
            self.sessions.remove(&id);
        }
        sent
    }
}

/// A page of entries.
pub fn page(address: &[u8], entries: &[Entry], more: bool) -> Page {
    Page {
        address: bytes::Bytes::copy_from_slice(address),
        entries: entries
            .iter()
            .map(|e| starling_wire::rendezvous::LogEntry {
                sequence: e.sequence,
                sealed: e.sealed.clone(),
                closing: e.closing,
            })
            .collect(),
        more,
    }
}
