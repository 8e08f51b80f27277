//! `whoami`, `profile`, `daemon`, `rpc`.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    field,
    init::parse_home,
    node_of,
    people::{home_hint, wait_registered},
    print, say,
};
use crate::{
    cli::{Global, ProfileCommand},
    error::{CliError, CliResult},
    profile::Profile,
    rpc::{self, Client, Served, serve_stream},
    signals,
    terminal::safe_line,
};

pub async fn whoami(global: &Global) -> CliResult {
    let (_, client) = node_of(global).await?;
    if client.is_own() {
        wait_registered(global, &client).await?;
    }
    let status = client.call("status", json!({})).await?;
    client.finish().await;
    if global.json {
        return print(&status);
    }
    print(format!("name       {}", safe_line(field(&status, "name"))))?;
    if !field(&status, "username").is_empty() {
        print(format!("user name  {}", field(&status, "username")))?;
    }
    print(format!("account    {}", field(&status, "account")))?;
    print(format!("device     {}", field(&status, "device")))?;
    print(format!("address    {}", field(&status, "address")))?;
    for home in status["rendezvous"].as_array().into_iter().flatten() {
        if home["own"] == true {
            let state = match (home["registered"] == true, home["connected"] == true) {
                (true, _) => match home["problem"].as_str() {
                    Some(problem) => format!("registered; {problem}"),
                    None => "registered".to_owned(),
                },
                (_, true) => home["problem"].as_str().unwrap_or("registering").to_owned(),
                _ => format!("not connected: {}", field(home, "problem")),
            };
            print(format!("rendezvous {} ({state})", field(home, "address")))?;
        }
    }
    for address in status["addresses"].as_array().into_iter().flatten() {
        print(format!("listening  {}", address.as_str().unwrap_or_default()))?;
    }
    print(format!("reachable  {}", field(&status, "reachability")))
}

pub async fn profile(global: &Global, command: ProfileCommand) -> CliResult {
    let (_, client) = node_of(global).await?;
    let result = match command {
        ProfileCommand::Name { name } => client.call("profile.name", json!({ "name": name })).await,
        ProfileCommand::Username { name } => {
            wait_registered(global, &client).await?;
            client.call("profile.username", json!({ "name": starling_text::folded(&name) })).await
        }
        ProfileCommand::Rendezvous { addresses, invite_token } => {
            move_home(global, &client, &addresses, invite_token).await
        }
        ProfileCommand::Privacy { last_seen, receipts, typing } => {
            let text = |a: Option<crate::cli::Audience>| a.map(crate::cli::Audience::as_str);
            client
                .call(
                    "profile.privacy",
                    json!({ "last_seen": text(last_seen), "receipts": text(receipts), "typing": text(typing) }),
                )
                .await
        }
    };
    super::people::settle(&client).await;
    client.finish().await;
    let result = result?;
    if global.json {
        return print(result);
    }
    if result.as_object().is_none_or(serde_json::Map::is_empty) {
        return print("done");
    }
    for (name, value) in result.as_object().into_iter().flatten() {
        print(format!("{name:<10} {}", value.as_str().unwrap_or_default()))?;
    }
    Ok(())
}

/// Gives the profile other homes, or its home a token, and waits whether that works.
async fn move_home(global: &Global, client: &Client, addresses: &[String], token: Option<String>) -> CliResult<Value> {
    let status = client.call("status", json!({})).await?;
    let own = status["rendezvous"].as_array().into_iter().flatten().filter(|h| h["own"] == true);
    let now: Vec<String> = own.map(|h| field(h, "address").to_owned()).collect();
    let homes = if addresses.is_empty() { now } else { addresses.to_vec() };
    if homes.is_empty() {
        return Err(CliError::usage("no rendezvous is known: give an address"));
    }
    let homes = homes.iter().map(|h| parse_home(h).map(|h| h.to_string())).collect::<CliResult<Vec<_>>>()?;
    let done =
        client.call("profile.rendezvous", json!({ "rendezvous": homes, "token": token.unwrap_or_default() })).await?;
    let quiet = Global { quiet: true, ..global.clone() };
    wait_registered(&quiet, client).await?;
    let status = client.call("status", json!({})).await?;
    let own: Vec<&Value> = status["rendezvous"].as_array().into_iter().flatten().filter(|h| h["own"] == true).collect();
    if own.iter().any(|h| h["registered"] == true) {
        return Ok(done);
    }
    let problem = own.iter().find_map(|h| h["problem"].as_str()).unwrap_or("it does not answer");
    let error = if own.iter().any(|h| h["connected"] == true) {
        CliError::new("refused", 6, format!("the rendezvous does not register this account: {problem}"))
    } else {
        CliError::unreachable(format!("the rendezvous cannot be reached: {problem}"))
    };
    Err(error
        .hint(home_hint(problem).unwrap_or("the change is kept and tried again; give another address to take it back")))
}

