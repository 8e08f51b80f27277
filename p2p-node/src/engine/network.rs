//! What the network brings: streams, frames, connections to servers.

use starling_keys::DeviceId;
use starling_wire::{
    direct::{DirectFrame, Run},
    limits::MAX_FRAME_ENTRIES,
};

use super::Engine;
use crate::{
    calls::Calls,
    contacts::Directory,
    home::Silence,
    net::{ConnectionProblem, HomeId, NetCommand, NetEvent},
    turn::{Effect, EngineError, Turn},
};

impl Engine {
    pub(super) fn on_net(&mut self, turn: &mut Turn<'_>, event: NetEvent) -> Result<(), EngineError> {
        match event {
            NetEvent::DirectUp { device, relayed } => {
                let dir = Directory { account: &self.account, contacts: &self.contacts };
                self.delivery.link_up(turn, &mut self.conversations, dir, device, relayed);
            }
            NetEvent::DirectDown(device) => self.delivery.link_down(turn, device),
            NetEvent::Direct(device, frame) => self.on_frame(turn, device, frame)?,
            // What others pass on is not for a device that its account has given up.
            NetEvent::Gossip { .. } | NetEvent::GossipPeer(..) if self.counters.row.superseded => {}
            NetEvent::Gossip { topic, entry } => {
                let (conversations, mut cx) = self.conversing();
                conversations.on_gossip(turn, &mut cx, topic, &entry)?;
            }
            NetEvent::GossipPeer(topic) => {
                let (conversations, cx) = self.conversing();
                conversations.on_gossip_peer(turn, &cx, topic);
            }
            NetEvent::HomeUp(home, hello, _) if !hello.is_current() => {
                // It understands no request of ours; what waits for it waits on.
                let lost = self.homes.home_down(turn, home, ConnectionProblem::OlderVersion);
                self.on_requests_lost(turn, lost);
            }
            NetEvent::HomeUp(home, hello, transport) => {
                let stun_port = u16::try_from(hello.stun_port).unwrap_or_default();
                turn.emit(Effect::Net(NetCommand::Stun(home, stun_port)));
                let lost = self.homes.home_up(turn, home, &hello, transport);
                self.on_requests_lost(turn, lost);
            }
            NetEvent::DirectSilent(device, silent) => self.delivery.link_silent(turn, device, silent),
            NetEvent::Checked => {
                for reply in std::mem::take(&mut self.reach.status_after_check) {
                    let status = self.status(turn);
                    turn.reply(reply, Ok(status));
                }
            }
            NetEvent::NetworkChanged => self.with_calls(turn, Calls::network_changed),
            NetEvent::Resolved(name, address) => self.homes.note_reached(turn, name, address)?,
            NetEvent::NetworkKnown(known) => self.homes.note_network(turn, &known)?,
            NetEvent::HomeSilent(home, silent) => self.on_home_silent(turn, home, silent.then_some(Silence::Silent)),
            NetEvent::HomeSlow(home, slow) => self.on_home_silent(turn, home, slow.then_some(Silence::Slow)),
            NetEvent::HomeAnswered(home) => self.homes.note_heard(turn, home),
            NetEvent::HomeDelayed { home, problem, last_resort } => {
                self.homes.home_delayed(turn, home, problem, last_resort);
            }
            NetEvent::HomeDown(home, problem) => {
                let lost = self.homes.home_down(turn, home, problem);
                self.on_requests_lost(turn, lost);
            }
            NetEvent::Home(home, response) => {
                self.homes.note_heard(turn, home);
                self.on_response(turn, home, response)?;
            }
            NetEvent::Addresses { own, public } => {
                let (presence, mut views) = self.presenting();
                presence.set_addresses(turn, &mut views, (own, public));
            }
        }
        Ok(())
    }

    fn on_home_silent(&mut self, turn: &mut Turn<'_>, home: HomeId, silence: Option<Silence>) {
        self.homes.on_silent(turn, home, silence);
        if silence.is_some() {
            self.contacts.connects_silent(turn, &mut self.homes, home);
        } else {
            self.contacts.connects_up(turn, &mut self.homes, home);
        }
    }

    /// A device has seen another run of this profile than this.
    fn on_seen_run(&mut self, turn: &mut Turn<'_>, device: DeviceId, seen: &Run) -> Result<(), EngineError> {
        let Some(account) = self.directory().account_of(&device).filter(|_| self.delivery.is_of_copy(seen)) else {
            return Ok(());
        };
        let said_in = if account == self.account.id() { None } else { Some(self.views().chat_with(turn, account)) };
        let (conversations, mut cx) = self.conversing();
        conversations.chats.outdated(turn, &mut cx, said_in)
    }

    /// What a device says of groups that one of us has invited the other into.
    fn on_invitations(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        frame: &DirectFrame,
    ) -> Result<(), EngineError> {
        let (conversations, mut cx) = self.conversing();
        let Some(account) = cx.dir.account_of(&device) else { return Ok(()) };
        if let Some(offer) = &frame.offer {
            conversations.on_direct_offer(turn, &mut cx, (account, device), offer)?;
        }
        if let Some(offered) = &frame.offered {
            conversations.on_offer_heard(&account, &device, &offered.way);
        }
        if let Some(acceptance) = &frame.acceptance
            && let Err(error) = conversations.on_acceptance(turn, &cx, (account, device), acceptance)
        {
            tracing::debug!(%error, "nobody is added");
        }
        if let Some(added) = &frame.added
            && let Err(error) = conversations.on_added(turn, &mut cx, account, added)
        {
            tracing::debug!(%error, "a welcome into a group was dropped");
        }
        Ok(())
    }

    fn on_frame(&mut self, turn: &mut Turn<'_>, device: DeviceId, mut frame: DirectFrame) -> Result<(), EngineError> {
        // The device may have been blocked or removed since the frame was read.
        if !self.directory().may_talk(&device) || frame.entries.len() > MAX_FRAME_ENTRIES {
            return Ok(());
        }
        self.account.note_heard(turn, device);
        if let Some(run) = &frame.run {
            let dir = Directory { account: &self.account, contacts: &self.contacts };
            self.delivery.on_run(turn, dir, device, run);
        }
        if let Some(seen) = &frame.seen {
            self.on_seen_run(turn, device, seen)?;
        }
        if !frame.chain.is_empty() {
            self.devices().on_direct_chain(turn, device, &frame.chain)?;
        }
        // What others still send is not for this device: it is not to seem delivered to the account.
        if self.counters.row.superseded {
            return Ok(());
        }
        let (conversations, mut cx) = self.conversing();
        for entry in &frame.entries {
            conversations.on_direct_entry(turn, &mut cx, device, entry)?;
        }
        conversations.on_direct_beacons(turn, &mut cx, device, &frame.beacons)?;
        if let Some(apart) = frame.apart.take() {
            conversations.on_direct_apart(turn, &mut cx, device, *apart)?;
        }
        self.on_invitations(turn, device, &frame)?;
        let (conversations, mut cx) = self.conversing();
        for ack in &frame.acks {
            conversations.on_ack(turn, &mut cx, device, ack)?;
        }
        for delivered in &frame.delivered {
            conversations.on_delivered(turn, cx.dir, device, &delivered.group, delivered.upto)?;
        }
        self.sync().on_settings(turn, &device, &frame.settings)?;
        self.history().on_frames(turn, device, &frame.history)?;
        let (presence, mut views) = self.presenting();
        for signal in &frame.signals {
            presence.on_signal(turn, &mut views, &signal.group, &signal.sealed, Some(device));
        }
        Ok(())
    }
}
