//! A device that is linked: how long it takes until it has the first message, and until all conversations have come to it. Real programs, and
//! contacts who are all there.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use starling_control::{Client, methods::chats, objects::Chat};
use starling_keys::{Invite, RecoveryPhrase, StorageKey};
use starling_node::{NetConfig, NewProfile, Node, Origin, ProfileDir, Text, create_profile};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    client::{Daemon, Starling},
    history::Running,
    pair,
    processes::Process,
};

/// The profile of the new device.
const NEW: &str = "laptop";
/// How often it is looked what has come.
const LOOK: Duration = Duration::from_millis(20);
/// All have come by then, or never do.
const GIVES_UP: Duration = Duration::from_secs(120);

/// The contacts: as many nodes in one process. Prints how many there are once all have met the account of the invite; at each line of its input all
/// write to it.
pub async fn crowd(dir: PathBuf, home: String, invite: String, count: usize) -> anyhow::Result<()> {
    let invite: Invite = invite.parse()?;
    let mut contacts = Vec::new();
    for n in 0..count {
        let (dir, home, invite) = (dir.join(n.to_string()), home.clone(), invite.clone());
        contacts.push(contact(&dir, n, &home, invite).await?);
    }
    println!("{count}");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    // Until its input ends.
    while lines.next_line().await?.is_some() {
        for (node, chat) in &contacts {
            node.send(*chat, vec![Text { text: "to the new device, too".into(), ..Text::default() }]).await?;
        }
    }
    Ok(())
}

async fn contact(dir: &Path, n: usize, home: &str, invite: Invite) -> anyhow::Result<(Node, starling_node::ChatId)> {
    let key = StorageKey::generate();
    let new = NewProfile {
        origin: Origin::New(RecoveryPhrase::generate().account_key()),
        name: format!("contact {n}"),
        bot: true,
        homes: vec![home.parse()?],
        registration_token: String::new(),
        username: String::new(),
    };
    create_profile(ProfileDir::lock(dir)?, &key, new)?;
    let net = NetConfig { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse()?], mdns: false, proxy: None };
    let node = Node::open(dir, &key, net).await?;
    let mut changes = node.transient_events();
    while !node.status().await?.homes.iter().any(|home| home.registered) {
        changes.recv().await?;
    }
    let address = invite.address;
    let account = node.connect(address.account, address.homes, invite.token, String::new(), String::new()).await?;
    let contacts = node.contacts().await?;
    let chat = contacts.iter().find(|c| c.account == account).context("no contact was made")?.chat;
    Ok((node, chat))
}

/// The new device: the node of the command that links it while that runs, and a daemon after it.
struct Device<'a> {
    starling: &'a Starling,
    client: Option<Client>,
    daemon: Option<Daemon>,
}

impl<'a> Device<'a> {
    async fn of_command(starling: &'a Starling) -> Self {
        let socket = std::fs::read_to_string(starling.profile(NEW).join("control-socket")).unwrap_or_default();
        Self { starling, client: Client::connect(Path::new(socket.trim_end())).await.ok(), daemon: None }
    }

    /// How many conversations have something new.
    async fn new_in(&mut self) -> anyhow::Result<usize> {
        let new = |chats: Vec<Chat>| chats.iter().filter(|chat| chat.unread > 0).count();
        if let Some(client) = &self.client {
            if let Ok(chats) = client.call(chats::List {}).await {
                return Ok(new(chats));
            }
            self.client = None;
        }
        let daemon = match self.daemon.take() {
            Some(daemon) => daemon,
            None => self.starling.started(NEW, Instant::now()).await?,
        };
        let chats = self.daemon.insert(daemon).client().call(chats::List {}).await?;
        Ok(new(chats))
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self.daemon {
            Some(daemon) => daemon.stop().await,
            None => Ok(()),
        }
    }
}

/// Waits until so many conversations have something new on a device.
async fn until_new(device: &mut Device<'_>, count: usize) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let new = device.new_in().await?;
        if new >= count {
            return Ok(());
        }
        ensure!(start.elapsed() < GIVES_UP, "only {new} of {count} conversations have come to the new device");
        tokio::time::sleep(LOOK).await;
    }
}

pub async fn run(conversations: usize) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("starling-bench-").tempdir()?;
    let starling = Starling::beside(dir.path())?;
    let mut server = Process::start(&["serve", &dir.path().join("rendezvous").display().to_string()])?;
    let home = server.line().await?;
    pair::create(&starling.profile("alice"), "alice", &home)?;
    let daemon = starling.daemon("alice").await?;
    let uses = conversations.to_string();
    let mut invited = Running::start(starling.command("alice", &["invite", "--uses", &uses, "--json"]))?;
    let invite = invited.line().await?["link"].as_str().context("no invite")?.to_owned();
    let people = dir.path().join("people").display().to_string();
    let mut crowd = Process::start(&["crowd", &people, &home, &invite, &uses])?;
    crowd.line().await?;

    let mut link = Running::start(starling.command("alice", &["device", "link", "--yes", "--json"]))?;
    let offered = link.line().await?;
    let text = |field: &str| offered[field].as_str().map(str::to_owned).context("no code");
    let args = ["device", "join", &text("code")?, "--rendezvous", &text("rendezvous")?, "--json"];
    let start = Instant::now();
    let mut join = Running::start(starling.command(NEW, &args))?;
    let mut line = join.line().await?;
    let joined = start.elapsed();
    let mut laptop = Device::of_command(&starling).await;
    // What is written before a device has entered a conversation may be for the others alone.
    let ready = |line: &Value| line["ready"].as_u64().map_or(conversations, |ready| ready as usize);
    while ready(&line) == 0 {
        line = join.line().await?;
    }
    crowd.say("write").await?;
    until_new(&mut laptop, 1).await?;
    let first = start.elapsed();
    if ready(&line) < conversations {
        while ready(&line) < conversations {
            line = join.line().await?;
        }
        crowd.say("write").await?;
    }
    until_new(&mut laptop, conversations).await?;
    let all = start.elapsed();
    join.end().await?;

    println!("a device is linked to an account with {conversations} conversations, seconds since it was asked for");
    let row = |name: &str, time: Duration| println!("  {name:<44} {:>7.2}", time.as_secs_f64());
    row("linked", joined);
    row("the first message has come", first);
    row("a message of each conversation has come", all);
    let s = |time: Duration| time.as_secs_f64();
    println!(
        "{}",
        json!({
            "bench": "link", "conversations": conversations, "linked_s": s(joined), "first_s": s(first), "all_s": s(all),
        })
    );
    laptop.stop().await?;
    daemon.stop().await?;
    drop(crowd);
    server.say("").await?;
    Ok(())
}
