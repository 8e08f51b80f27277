//! Links into a group: making and ending them, and what becomes of those that this device has made. Which there are is in the policy; the secret of one
//! is kept by the device that has made it, and by whoever was handed the link.

use starling_keys::{AccountId, GroupLink, JoinSecret};
use starling_wire::{JoinLink, Policy};

use super::{IntentRow, PolicyEntry, limits::MAX_LINK_USES};
use crate::{
    api::{
        error::{Invalid, NodeError, NotFound, Unreachable},
        types::{ChatId, DurableEventKind, JoinLinkInfo, NewJoinLink},
    },
    conversation::{Conversations, GroupEntry, context::Context},
    store::{EventLogRow, IntentKind, LinkRow, OwnLinkRow, WantedLinkRow},
    turn::{EngineError, Turn},
};

impl IntentRow {
    fn about_link(kind: IntentKind, link: WantedLinkRow) -> Self {
        Self { kind: kind.into(), link: Some(link), ..Self::default() }
    }

    /// The link that it makes for an account.
    pub(super) fn wanted_link(&self, own: &AccountId) -> Option<JoinLink> {
        let wanted = self.link.as_ref()?;
        let key = wanted.key.as_slice().try_into().ok()?;
        Some(JoinLink {
            id: self.link_id()?,
            key,
            expires: wanted.expires,
            uses: wanted.uses,
            approve: wanted.approve,
            by: *own.as_bytes(),
        })
    }
}

/// A link of a policy.
fn link_in<'a>(policy: &'a Policy, id: &[u8; 16]) -> Option<&'a JoinLink> {
    policy.rules.as_ref()?.link(id)
}

impl PolicyEntry {
    /// When the time of a link is over next, in steady time: then those who may end it do that.
    pub(super) fn next_expiry(&self, turn: &Turn<'_>) -> Option<u64> {
        let links = self.policy.as_ref()?.rules.as_ref()?.links.iter();
        let first = links.map(|link| link.expires).filter(|expires| *expires > turn.agreed_ms()).min()?;
        Some(turn.now().saturating_add(first - turn.agreed_ms()))
    }

    /// The group has another policy: links that our user wanted are there. One that needs no approval, and is not there when somebody has gone, is not made
    /// any more: that somebody may have read the commit with it that did not count. Gives whether there was such a one.
    pub(super) fn settle_links(&mut self, now: &Policy, shuts_out: bool) -> bool {
        let mut dropped = false;
        self.row.intents.retain(|intent| {
            if intent.kind() != IntentKind::LinkNew {
                return true;
            }
            let is_there = intent.link_id().is_some_and(|id| link_in(now, &id).is_some());
            let is_known = shuts_out && intent.link.as_ref().is_none_or(|link| !link.approve);
            dropped |= is_known && !is_there;
            !is_there && !is_known
        });
        let wanted: Vec<[u8; 16]> = self.row.intents.iter().filter_map(IntentRow::link_id).collect();
        self.row.links.retain(|own| {
            let id: Option<[u8; 16]> = own.id.as_slice().try_into().ok();
            id.is_some_and(|id| link_in(now, &id).is_some() || wanted.contains(&id))
        });
        self.dirty = true;
        dropped
    }

