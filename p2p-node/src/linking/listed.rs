//! Answers devices that the user has let in, once our homes have the chain with them and a snapshot that they can read.

use starling_keys::{DeviceId, chain::Rights};

use super::Linking;
use crate::{
    api::{Reply, types::DurableEventKind},
    turn::{EngineError, Fact, Turn},
};

impl Linking<'_> {
    /// The user answers a device that asks. What it is called and may copy is durable with the chain that it is on: it may be killed, or this one, before
    /// it is answered.
    pub(crate) fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        device: DeviceId,
        (rights, history): (Option<Rights>, bool),
        reply: Reply<()>,
    ) -> Result<(), EngineError> {
        self.cx.account.answer_link(turn, self.cx.homes, device, (rights, history), reply);
        let agreed = self.cx.account.candidates.iter().find(|c| c.joining.device == device && c.agreed.is_some());
        let Some(label) = agreed.map(|candidate| candidate.label.clone()) else { return Ok(()) };
        let account = self.cx.account.id();
        self.cx.take_labels(turn, account, &[label])?;
        // Owed from now on: the server or this device may be killed when it has the chain, and then nobody waits for an answer any more.
        self.cx.account.snapshot_soon(turn, self.cx.counters);
        if history {
            self.history.give(turn, device);
        }
        Ok(())
    }

    /// A home has our chain: devices that were added to it are to find what the account knows.
    pub(crate) fn note_listed(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Some(chain) = self.cx.account.list().cloned() else { return Ok(()) };
        let mut is_new = false;
        for candidate in self.cx.account.candidates.iter_mut().filter(|c| c.agreed.is_some() && !c.listed) {
            candidate.listed = chain.device(&candidate.joining.device).is_some();
            is_new |= candidate.listed;
        }
        if is_new {
            self.cx.account.snapshot_soon(turn, self.cx.counters);
            self.cx.account.snapshot_due = Some(turn.now());
        }
        Ok(())
    }

    /// A home has a snapshot that added devices can read: they are answered that they belong to the account.
    pub(crate) fn answer_listed(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Some(chain) = self.cx.account.list().cloned() else { return Ok(()) };
        let account = self.cx.account.id();
        for mut candidate in self.cx.account.candidates.extract_if(.., |c| c.listed).collect::<Vec<_>>() {
            let history = if candidate.history { self.history.give(turn, candidate.joining.device) } else { 0 };
            let answer = self.cx.account.link_answer(&chain, history);
            self.cx.account.answer_candidate(turn, self.cx.homes, &candidate, &answer);
            self.cx.account.end_code_numbered(turn, self.cx.homes, candidate.code, true);
            let device = candidate.joining.device;
            turn.account_event(DurableEventKind::DeviceLinked, account, &device.to_string())?;
            turn.fact(Fact::OwnDeviceAdded(device));
            if let Some(reply) = candidate.agreed.take() {
                turn.reply(reply, Ok(()));
            }
            self.cx.account.own_devices.announce_now(turn.now());
        }
        Ok(())
    }
}
