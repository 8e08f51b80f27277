//! Who reads which log now: new entries and signals are passed on at once, and members see whether others are there. Nobody is told who; and to
//! ask one has to hold the log's key. In memory only.

use starling_wire::rendezvous::{LogEntry, Page, Readers, ResponseBody, Snapshot};

use super::Services;
use crate::{
    limits::PUSH_BYTES,
    store::{Entry, Key, Missed, Outbox, SubscriberId, Topic},
};

impl Services {
    /// A session of a device begins.
    pub fn enter(&self, device: Key, outbox: Outbox) -> SubscriberId {
        let fanout = &self.store.fanout;
        let id = fanout.attach(outbox);
        fanout.subscribe(id, Topic::Device(device));
        fanout.subscribe(id, Topic::Everyone);
        id
    }

    /// A session ends, which followed these logs.
    pub fn leave(&self, id: SubscriberId, followed: impl IntoIterator<Item = Key>) {
        let topics = self.store.fanout.detach(id);
        for log in followed.into_iter().filter(|log| topics.contains(&Topic::Log(*log))) {
            self.tell_readers(log);
        }
    }

    /// A session follows a log. If it is unseen, it does not count among the readers.
    pub fn follow(&self, id: SubscriberId, log: Key, unseen: bool) {
        let (topic, other) =
            if unseen { (Topic::Unseen(log), Topic::Log(log)) } else { (Topic::Log(log), Topic::Unseen(log)) };
        let was_other = self.store.fanout.unsubscribe(id, other);
        let is_new = self.store.fanout.subscribe(id, topic);
        if is_new && unseen && !was_other {
            // Nobody else learns of it.
            let readers = ResponseBody::Readers(self.readers(Topic::Unseen(log), log));
            self.store.fanout.send(id, readers);
        } else if is_new {
            self.tell_readers(log);
        }
    }

    /// A session follows a log no more.
    pub fn unfollow(&self, id: SubscriberId, log: Key) {
        self.store.fanout.unsubscribe(id, Topic::Unseen(log));
        if self.store.fanout.unsubscribe(id, Topic::Log(log)) {
            self.tell_readers(log);
        }
    }

    /// Passes something on to all who read a log, except the session that it comes from.
    pub fn pass_on(&self, log: Key, from: SubscriberId, answer: &ResponseBody) {
        for topic in [Topic::Log(log), Topic::Unseen(log)] {
            self.store.fanout.publish(topic, Some(from), answer);
        }
    }

    /// New entries of a log.
    pub fn new_entries(&self, log: Key, from: SubscriberId, entries: &[Entry], stay: bool) {
        let large = entries.iter().map(|e| e.sealed.len()).sum::<usize>() > PUSH_BYTES;
        let answer =
            ResponseBody::Page(if large { page(&log, &[], true) } else { log_page(&log, entries, false, |_| stay) });
        self.pass_on(log, from, &answer);
    }

    /// There are new items in an inbox: the device is told to read it, as only what was read in order is deleted.
    pub fn new_items(&self, device: Key) {
        self.store.fanout.publish(Topic::Device(device), None, &ResponseBody::Page(page(&[], &[], true)));
    }

    /// The newest list of an account, for its devices and those that it has given up: all but the one that published it.
    pub fn new_devices(&self, devices: &[Key], from: SubscriberId, list: &bytes::Bytes) {
        for device in devices {
            self.store.fanout.publish(Topic::Device(*device), Some(from), &ResponseBody::DeviceList(list.clone()));
        }
    }

    /// An account has another snapshot: its other devices may read it.
    pub fn new_snapshot(&self, devices: &[Key], from: SubscriberId, version: u64) {
        let announced = ResponseBody::Snapshot(Snapshot { version, sealed: bytes::Bytes::new() });
        for device in devices {
            self.store.fanout.publish(Topic::Device(*device), Some(from), &announced);
        }
    }

    /// What a session has missed for want of room: which logs it has to read on, and how many others read them now; that it has to read its inbox; the
    /// account's newest device chain, and that there is another snapshot.
    pub fn missed(&self, id: SubscriberId) -> Vec<ResponseBody> {
        let Missed { topics, newest } = self.store.fanout.take_missed(id);
        let logs = topics
            .into_iter()
            .flat_map(|topic| match topic {
                Topic::Log(log) | Topic::Unseen(log) => {
                    let read_on = ResponseBody::Page(page(&log, &[], true));
                    [Some(read_on), Some(ResponseBody::Readers(self.readers(topic, log)))]
                }
                Topic::Device(_) | Topic::Everyone => [None, None],
            })
            .flatten();
        newest.into_iter().chain(logs).collect()
    }

    /// How many others read a log, for somebody who listens to a topic of it.
    fn readers(&self, topic: Topic, log: Key) -> Readers {
        let itself = usize::from(topic == Topic::Log(log));
        let others = self.store.fanout.listeners(Topic::Log(log)).saturating_sub(itself);
        let address = bytes::Bytes::copy_from_slice(&log);
        Readers { address, others: u32::try_from(others).unwrap_or(u32::MAX) }
    }

    /// Ends the sessions of devices.
    pub fn end_sessions(&self, devices: impl IntoIterator<Item = Key>) {
        for device in devices {
            self.store.fanout.end(Topic::Device(device));
        }
    }

    fn tell_readers(&self, log: Key) {
        for topic in [Topic::Log(log), Topic::Unseen(log)] {
            self.store.fanout.publish(topic, None, &ResponseBody::Readers(self.readers(topic, log)));
        }
    }
}

/// A page of entries, none of which is a candidate.
pub fn page(address: &[u8], entries: &[Entry], more: bool) -> Page {
    log_page(address, entries, more, |_| false)
}

/// A page of entries, of which those stay of these numbers.
pub fn log_page(address: &[u8], entries: &[Entry], more: bool, stays: impl Fn(u64) -> bool) -> Page {
    let entries = entries.iter().map(|entry| log_entry(entry, stays(entry.sequence))).collect();
    Page { address: bytes::Bytes::copy_from_slice(address), entries, more }
}

/// An entry as it is sent.
pub fn log_entry(entry: &Entry, stays: bool) -> LogEntry {
    LogEntry { sequence: entry.sequence, sealed: entry.sealed.clone(), stays }
}
