//! What this account may do in a group, as the screen offers it: the rules by which every member judges. What is not offered here would be refused.

use starling_control::objects::{Group, GroupMember, Role, Standing};

/// All roles, the highest first.
pub const ROLES: [Role; 5] = [Role::Owner, Role::Admin, Role::Moderator, Role::Member, Role::Reader];

/// The place of a role, from zero for the highest.
pub fn rank(role: Role) -> usize {
    ROLES.iter().position(|other| *other == role).unwrap_or(ROLES.len())
}

/// Whether a role is above another one.
pub fn is_above(role: Role, other: Role) -> bool {
    rank(role) < rank(other)
}

/// Several who have a role.
pub fn plural(role: Role) -> &'static str {
    match role {
        Role::Owner => "owners",
        Role::Admin => "admins",
        Role::Moderator => "moderators",
        Role::Member => "members",
        Role::Reader => "readers",
    }
}

/// The role of this account in a group that it is a member of.
pub fn own_role(group: &Group) -> Option<Role> {
    group.role.filter(|_| group.standing == Standing::Member)
}

/// Whether this account may do something, for which a role is needed at least.
fn may(group: &Group, needed: Role) -> bool {
    own_role(group).is_some_and(|own| !is_above(needed, own))
}

/// Whether this account may write.
pub fn may_post(group: &Group) -> bool {
    may(group, group.policy.post)
}

/// Whether it may answer messages, and react to them.
pub fn may_comment(group: &Group) -> bool {
    may_post(group) || may(group, group.policy.comment)
}

/// Whether it may mention everybody at once.
pub fn may_mention_all(group: &Group) -> bool {
    may(group, group.policy.mention_all)
}

/// Whether who is in a group, and in which role, is decided elsewhere: it is a channel of a community.
fn is_led(group: &Group) -> bool {
    group.community.is_some()
}

/// Whether it may change name, topic and settings.
pub fn may_set(group: &Group) -> bool {
    may(group, group.policy.settings)
}

/// Whether it may remove somebody.
pub fn may_remove(group: &Group, member: &GroupMember) -> bool {
    may_act_on(group, member) && !is_led(group)
}

/// Whether its role lets it remove or ban somebody.
fn may_act_on(group: &Group, member: &GroupMember) -> bool {
    let is_lower = own_role(group).is_some_and(|own| is_above(own, member.role));
    !member.own && is_lower && may(group, group.policy.remove)
}

/// Whether it may ban somebody.
pub fn may_ban(group: &Group, member: &GroupMember) -> bool {
    may_act_on(group, member) && !group.policy.fixed
}

/// Whether it may lift bans.
pub fn may_unban(group: &Group) -> bool {
    may(group, group.policy.remove) && !group.policy.fixed
}

/// The roles that it may give somebody, the highest first.
pub fn roles_for(group: &Group, member: &GroupMember) -> Vec<Role> {
    let Some(own) = own_role(group).filter(|_| !is_led(group)) else { return Vec::new() };
    let is_last_owner = || group.members.iter().filter(|m| m.role == Role::Owner).count() < 2;
    let allowed = |role: Role| match own {
        // Owners step back only where there is another one.
        Role::Owner if member.own => !is_last_owner(),
        Role::Owner => member.role != Role::Owner,
        Role::Admin => !member.own && is_above(own, member.role) && is_above(own, role),
        Role::Moderator | Role::Member | Role::Reader => false,
    };
    ROLES.into_iter().filter(|role| *role != member.role && allowed(*role)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(own: Role) -> Group {
        let member = |name: &str, role, own| GroupMember {
            account: name.into(),
            name: name.into(),
            role,
            devices: 1,
            own,
            ..GroupMember::default()
        };
        let mut group = Group { standing: Standing::Member, role: Some(own), ..Group::default() };
        group.members = ROLES.iter().map(|role| member(role.as_str(), *role, false)).collect();
        group.members.push(member("me", own, true));
        let policy = &mut group.policy;
        (policy.post, policy.invite, policy.remove) = (Role::Member, Role::Admin, Role::Moderator);
        policy.settings = Role::Admin;
        group
    }

    /// Whom this account may remove, and which roles it may give to each member.
    fn allowed(own: Role) -> (Vec<String>, Vec<usize>) {
        let group = group(own);
        let removable = group.members.iter().filter(|member| may_remove(&group, member));
        (
            removable.map(|m| m.name.clone()).collect(),
            group.members.iter().map(|m| roles_for(&group, m).len()).collect(),
        )
    }

    #[test]
    fn nobody_is_offered_what_others_would_refuse() {
        assert_eq!(allowed(Role::Owner).0, ["admin", "moderator", "member", "reader"]);
        assert_eq!(allowed(Role::Owner).1, [0, 4, 4, 4, 4, 4]);
        assert_eq!(allowed(Role::Admin).0, ["moderator", "member", "reader"]);
        assert_eq!(allowed(Role::Admin).1, [0, 0, 2, 2, 2, 0]);
        assert_eq!(allowed(Role::Moderator), (vec!["member".to_owned(), "reader".to_owned()], vec![0; 6]));
        assert_eq!(allowed(Role::Member), (Vec::new(), vec![0; 6]));
        let reader = group(Role::Reader);
        assert!(!may_post(&reader) && may_post(&group(Role::Member)) && !may_set(&reader));
        // Who has left does nothing, whatever the role was.
        let left = Group { standing: Standing::Left, ..group(Role::Owner) };
        assert!(!may_post(&left) && !may_set(&left) && roles_for(&left, &left.members[1]).is_empty());
    }

    #[test]
    fn the_last_owner_stays_and_bans_need_a_group_of_this_version() {
        let mut alone = group(Role::Owner);
        alone.members.remove(0);
        let me = alone.members.last().unwrap();
        assert!(roles_for(&alone, me).is_empty());
        let admin = &alone.members[0];
        assert!(may_ban(&alone, admin) && may_unban(&alone));
        let channel = Group { community: Some("club".into()), ..alone.clone() };
        assert!(!may_remove(&channel, admin) && may_ban(&channel, admin) && roles_for(&channel, admin).is_empty());
        let mut old = alone.clone();
        old.policy.fixed = true;
        assert!(may_remove(&old, admin) && !may_ban(&old, admin) && !may_unban(&old));
    }
}
