//! Two nodes in one program become contacts and write to each other.
//!
//! ```sh
//! starling-rendezvous --listen /ip4/127.0.0.1/udp/0/quic-v1   # prints an address
//! cargo run -p two-nodes -- ADDRESS
//! ```

use std::path::Path;

use anyhow::{Context, Result};
use starling_keys::{Invite, RecoveryPhrase, RendezvousAddr, StorageKey};
use starling_node::{
    DurableEvent, DurableEventKind, Message, NetConfig, NewProfile, Node, Origin, ProfileDir, Text, create_profile,
};

#[tokio::main]
async fn main() -> Result<()> {
    let home: RendezvousAddr = std::env::args().nth(1).context("usage: two-nodes RENDEZVOUS")?.parse()?;
    let dir = tempfile::tempdir()?;
    let alice = start("alice", &dir.path().join("alice"), home.clone()).await?;
    let bob = start("bob", &dir.path().join("bob"), home).await?;

    let (link, _) = alice.invite(1, 60 * 60 * 1000).await?;
    let invite: Invite = link.parse()?;
    let address = invite.address;
    bob.connect(address.account, address.homes, invite.token, String::new(), String::new()).await?;
    wait_for_contact(&alice).await?;

    let chat = alice.chats().await?.first().context("alice has no conversation")?.id;
    alice.send(chat, vec![text("Hello from Alice")]).await?;
    let received = wait_for_message(&bob).await?;
    println!("bob received: {}", received.text);
    bob.send(received.chat, vec![text("Hello from Bob")]).await?;
    println!("alice received: {}", wait_for_message(&alice).await?.text);

    alice.stop().await;
    bob.stop().await;
    Ok(())
}

fn text(text: &str) -> Text {
    Text { text: text.into(), ..Text::default() }
}

/// Makes a profile for a new account, and opens its node.
async fn start(name: &str, dir: &Path, home: RendezvousAddr) -> Result<Node> {
    let key = StorageKey::generate();
    let profile = NewProfile {
        origin: Origin::New(RecoveryPhrase::generate().account_key()),
        name: name.into(),
        bot: false,
        homes: vec![home],
        registration_token: String::new(),
        username: String::new(),
    };
    create_profile(ProfileDir::lock(dir)?, &key, profile)?;
    let net = NetConfig { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse()?], mdns: false, proxy: None };
    let node = Node::open(dir, &key, net).await?;
    wait_until_registered(&node).await?;
    Ok(node)
}

/// Waits until the rendezvous knows the account: others find it there.
async fn wait_until_registered(node: &Node) -> Result<()> {
    let mut changes = node.transient_events();
    while !node.status().await?.homes.iter().any(|home| home.registered) {
        changes.recv().await?;
    }
    Ok(())
}

/// Waits for a message of the other side.
async fn wait_for_message(node: &Node) -> Result<Message> {
    let from_other = |event: &DurableEvent| {
        let message = node.message(event.chat?, event.message?).ok()??;
        (!message.own).then_some(message)
    };
    wait_for(node, from_other).await
}

/// Waits until somebody is a contact.
async fn wait_for_contact(node: &Node) -> Result<()> {
    wait_for(node, |event| (event.kind == DurableEventKind::ContactAccepted).then_some(())).await
}

/// Waits for the first durable event of a profile that fits.
async fn wait_for<T>(node: &Node, fits: impl Fn(&DurableEvent) -> Option<T>) -> Result<T> {
    let mut last_event = node.last_event();
    let mut at = 0;
    loop {
        for event in node.events_after(at, 100)? {
            at = event.sequence;
            if let Some(found) = fits(&event) {
                return Ok(found);
            }
        }
        last_event.changed().await?;
    }
}
