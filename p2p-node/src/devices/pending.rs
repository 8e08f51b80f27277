//! What servers answer to requests about the account.

use bytes::Bytes;
use starling_wire::{SettingKind, rendezvous::ResponseBody};

use super::AccountDevices;
use crate::{
    home::AccountPending,
    net::HomeId,
    turn::{EngineError, Turn},
};

impl AccountDevices<'_> {
    pub(crate) fn on_account_answer(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        pending: AccountPending,
        answer: ResponseBody,
    ) -> Result<(), EngineError> {
        match (pending, answer) {
            (AccountPending::Publish(head), ResponseBody::Done(_)) => self.on_registered(turn, home, head),
            (AccountPending::OwnList, ResponseBody::DeviceList(bytes)) => self.on_looked_up(turn, home, &bytes),
            (AccountPending::Username(name), ResponseBody::Done(_)) => {
                self.sync().set(turn, SettingKind::Username, None, Bytes::copy_from_slice(name.as_bytes()))?;
                if self.cx.account.username_claimed(turn, name) {
                    self.sync().announce_profile(turn);
                }
                Ok(())
            }
            (AccountPending::KeyPackages { filled }, ResponseBody::KeyPackagesLeft(left)) => {
                self.on_packages_left(turn, home, left, filled)
            }
            (AccountPending::Snapshot, ResponseBody::Snapshot(snapshot)) => self.on_snapshot(turn, home, &snapshot),
            (AccountPending::PutSnapshot, ResponseBody::Done(_)) => self.snapshot_stored(turn),
            (AccountPending::JoinedChain(id), ResponseBody::DeviceList(bytes)) => {
                self.cx.account.on_joined_chain(turn, id, &bytes);
                Ok(())
            }
            (AccountPending::Logs(id), ResponseBody::Logs(page)) => {
                self.on_stored_logs(turn, home, id, &page);
                Ok(())
            }
            (AccountPending::DeleteLog(id, address), ResponseBody::Done(_)) => {
                self.cx.account.log_deleted(turn, self.cx.homes, id, address);
                Ok(())
            }
            (AccountPending::OpenCode(id), ResponseBody::CodePlace(place)) => {
                self.cx.account.code_opened(turn, id, place);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
