//! Invites: the tokens that let a stranger become a contact at once.

use bytes::Bytes;
use starling_keys::{Invite, InviteToken};
use starling_wire::rendezvous::{InviteRecord, RequestBody};

use super::{Meeting, ShownInvite};
use crate::{
    contacts::pending::ContactPending,
    net::HomeId,
    store::{INVITES, InviteRow, Reading, prefix},
    turn::{EngineError, Fact, Turn},
};

impl Meeting<'_> {
    pub(crate) fn new_invite(
        &mut self,
        turn: &mut Turn<'_>,
        uses: u32,
        expires_at: u64,
    ) -> Result<Invite, EngineError> {
        let token = InviteToken::generate();
        let key = self.cx.store.name("invite", &token.0).to_vec();
        let row = InviteRow { token: token.0.to_vec(), uses, expires_at, homes: Vec::new() };
        turn.put(INVITES, &key, &row)?;
        self.cx.counters.dirty = true;
        let homes: Vec<HomeId> =
            self.cx.homes.servers.iter().filter(|(_, h)| h.own && h.registered).map(|(id, _)| *id).collect();
        for home in homes {
            self.register_invite(turn, home, &key, &row);
        }
        Ok(self.cx.account.own_invite(Some(token)))
    }

    fn register_invite(&mut self, turn: &mut Turn<'_>, home: HomeId, key: &[u8], row: &InviteRow) {
        let Some(token) = token_of(row) else { return };
        let record = InviteRecord {
            token_hash: Bytes::copy_from_slice(&token.proof().ticket().hash()),
            uses: row.uses,
            expires_at: row.expires_at,
        };
        self.cx.homes.request(
            turn,
            home,
            RequestBody::RegisterInvite(record),
            ContactPending::Invite(home, key.to_vec()),
        );
    }

    /// Invites that our home does not know yet.
    pub(crate) fn register_invites(&mut self, turn: &mut Turn<'_>, home: HomeId) -> Result<(), EngineError> {
        for (key, row) in turn.range::<InviteRow>(INVITES, prefix(b""), usize::MAX, false)? {
            if row.uses == 0 || row.expires_at < turn.wall().min(turn.agreed_ms()) / 1000 {
                turn.delete(INVITES, &key)?;
            } else if !row.homes.iter().any(|known| *known == home)
                && row.uses > 0
                && row.expires_at > turn.wall() / 1000
            {
                self.register_invite(turn, home, &key, &row);
            }
        }
        Ok(())
    }

    /// Has all invites registered at new homes.
    pub(crate) fn renew_invites(&mut self, turn: &mut Turn<'_>) -> Result<(), EngineError> {
        for (key, row) in turn.range::<InviteRow>(INVITES, prefix(b""), usize::MAX, false)? {
            turn.put(INVITES, &key, &InviteRow { homes: Vec::new(), ..row })?;
        }
        Ok(())
    }

    pub(crate) fn invite_registered(
        &mut self,
        turn: &mut Turn<'_>,
        home: HomeId,
        key: &[u8],
    ) -> Result<(), EngineError> {
        if let Some(mut row) = turn.get::<InviteRow>(INVITES, key)? {
            row.homes.push(home.to_vec());
            turn.put(INVITES, key, &row)?;
        }
        Ok(())
    }

    /// Uses up an invite that somebody shows the proof of. Whether it was good.
    pub(crate) fn use_invite(&mut self, turn: &mut Turn<'_>, shown: &[u8]) -> Result<ShownInvite, EngineError> {
        if shown.is_empty() {
            return Ok(ShownInvite::None);
        }
        // Versions before 0.2 show the token itself.
        // Hashes are compared in constant time.
        let shown = blake3::hash(shown);
        let is_shown = |token: InviteToken| blake3::hash(&token.proof().0) == shown || blake3::hash(&token.0) == shown;
        let all = turn.range::<InviteRow>(INVITES, prefix(b""), usize::MAX, false)?;
        let Some((key, mut row)) = all.into_iter().find(|(_, row)| token_of(row).is_some_and(is_shown)) else {
            return Ok(ShownInvite::None);
        };
        if row.uses == 0 || row.expires_at < turn.wall() / 1000 {
            return Ok(ShownInvite::Spent);
        }
        row.uses -= 1;
        turn.put(INVITES, &key, &row)?;
        turn.fact(Fact::InviteUsed(row.token));
        Ok(ShownInvite::Good)
    }
}

fn token_of(row: &InviteRow) -> Option<InviteToken> {
    row.token.as_slice().try_into().ok().map(InviteToken)
}
