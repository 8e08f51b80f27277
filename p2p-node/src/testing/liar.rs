//! A server that lies about logs: each device is shown a log of its own, made of what all have appended.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use starling_wire::rendezvous::{LogEntry, Page, Request, RequestBody, Response, ResponseBody};

use super::world::Who;

/// What becomes of an entry for one reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It is shown when there is something to show.
    Now,
    /// It is decided the next time.
    Later,
    /// It is kept from this reader.
    Never,
    /// It comes now, and once more later.
    Twice,
    /// It comes with its end cut off.
    Cut,
}

/// An entry on its way to a reader.
#[derive(Clone, Copy, Debug)]
pub struct Showing {
    pub author: Who,
    pub reader: Who,
    pub is_commit: bool,
    /// A random number.
    pub die: u32,
}

/// Decides what becomes of entries.
pub type Policy = Box<dyn FnMut(Showing) -> Shown>;

#[derive(Clone)]
struct Entry {
    author: Who,
    sealed: Bytes,
    is_commit: bool,
}

#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    views: BTreeMap<Who, View>,
}

/// What a reader was shown, in its order, and which entries that is about.
#[derive(Default)]
struct View {
    shown: Vec<Bytes>,
    decided: HashSet<usize>,
    pushed: usize,
}

/// A request that is not answered yet.
enum PendingRequest {
    Read { address: Bytes, after: u64 },
    Append { address: Bytes, entries: Vec<Bytes>, is_commit: bool },
}

/// The server.
pub struct Liar {
    logs: HashMap<Bytes, Log>,
    asked: HashMap<(Who, u64), PendingRequest>,
    policy: Policy,
    rng: SmallRng,
}

impl Liar {
    pub fn new(seed: u64, policy: impl FnMut(Showing) -> Shown + 'static) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self { logs: HashMap::new(), asked: HashMap::new(), policy: Box::new(policy), rng }
    }

    /// From now on it decides in this way.
    pub fn shows(&mut self, policy: impl FnMut(Showing) -> Shown + 'static) {
        self.policy = Box::new(policy);
    }

    /// From now on it shows everything.
    pub fn relent(&mut self) {
        self.shows(|_| Shown::Now);
    }

    /// It sees a request.
    pub fn on_request(&mut self, who: Who, request: &Request) {
        let asked = match &request.body {
            Some(RequestBody::LogRead(read)) => {
                PendingRequest::Read { address: read.address.clone(), after: read.after }
            }
            Some(RequestBody::LogAppend(append)) => PendingRequest::Append {
                address: append.address.clone(),
                entries: append.entries.clone(),
                is_commit: append.candidate,
            },
            _ => return,
        };
        self.asked.insert((who, request.id), asked);
    }

    /// It answers, or pushes something.
    pub fn on_response(&mut self, who: Who, response: &mut Response) {
        let asked = self.asked.remove(&(who, response.id));
        match (&mut response.body, asked) {
            (Some(ResponseBody::Page(page)), Some(PendingRequest::Read { address, after })) => {
                let shown = self.view(who, &address);
                page.entries = numbered(&shown.shown, after as usize);
                shown.pushed = shown.shown.len();
                page.more = false;
            }
            (
                Some(body @ (ResponseBody::Appended(_) | ResponseBody::Behind(_))),
                Some(PendingRequest::Append { address, entries, is_commit }),
            ) => {
                // Candidates are taken though there are others: who wins is for the server to say.
                let log = self.logs.entry(address.clone()).or_default();
                log.entries.extend(entries.into_iter().map(|sealed| Entry { author: who, sealed, is_commit }));
                let view = self.view(who, &address);
                *body = ResponseBody::Appended(view.shown.len() as u64);
            }
            // What is pushed comes from `pushes`.
            (Some(ResponseBody::Page(page)), None) if self.logs.contains_key(&page.address) => response.body = None,
            _ => {}
        }
    }

    /// What it pushes to those who read logs.
    pub fn pushes(&mut self) -> Vec<(Who, Response)> {
        let readers =
            |(address, log): (&Bytes, &Log)| log.views.keys().map(|who| (address.clone(), *who)).collect::<Vec<_>>();
        let mut all: Vec<(Bytes, Who)> = self.logs.iter().flat_map(readers).collect();
        all.sort();
        let mut pushes = Vec::new();
        for (address, who) in all {
            let view = self.view(who, &address);
            let entries = numbered(&view.shown, view.pushed);
            view.pushed = view.shown.len();
            if !entries.is_empty() {
                let page = Page { address, entries, ..Page::default() };
                pushes.push((who, Response { id: 0, body: Some(ResponseBody::Page(page)) }));
            }
        }
        pushes
    }

    /// What a reader is shown of a log by now.
    fn view(&mut self, reader: Who, address: &Bytes) -> &mut View {
        let log = self.logs.entry(address.clone()).or_default();
        let view = log.views.entry(reader).or_default();
        for (at, entry) in log.entries.iter().enumerate() {
            if view.decided.contains(&at) {
                continue;
            }
            let Entry { author, is_commit, .. } = *entry;
            let shown = (self.policy)(Showing { author, reader, is_commit, die: self.rng.random() });
            match shown {
                Shown::Later => continue,
                Shown::Never => {}
                Shown::Now => view.shown.push(entry.sealed.clone()),
                Shown::Twice => view.shown.extend([entry.sealed.clone(), entry.sealed.clone()]),
                Shown::Cut => view.shown.push(entry.sealed.slice(..entry.sealed.len() / 2)),
            }
            view.decided.insert(at);
        }
        view
    }
}

/// Entries from a place on, counted from 1.
fn numbered(shown: &[Bytes], after: usize) -> Vec<LogEntry> {
    let entries = shown.iter().enumerate().skip(after);
    entries.map(|(at, sealed)| LogEntry { sequence: at as u64 + 1, sealed: sealed.clone(), stays: true }).collect()
}
