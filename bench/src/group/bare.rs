//! The floor of a group: the same messages over gossipsub alone, with a mesh of the same settings, among as many swarms over loopback.

use std::{error::Error, time::Duration};

use anyhow::{Context, ensure};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    gossipsub::{self, ConfigBuilder, IdentTopic, MessageAuthenticity, MessageId, ValidationMode},
    identity::Keypair,
    swarm::SwarmEvent,
};
use rand::RngExt;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{interval, sleep, timeout},
};

use super::{
    SETTLES,
    cost::{Arrivals, Cost, Got, Meter, Paced},
};
use crate::{measure::now_ns, pair::text};

/// Members that each one dials: as many as in Starling.
const DIALS: usize = 6;
/// What has not come by then never will.
const GIVES_UP: Duration = Duration::from_secs(60);

fn swarm() -> anyhow::Result<Swarm<gossipsub::Behaviour>> {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message| MessageId::new(blake3::hash(&message.data).as_bytes()))
        .max_transmit_size(64 * 1024)
        .flood_publish(false)
        .build()?;
    let swarm = SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
        .with_tokio()
        .with_quic()
        .with_behaviour(|_| {
            gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config)
                .map_err(Box::<dyn Error + Send + Sync>::from)
        })?
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build();
    Ok(swarm)
}

/// A swarm that goes on in a task: counts the messages that come, and publishes what it is told to.
async fn go_on(
    mut swarm: Swarm<gossipsub::Behaviour>,
    topic: IdentTopic,
    (number, got): (usize, mpsc::UnboundedSender<Got>),
    mut texts: mpsc::UnboundedReceiver<Vec<u8>>,
) {
    let mut count = 0;
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                if let SwarmEvent::Behaviour(gossipsub::Event::Message { .. }) = event {
                    count += 1;
                    if got.send((number, count, now_ns())).is_err() {
                        return;
                    }
                }
            }
            text = texts.recv() => {
                let Some(text) = text else { return };
                // What nobody takes is missed by all, which is seen.
                let _ = swarm.behaviour_mut().publish(topic.clone(), text);
            }
        }
    }
}

/// Messages of the first member at a steady rate.
pub async fn paced(members: usize, count: usize, size: usize, every: Duration) -> anyhow::Result<(Paced, Cost)> {
    let topic = IdentTopic::new("bench");
    let (tell, got) = mpsc::unbounded_channel();
    let mut says = Vec::with_capacity(members);
    let mut addresses: Vec<Multiaddr> = Vec::new();
    let mut tasks = JoinSet::new();
    for number in 0..members {
        let mut swarm = swarm()?;
        swarm.behaviour_mut().subscribe(&topic)?;
        swarm.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse()?)?;
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        for _ in 0..DIALS.min(addresses.len()) {
            let other = addresses[rand::rng().random_range(0..addresses.len())].clone();
            swarm.dial(other)?;
        }
        addresses.push(address);
        let (say, texts) = mpsc::unbounded_channel();
        says.push(say);
        tasks.spawn(go_on(swarm, topic.clone(), (number, tell.clone()), texts));
    }
    // Meshes are made by heartbeats, one a second.
    sleep(SETTLES).await;
    let mut arrivals = Arrivals::new(got, members);
    arrivals.begin();
    let meter = Meter::start(None);
    let mut ticks = interval(every);
    let mut sent = Vec::with_capacity(count);
    for n in 0..count {
        ticks.tick().await;
        sent.push(now_ns());
        says[0].send(text(size, n).text.into_bytes()).ok().context("the first swarm has ended")?;
    }
    let others: Vec<usize> = (1..members).collect();
    // gossipsub alone promises nothing: what some have missed is told, and is no error.
    let came = timeout(GIVES_UP, arrivals.all(&others, count)).await;
    let cost = meter.cost();
    ensure!(came.is_ok() || arrivals.any(&others), "gossipsub alone brought nothing");
    tasks.shutdown().await;
    Ok((arrivals.paced(&others, &sent), cost))
}
