//! Fan-out: what is published reaches those who listen now, at most once.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use starling_wire::rendezvous::{Response, ResponseBody};
use tokio::sync::mpsc;

use super::Key;

/// A subscriber, for the lifetime of this process.
pub type SubscriberId = u64;

/// Where messages to a subscriber go. Boxed: the queue keeps room for 32 of them for every subscriber, also for idle ones.
pub type Outbox = mpsc::Sender<Box<Response>>;

/// What one can listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// New entries and signals of a log.
    Log(Key),
    /// The same, for those who are not counted among its readers.
    Unseen(Key),
    /// News for a device.
    Device(Key),
    /// The server's own announcements.
    Everyone,
}

/// What a subscriber has missed for want of room.
#[derive(Debug, Default, PartialEq)]
pub struct Missed {
    /// Where there are more entries or other readers.
    pub topics: BTreeSet<Topic>,
    /// The newest message of each kind that says how something is now.
    pub newest: Vec<ResponseBody>,
}

/// Messages to those who listen. Nothing is kept. For want of room a signal or a message of a short code is lost. Entries and counts of readers are noted
/// as missed, so that the subscriber can ask for what there is now; of notices of an inbox, device chains and snapshots the newest is kept. Any other
/// message ends the subscriber, whose outbox is dropped.
pub trait Fanout: Send + Sync {
    /// A new subscriber.
    fn attach(&self, outbox: Outbox) -> SubscriberId;
    /// A subscriber leaves; gives the topics that it listened to.
    fn detach(&self, id: SubscriberId) -> Vec<Topic>;
    /// Listens to a topic; whether it did not before.
    fn subscribe(&self, id: SubscriberId, topic: Topic) -> bool;
    /// Listens to a topic no more; whether it did.
    fn unsubscribe(&self, id: SubscriberId, topic: Topic) -> bool;
    /// To how many topics a subscriber listens.
    fn subscriptions(&self, id: SubscriberId) -> usize;
    /// Passes a message to all who listen to a topic, except the one that it comes from.
    fn publish(&self, topic: Topic, from: Option<SubscriberId>, message: &ResponseBody);
    /// Passes a message to one subscriber; whether there was room for it.
    fn send(&self, id: SubscriberId, message: ResponseBody) -> bool;
    /// Ends all who listen to a topic: their outboxes are dropped.
    fn end(&self, topic: Topic);
    /// What a subscriber has missed for want of room, since this was asked last.
    fn take_missed(&self, id: SubscriberId) -> Missed;
    /// How many listen to a topic.
    fn listeners(&self, topic: Topic) -> usize;
}

struct Subscriber {
    outbox: Outbox,
    topics: BTreeSet<Topic>,
    missed: Missed,
}

/// What becomes of a message that there is no room for.
enum Overflow {
    /// It is of no use later, and leaves half of the room to what is.
    Drop,
    /// Who sends it sees that it was lost.
    Refuse,
    /// The subscriber asks for what there is then.
    Miss(Topic),
    /// It waits outside of the queue, in place of an older one of its kind.
    KeepNewest,
    /// The subscriber has to begin again.
    End,
}

impl Overflow {
    fn of(message: &ResponseBody, topic: Option<Topic>) -> Self {
        let miss = || topic.map_or(Self::End, Self::Miss);
        match message {
            // Who finds no room asks again.
            ResponseBody::Signal(_) | ResponseBody::LogFull(_) => Self::Drop,
            ResponseBody::Page(page) if !page.address.is_empty() => miss(),
            ResponseBody::Readers(_) => miss(),
            ResponseBody::Page(_) | ResponseBody::DeviceList(_) | ResponseBody::Snapshot(_) => Self::KeepNewest,
            ResponseBody::Code(_) => Self::Refuse,
            _ => Self::End,
        }
    }
}

#[derive(Default)]
struct State {
    next: SubscriberId,
    subscribers: HashMap<SubscriberId, Subscriber>,
    by_topic: HashMap<Topic, HashSet<SubscriberId>>,
}

/// Fan-out inside one process.
#[derive(Default)]
pub struct LocalFanout(Mutex<State>);

