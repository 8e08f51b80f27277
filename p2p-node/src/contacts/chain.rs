//! Device chains of people we know: what is taken, and what the user is shown of it.

use starling_keys::{
    AccountId, DeviceChain, DeviceId,
    chain::{Change, ChangeKind},
};

use super::{ChainNews, ChainRefused, Contacts, Person};
use crate::{
    api::types::{Attempt, DurableEventKind},
    turn::{EngineError, Fact, Turn},
};

impl Contacts {
    /// Takes a device chain of somebody we know, whose signatures are right, if it continues what is known of them, or counts before it. The
    /// user sees what it changes; who was verified and may be somebody else now is not any more.
    ///
    /// # Errors
    /// The inner one if it is from the past, or contradicts what was held for long: then the user is warned.
    pub(crate) fn take_chain(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        chain: DeviceChain,
    ) -> Result<Result<ChainNews, ChainRefused>, EngineError> {
        let now_s = turn.agreed_ms() / 1000;
        let Some(person) = self.people.get_mut(&account) else { return Ok(Ok(ChainNews::Known)) };
        let before = person.list.clone();
        let late = person.has_late_removals(&chain, now_s);
        let links = person.list.as_ref().map(|known| known.links_by_removed(&chain)).unwrap_or_default();
        let news = match person.take_chain(chain.clone(), now_s) {
            Ok(news) => news,
            Err(refused) => {
                self.refused_chain(turn, account, &chain, refused)?;
                note_links(turn, account, links);
                return Ok(Err(refused));
            }
        };
        note_links(turn, account, links);
        self.chain_changes += 1;
        person.row.forked &= news == ChainNews::Known;
        if late {
            // Nothing changes here: it is the owner who has to know.
            turn.fact(Fact::ContactChainMisused(Box::new(chain)));
        }
        let withdrawn = before.as_ref().zip(person.list.as_ref()).is_some_and(|(was, now)| was.common(now) < was.len());
        if withdrawn {
            // A device of ours that was told those entries, and has no chain yet, takes no other one until it is told this.
            turn.fact(Fact::ContactsChanged);
        }
        let changes = changes(person, before.as_ref());
        let alarm = news == ChainNews::Replaced && person.distrust();
        self.index(&account);
        turn.fact(Fact::DevicesChanged(account));
        if let Some((withdrawn, changes)) = changes.filter(|(gone, new)| !gone.is_empty() || !new.is_empty()) {
            turn.fact(Fact::ContactDevices { account, withdrawn, changes });
        }
        if alarm {
            turn.account_event(DurableEventKind::KeyChanged, account, "")?;
        }
        Ok(Ok(news))
    }

    /// A chain of somebody we know was not taken: a fork is shown to the user, once until they say that they trust the contact.
    pub(crate) fn refused_chain(
        &mut self,
        turn: &mut Turn<'_>,
        account: AccountId,
        chain: &DeviceChain,
        refused: ChainRefused,
    ) -> Result<(), EngineError> {
        tracing::debug!(%refused, "a device chain was not taken");
        let Some(person) = self.people.get_mut(&account) else { return Ok(()) };
        if !matches!(refused, ChainRefused::Fork(_)) || person.row.forked {
            return Ok(());
        }
        person.row.forked = true;
        person.dirty = true;
        turn.fact(Fact::ContactForked(Box::new(chain.clone())));
        if person.distrust() {
            turn.account_event(DurableEventKind::KeyChanged, account, "")?;
        }
        Ok(())
    }
}

/// Devices that a contact has removed have linked others, which its chain does not have.
fn note_links(turn: &mut Turn<'_>, account: AccountId, links: Vec<DeviceId>) {
    for device in links {
        turn.fact(Fact::RefusedDeviceUsed { account, device, attempt: Attempt::Link });
    }
}

/// What the chain that somebody has now says of their devices and the one before did not, after what does not count any more. `None` where
/// nothing was known of them.
fn changes(person: &Person, before: Option<&DeviceChain>) -> Option<(Vec<Change>, Vec<Change>)> {
    let now = person.list.as_ref()?;
    let Some(before) = before else {
        // Another device of ours has known so much of it.
        let length = u32::try_from(person.row.trusted_version).unwrap_or(u32::MAX);
        let head = now.head_at(length).filter(|_| !person.row.trusted_head.is_empty())?;
        let mut changes = now.changes_after(if head.0[..] == person.row.trusted_head { length } else { 0 });
        if head.0[..] != person.row.trusted_head {
            changes.retain(|change| change.kind == ChangeKind::Recovered);
        }
        return Some((Vec::new(), changes));
    };
    let common = before.common(now);
    let mut changes = now.changes_after(common);
    if before.is_empty() {
        // A list of version 0.1 has become a chain: its devices have joined long ago.
        changes.retain(|change| change.kind != ChangeKind::Joined || before.device(&change.device).is_none());
    }
    Some((before.changes_after(common), changes))
}
