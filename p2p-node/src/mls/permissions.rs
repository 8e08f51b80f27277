//! What a commit may change of a group's rules, and what it has to say in the group's audit log.

use starling_keys::AccountId;
use starling_wire::{AuditEntry, AuditHead, GroupRules, GroupSetting, JoinLink, Policy, Reasons, Role};

use super::{
    community::{check_channels, stated_by},
    policy::{Denied, Place, gone, says_so},
};

/// Whether an account with a role may change a group's rules in this way. That nobody comes in who is banned follows from the form of a policy.
pub(super) fn check_rules(before: &Policy, after: &Policy, author: AccountId, role: Role) -> Result<(), Denied> {
    let (was, is) = match (&before.rules, &after.rules) {
        (None, None) => return Ok(()),
        (Some(was), Some(is)) if was.kind == is.kind => (was, is),
        _ => return Err(Denied::Malformed),
    };
    check_channels(was, is, role)?;
    check_settings(was, is, role)?;
    check_bans(before, (was, is), role)?;
    check_links(before, after, (was, is), (author, role))
}

/// Whether a change does nothing but raise a group of a version without rules. Any member may do that, as it gives nobody anything: that all leaves
/// follow is checked where the tree is known, and the beginning of the audit log with that of other changes.
pub(super) fn check_raised(before: &Policy, after: &Policy, reasons: &Reasons) -> Result<(), Denied> {
    let mut expected = before.raised();
    if let Some((expected, rules)) = expected.rules.as_mut().zip(after.rules.as_ref()) {
        expected.audit = rules.audit;
    }
    if expected == *after && reasons.is_empty() { Ok(()) } else { Err(Denied::Malformed) }
}

/// What only higher roles may do stays so: nobody takes from them, nor gives what is theirs.
fn check_settings(was: &GroupRules, is: &GroupRules, role: Role) -> Result<(), Denied> {
    for setting in GroupSetting::ALL.into_iter().filter(|setting| was.value(*setting) != is.value(*setting)) {
        let mut named = [was, is].into_iter().filter_map(|rules| rules.permissions.get(setting));
        if role > was.permissions.settings || named.any(|needed| needed.is_above(role)) {
            return Err(Denied::Role);
        }
    }
    Ok(())
}

fn check_bans(before: &Policy, (was, is): (&GroupRules, &GroupRules), role: Role) -> Result<(), Denied> {
    let may = role <= was.permissions.remove;
    for account in is.bans.iter().filter(|account| !was.bans(account)) {
        if AccountId::from_bytes(account).is_err() {
            return Err(Denied::Malformed);
        }
        if !may || before.role(account).is_some_and(|theirs| !role.is_above(theirs)) {
            return Err(Denied::Role);
        }
    }
    let lifts = was.bans.iter().any(|account| !is.bans(account));
    if lifts && !may { Err(Denied::Role) } else { Ok(()) }
}

/// Links are made by those who may invite, and ended by who has made them, by those who change settings, and by what removes somebody who could know
/// them.
fn check_links(
    before: &Policy,
    after: &Policy,
    (was, is): (&GroupRules, &GroupRules),
    (author, role): (AccountId, Role),
) -> Result<(), Denied> {
    let own = |link: &JoinLink| link.by == *author.as_bytes();
    for link in &is.links {
        match was.link(&link.id) {
            Some(before) if before == link => {}
            None if was.channel_of.is_some() => return Err(Denied::Community),
            // Else two links could have one key, or a link another's id.
            None if link.id != JoinLink::id_of(&link.key) => return Err(Denied::Malformed),
            None if own(link) && role <= was.permissions.invite => {}
            None if own(link) => return Err(Denied::Role),
            // Only who comes in by a link uses it up.
            _ => return Err(Denied::Malformed),
        }
    }
    let removes = !gone(before, after).is_empty();
    // Who goes could read the way in by a link that needs no approval, and what somebody has made who goes does not count any more.
    let buries = after.tombstones.iter().any(|t| before.tombstone(&t.account, &t.device).is_none());
    let must_end = |link: &JoinLink| (removes || buries) && !(link.approve && after.member(&link.by).is_some());
    if is.links.iter().any(|link| was.link(&link.id).is_some() && must_end(link)) {
        return Err(Denied::Malformed);
    }
    let mut ended = was.links.iter().filter(|link| is.link(&link.id).is_none());
    let may_end = |link: &JoinLink| own(link) || must_end(link) || role <= was.permissions.settings;
    if ended.all(may_end) { Ok(()) } else { Err(Denied::Role) }
}