    /// What has become of links.
    pub(super) fn tell_links(&self, turn: &mut Turn<'_>, chat: ChatId, now: &Policy) -> Result<(), EngineError> {
        let Some(before) = &self.policy else { return Ok(()) };
        let rules = before.rules.as_ref().zip(now.rules.as_ref());
        let Some((was, is)) = rules.filter(|(was, is)| was.links != is.links) else { return Ok(()) };
        let mut tell = |link: &JoinLink, what: &str| {
            let text = format!("{what} {}", shown_link_id(&link.id));
            let (kind, chat, account) = (DurableEventKind::GroupLink.stored(), chat.0.to_vec(), link.by.to_vec());
            turn.durable_event(EventLogRow { kind, chat, account, text, ..EventLogRow::default() })
        };
        for link in was.links.iter().filter(|link| is.link(&link.id).is_none()) {
            tell(link, "ended")?;
        }
        for link in &is.links {
            match was.link(&link.id) {
                None => tell(link, "made")?,
                Some(before) if before.uses != link.uses => tell(link, "used")?,
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// A link's id as users and events name it.
pub fn shown_link_id(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl GroupEntry {
    /// The links into the group are those of its policy: who writes the way into an epoch writes it for each of them.
    pub(super) fn sync_links(&mut self, policy: &Policy, own: &AccountId) {
        let writes = self.row.door.as_ref().is_some_and(|door| door.due);
        let links = policy.rules.as_ref().map(|rules| &rules.links[..]).unwrap_or_default();
        let before = std::mem::take(&mut self.row.links);
        if links.is_empty() && before.is_empty() {
            return;
        }
        let row = |link: &JoinLink| {
            let known = before.iter().find(|row| row.key == link.key).cloned();
            let is_own_box = known.is_none() && link.approve && link.by == *own.as_bytes();
            let known = known.unwrap_or_default();
            let opens = known.opens || is_own_box;
            LinkRow { key: link.key.to_vec(), due: writes, ended: false, approve: link.approve, opens, ..known }
        };
        let mut rows: Vec<LinkRow> = links.iter().map(row).collect();
        // That they are not any more is said to those who come by them.
        let is_gone = |row: &LinkRow| links.iter().all(|link| row.key != link.key);
        let gone = before.into_iter().filter(|row| writes && is_gone(row));
        rows.extend(gone.map(|row| LinkRow { due: true, ended: true, opens: false, ..row }));
        self.row.links = rows;
        self.touch();
    }
}

impl Conversations {
    /// Makes a link into a group, and gives it: it leads in as soon as a commit has made it.
    pub(super) fn new_link(
        &mut self,
        turn: &Turn<'_>,
        cx: &Context<'_>,
        chat: ChatId,
        wanted: NewJoinLink,
    ) -> Result<JoinLinkInfo, NodeError> {
        if wanted.uses.is_some_and(|uses| !(1..=MAX_LINK_USES).contains(&uses)) {
            return Err(Invalid::LinkUses.into());
        }
        if wanted.lifetime_ms.is_some_and(|lifetime| lifetime < 1_000) {
            return Err(Invalid::InviteLifetime.into());
        }
        let group = self.active_group(cx.dir, chat).and_then(|id| self.groups.get(&id)).ok_or(NotFound::Group)?;
        let home = self.groups.home_address(group).cloned().ok_or(Unreachable::Home)?;
        let expires = wanted.lifetime_ms.map_or(0, |lifetime| turn.agreed_ms().saturating_add(lifetime));
        let secret = JoinSecret::generate();
        let key = secret.public();
        let id = JoinLink::id_of(&key);
        let link =
            WantedLinkRow { id: id.to_vec(), key: key.to_vec(), expires, uses: wanted.uses, approve: wanted.approve };
        self.want(cx.dir, chat, vec![IntentRow::about_link(IntentKind::LinkNew, link)])?;
        if let Some(entry) = self.policies.of.get_mut(&chat) {
            entry.row.links.push(OwnLinkRow { id: id.to_vec(), secret: secret.as_bytes().to_vec() });
            entry.dirty = true;
        }
        Ok(JoinLinkInfo {
            id,
            link: Some(GroupLink { secret, home }.to_string()),
            by: cx.dir.account.id(),
            expires_ms: Some(expires).filter(|expires| *expires > 0),
            uses: wanted.uses,
            approve: wanted.approve,
        })
    }

    /// The links into a group. Those that this device has made are given as they were handed out.
    pub(super) fn links_of(&self, cx: &Context<'_>, chat: ChatId) -> Result<Vec<JoinLinkInfo>, NodeError> {
        let entry = self.policies.of.get(&chat).ok_or(NotFound::Group)?;
        let group = self.active_group(cx.dir, chat).and_then(|id| self.groups.get(&id));
        let home = group.and_then(|group| self.groups.home_address(group)).cloned();
        let written = |id: &[u8; 16]| {
            let own = entry.row.links.iter().find(|own| own.id == *id)?;
            let (secret, home) = (JoinSecret::from_bytes(&own.secret)?, home.clone()?);
            Some(GroupLink { secret, home }.to_string())
        };
        let links = entry.policy.iter().filter_map(|policy| policy.rules.as_ref()).flat_map(|rules| &rules.links);
        let info = |link: &JoinLink| {
            Some(JoinLinkInfo {
                id: link.id,
                link: written(&link.id),
                by: AccountId::from_bytes(&link.by).ok()?,
                expires_ms: Some(link.expires).filter(|expires| *expires > 0),
                uses: link.uses,
                approve: link.approve,
            })
        };
        Ok(links.filter_map(info).collect())
    }

    /// Ends a link.
    pub(super) fn end_link(&mut self, cx: &Context<'_>, chat: ChatId, id: [u8; 16]) -> Result<(), NodeError> {
        let entry = self.policies.of.get(&chat).ok_or(NotFound::Group)?;
        let is_wanted = |intent: &IntentRow| intent.link_id() == Some(id);
        let is_there = entry.policy.as_ref().is_some_and(|policy| link_in(policy, &id).is_some());
        if !is_there && !entry.row.intents.iter().any(is_wanted) {
            return Err(NotFound::Link.into());
        }
        let link = WantedLinkRow { id: id.to_vec(), ..WantedLinkRow::default() };
        self.want(cx.dir, chat, vec![IntentRow::about_link(IntentKind::LinkEnd, link)])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_keys::RecoveryPhrase;
    use starling_wire::GroupKind;

    use super::*;

    fn wanted(approve: bool) -> IntentRow {
        let key = JoinSecret::generate().public();
        let id = JoinLink::id_of(&key).to_vec();
        let link = WantedLinkRow { id, key: key.to_vec(), approve, ..WantedLinkRow::default() };
        IntentRow::about_link(IntentKind::LinkNew, link)
    }

    #[test]
    fn a_link_that_somebody_may_have_read_who_is_gone_is_not_made() {
        let own = RecoveryPhrase::generate().account_key().id();
        let mut policy = Policy::new([1; 16], "ops".into(), *own.as_bytes()).with_rules(GroupKind::Group);
        let (open, approved, made) = (wanted(false), wanted(true), wanted(false));
        policy.rules.as_mut().unwrap().add_link(made.wanted_link(&own).unwrap());
        for (shuts_out, left) in [(false, 2), (true, 1)] {
            let mut entry = PolicyEntry::default();
            for intent in [&open, &approved, &made] {
                entry.want(intent.clone());
                let id = intent.link_id().unwrap().to_vec();
                entry.row.links.push(OwnLinkRow { id, secret: vec![1; 16] });
            }
            assert_eq!(entry.settle_links(&policy, shuts_out), shuts_out);
            assert_eq!((entry.row.intents.len(), entry.row.links.len()), (left, left + 1));
        }
    }

    #[test]
    fn who_writes_the_way_in_writes_it_for_each_link() {
        let own = RecoveryPhrase::generate().account_key().id();
        let mut policy = Policy::new([1; 16], "ops".into(), *own.as_bytes()).with_rules(GroupKind::Group);
        let link = wanted(true).wanted_link(&own).unwrap();
        policy.rules.as_mut().unwrap().add_link(link.clone());
        let mut entry = GroupEntry::with([1; 16], crate::store::GroupRow::default(), Vec::new());
        entry.row.door = Some(crate::store::DoorRow { secret: Vec::new(), due: true, sequence: 0 });
        entry.sync_links(&policy, &own);
        let row = entry.row.links[0].clone();
        assert_eq!((row.due, row.opens, row.approve, row.ended), (true, true, true, false));
        policy.rules.as_mut().unwrap().links.clear();
        let mut other = GroupEntry::with([1; 16], entry.row.clone(), Vec::new());
        other.write_door(false);
        other.sync_links(&policy, &own);
        assert!(other.row.links.is_empty(), "another says that it has ended");
        entry.sync_links(&policy, &own);
        assert_eq!((entry.row.links.len(), entry.row.links[0].due, entry.row.links[0].ended), (1, true, true));
    }
}
