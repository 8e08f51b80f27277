//! Communities and their channels: a channel judges by its own copy of the roles, which commits change that carry statements of the community.
//! Nothing here looks at another group.

use std::collections::BTreeSet;

use starling_keys::{AccountId, Certificate, DeviceKey};
use starling_wire::{GroupRules, MAX_STATEMENT_LAG, Policy, PolicyMember, Reasons, Role, STATEMENT_DOMAIN, Statement};

use super::policy::{Denied, Place, admits, gone, removed_after, says_so};

/// A statement of who is in a community, signed by a device with this certificate.
pub fn state(
    community: [u8; 16],
    number: u64,
    members: Vec<([u8; 32], Role)>,
    (certificate, key): (&Certificate, &DeviceKey),
) -> Statement {
    let certificate = certificate.as_bytes().to_vec();
    let mut statement = Statement { community, number, members, certificate, signature: [0; 64] };
    statement.signature = key.sign(STATEMENT_DOMAIN, &statement.content());
    statement
}

/// The device that has signed a statement; none if it has not.
fn signer(statement: &Statement) -> Option<Certificate> {
    let certificate = Certificate::from_bytes(&statement.certificate).ok()?;
    let signed = certificate.device().verify(STATEMENT_DOMAIN, &statement.content(), &statement.signature);
    signed.then_some(certificate)
}

/// Which statements decide of an account that has these roles in a channel and in a community: 0 for those of owners, 1 also for those of admins, 2
/// for those of moderators, too. So nobody acts on an equal or a higher role by a statement either.
pub fn level_of(was: Option<Role>, is: Option<Role>) -> Option<usize> {
    Some(match was.into_iter().chain(is).min()? {
        Role::Owner | Role::Admin => 0,
        Role::Moderator => 1,
        Role::Member | Role::Reader => 2,
    })
}

/// What a statement makes of the policy of a channel in an epoch. None if it changes nothing there: it is of another community, older than what
/// counted, not signed by somebody with a role, or says what the channel has already. One that is far ahead of what counted changes the numbers: else
/// those after it could come to be too far ahead.
pub fn carried(before: &Policy, statement: &Statement, epoch: u64) -> Option<Policy> {
    let channel = before.channel_of()?;
    if statement.community != channel.community {
        return None;
    }
    let is_ahead = |known: &u64| statement.number.saturating_sub(*known) > MAX_STATEMENT_LAG;
    let said = |account: &[u8; 32]| statement.role(account).filter(|role| *role <= channel.lowest);
    let is_known = before.members.iter().all(|member| said(&member.account) == Some(member.role))
        && statement.members.iter().all(|(account, _)| before.role(account) == said(account));
    if is_known && !channel.numbers.iter().any(is_ahead) {
        return None;
    }
    let signer = signer(statement).filter(|signer| admits(before, signer))?;
    let by = *signer.account().as_bytes();
    let role = before.role(&by).filter(|role| *role <= Role::Moderator)?;
    if statement.number > channel.highest_number(role) {
        return None;
    }
    let since = epoch.checked_add(1)?;
    let members = before.members.iter().map(|member| member.account);
    let accounts: BTreeSet<[u8; 32]> = members.chain(statement.members.iter().map(|(account, _)| *account)).collect();
    let (mut after, mut added, mut removed) = (before.clone(), Vec::new(), Vec::new());
    for account in accounts {
        let was = before.role(&account);
        let is = said(&account);
        let Some(level) = level_of(was, is).filter(|_| was != is) else { continue };
        let known = channel.numbers.get(level).copied().unwrap_or_default();
        // An owner is one until it says otherwise itself.
        let decides = level >= usize::from(role.rank()) && (was != Some(Role::Owner) || account == by);
        if !decides || statement.number < known {
            continue;
        }
        match (was, is) {
            (None, Some(role)) => {
                // Who has left the channel since stays out until something newer is said.
                let has_left = before.removed.contains(&account) && statement.number == known;
                if !has_left && !before.bans(&account) && AccountId::from_bytes(&account).is_ok() {
                    added.push(PolicyMember { account, role, by, since });
                }
            }
            (Some(_), Some(role)) => {
                after.members.iter_mut().filter(|member| member.account == account).for_each(|m| m.role = role);
            }
            (Some(_), None) => removed.push(account),
            (None, None) => {}
        }
    }
    after.remove_all(&removed);
    if let Some(channel) = after.rules.as_mut().and_then(|rules| rules.channel_of.as_mut()) {
        for number in channel.numbers.iter_mut().skip(role.rank().into()) {
            *number = (*number).max(statement.number);
        }
    }
    let mut with_added = after.clone();
    added.into_iter().for_each(|member| with_added.add(member));
    // Where there is no room for all who come, those who are to go do so all the same.
    let mut after = if with_added.is_in_order() { with_added } else { after };
    after.removed = removed_after(before, &after);
    let changes =
        after.members != before.members || channel.numbers.get(usize::from(role.rank())).is_some_and(is_ahead);
    (changes && after.is_in_order()).then_some(after)
}

