//! Groups as users see them.

use starling_keys::AccountId;
use starling_wire::Role;

use super::PolicyEntry;
use crate::{
    api::types::{ChatId, Group, GroupAccount, Standing},
    contacts::Directory,
    conversation::{Conversations, GroupEntry},
    roster::GroupMember,
};

/// Whether a link leads nowhere yet: what stands in its log is still to be written.
fn has_new_link(group: &GroupEntry) -> bool {
    group.row.links.iter().any(|link| link.due && link.sequence == 0 && !link.ended)
}

/// What a role is called.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Admin => "admin",
        Role::Moderator => "moderator",
        Role::Member => "member",
        Role::Reader => "reader",
    }
}

impl Conversations {
    /// The groups that we are or were in, and invitations into others: by name.
    pub(crate) fn group_list(&self, dir: Directory<'_>) -> Vec<Group> {
        let mut groups: Vec<Group> =
            self.policies.of.iter().map(|(chat, entry)| self.shown_group(dir, *chat, entry)).collect();
        groups.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        groups
    }

    fn shown_group(&self, dir: Directory<'_>, id: ChatId, entry: &PolicyEntry) -> Group {
        let own = dir.account.id();
        let group = self.active_group(dir, id).and_then(|id| self.groups.get(&id));
        let devices = group.map_or(&[][..], |group| &group.members);
        let account = |member: &starling_wire::PolicyMember| {
            let account = AccountId::from_bytes(&member.account).ok()?;
            let of_it = |m: &&GroupMember| m.account == account;
            let devices = u32::try_from(devices.iter().filter(of_it).count()).unwrap_or(u32::MAX);
            Some(GroupAccount { account, name: dir.name_of(&account), role: member.role, own: account == own, devices })
        };
        let policy = entry.policy.as_ref();
        let offer = entry.row.offer.as_ref();
        Group {
            id,
            name: self.policies.name(&id).unwrap_or_default().to_owned(),
            topic: policy.map(|policy| policy.topic.clone()).unwrap_or_default(),
            standing: Standing::from_stored(u32::try_from(i32::from(entry.standing())).unwrap_or_default()),
            invited_by: offer.and_then(|offer| AccountId::from_bytes(&offer.by).ok()),
            members: policy.iter().flat_map(|policy| &policy.members).filter_map(account).collect(),
            rules: policy.and_then(|policy| policy.rules.clone()),
            changing: !entry.row.intents.is_empty() || group.is_some_and(has_new_link),
        }
    }
}
