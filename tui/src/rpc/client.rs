//! The other side of JSON-RPC: finds the profile's node, or starts one for as long as it is needed.

use std::{
    collections::HashMap,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use starling_node::{NetConfig, Node};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, WriteHalf},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    MAX_LINE,
    screen_state::ScreenState,
    server::{Served, serve_stream},
};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::{Profile, prepare_socket_dir},
};

/// Events that may wait for their reader.
const EVENTS: usize = 256;
/// Tries, a tenth of a second apart, to reach a node that is just starting, or to start one where one is just ending.
const ATTEMPTS: usize = 150;
/// How often, every 20 ms, it is asked whether what we owe to others (that we have their messages) has left before our own node ends.
const FLUSHES: usize = 100;
/// How long a node that ends waits for the commands that use it.
const GUESTS_END: Duration = Duration::from_secs(10);

type Answers = Arc<Mutex<HashMap<u64, oneshot::Sender<CliResult<Value>>>>>;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection to a node.
pub struct Client {
    write: tokio::sync::Mutex<WriteHalf<Box<dyn Io>>>,
    answers: Answers,
    next: AtomicU64,
    events: tokio::sync::Mutex<mpsc::Receiver<Value>>,
    /// If the node runs in this process and for this command only: ends it.
    own: Option<Own>,
}

/// A node of our own, with the task that serves its socket.
struct Own {
    stop: mpsc::Sender<()>,
    task: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Client {
    fn over(stream: Box<dyn Io>, own: Option<Own>) -> Self {
        let (read, write) = tokio::io::split(stream);
        let answers: Answers = Arc::default();
        let (events_tx, events) = mpsc::channel(EVENTS);
        let waiting = answers.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(mut value) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                if let Some(id) = value["id"].as_u64() {
                    let answer = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                    if let Some(answer) = answer {
                        let result = if value["error"].is_null() {
                            Ok(value["result"].take())
                        } else {
                            Err(CliError::from_rpc(&value["error"]))
                        };
                        let _ = answer.send(result);
                    }
                } else if value["method"].is_string() && events_tx.send(value).await.is_err() {
                    break;
                }
            }
            waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        Self {
            write: tokio::sync::Mutex::new(write),
            answers,
            next: AtomicU64::new(1),
            events: tokio::sync::Mutex::new(events),
            own,
        }
    }

    /// Calls a method.
    pub async fn call(&self, method: &str, params: Value) -> CliResult<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        self.write_line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await?;
        answered.await.map_err(|_| gone())?
    }

    /// Calls a method without waiting for an answer.
    pub async fn notify(&self, method: &str, params: Value) -> CliResult {
        self.write_line(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await
    }

    async fn write_line(&self, value: &Value) -> CliResult {
        let line = format!("{value}\n");
        if line.len() > MAX_LINE {
            // The node would close the connection.
            return Err(CliError::usage(format!("the request has more than {} MiB", MAX_LINE / 1024 / 1024)));
        }
        let mut write = self.write.lock().await;
        write.write_all(line.as_bytes()).await.map_err(|_| gone())?;
        write.flush().await.map_err(|_| gone())
    }

    /// The next event line of a subscription; an error when the node is gone.
    pub async fn event(&self) -> CliResult<Value> {
        let mut value = self.events.lock().await.recv().await.ok_or_else(gone)?;
        match value["method"].as_str() {
            Some("error") => Err(CliError::from_rpc(&json!({
                "message": value["params"]["error"]["message"], "data": value["params"]["error"],
            }))),
            _ => Ok(value["params"].take()),
        }
    }

    /// An event line that is there already.
    pub fn try_event(&self) -> Option<Value> {
        let mut value = self.events.try_lock().ok()?.try_recv().ok()?;
        (value["method"] == "event").then(|| value["params"].take())
    }

    /// Goes on with another node, after ours has ended.
    pub async fn renew(&mut self, profile: &Profile, global: &Global) -> CliResult {
        // It waits for its guests.
        let _ = self.write.get_mut().shutdown().await;
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
            for _ in 0..FLUSHES {
                match self.call("flush", json!({})).await {
                    Ok(answer) if answer["owes"] == true => tokio::time::sleep(Duration::from_millis(20)).await,
                    _ => break,
                }
            }
            let _ = own.stop.try_send(());
            // Until it has stopped, the next command could not start its own.
            if let Some(task) = own.task.lock().await.take() {
                let _ = task.await;
            }
        }
    }
}

/// The node has stopped; what was asked may be asked again of the next.
pub fn gone() -> CliError {
    CliError::new("node_gone", 1, "the node has stopped").hint("run the command again")
}