/// Whether a commit makes just that of a channel's policy which its statement says.
pub(super) fn check_carried(
    before: &Policy,
    after: &Policy,
    (statement, reasons): (&Statement, &Reasons),
    place: Place<'_>,
) -> Result<(), Denied> {
    if !reasons.chains.is_empty() || !reasons.leaves.is_empty() {
        return Err(Denied::Malformed);
    }
    let mut expected = carried(before, statement, place.epoch).ok_or(Denied::Statement)?;
    // What stands in the audit log is checked with the others.
    if let Some((expected, after)) = expected.rules.as_mut().zip(after.rules.as_ref()) {
        expected.audit = after.audit;
    }
    if expected == *after { Ok(()) } else { Err(Denied::Statement) }
}

/// Whether an account with a role may change the channels of a community in this way, if it is one; that a group is a channel does not change.
pub(super) fn check_channels(was: &GroupRules, is: &GroupRules, role: Role) -> Result<(), Denied> {
    if was.channel_of != is.channel_of {
        return Err(Denied::Malformed);
    }
    let Some((before, after)) = was.community.as_ref().zip(is.community.as_ref()) else { return Ok(()) };
    let is_other =
        |channel: &[u8; 16]| before.channel(channel).zip(after.channel(channel)).is_some_and(|(was, is)| was != is);
    if after.channels.iter().any(|channel| is_other(&channel.conversation)) {
        return Err(Denied::Malformed);
    }
    let may = role <= Role::Admin && role <= was.permissions.settings;
    if may || before.channels == after.channels { Ok(()) } else { Err(Denied::Role) }
}

/// Whether a change makes somebody else a member, or one in another role, but for those who leave.
fn changes_members(before: &Policy, after: &Policy, reasons: &Reasons, place: Place<'_>) -> bool {
    let gone = gone(before, after);
    let heir = before.heir(&gone);
    let leaves = |account: &[u8; 32]| {
        let member = before.member(account);
        member.is_some_and(|member| reasons.leaves.iter().any(|leave| says_so(leave, member, place)))
    };
    let is_other = |m: &PolicyMember| before.role(&m.account) != Some(m.role) && heir != Some(m.account);
    after.members.iter().any(is_other) || !gone.iter().all(leaves)
}

/// Whether a commit to a community says what its channels have to know, signed by its author: those who may remove somebody say so with the commit
/// that does it, so that any member can carry it on.
pub(super) fn check_stated(
    before: &Policy,
    after: &Policy,
    author: &Certificate,
    reasons: &Reasons,
    place: Place<'_>,
) -> Result<(), Denied> {
    let Some((was, is)) = before.community().zip(after.community()) else {
        let is_carried = before.channel_of().is_some();
        return if reasons.statement.is_none() || is_carried { Ok(()) } else { Err(Denied::Malformed) };
    };
    let role = before.role(author.account().as_bytes()).ok_or(Denied::NotAMember)?;
    let Some(statement) = &reasons.statement else {
        let has_to = role <= Role::Moderator && changes_members(before, after, reasons, place);
        return if !has_to && was.statements == is.statements { Ok(()) } else { Err(Denied::Statement) };
    };
    let mut expected = was.clone();
    expected.state(role, statement.clone());
    let is_newer = statement.number > was.number() && statement.number <= was.highest_number(role);
    let is_true = statement.community == before.conversation && statement.members == after.roster();
    let is_signed =
        signer(statement).is_some_and(|by| (by.account(), by.device()) == (author.account(), author.device()));
    let fits = role <= Role::Moderator && is_newer && is_true && is_signed && expected.statements == is.statements;
    if fits { Ok(()) } else { Err(Denied::Statement) }
}

/// Whose change a commit makes that carries a statement into a channel.
pub(super) fn stated_by(before: &Policy, reasons: &Reasons) -> Option<AccountId> {
    let statement = reasons.statement.as_ref().filter(|_| before.channel_of().is_some())?;
    Certificate::from_bytes(&statement.certificate).ok().map(|signer| signer.account())
}

#[cfg(test)]
#[path = "community_tests.rs"]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
