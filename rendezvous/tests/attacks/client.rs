//! A server in this process, and devices that connect to it over TCP.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures::{
    AsyncReadExt, StreamExt,
    io::{ReadHalf, WriteHalf},
};
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise, relay,
    swarm::{DialError, NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use starling_keys::{AccountKey, DeviceChain, DeviceKey, chain::Joining};
use starling_rendezvous::{Server, config::Config};
use starling_wire::{
    LogKey, LogVerb, Puzzle, RENDEZVOUS_PROTOCOL,
    rendezvous::{LogRequest, Publish, Request, RequestBody, Response, ResponseBody, ServerHello},
    streams::{self, FrameReader, FrameWriter, Gate},
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub struct Running {
    pub address: Multiaddr,
    _dir: TempDir,
    _stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// `configure` changes what differs from the defaults.
    pub async fn start(configure: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: dir.path().join("data"),
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            http: ([127, 0, 0, 1], 0).into(),
            ..Config::default()
        };
        config.turn.enabled = false;
        config.registration.work_bits = 0;
        configure(&mut config);
        let (stop, stopped) = watch::channel(false);
        let server = Server::start(&config, stopped).await.unwrap();
        let address = server.ready().addresses[0].clone();
        let task = tokio::spawn(async move { server.run().await.unwrap() });
        Self { address, _dir: dir, _stop: stop, task }
    }

    /// Where it listens, for those who do not speak libp2p.
    pub fn socket(&self) -> SocketAddr {
        let port = self.address.iter().find_map(|p| if let Protocol::Tcp(port) = p { Some(port) } else { None });
        SocketAddr::new(self.address.ip_addr().unwrap(), port.unwrap())
    }

    fn peer(&self) -> PeerId {
        self.address.iter().find_map(|p| if let Protocol::P2p(peer) = p { Some(peer) } else { None }).unwrap()
    }
}

/// A connected device.
pub struct Client {
    reader: FrameReader<ReadHalf<Stream>>,
    writer: FrameWriter<WriteHalf<Stream>>,
    pub hello: ServerHello,
    pub device: DeviceKey,
    server: PeerId,
    wishes: mpsc::Sender<Wish>,
    swarm: JoinHandle<()>,
}

/// What a device's swarm is to do.
enum Wish {
    /// Ask the relay for a reservation; says whether it was granted.
    Reserve(oneshot::Sender<bool>),
    /// Open one more stream of the server.
    Open(oneshot::Sender<Option<Stream>>),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    streams: streams::Behaviour,
    relay: relay::client::Behaviour,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

/// Runs a device's swarm.
async fn drive(mut swarm: Swarm<Behaviour>, server: Multiaddr, peer: PeerId, mut wishes: mpsc::Receiver<Wish>) {
    let mut asked: Option<oneshot::Sender<bool>> = None;
    loop {
        tokio::select! {
            Some(wish) = wishes.recv() => match wish {
                Wish::Reserve(answer) => {
                    swarm.listen_on(server.clone().with(Protocol::P2pCircuit)).unwrap();
                    asked = Some(answer);
                }
                Wish::Open(answer) => {
                    let opened = swarm.behaviour_mut().streams.open(peer, RENDEZVOUS_PROTOCOL);
                    tokio::spawn(async move { answer.send(opened.await.ok().map(|opened| opened.stream)) });
                }
            },
            event = swarm.select_next_some() => {
                let granted = match event {
                    SwarmEvent::Behaviour(BehaviourEvent::Relay(relay::client::Event::ReservationReqAccepted { .. })) => true,
                    SwarmEvent::ListenerClosed { .. } => false,
                    _ => continue,
                };
                if let Some(asked) = asked.take() {
                    let _ = asked.send(granted);
                }
            }
        }
    }
}

impl Client {
    /// Asks the relay for a reservation; whether it was granted.
    pub async fn reserve(&self) -> bool {
        let (answer, granted) = oneshot::channel();
        self.wishes.send(Wish::Reserve(answer)).await.unwrap();
        timeout(PATIENCE, granted).await.unwrap().unwrap()
    }

    /// Opens one more stream on the same connection; whether the server greets there.
    pub async fn is_greeted_again(&self) -> bool {
        let (answer, opened) = oneshot::channel();
        if self.wishes.send(Wish::Open(answer)).await.is_err() {
            return false;
        }
        let Ok(Some(stream)) = timeout(PATIENCE, opened).await.unwrap() else { return false };
        let mut reader = FrameReader::new(stream);
        matches!(timeout(PATIENCE, reader.next::<Response>()).await.unwrap(), Ok(Some(_)))
    }

    /// Connects and waits for the greeting.
    pub async fn connect(server: &Running) -> Result<Self, DialError> {
        let device = DeviceKey::generate();
        let key = Keypair::ed25519_from_bytes(*device.seed()).unwrap();
        let mut swarm = SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_, relay| Behaviour { streams: streams::Behaviour::new(&["/nothing"], Gate::Open), relay })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
            .build();
        swarm.dial(server.address.clone())?;
        loop {
            match timeout(PATIENCE, swarm.select_next_some()).await.unwrap() {
                SwarmEvent::ConnectionEstablished { .. } => break,
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error),
                _ => {}
            }
        }
        let opened = swarm.behaviour_mut().streams.open(server.peer(), RENDEZVOUS_PROTOCOL);
        let (wishes, wished) = mpsc::channel(1);
        let swarm = tokio::spawn(drive(swarm, server.address.clone(), server.peer(), wished));
        let Ok(opened) = opened.await else { return Err(DialError::Aborted) };
        let (read, write) = opened.stream.split();
        let (mut reader, writer) = (FrameReader::new(read), FrameWriter::new(write));
        match timeout(PATIENCE, reader.next::<Response>()).await.unwrap() {
            Ok(Some(Response { body: Some(ResponseBody::Hello(hello)), .. })) => {
                Ok(Self { reader, writer, hello, device, server: server.peer(), wishes, swarm })
            }
            _ => Err(DialError::Aborted),
        }
    }

    /// The answer to a request; `None` if the session has ended.
    pub async fn ask(&mut self, ask: RequestBody) -> Option<ResponseBody> {
        self.writer.send(&Request { id: 1, body: Some(ask) }).await.ok()?;
        loop {
            match timeout(PATIENCE, self.reader.next::<Response>()).await.unwrap() {
                Ok(Some(Response { id: 1, body })) => return body,
                Ok(Some(_)) => {}
                _ => return None,
            }
        }
    }

    /// A signed request to a log.
    pub async fn log(&mut self, key: &LogKey, verb: LogVerb, request: LogRequest) -> Option<ResponseBody> {
        self.ask(key.request(verb, &self.hello.nonce, request)).await
    }

    /// Registers a new account with this device.
    pub async fn register(&mut self) -> Option<ResponseBody> {
        self.publish(true).await
    }

    /// Registers an account, or tries to without having worked for it.
    pub async fn publish(&mut self, works: bool) -> Option<ResponseBody> {
        let account = AccountKey::from_seed(&rand::random());
        let joining = Joining::sign(&self.device, &account.id(), vec![1; 1216]);
        let chain = DeviceChain::create(&account, 1, [0; 32], &joining).unwrap();
        let key = self.server.to_bytes().split_off(6);
        let bits = self.hello.register_bits;
        let puzzle = Puzzle::new("register", &key, &self.hello.nonce, account.id().as_bytes(), bits);
        let device_list = Bytes::copy_from_slice(chain.as_bytes());
        let publish = Publish { device_list, solution: works.then(|| puzzle.solve().0), token: String::new() };
        self.ask(RequestBody::Publish(publish)).await
    }
}
