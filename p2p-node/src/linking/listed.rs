//! Answers devices that the user has let in, once our homes have the chain with them and a snapshot that they can read.

use super::Linking;
use crate::{
    api::types::DurableEventKind,
    turn::{EngineError, Fact, Turn},
};

impl Linking<'_> {
    /// A home has our chain: devices that were added to it are to find what the account knows.
    pub(crate) fn note_listed(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        let Some(chain) = self.cx.account.list().cloned() else { return Ok(()) };
        let mut news = Vec::new();
        for candidate in self.cx.account.candidates.iter_mut().filter(|c| c.agreed.is_some() && !c.listed) {
            candidate.listed = chain.device(&candidate.joining.device).is_some();
            news.extend(Some(candidate.label.clone()).filter(|_| candidate.listed));
        }
        if !news.is_empty() {
            let account = self.cx.account.id();
            self.cx.take_labels(turn, account, &news)?;
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