impl LocalFanout {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave the maps half changed: no call below panics between changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fanout for LocalFanout {
    fn attach(&self, outbox: Outbox) -> SubscriberId {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        state.subscribers.insert(id, Subscriber { outbox, topics: BTreeSet::new(), missed: Missed::default() });
        id
    }

    fn detach(&self, id: SubscriberId) -> Vec<Topic> {
        self.lock().detach(id)
    }

    fn subscribe(&self, id: SubscriberId, topic: Topic) -> bool {
        let mut state = self.lock();
        let is_new = state.subscribers.get_mut(&id).is_some_and(|subscriber| subscriber.topics.insert(topic));
        if is_new {
            state.by_topic.entry(topic).or_default().insert(id);
        }
        is_new
    }

    fn unsubscribe(&self, id: SubscriberId, topic: Topic) -> bool {
        let mut state = self.lock();
        let listened = state.subscribers.get_mut(&id).is_some_and(|subscriber| subscriber.topics.remove(&topic));
        if listened {
            state.leave(id, topic);
        }
        listened
    }

    fn subscriptions(&self, id: SubscriberId) -> usize {
        self.lock().subscribers.get(&id).map_or(0, |subscriber| subscriber.topics.len())
    }

    fn publish(&self, topic: Topic, from: Option<SubscriberId>, message: &ResponseBody) {
        let mut state = self.lock();
        let listeners: Vec<SubscriberId> = state.by_topic.get(&topic).into_iter().flatten().copied().collect();
        for id in listeners.into_iter().filter(|id| Some(*id) != from) {
            state.send(id, message.clone(), Some(topic));
        }
    }

    fn send(&self, id: SubscriberId, message: ResponseBody) -> bool {
        self.lock().send(id, message, None)
    }

    fn end(&self, topic: Topic) {
        let mut state = self.lock();
        let listeners: Vec<SubscriberId> = state.by_topic.get(&topic).into_iter().flatten().copied().collect();
        for id in listeners {
            state.detach(id);
        }
    }

    fn take_missed(&self, id: SubscriberId) -> Missed {
        let mut state = self.lock();
        let missed = state.subscribers.get_mut(&id).map(|subscriber| std::mem::take(&mut subscriber.missed));
        missed.unwrap_or_default()
    }

    fn listeners(&self, topic: Topic) -> usize {
        self.lock().by_topic.get(&topic).map_or(0, HashSet::len)
    }
}

impl State {
    fn send(&mut self, id: SubscriberId, message: ResponseBody, topic: Option<Topic>) -> bool {
        let Some(subscriber) = self.subscribers.get_mut(&id) else {
            return false;
        };
        let overflow = Overflow::of(&message, topic);
        // Signals leave half of the room to what is not lost so easily.
        let keeps = if matches!(overflow, Overflow::Drop) { subscriber.outbox.max_capacity() / 2 } else { 0 };
        let fits = subscriber.outbox.capacity() > keeps || subscriber.outbox.is_closed();
        let message = match fits.then(|| subscriber.outbox.try_reserve()) {
            Some(Ok(place)) => {
                place.send(Box::new(Response { id: 0, body: Some(message) }));
                return true;
            }
            _ => message,
        };
        match overflow {
            Overflow::Drop | Overflow::Refuse => {}
            Overflow::Miss(topic) => {
                subscriber.missed.topics.insert(topic);
            }
            Overflow::KeepNewest => {
                let kind = std::mem::discriminant(&message);
                subscriber.missed.newest.retain(|older| std::mem::discriminant(older) != kind);
                subscriber.missed.newest.push(message);
            }
            Overflow::End => {
                self.detach(id);
            }
        }
        false
    }

    fn detach(&mut self, id: SubscriberId) -> Vec<Topic> {
        let Some(subscriber) = self.subscribers.remove(&id) else {
            return Vec::new();
        };
        for topic in &subscriber.topics {
            self.leave(id, *topic);
        }
        subscriber.topics.into_iter().collect()
    }

    fn leave(&mut self, id: SubscriberId, topic: Topic) {
        if let Some(listeners) = self.by_topic.get_mut(&topic) {
            listeners.remove(&id);
            if listeners.is_empty() {
                self.by_topic.remove(&topic);
            }
        }
    }
}
