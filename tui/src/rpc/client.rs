//! The other side of JSON-RPC: finds the profile's node, or starts one for as long as it is needed.

use std::{collections::VecDeque, time::Duration};

use rustix::process::{Resource, getrlimit};
use serde_json::Value;
use starling_control::{
    ClientError, Event, EventLine, Method,
    methods::{ASKS_OTHERS, node},
};
use starling_node::{NetConfig, Node, NodeError, NotAllowed};
use tokio::{
    net::{TcpListener, UnixStream},
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    accept::or_pause,
    screen_state::ScreenState,
    session::{Served, admit, serve_admitted, serve_stream},
    socket::ControlSocket,
    token::Token,
};
use crate::{
    cli::Global,
    error::{CliError, CliResult, of_argument},
    profile::Profile,
};

/// Tries, a tenth of a second apart, to reach a node that is just starting, or to start one where one is just ending.
const ATTEMPTS: usize = 150;
/// How long a node that runs may take to give its first answer. One that is busy needs well under a second.
pub const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How long a command waits for what its node still owes to others when it ends: far less than the grace after a signal.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
/// How long a node that ends waits for the commands that use it.
const GUESTS_END: Duration = Duration::from_secs(10);
/// Connections to the control port that have given the token, at a time; more wait in the queue of the port.
const MAX_ADMITTED: usize = 64;
/// Those that have not yet: the oldest makes room for a new one.
const MAX_STRANGERS: usize = 64;

/// A connection to a node.
pub struct Client {
    connection: starling_control::Client,
    /// If the node runs in this process and for this command only: ends it.
    own: Option<Own>,
}

