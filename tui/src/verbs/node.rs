//! `whoami`, `profile`, `daemon`, `rpc`.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use starling_control::{
    lines::DaemonReady,
    methods::{
        Done, node,
        profile::{DeleteStorage, ListStorage, SetName, SetPrivacy, SetRendezvous, SetUsername},
    },
    objects::{Privacy, Storage, StoredLogs},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    introduction::home_of_node,
    node_of, passphrase,
    people::{ensure_registered, wait_connected, wait_registered},
    print, print_object, say, words_of_transport,
};
use crate::{
    cli::{Global, ProfileCommand},
    error::{CliError, CliResult},
    profile::Profile,
    rpc::{self, Client, ControlSocket, FIRST_ANSWER, Served, Token},
    signals,
    terminal::safe_line,
};

/// How long a node may take to stop: it waits for the commands that use it.
const STOPS: Duration = Duration::from_secs(30);

pub async fn whoami(global: &Global) -> CliResult {
    let (_, client) = node_of(global).await?;
    if client.is_own() {
        wait_connected(global, &client).await?;
    }
    let status = client.call(node::Status { check: Some(true) }).await?;
    client.finish().await;
    if global.json {
        return print_object(&status);
    }
    print(format!("name       {}", safe_line(&status.name)))?;
    if !status.username.is_empty() {
        print(format!("user name  {}", status.username))?;
    }
    print(format!("account    {}", status.account))?;
    print(format!("device     {}", status.device))?;
    print(format!("address    {}", status.address))?;
    for home in status.homes() {
        let problem = home.problem.as_deref();
        let state = match (home.registered, home.connected) {
            (true, _) => problem.map_or("registered".to_owned(), |problem| format!("registered; {problem}")),
            (_, true) => problem.unwrap_or("registering").to_owned(),
            _ => format!("not connected: {}", problem.unwrap_or_default()),
        };
        let over = words_of_transport(home).map(|over| format!("; {over}")).unwrap_or_default();
        print(format!("rendezvous {} ({state}{over})", home.address))?;
    }
    if let Some(proxy) = &status.proxy {
        print(format!("proxy      {proxy}"))?;
    }
    for address in &status.addresses {
        print(format!("listening  {address}"))?;
    }
    print(format!("reachable  {}", status.reachability.as_str()))
}

pub async fn profile(global: &Global, command: ProfileCommand) -> CliResult {
    if let ProfileCommand::Passphrase { new_file, none } = &command {
        return passphrase::change(global, new_file.as_deref(), *none);
    }
    let (_, client) = node_of(global).await?;
    if let ProfileCommand::Storage { delete } = command {
        let stored = storage(global, &client, delete).await;
        client.finish().await;
        return show_storage(global, &stored?);
    }
    let result = change_profile(global, &client, command).await;
    super::people::settle(&client).await;
    client.finish().await;
    match result? {
        Some(privacy) if global.json => print_object(&privacy),
        Some(Privacy { last_seen, receipts, typing }) => {
            print(format!("last_seen  {}", last_seen.as_str()))?;
            print(format!("receipts   {}", receipts.as_str()))?;
            print(format!("typing     {}", typing.as_str()))
        }
        None if global.json => print_object(&Done {}),
        None => print("done"),
    }
}

/// Changes the profile; gives what there is to tell of it.
async fn change_profile(global: &Global, client: &Client, command: ProfileCommand) -> CliResult<Option<Privacy>> {
    let Done {} = match command {
        ProfileCommand::Name { name } => client.call(SetName { name }).await?,
        ProfileCommand::Username { name } => {
            wait_registered(global, client).await?;
            client.call(SetUsername { name: starling_text::folded(&name) }).await?
        }
        ProfileCommand::Rendezvous { addresses, invite_token } => {
            move_home(global, client, &addresses, invite_token).await?
        }
        ProfileCommand::Privacy { last_seen, receipts, typing } => {
            let audience = |audience: Option<crate::cli::Audience>| audience.map(Into::into);
            let [last_seen, receipts, typing] = [last_seen, receipts, typing].map(audience);
            return client.call(SetPrivacy { last_seen, receipts, typing }).await.map(Some);
        }
        ProfileCommand::Passphrase { .. } | ProfileCommand::Storage { .. } => Done {},
    };
    Ok(None)
}

/// What homes store, after deleting something.
async fn storage(global: &Global, client: &Client, delete: Option<String>) -> CliResult<Storage> {
    wait_registered(global, client).await?;
    match delete {
        Some(id) => client.call(DeleteStorage { id }).await,
        None => client.call(ListStorage {}).await,
    }
}

fn show_storage(global: &Global, storage: &Storage) -> CliResult {
    if global.json {
        return print_object(storage);
    }
    if storage.deleted > 0 {
        print(format!("deleted: {} logs", storage.deleted))?;
    }
    for logs in &storage.conversations {
        let name = logs.name.as_deref().map_or("of no conversation of this device".into(), safe_line);
        let kib = logs.bytes.div_ceil(1024);
        let StoredLogs { id, logs, unused, entries, .. } = logs;
        print(format!("{id}  {kib:>7} KiB  {entries:>6} entries  {logs} logs, {unused} not needed  {name}"))?;
    }
    Ok(())
}

