//! The streams of the swarm: those to devices, the sessions with rendezvous, and probes. What is opened for them becomes a task that serves it.

use std::{collections::HashMap, time::Instant};

use libp2p::{Stream, swarm::ConnectionId};
use starling_keys::DeviceId;
use starling_wire::{
    direct::DirectFrame,
    streams::{Connection, OpenError, Opened},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinError},
};
use tracing::Instrument;

use super::{
    driver::Driver,
    probe::{ProbeTarget, Probing},
    visit::Visit,
};
use crate::net::{
    ConnectionProblem, HomeId, Transport,
    connectivity::{DialId, Input, Subject},
    direct, peer_of,
    rendezvous::{self, Left, Outgoing},
};

/// Frames that may wait for one device; its window of unacknowledged bytes is smaller. A device that lets it fill reads too slowly.
const FRAMES: usize = 256;
/// Requests that may wait for one rendezvous.
const REQUESTS: usize = 65_536;
/// Inbound direct streams of one device at a time: one, and one that is about to take its place.
const INBOUND_STREAMS: usize = 3;

/// The stream that we write to a peer. `None` once its queue has been full: it is being closed.
pub(super) struct Outbound<T> {
    /// Tells it from the stream that it has replaced.
    pub number: u64,
    pub queue: Option<mpsc::Sender<T>>,
}

impl<T> Outbound<T> {
    /// Puts something into the queue. Returns false if that has just turned out to be full or closed.
    pub fn push(&mut self, item: T) -> bool {
        let pushed = self.queue.as_ref().is_none_or(|queue| queue.try_send(item).is_ok());
        if !pushed {
            self.queue = None;
        }
        pushed
    }
}

/// The end of a task.
pub(super) enum Ended {
    Out(DeviceId, u64, Connection),
    Home(HomeId, u64, Left),
    Inbound,
    Work,
}

/// The result of opening a stream.
pub(super) enum Opening {
    Device(DeviceId, ConnectionId, Result<Opened, OpenError>),
    Home(HomeId, ConnectionId, Result<Opened, OpenError>),
    /// The rendezvous has greeted us on the stream with this number, or never will.
    Greeted(HomeId, u64, bool),
    /// A visit to a rendezvous, which this dial was for.
    Visit(DialId, Result<Box<Visit>, ConnectionProblem>),
    /// What has become of a probe, which is no more than a stream, or was answered on a session.
    Probe(Probing),
    /// A probe on a session was not answered there.
    NoPong(ProbeTarget),
}

/// The streams that are open.
#[derive(Default)]
pub(super) struct Streams {
    /// The number of the last that was opened.
    last: u64,
    /// Those on which we write to devices.
    pub devices: HashMap<DeviceId, Outbound<DirectFrame>>,
    /// The sessions with rendezvous.
    pub homes: HashMap<HomeId, Outbound<Outgoing>>,
    /// The tasks that read what devices write.
    pub inbound: HashMap<DeviceId, Vec<AbortHandle>>,
}