pub async fn rpc(global: &Global, method: &str, params: Option<&str>) -> CliResult {
    let params: Value = match params {
        None => json!({}),
        Some(text) => {
            serde_json::from_str(text).map_err(|e| CliError::usage(format!("the parameters are not JSON: {e}")))?
        }
    };
    let (_, client) = node_of(global).await?;
    let result = client.call(method, params).await;
    client.finish().await;
    print(result?)
}

pub async fn daemon(global: &Global, listen: Option<std::net::SocketAddr>, stop: bool) -> CliResult {
    let profile = Profile::new(global)?;
    if stop {
        let client = rpc::connect(&profile)
            .await
            .ok_or_else(|| CliError::new("no_node", 10, "no node runs for this profile"))?;
        client.call("stop", json!({})).await?;
        drop(client);
        // The profile is free when the node has stopped.
        while starling_node::ProfileDir::lock(&profile.dir).is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        return print("stopped");
    }
    if let Some(address) = listen
        && !address.ip().is_loopback()
    {
        return Err(CliError::usage(format!("{address} is not on this machine: the control port has no password"))
            .hint("listen on 127.0.0.1, and forward it with ssh"));
    }
    if !profile.exists() {
        return Err(crate::error::no_profile());
    }
    if rpc::connect(&profile).await.is_some() {
        return Err(CliError::locked("a node runs for this profile already")
            .hint("use it, or stop it with `starling daemon --stop`"));
    }
    let key = profile.open_key()?;
    let node = rpc::open_node(&profile, global, &key).await?;
    let _handled = signals::handle();
    let listener = rpc::bind(&profile)?;
    let (stop, mut stopped) = mpsc::channel(1);
    let served = Served::new(node.clone(), &profile.name, rpc::ScreenState::open(&profile.dir, &key), stop);
    let mut ready =
        json!({ "type": "daemon.ready", "profile": profile.name, "socket": profile.socket.display().to_string() });
    if let Some(address) = listen {
        let tcp = tokio::net::TcpListener::bind(address).await.map_err(|e| {
            CliError::usage(format!("cannot listen on {address}: {e}")).hint("choose another port; 0 picks a free one")
        })?;
        ready["listen"] = tcp.local_addr().map(|a| a.to_string()).unwrap_or_default().into();
        let served = served.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(serve_stream(stream, served.clone()));
            }
        });
    }
    if global.json {
        print(ready)?;
    } else {
        say(global, format!("Node of profile “{}” on {}", profile.name, profile.socket.display()));
    }
    let mut live = node.live();
    let failed = tokio::select! {
        () = rpc::serve_listener(listener, &profile.socket, &served, &mut stopped) => None,
        _ = signals::received() => None,
        reason = failure(&mut live) => Some(reason),
    };
    let _ = std::fs::remove_file(&profile.socket);
    node.stop().await;
    match failed {
        Some(reason) => Err(CliError::internal(reason).hint(
            "free some space or check the profile's directory, then start again: nothing that was reported is lost",
        )),
        None => Ok(()),
    }
}

async fn failure(live: &mut tokio::sync::broadcast::Receiver<starling_node::Live>) -> String {
    loop {
        match live.recv().await {
            Ok(starling_node::Live::Failed(reason)) => return reason,
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
