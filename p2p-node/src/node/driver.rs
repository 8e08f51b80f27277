//! The engine's thread: waits for inputs or the next due time, works in turns, carries out effects.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, mpsc, watch};

use super::{
    limits::{ACK_DELAY, ENGINE_QUEUE, TURN_INPUTS},
    now_ms,
};
use crate::{
    api::types::TransientEvent,
    call_media::{CallInput, CallsHandle},
    engine::{Engine, Input},
    net::{NetCommand, NetEvent, NetHandle},
    turn::{Effect, EngineError, Now},
};

/// For so long a stop waits until what it says has left, …
const LAST_WORDS: Duration = Duration::from_millis(30);
/// … and for so long where that is much: a door of some hundred devices has hundreds of kilobytes.
const LONG_LAST_WORDS: Duration = Duration::from_secs(1);

/// Gives the time to the engine: steady for its timers even if the clock is set back, and ahead with it after a suspension.
struct Clocks {
    start: Instant,
    /// Steady time at `start`.
    base_ms: u64,
    /// Time since the machine's start, at ours.
    booted: Duration,
}

/// Time since the machine was started, with the time that it slept.
fn since_boot() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = rustix::time::ClockId::Monotonic;
    Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
}

impl Clocks {
    fn new() -> Self {
        Self { start: Instant::now(), base_ms: now_ms(), booted: since_boot() }
    }

    fn now(&mut self) -> Now {
        let (wall_ms, elapsed) = (now_ms(), self.start.elapsed().as_millis() as u64);
        self.base_ms = self.base_ms.max(wall_ms.saturating_sub(elapsed));
        let running_ms = since_boot().saturating_sub(self.booted).as_millis() as u64;
        Now { steady_ms: self.base_ms + elapsed, wall_ms, running_ms }
    }
}

/// Who carries out what the engine decides.
pub struct Outside {
    pub net: NetHandle,
    pub calls: CallsHandle,
}

/// Where the events of the engine go.
pub struct Listeners {
    /// Sequence number of the newest durable event.
    pub last_event: watch::Sender<u64>,
    pub transient: broadcast::Sender<TransientEvent>,
}

/// What waits for the engine. What others send has a queue of its own: behind thousands of calls of a busy user, the acknowledgements that let
/// these calls' messages leave would come too late to keep both ends at work.
pub struct Inbox {
    network: mpsc::Receiver<NetEvent>,
    media: mpsc::Receiver<CallInput>,
    user: mpsc::Receiver<Input>,
}

/// The entrances of an [`Inbox`].
pub struct Senders {
    pub network: mpsc::Sender<NetEvent>,
    /// For the media of calls.
    pub media: mpsc::Sender<CallInput>,
    /// For the node's user.
    pub user: mpsc::Sender<Input>,
}

impl Inbox {
    /// With its entrances.
    pub fn new() -> (Senders, Self) {
        let (to_network, network) = mpsc::channel(ENGINE_QUEUE);
        let (to_media, media) = mpsc::channel(ENGINE_QUEUE);
        let (to_user, user) = mpsc::channel(ENGINE_QUEUE);
        (Senders { network: to_network, media: to_media, user: to_user }, Self { network, media, user })
    }

    /// Waits for inputs and adds all that are there, up to a turn's worth; half of them are the user's if there are so many. Gives how many; 0 when
    /// nobody can send any more. Loses nothing when it is dropped while it waits.
    async fn receive(&mut self, inputs: &mut Vec<Input>) -> usize {
        let before = inputs.len();
        let first = tokio::select! {
            Some(event) = self.network.recv() => event.into(),
            Some(input) = self.media.recv() => input.into(),
            Some(input) = self.user.recv() => input,
            else => return 0,
        };
        inputs.push(first);
        take(&mut self.media, inputs, TURN_INPUTS / 2);
        take(&mut self.network, inputs, TURN_INPUTS / 2);
        take(&mut self.user, inputs, TURN_INPUTS);
        take(&mut self.network, inputs, TURN_INPUTS);
        inputs.len() - before
    }
}