impl Streams {
    fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Driver {
    pub(super) async fn on_opening(&mut self, opening: Opening) {
        match opening {
            Opening::Device(device, on, Ok(Opened { stream, connection })) => {
                let before = self.connectivity.stream_of(&device);
                self.connectivity.handle(Instant::now(), Input::StreamOpened { device, on, connection });
                // It may have been replaced by a better one that is being opened, or the device may not be wanted any more.
                if self.connectivity.stream_of(&device) == Some(connection) && before != Some(connection) {
                    self.write_to_device(device, stream, connection);
                }
                self.report(Input::Tick).await;
            }
            Opening::Device(device, on, Err(error)) => {
                tracing::debug!(parent: &self.span_of(on), %error, "a stream to a device cannot be opened");
                self.report(Input::StreamFailed { device, on }).await;
            }
            Opening::Home(home, _, Ok(Opened { stream, connection })) => {
                let before = self.connectivity.session_on(&home);
                self.connectivity.handle(Instant::now(), Input::HomeOpened { home, connection: connection.id });
                let on = self.connectivity.session_on(&home);
                // It may not be wanted any more, or only by a visit, which the key of this device has no part in.
                if on == Some(connection.id) && on != before {
                    self.serve_home(home, stream, connection);
                }
                self.report(Input::Tick).await;
            }
            Opening::Visit(dial, visit) => self.on_visit(dial, visit).await,
            Opening::Probe(Probing::Ended { subject, number, answered }) => {
                self.report(Input::Probed { subject, number, answered }).await;
                // It may be another network by now, or one to be measured again.
                if answered && matches!(subject, Subject::Home(_)) {
                    self.look_at_network().await;
                }
            }
            Opening::NoPong(target) => self.echo(target),
            Opening::Probe(Probing::Moves(probe)) => {
                let (subject, number) = (probe.subject, probe.number);
                self.await_probe(probe);
                self.report(Input::ProbeMoves { subject, number }).await;
            }
            Opening::Greeted(home, number, true) => {
                if self.streams.homes.get(&home).is_some_and(|out| out.number == number) {
                    self.report(Input::HomeGreeted(home)).await;
                }
            }
            // Its end is reported.
            Opening::Greeted(_, _, false) => {}
            Opening::Home(home, connection, Err(error)) => {
                let problem = match error {
                    OpenError::Unsupported => ConnectionProblem::OtherProtocol,
                    OpenError::NotConnected | OpenError::Failed => ConnectionProblem::Broken,
                };
                self.report(Input::HomeFailed { home, connection, problem }).await;
            }
        }
    }

    fn write_to_device(&mut self, device: DeviceId, stream: Stream, connection: Connection) {
        let number = self.streams.next_number();
        let (queue, frames) = mpsc::channel(FRAMES);
        self.streams.devices.insert(device, Outbound { number, queue: Some(queue) });
        let span = tracing::debug_span!(parent: &self.span_of(connection.id), "to_device", stream = number);
        tracing::debug!(parent: &span, "open");
        self.tasks.spawn(
            async move {
                direct::write(stream, frames).await;
                Ended::Out(device, number, connection)
            }
            .instrument(span),
        );
    }

    pub(super) fn read_from_device(&mut self, device: DeviceId, stream: Stream, connection: Connection) {
        let span = tracing::debug_span!(parent: &self.span_of(connection.id), "from_device");
        let engine = self.engine.clone();
        let read = async move {
            direct::read(device, stream, engine).await;
            Ended::Inbound
        };
        let task = self.tasks.spawn(read.instrument(span));
        let inbound = self.streams.inbound.entry(device).or_default();
        inbound.retain(|task| !task.is_finished());
        if inbound.len() >= INBOUND_STREAMS {
            inbound.remove(0).abort();
        }
        inbound.push(task);
    }

    /// What a connection goes over.
    fn transport_of(&self, connection: ConnectionId) -> Option<Transport> {
        if self.proxy.is_some() {
            return Some(Transport::Proxy);
        }
        self.connections.get(&connection)?.transport
    }

    fn serve_home(&mut self, home: HomeId, stream: Stream, connection: Connection) {
        let number = self.streams.next_number();
        let (queue, requests) = mpsc::channel(REQUESTS);
        self.streams.homes.insert(home, Outbound { number, queue: Some(queue) });
        let span = tracing::debug_span!(parent: &self.span_of(connection.id), "session", stream = number);
        let path = rendezvous::Path {
            transport: self.transport_of(connection.id),
            queue: self.connections.get(&connection.id).and_then(|path| path.queue.clone()),
        };
        let (greeted, greets) = oneshot::channel();
        self.add_opening(async move { Opening::Greeted(home, number, greets.await.is_ok()) });
        let engine = self.engine.clone();
        let session = async move {
            let left = rendezvous::run(home, stream, path, greeted, requests, engine).await;
            Ended::Home(home, number, left)
        };
        self.tasks.spawn(session.instrument(span));
    }

    async fn on_visit(&mut self, dial: DialId, visit: Result<Box<Visit>, ConnectionProblem>) {
        let home = self.connectivity.visit_of(dial);
        let problem = match (home, visit) {
            (Some(home), Ok(visit)) => {
                self.connectivity.handle(Instant::now(), Input::Visiting { home, dial });
                self.serve_visit(home, *visit);
                return self.report(Input::Tick).await;
            }
            (_, Ok(_)) => ConnectionProblem::NotNeeded,
            (_, Err(problem)) => self.or_offline(problem),
        };
        // A rendezvous has its key as a device has. What was visited too late concerns nobody.
        let peer = home.and_then(|home| DeviceId::from_bytes(&home).ok()).and_then(|key| peer_of(&key));
        self.report(Input::DialFailed { peer, dial: Some(dial), problem }).await;
    }

    fn serve_visit(&mut self, home: HomeId, visit: Visit) {
        let number = self.streams.next_number();
        let (queue, requests) = mpsc::channel(REQUESTS);
        self.streams.homes.insert(home, Outbound { number, queue: Some(queue) });
        let span = tracing::debug_span!("visit", stream = number);
        let (engine, path) = (self.engine.clone(), visit.path.clone());
        let session = async move {
            // A visit is not probed.
            let (greeted, _) = oneshot::channel();
            let session = |stream| rendezvous::run(home, stream, path, greeted, requests, engine);
            Ended::Home(home, number, visit.serve(session).await)
        };
        self.tasks.spawn(session.instrument(span));
    }

    pub(super) async fn on_ended(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok(Ended::Out(device, number, connection)) => {
                if self.streams.devices.get(&device).is_some_and(|out| out.number == number) {
                    self.streams.devices.remove(&device);
                    self.report(Input::StreamEnded { device, connection }).await;
                }
            }
            Ok(Ended::Home(home, number, left)) => {
                if self.streams.homes.get(&home).is_some_and(|out| out.number == number) {
                    self.streams.homes.remove(&home);
                    self.report(Input::HomeEnded { home, left }).await;
                }
            }
            Ok(Ended::Inbound | Ended::Work) | Err(_) => {}
        }
    }
}