/// Connects to the node that runs for this profile, if there is one.
pub async fn connect(profile: &Profile) -> Option<Client> {
    let stream = UnixStream::connect(&profile.socket).await.ok()?;
    // A socket of another user would be somebody else's node.
    let own = stream.peer_cred().is_ok_and(|c| c.uid() == rustix::process::getuid().as_raw());
    if !own {
        return None;
    }
    let client = Client::over(Box::new(stream), None);
    // One that is just stopping still has its socket.
    client.call("cursor", json!({})).await.ok()?;
    Some(client)
}

/// Finds the profile's node, or starts one in this process.
pub async fn acquire(profile: &Profile, global: &Global) -> CliResult<Client> {
    if !profile.exists() {
        return Err(crate::error::no_profile());
    }
    let mut key = None;
    for attempt in 0..ATTEMPTS {
        if let Some(client) = connect(profile).await {
            return Ok(client);
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
            Ok(node) => return serve_own(profile, node, ScreenState::open(&profile.dir, opened)).await,
            // Somebody else is just starting, or just stopping: its socket or the lock will be there in a moment.
            Err(error) if error.code == "locked" && attempt + 1 < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(100)).await
            }
            Err(error) => return Err(error),
        }
    }
    Err(CliError::locked("the profile is in use, but its node does not answer"))
}

/// Opens the profile's node in this process.
pub async fn open_node(profile: &Profile, global: &Global, key: &starling_keys::StorageKey) -> CliResult<Node> {
    let default = ["/ip4/0.0.0.0/udp/0/quic-v1", "/ip4/0.0.0.0/tcp/0"].map(String::from).to_vec();
    let listen = if global.listen_addr.is_empty() { &default } else { &global.listen_addr };
    let listen = listen
        .iter()
        .map(|a| a.parse().map_err(|_| CliError::usage(format!("“{}” is no multiaddr", a))))
        .collect::<CliResult<Vec<_>>>()?;
    let config = NetConfig { listen, mdns: !global.no_mdns };
    Ok(Node::open(&profile.dir, key, config).await?)
}

async fn serve_own(profile: &Profile, node: Node, screen: ScreenState) -> CliResult<Client> {
    let listener = bind(profile)?;
    let (stop, mut stopped) = mpsc::channel(1);
    let served = Served::new(node, &profile.name, screen, stop.clone());
    let (ours, theirs) = tokio::io::duplex(256 * 1024);
    // Our own calls go on while the others' are being ended.
    tokio::spawn(serve_stream(theirs, served.clone()));
    let socket = profile.socket.clone();
    let task = tokio::spawn(async move {
        serve_listener(listener, &socket, &served, &mut stopped).await;
        served.node.stop().await;
    });
    let own = Own { stop, task: tokio::sync::Mutex::new(Some(task)) };
    Ok(Client::over(Box::new(ours), Some(own)))
}

/// Binds the control socket. The caller holds the profile's lock, so an old socket is nobody's.
pub fn bind(profile: &Profile) -> CliResult<UnixListener> {
    prepare_socket_dir(&profile.socket)?;
    let _ = std::fs::remove_file(&profile.socket);
    let listener = UnixListener::bind(&profile.socket)
        .map_err(|e| CliError::internal(format!("cannot make the control socket {}: {e}", profile.socket.display())))?;
    std::fs::set_permissions(&profile.socket, std::fs::Permissions::from_mode(0o600)).map_err(CliError::internal)?;
    Ok(listener)
}

/// Serves connections until told to stop or the node ends; then takes the socket away and lets the guests finish what they are doing.
pub async fn serve_listener(listener: UnixListener, socket: &Path, served: &Served, stopped: &mut mpsc::Receiver<()>) {
    let (ending, _) = watch::channel(false);
    let attending = tokio::spawn(served.attended.clone().watch(served.node.clone()));
    let mut guests = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                if stream.peer_cred().is_ok_and(|c| c.uid() == rustix::process::getuid().as_raw()) {
                    guests.spawn(serve_stream(stream, Served { ending: ending.subscribe(), ..served.clone() }));
                }
            }
            Some(_) = guests.join_next(), if !guests.is_empty() => {}
            _ = stopped.recv() => break,
            () = served.node.stopped() => break,
        }
    }
    attending.abort();
    let _ = std::fs::remove_file(socket);
    drop(listener);
    let _ = ending.send(true);
    let _ = tokio::time::timeout(GUESTS_END, async { while guests.join_next().await.is_some() {} }).await;
}
