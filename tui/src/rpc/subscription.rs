//! The events of a subscription: durable ones from a cursor on, then all as they happen.

use std::{collections::HashMap, time::Duration};

use starling_control::{Error, event::EventKind, jsonrpc::event_line, methods::node::Subscribe};
use starling_node::{ChatId, ConnectionWatch, DurableEvent, DurableEventKind, Node, TransientEvent};
use tokio::sync::{broadcast, mpsc};

use super::{
    convert::{self, Names},
    serve::chat,
    session::Served,
};

/// Events that are read at a time.
const PAGE: usize = 256;
/// A reader that is this far behind …
const MAX_LAG: u64 = 10_000;
/// … and has not taken a line for so long is sent `stream.shutdown`.
const STALLED: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// For those who have no use for it, and would be woken.
const NO_KEEPALIVE: Duration = Duration::from_secs(86_400);

/// A subscription that was asked for.
pub(super) struct Subscription {
    node: Node,
    profile: String,
    /// The number of the last durable event that was sent.
    at: u64,
    chat: Option<ChatId>,
    keepalive: Duration,
    _watch: Option<ConnectionWatch>,
    /// How many messages of each conversation were sent: their handles.
    handles: HashMap<ChatId, u64>,
}

/// The reader or the node is gone, or the reader was too slow.
struct Ended;

impl Subscription {
    /// # Errors
    /// If a parameter makes no sense.
    pub fn new(served: &Served, asked: Subscribe) -> Result<Self, Error> {
        let newest = *served.node.last_event().borrow();
        let at = match asked.since.as_deref().unwrap_or("now") {
            "now" => newest,
            "all" => 0,
            cursor => match cursor.strip_prefix("c1:").and_then(|n| n.parse::<u64>().ok()) {
                Some(n) if n <= newest => n,
                _ => {
                    let why = "no cursor of this profile: use one from an earlier line, “all” or “now”";
                    return Err(Error::invalid_param("since", why));
                }
            },
        };
        Ok(Self {
            node: served.node.clone(),
            profile: served.profile.clone(),
            at,
            chat: asked.chat.as_ref().map(|text| chat(&served.node, text.as_str())).transpose()?,
            _watch: (asked.watch == Some(true)).then(|| served.node.watch_connections()),
            keepalive: if asked.keepalive == Some(false) { NO_KEEPALIVE } else { KEEPALIVE },
            handles: HashMap::new(),
        })
    }

    /// Sends events until the reader or the node is gone.
    pub async fn run(mut self: Box<Self>, lines: mpsc::Sender<String>) {
        let _: Result<(), Ended> = self.follow(&lines).await;
    }

    async fn follow(&mut self, lines: &mpsc::Sender<String>) -> Result<(), Ended> {
        let (mut last_event, mut transient) = (self.node.last_event(), self.node.transient_events());
        let mut names = Names::load(&self.node).await.map_err(|_| Ended)?;
        let mut ready = false;
        loop {
            let newest = *last_event.borrow_and_update();
            self.catch_up(newest, ready, &mut names, lines).await?;
            if !ready {
                ready = true;
                self.send_transient(EventKind::StreamReady {}, lines).await?;
            }
            tokio::select! {
                changed = last_event.changed() => changed.map_err(|_| Ended)?,
                event = transient.recv() => match event {
                    Ok(event) if self.wants(&event) => {
                        let kind = names.transient(&event, &self.node).await.map_err(|_| Ended)?;
                        self.send_transient(kind, lines).await?;
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Err(Ended),
                },
                () = tokio::time::sleep(self.keepalive) => {
                    self.send_transient(EventKind::StreamKeepalive {}, lines).await?;
                }
                () = lines.closed() => return Err(Ended),
            }
        }
    }

    /// Whether an event that is not kept is of the conversation that was asked for.
    fn wants(&self, event: &TransientEvent) -> bool {
        let chat = match event {
            TransientEvent::Typing { chat, .. } | TransientEvent::Slowed { chat, .. } => Some(*chat),
            TransientEvent::Call(call) => Some(call.chat),
            _ => None,
        };
        self.chat.is_none() || self.chat == chat
    }

    /// Sends the durable events that were not sent yet.
    async fn catch_up(
        &mut self,
        newest: u64,
        ready: bool,
        names: &mut Names,
        lines: &mpsc::Sender<String>,
    ) -> Result<(), Ended> {
        while self.at < newest {
            let page = self.node.events_after(self.at, PAGE).map_err(|_| Ended)?;
            if page.is_empty() {
                break;
            }
            for event in page {
                if event.chat.is_some_and(|chat| !names.knows(chat)) || event.account.is_some() {
                    *names = Names::load(&self.node).await.map_err(|_| Ended)?;
                }
                self.at = event.sequence;
                if self.chat.is_some() && self.chat != event.chat {
                    continue;
                }
                let handle = self.handle(&event);
                let event = names.durable_event(&event, &self.node, &self.profile, handle, !ready);
                if let Some(line) = event.and_then(|event| event_line(&event).ok()) {
                    self.send(line, ready, lines).await?;
                }
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: &DurableEvent) -> String {
        match (event.chat, event.kind) {
            (Some(chat), DurableEventKind::New) => {
                let count = self.handles.entry(chat).or_default();
                *count += 1;
                count.to_string()
            }
            _ => String::new(),
        }
    }

    /// Sends a durable event. A reader that is too slow is told so, and the subscription ends.
    async fn send(&self, line: String, ready: bool, lines: &mpsc::Sender<String>) -> Result<(), Ended> {
        let permit = match tokio::time::timeout(STALLED, lines.reserve()).await {
            Ok(permit) => permit.map_err(|_| Ended)?,
            Err(_) if ready && self.node.last_event().borrow().saturating_sub(self.at) > MAX_LAG => {
                let kind = EventKind::StreamShutdown { reason: "too slow".into() };
                let last = convert::transient(kind, &self.profile, self.at - 1);
                if let Ok(line) = event_line(&last) {
                    let _ = lines.send(line).await;
                }
                return Err(Ended);
            }
            Err(_) => lines.reserve().await.map_err(|_| Ended)?,
        };
        permit.send(line);
        Ok(())
    }

    async fn send_transient(&self, kind: EventKind, lines: &mpsc::Sender<String>) -> Result<(), Ended> {
        let event = convert::transient(kind, &self.profile, self.at);
        let line = event_line(&event).map_err(|_| Ended)?;
        lines.send(line).await.map_err(|_| Ended)
    }
}