/// Gives the profile other homes, or its home a token, and waits whether that works.
async fn move_home(global: &Global, client: &Client, addresses: &[String], token: Option<String>) -> CliResult<Done> {
    let status = client.call(node::Status::default()).await?;
    let now: Vec<String> = status.homes().map(|home| home.address.clone()).collect();
    let homes = if addresses.is_empty() { now } else { addresses.to_vec() };
    if homes.is_empty() {
        return Err(CliError::usage("no rendezvous is known: give an address"));
    }
    let mut rendezvous = Vec::new();
    for home in &homes {
        rendezvous.push(home_of_node(global, client, home).await?.to_string());
    }
    let done = client.call(SetRendezvous { rendezvous, token }).await?;
    let otherwise = "the change is kept and tried again; give another address to take it back";
    ensure_registered(global, client, otherwise).await?;
    Ok(done)
}

pub async fn rpc(global: &Global, method: &str, params: Option<&str>) -> CliResult {
    let params: Value = match params {
        None => Value::Object(serde_json::Map::new()),
        Some(text) => {
            serde_json::from_str(text).map_err(|e| CliError::usage(format!("the parameters are not JSON: {e}")))?
        }
    };
    let (_, client) = node_of(global).await?;
    let result = client.call_raw(method, params).await;
    client.finish().await;
    print_object(&result?)
}

pub async fn daemon(global: &Global, listen: Option<SocketAddr>, stop: bool) -> CliResult {
    let profile = Profile::new(global)?;
    if stop {
        return stop_daemon(&profile).await;
    }
    if let Some(address) = listen
        && !address.ip().is_loopback()
    {
        return Err(CliError::usage(format!("{address} is not on this machine: the control port is not encrypted"))
            .hint("listen on 127.0.0.1, and forward it with ssh"));
    }
    if !profile.exists() {
        return Err(profile.missing());
    }
    if rpc::connect(&profile, FIRST_ANSWER).await?.is_some() {
        return Err(CliError::locked("a node runs for this profile already")
            .hint("use it, or stop it with `starling daemon --stop`"));
    }
    let key = profile.open_key()?;
    let node = rpc::open_node(&profile, global, &key).await?;
    let _handled = signals::handle();
    let (stop, stopped) = mpsc::channel(1);
    let screen = rpc::ScreenState::open(&profile.dir, &key);
    let served = Served::new(node.clone(), &profile.name, screen, stop);
    let result = serve(global, &profile, served, stopped, listen).await;
    node.stop().await;
    result
}

/// Serves a profile's node until it is stopped.
async fn serve(
    global: &Global,
    profile: &Profile,
    served: Served,
    mut stopped: mpsc::Receiver<()>,
    listen: Option<SocketAddr>,
) -> CliResult {
    let socket = ControlSocket::bind(profile)?;
    let path = socket.path.display().to_string();
    let mut ready = DaemonReady {
        kind: "daemon.ready".into(),
        profile: profile.name.clone(),
        socket: path,
        listen: None,
        token_file: None,
    };
    let mut port = JoinSet::new();
    if let Some(address) = listen {
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|e| {
            CliError::usage(format!("cannot listen on {address}: {e}")).hint("choose another port; 0 picks a free one")
        })?;
        let token = Token::of_profile(&profile.dir)?;
        ready.listen = Some(listener.local_addr()?.to_string());
        ready.token_file = Some(token.file.display().to_string());
        port.spawn(rpc::serve_port(listener, served.clone(), token));
    }
    if global.json {
        print_object(&ready)?;
    } else {
        say(global, format!("Node of profile “{}” on {}", profile.name, ready.socket));
        if let (Some(address), Some(file)) = (ready.listen, ready.token_file) {
            say(global, format!("Also on {address}, for those who give the token in {file} first"));
        }
    }
    tokio::select! {
        // When the node fails, those who wait for an answer learn why first.
        () = rpc::serve_socket(socket, &served, &mut stopped) => {}
        _ = signals::received() => {}
    }
    served.node.failure().map_or(Ok(()), |reason| {
        Err(CliError::internal(reason).hint(
            "free some space or check the profile's directory, then start again: nothing that was reported is lost",
        ))
    })
}

/// Stops the node that runs for a profile, and waits until the profile is free.
async fn stop_daemon(profile: &Profile) -> CliResult {
    let client = rpc::connect(profile, FIRST_ANSWER).await?;
    let client = client.ok_or_else(|| CliError::new("no_node", 10, "no node runs for this profile"))?;
    client.call(node::Stop {}).await?;
    drop(client);
    let freed = async {
        while starling_node::ProfileDir::lock(&profile.dir).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(STOPS, freed).await.map_err(|_| {
        CliError::timeout("the node has not stopped yet").hint("commands that use it may still be running: end them")
    })?;
    print("stopped")
}
