//! A server that lies about accounts and inboxes: it answers with an older device chain or with none, so that it withholds a removal or a new device, it
//! forgets what devices left at its doors, and it drops and repeats what lies in inboxes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use starling_keys::{AccountId, DeviceChain};
use starling_wire::rendezvous::{LogEntry, Page, Refusal, Refused, Response, ResponseBody};

use super::world::{Lie, Who};

/// How often it lies, of 32 times.
#[derive(Clone, Copy, Debug)]
pub struct Lies {
    /// It gives an older chain.
    pub old_chain: u32,
    /// It knows no such account.
    pub no_chain: u32,
    /// A log is empty where it is read for the first time: what newcomers read first is the door.
    pub no_door: u32,
    pub dropped_item: u32,
    pub repeated_item: u32,
}

/// What the server remembers for its lies.
struct Forgetful {
    lies: Lies,
    rng: SmallRng,
    /// All that it was told of an account, in the order in which it was.
    chains: BTreeMap<AccountId, Vec<DeviceChain>>,
    /// Logs that somebody has read.
    read: BTreeSet<(Who, Vec<u8>)>,
    /// Items that were in somebody's inbox.
    items: BTreeMap<Who, Vec<LogEntry>>,
}

/// Answers of a server that lies so often.
pub fn forgetful(seed: u64, lies: Lies) -> Lie {
    let rng = SmallRng::seed_from_u64(seed);
    let (chains, read, items) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let mut server = Forgetful { lies, rng, chains, read, items };
    Box::new(move |who, response| server.answer(who, response))
}

impl Forgetful {
    fn lies(&mut self, often: u32) -> bool {
        self.rng.random_range(0..32) < often
    }

    fn answer(&mut self, who: Who, response: &mut Response) {
        match &mut response.body {
            Some(ResponseBody::DeviceList(bytes)) => {
                let Some(chain) = self.whole(bytes) else { return };
                let known = self.chains.entry(chain.account).or_default();
                if known.last().is_none_or(|last| last.head() != chain.head()) {
                    known.push(chain.clone());
                }
                if self.lies(self.lies.no_chain) {
                    // What is pushed cannot be refused.
                    let refused = Refused { reason: Refusal::NotFound.into(), ..Refused::default() };
                    response.body = (response.id > 0).then_some(ResponseBody::Refused(refused));
                } else if self.lies(self.lies.old_chain) {
                    let known = &self.chains[&chain.account];
                    *bytes = known[self.rng.random_range(0..known.len())].as_bytes().to_vec().into();
                }
            }
            Some(ResponseBody::Page(page)) if page.address.is_empty() => self.inbox(who, page),
            Some(ResponseBody::Page(page)) => {
                let is_first = self.read.insert((who, page.address.to_vec()));
                if is_first && self.lies(self.lies.no_door) {
                    page.entries.clear();
                    page.more = false;
                }
            }
            _ => {}
        }
    }

    fn whole(&self, bytes: &[u8]) -> Option<DeviceChain> {
        let known = self.chains.values().filter_map(|known| known.last());
        DeviceChain::from_bytes(bytes)
            .ok()
            .or_else(|| known.filter_map(|last| DeviceChain::read(bytes, last).ok()).next())
    }

    fn inbox(&mut self, who: Who, page: &mut Page) {
        let mut shown = Vec::new();
        for item in std::mem::take(&mut page.entries) {
            if self.lies(self.lies.repeated_item) {
                // Something old, where the new one is expected.
                let old = self.items.entry(who).or_default();
                if !old.is_empty() {
                    let again = old[self.rng.random_range(0..old.len())].clone();
                    shown.push(LogEntry { sequence: item.sequence, ..again });
                }
            }
            self.items.entry(who).or_default().push(item.clone());
            if !self.lies(self.lies.dropped_item) {
                shown.push(item);
            }
        }
        page.entries = shown;
    }
}
