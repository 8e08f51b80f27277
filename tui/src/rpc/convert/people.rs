//! Contacts, requests and conversations.

use starling_control::objects::{self, ChatKind, Path};
use starling_keys::SafetyNumber;
use starling_node::{Arriving, Chat, Contact, ContactState, Group, GroupKind, Permissions, Request, Role, Standing};

use super::{id, known_time, path, presence, time};
use crate::error::problem;

pub fn contact(c: &Contact, safety_number: Option<SafetyNumber>) -> objects::Contact {
    let state = match c.state {
        ContactState::Active => objects::ContactState::Active,
        ContactState::Outgoing => objects::ContactState::Requested,
        ContactState::Blocked => objects::ContactState::Blocked,
        ContactState::Removed => objects::ContactState::Removed,
    };
    objects::Contact {
        account: id(c.account),
        chat: id(c.chat),
        name: c.name.clone(),
        own_name: c.own_name.clone(),
        username: Some(c.username.clone()).filter(|name| !name.is_empty()),
        found_as: Some(c.found_as.clone()).filter(|name| !name.is_empty() && !c.verified),
        state,
        verified: c.verified,
        key_changed: c.key_changed,
        bot: c.bot,
        devices: c.devices.iter().map(id).collect(),
        last_seen: known_time(c.last_seen_ms),
        presence: c.availability.map(presence),
        typing: c.typing,
        path: path(c.relayed).unwrap_or(Path::None),
        safety_number: safety_number.map(|number| number.to_string()),
    }
}

pub fn request(r: &Request) -> objects::Request {
    objects::Request { account: id(r.account), name: r.name.clone(), greeting: r.greeting.clone(), at: time(r.at_ms) }
}

pub(super) fn role(role: Role) -> objects::Role {
    match role {
        Role::Owner => objects::Role::Owner,
        Role::Admin => objects::Role::Admin,
        Role::Moderator => objects::Role::Moderator,
        Role::Member => objects::Role::Member,
        Role::Reader => objects::Role::Reader,
    }
}

/// How far those are who were invited into a group; none if nobody is awaited.
pub(super) fn arrivals(group: &Group) -> Option<objects::GroupArrivals> {
    let Arriving { noted, invited, accepted, here } = group.arriving;
    let is_member = group.standing == Standing::Member;
    (is_member && (noted > 0 || invited > 0)).then_some(objects::GroupArrivals { noted, invited, accepted, here })
}

/// What the roles of a group may do, and what else is set in it.
pub(super) fn group_policy(group: &Group) -> objects::GroupPolicy {
    let rules = group.rules.as_ref();
    let permissions = rules.map_or(Permissions::FORMER, |rules| rules.permissions);
    objects::GroupPolicy {
        post: role(permissions.post),
        invite: role(permissions.invite),
        remove: role(permissions.remove),
        pin: role(permissions.pin),
        delete: rules.map(|rules| role(rules.permissions.delete)),
        settings: role(permissions.settings),
        mention_all: role(permissions.mention_all),
        call: role(permissions.call),
        comment: role(permissions.comment),
        slow_mode: rules.map_or(0, |rules| rules.slow_mode),
        lifetime: rules.map_or(0, |rules| rules.lifetime),
        history: rules.is_some_and(|rules| rules.history),
        fixed: rules.is_none(),
    }
}

pub(super) fn standing(standing: Standing) -> objects::Standing {
    match standing {
        Standing::Invited => objects::Standing::Invited,
        Standing::Entering => objects::Standing::Entering,
        Standing::Member => objects::Standing::Member,
        Standing::Leaving => objects::Standing::Leaving,
        Standing::Left => objects::Standing::Left,
        Standing::Removed => objects::Standing::Removed,
        Standing::Declined => objects::Standing::Declined,
        Standing::Asked => objects::Standing::Asked,
    }
}

/// What kind of conversation a group is.
pub fn kind_of(group: &Group) -> ChatKind {
    kind(group.kind())
}

fn kind(kind: GroupKind) -> ChatKind {
    match kind {
        GroupKind::Group => ChatKind::Group,
        GroupKind::Channel => ChatKind::Channel,
        GroupKind::Community => ChatKind::Community,
    }
}

/// How close an account is to a group, the least the closest: it is in it, it was invited, it was in it.
pub fn closeness(standing: Standing) -> u8 {
    match standing {
        Standing::Member | Standing::Entering | Standing::Leaving => 0,
        Standing::Invited | Standing::Asked => 1,
        Standing::Left | Standing::Removed | Standing::Declined => 2,
    }
}

pub fn chat(c: &Chat) -> objects::Chat {
    let (problem_code, problem) = c.problem.map(problem::chat).unzip();
    objects::Chat {
        id: id(c.id),
        kind: match c.kind {
            starling_node::ChatKind::Direct => ChatKind::Direct,
            starling_node::ChatKind::Group => kind(c.group),
        },
        name: c.name.clone(),
        peer: c.direct().map(id).unwrap_or_default(),
        unread: c.unread,
        newest: known_time(c.newest_ms),
        pinned: c.pinned,
        muted_until: known_time(c.muted_until_ms),
        archived: c.archived,
        queued: c.queued,
        problem,
        problem_code: problem_code.map(str::to_owned),
        cipher: c.cipher.into(),
        read_clock: c.read.0,
        draft: c.draft.clone(),
        folder: Some(c.folder.clone()).filter(|folder| !folder.is_empty()),
        place: c.place,
        folded: c.folded,
    }
}