/// A node of our own, with the task that serves its socket.
struct Own {
    stop: mpsc::Sender<()>,
    task: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Client {
    /// Calls a method.
    pub async fn call<M: Method>(&self, request: M) -> CliResult<M::Answer> {
        self.connection.call(request).await.map_err(|error| refused::<M>(error))
    }

    /// Calls a method that the user has named, with the parameters that they give.
    pub async fn call_raw(&self, method: &str, params: Value) -> CliResult<Value> {
        let waits = params["timeout_ms"].as_u64().map_or(Duration::ZERO, Duration::from_millis);
        Ok(self.connection.call_raw(method, params, ASKS_OTHERS.saturating_add(waits)).await?)
    }

    /// Calls a method without waiting for an answer.
    pub async fn notify<M: Method>(&self, request: M) -> CliResult {
        Ok(self.connection.notify(request).await?)
    }

    /// The next event of a subscription; an error when the node is gone.
    pub async fn event(&self) -> CliResult<Event> {
        Ok(self.line().await?.event()?)
    }

    /// The same, with the JSON in which it came.
    pub async fn line(&self) -> CliResult<EventLine> {
        Ok(self.connection.event().await?)
    }

    /// An event that has come already, with the JSON in which it came.
    pub fn try_line(&self) -> Option<EventLine> {
        self.connection.try_event()
    }

    /// Goes on with another node, after ours has ended.
    pub async fn renew(&mut self, profile: &Profile, global: &Global) -> CliResult {
        // It waits for its guests.
        self.connection.shut_down().await;
        *self = acquire(profile, global).await?;
        Ok(())
    }

    /// Whether the node runs in this process, for this command.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Stops the node if it was started for this command, once other commands that use it have what they asked for.
    pub async fn finish(&self) {
        if let Some(own) = &self.own {
            let flush = async {
                loop {
                    let owes = self.call(node::Flush {}).await.is_ok_and(|flushed| flushed.owes);
                    if !owes || self.call(node::Status::default()).await.is_ok_and(|status| status.is_cut_off()) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let _ = tokio::time::timeout(FLUSH_PATIENCE, flush).await;
            let _ = own.stop.try_send(());
            // Until it has stopped, the next command could not start its own.
            if let Some(task) = own.task.lock().await.take() {
                let _ = task.await;
            }
        }
    }
}

/// Why a request of this program came to nothing. It has only parameters of the contract: what does not know one is an older node that still runs.
fn refused<M: Method>(error: ClientError) -> CliError {
    let is_older = match &error {
        ClientError::Refused(why) => why.is_unknown(),
        _ => false,
    };
    if !is_older {
        let of_argument = match &error {
            ClientError::Refused(why) => of_argument(M::NAME, why),
            _ => None,
        };
        return of_argument.unwrap_or_else(|| error.into());
    }
    let text = format!(
        "the node that runs for this profile is older than this program: it does not know all of “{}”",
        M::NAME
    );
    CliError::new("older_node", 1, text).hint("restart it: `starling daemon --stop`, then `starling daemon` again")
}

/// The node has stopped; what was asked may be asked again of the next.
pub fn gone() -> CliError {
    ClientError::Closed.into()
}

/// Connects to the node that runs for this profile, if there is one.
///
/// # Errors
/// If there is one, and it does not answer within the limit.
pub async fn connect(profile: &Profile, limit: Duration) -> CliResult<Option<Client>> {
    Ok(connect_asking(profile, limit, &node::Events {}).await?.map(|(client, _)| client))
}

/// The same with a first request, and its answer.
async fn connect_asking<M: Method + Clone>(
    profile: &Profile,
    limit: Duration,
    request: &M,
) -> CliResult<Option<(Client, CliResult<M::Answer>)>> {
    for socket in profile.sockets() {
        let stream = match UnixStream::connect(&socket).await {
            Ok(stream) => stream,
            // Its queue is full: nobody has accepted for a while.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err(ClientError::TimedOut.into()),
            Err(_) => continue,
        };
        // A socket of another user would be somebody else's node.
        let own = stream.peer_cred().is_ok_and(|c| c.uid() == rustix::process::getuid().as_raw());
        if !own {
            continue;
        }
        let connection = starling_control::Client::over(stream);
        match tokio::time::timeout(limit, connection.call(request.clone())).await {
            // One that is just stopping still has its socket.
            Ok(Err(ClientError::Closed)) => {}
            Ok(answer) => {
                return Ok(Some((Client { connection, own: None }, answer.map_err(|error| refused::<M>(error)))));
            }
            Err(_) => return Err(ClientError::TimedOut.into()),
        }
    }
    Ok(None)
}

/// Who has named a proxy is not to send through a node that does not use it.
async fn check_proxy(profile: &Profile, global: &Global, limit: Duration) -> CliResult {
    let named = global.proxy()?.map(|proxy| proxy.to_string());
    let Some((_, status)) = connect_asking(profile, limit, &node::Status { check: None }).await? else { return Ok(()) };
    let used = status?.proxy;
    if used == named {
        return Ok(());
    }
    let says = |proxy: Option<String>| proxy.map_or_else(|| "no proxy".into(), |proxy| format!("the proxy {proxy}"));
    Err(CliError::new(
        "other_proxy",
        6,
        format!("the node that runs for this profile uses {}, not {}", says(used), says(named)),
    )
    .hint("stop it, and start it with this one; or leave --proxy and STARLING_PROXY out"))
}

/// Finds the profile's node, or starts one in this process.
pub async fn acquire(profile: &Profile, global: &Global) -> CliResult<Client> {
    Ok(acquire_asking(profile, global, FIRST_ANSWER, node::Events {}).await?.0)
}

/// The same, with a limit to how long a node that runs may take to answer, and with a first request. Its answer is there if the node was running; one
/// that was started here may have to catch up first.
pub async fn acquire_asking<M: Method + Clone>(
    profile: &Profile,
    global: &Global,
    limit: Duration,
    request: M,
) -> CliResult<(Client, Option<CliResult<M::Answer>>)> {
    if !profile.exists() {
        return Err(profile.missing());
    }
    let mut key = None;
    for attempt in 0..ATTEMPTS {
        if global.named_proxy().is_some() {
            check_proxy(profile, global, limit).await?;
        }
        if let Some((client, answer)) = connect_asking(profile, limit, &request).await? {
            return Ok((client, Some(answer)));
        }
        if global.no_spawn {
            return Err(CliError::new("no_node", 10, "no node runs for this profile")
                .hint("start one with `starling daemon`, or leave out --no-spawn"));
        }
        if key.is_none() {
            key = Some(profile.open_key()?);
        }
        let Some(opened) = &key else { continue };
        match open_node(profile, global, opened).await {
            Ok(node) => {
                let client = serve_own(profile, node, ScreenState::open(&profile.dir, opened)).await?;
                return Ok((client, None));
            }
            // Somebody else is just starting, or just stopping: its socket or the lock will be there in a moment.
            Err(error) if error.code == "locked" && attempt + 1 < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            Err(error) => return Err(error),
        }
    }
    Err(CliError::locked("the profile is in use, but its node does not answer")
        .hint("it may be starting or stopping: run the command again in a moment"))
}

/// What this device is called, and what it is, as contacts and the account's other devices see it.
pub fn described() -> (String, String) {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = starling_text::display_name(named.trim()).unwrap_or_else(|_| "a device".into());
    (name, std::env::consts::OS.into())
}

/// Opens the profile's node in this process.
pub async fn open_node(profile: &Profile, global: &Global, key: &starling_keys::StorageKey) -> CliResult<Node> {
    let everywhere = ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"];
    let default = everywhere.map(String::from).to_vec();
    let listen = if global.listen_addr.is_empty() { &default } else { &global.listen_addr };
    let listen = listen
        .iter()
        .map(|a| a.parse().map_err(|_| CliError::usage(format!("“{a}” is no multiaddr"))))
        .collect::<CliResult<Vec<_>>>()?;
    let config = NetConfig { listen, mdns: !global.no_mdns, proxy: global.proxy()? };
    let node = Node::open(&profile.dir, key, config).await?;
    // A link that was interrupted when all was done but this.
    profile.discard_joining()?;
    let (name, system) = described();
    match node.describe_device(name, system).await {
        // Nobody sees what a device is called that was removed.
        Ok(()) | Err(NodeError::NotAllowed(NotAllowed::Superseded)) => Ok(node),
        Err(error) => Err(error.into()),
    }
}

async fn serve_own(profile: &Profile, node: Node, screen: ScreenState) -> CliResult<Client> {
    let socket = ControlSocket::bind(profile)?;
    let (stop, mut stopped) = mpsc::channel(1);
    let served = Served::new(node, &profile.name, screen, stop.clone());
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    // Our own calls go on while the others' are being ended.
    tokio::spawn(serve_stream(theirs, served.clone()));
    let task = tokio::spawn(async move {
        serve_socket(socket, &served, &mut stopped).await;
        served.node.stop().await;
    });
    let own = Own { stop, task: tokio::sync::Mutex::new(Some(task)) };
    Ok(Client { connection: starling_control::Client::over(ours), own: Some(own) })
}

/// Serves connections until told to stop or the node ends; then takes the socket away and lets the guests finish what they are doing.
pub async fn serve_socket(socket: ControlSocket, served: &Served, stopped: &mut mpsc::Receiver<()>) {
    let (ending, _) = watch::channel(false);
    let mut guests = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => {
                let Some(stream) = or_pause(accepted).await else { continue };
                if stream.peer_cred().is_ok_and(|c| c.uid() == rustix::process::getuid().as_raw()) {
                    guests.spawn(serve_stream(stream, Served { ending: ending.subscribe(), ..served.clone() }));
                }
            }
            Some(_) = guests.join_next(), if !guests.is_empty() => {}
            _ = stopped.recv() => break,
            () = served.node.stopped() => break,
        }
    }
    drop(socket);
    let _ = ending.send(true);
    let _ = tokio::time::timeout(GUESTS_END, async { while guests.join_next().await.is_some() {} }).await;
}

/// Serves those connections to the control port that give the token. Runs until it is dropped, and its connections end with it.
pub async fn serve_port(listener: TcpListener, served: Served, token: Token) {
    let token = std::sync::Arc::new(token);
    // Where this process may open few files, those who have not given the token take the smaller part of them.
    let files = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most / 4).ok());
    let most_strangers = files.map_or(MAX_STRANGERS, |files| files.clamp(1, MAX_STRANGERS));
    let (mut strangers, mut by_age) = (JoinSet::new(), VecDeque::<AbortHandle>::new());
    let mut admitted = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if admitted.len() < MAX_ADMITTED => {
                let Some((stream, _)) = or_pause(accepted).await else { continue };
                by_age.retain(|task| !task.is_finished());
                // Who is silent makes room for who may speak: a client with the token gives it at once.
                if by_age.len() >= most_strangers
                    && let Some(oldest) = by_age.pop_front()
                {
                    oldest.abort();
                }
                let token = token.clone();
                by_age.push_back(strangers.spawn(async move { admit(stream, &token).await }));
            }
            Some(ended) = strangers.join_next(), if !strangers.is_empty() => {
                if let Ok(Some(connection)) = ended {
                    admitted.spawn(serve_admitted(connection, served.clone()));
                }
            }
            Some(_) = admitted.join_next(), if !admitted.is_empty() => {}
        }
    }
}