/// Takes what is there until there are `most` inputs.
fn take<I: Into<Input>>(queue: &mut mpsc::Receiver<I>, inputs: &mut Vec<Input>, most: usize) {
    while inputs.len() < most
        && let Ok(input) = queue.try_recv()
    {
        inputs.push(input.into());
    }
}

impl Outside {
    /// Carries out what a turn has decided.
    fn carry_out(&self, effects: Vec<Effect>, transient: &broadcast::Sender<TransientEvent>) {
        for effect in effects {
            match effect {
                Effect::Net(command) => self.net.send(command),
                Effect::Call(command) => self.calls.send(command),
                Effect::Reply(reply) => reply(),
                Effect::TransientEvent(event) => {
                    // Without a listener it is nobody's loss: these are not kept.
                    let _ = transient.send(event);
                }
            }
        }
    }
}

/// Works until the node is stopped, everybody has let go of it, or its store fails.
pub fn drive(
    engine: &mut Engine,
    mut inbox: Inbox,
    outside: &Outside,
    listeners: &Listeners,
    runtime: &tokio::runtime::Handle,
) -> Result<(), EngineError> {
    let mut inputs = Vec::with_capacity(TURN_INPUTS);
    let mut clocks = Clocks::new();
    loop {
        outside.carry_out(engine.turn(inputs.drain(..), clocks.now())?, &listeners.transient);
        if *listeners.last_event.borrow() != engine.last_event() {
            let _ = listeners.last_event.send(engine.last_event());
        }
        let wait =
            engine.next_due().map(|due| Duration::from_millis(due.saturating_sub(clocks.now().steady_ms).max(1)));
        let received = runtime.block_on(async {
            match wait {
                Some(wait) => tokio::time::timeout(wait, inbox.receive(&mut inputs)).await.ok(),
                None => Some(inbox.receive(&mut inputs).await),
            }
        });
        if received == Some(0) {
            return Ok(());
        }
        // What only says how far others have come, and what a member has passed on, wait a moment for something that has to be written anyway, and
        // share its commit.
        let until = Instant::now() + ACK_DELAY;
        while !inputs.is_empty() && inputs.len() < TURN_INPUTS && inputs.iter().all(Input::can_wait) {
            let rest = until.saturating_duration_since(Instant::now());
            let more = inbox.receive(&mut inputs);
            if !matches!(runtime.block_on(async { tokio::time::timeout(rest, more).await }), Ok(1..)) {
                break;
            }
        }
        if let Some(stop) = inputs.iter().position(|i| matches!(i, Input::Stop)) {
            inputs.truncate(stop + 1);
            // It ends in any case.
            let effects = engine.turn(inputs.drain(..), clocks.now()).unwrap_or_default();
            outside.carry_out(effects, &listeners.transient);
            // Gives the last words a moment to leave, then the closing of connections; nothing durable depends on it.
            thread::sleep(if engine.has_last_words() { LONG_LAST_WORDS } else { LAST_WORDS });
            outside.net.send(NetCommand::Leave);
            thread::sleep(Duration::from_millis(20));
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_others_send_does_not_wait_behind_the_calls_of_a_busy_user() {
        let (senders, mut inbox) = Inbox::new();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..4 * ENGINE_QUEUE {
            let user = senders.user.clone();
            waiting.spawn(async move { user.send(Input::Stop).await });
        }
        while senders.user.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        let event = NetEvent::Addresses { own: Vec::new(), public: false };
        senders.network.send(event).await.unwrap();
        let mut inputs = Vec::new();
        assert_eq!(inbox.receive(&mut inputs).await, TURN_INPUTS);
        assert_eq!(inputs.iter().filter(|i| matches!(i, Input::Net(_))).count(), 1);
        drop(senders);
        waiting.shutdown().await;
        while inbox.receive(&mut inputs).await > 0 {}
    }
}