/// The head of the audit log with these entries after it. In a group that is raised it begins.
fn head_with(before: &Policy, entries: &[AuditEntry]) -> AuditHead {
    let head = before.rules.as_ref().map(|rules| rules.audit).unwrap_or_default();
    entries.iter().fold(head, AuditHead::with)
}

/// The entries of a change by an account: those who go have left, if all of them have said so, or were removed.
fn entries_of(
    before: &Policy,
    after: &Policy,
    author: AccountId,
    reasons: &Reasons,
    place: Place<'_>,
) -> Vec<AuditEntry> {
    let leaves = |account: &[u8; 32]| {
        let member = before.member(account);
        member.is_some_and(|member| reasons.leaves.iter().any(|leave| says_so(leave, member, place)))
    };
    let gone = gone(before, after);
    let left = if gone.iter().all(leaves) { &gone[..] } else { &[] };
    // Who carries a statement has not done what it says.
    let author = stated_by(before, reasons).unwrap_or(author);
    before.audit_entries(after, left, *author.as_bytes(), place.epoch.saturating_add(1))
}

/// Whether a changed policy says of the audit log what it has to.
pub(super) fn check_audit(
    before: &Policy,
    after: &Policy,
    author: AccountId,
    reasons: &Reasons,
    place: Place<'_>,
) -> Result<(), Denied> {
    let Some(rules) = &after.rules else { return Ok(()) };
    let entries = entries_of(before, after, author, reasons, place);
    if head_with(before, &entries) == rules.audit { Ok(()) } else { Err(Denied::Audit) }
}

/// A changed policy with what it has to say of the audit log, at this time (milliseconds since 1970), or at that when it was wanted, if it says so: since
/// the change before.
pub(super) fn audited(
    before: &Policy,
    after: &Policy,
    author: AccountId,
    reasons: &Reasons,
    (place, now_ms): (Place<'_>, u64),
) -> Policy {
    let mut timed = after.clone();
    if let Some(rules) = &mut timed.rules {
        let is_since = |at: &u64| before.rules.as_ref().is_some_and(|rules| rules.audit.at < *at);
        rules.audit.at = Some(rules.audit.at).filter(is_since).map_or(now_ms, |wanted| wanted.min(now_ms));
    }
    let head = head_with(before, &entries_of(before, &timed, author, reasons, place));
    if let Some(rules) = &mut timed.rules {
        rules.audit = head;
    }
    timed
}

/// A new group's policy with the beginning of its audit log, at this time (milliseconds since 1970).
pub(super) fn first_audited(policy: &Policy, now_ms: u64) -> Policy {
    let mut first = policy.clone();
    if let Some(rules) = &mut first.rules {
        rules.audit = AuditHead { at: now_ms, ..AuditHead::default() };
    }
    let head = first.first_audit_entries().iter().fold(AuditHead::default(), AuditHead::with);
    if let Some(rules) = &mut first.rules {
        rules.audit = head;
    }
    first
}

/// The entries of the audit log by which a valid commit of an account led from one policy to another, in the epoch that it has begun.
pub fn audit_of(before: &Policy, after: &Policy, author: AccountId, epoch: u64) -> Vec<AuditEntry> {
    let Some(rules) = &after.rules else { return Vec::new() };
    let gone = gone(before, after);
    let leads_here = |entries: &Vec<AuditEntry>| head_with(before, entries) == rules.audit;
    // In a channel of a community it may be what somebody else has stated.
    let members = before.members.iter().filter(|m| before.channel_of().is_some() && m.role <= Role::Moderator);
    let authors = [*author.as_bytes()].into_iter().chain(members.map(|m| m.account));
    let entries = |by| [&gone[..], &[]].map(|left| before.audit_entries(after, left, by, epoch));
    authors.flat_map(entries).find(leads_here).unwrap_or_default()
}
