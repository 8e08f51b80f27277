//! The audit logs of groups, and what members are called whose names are not known here.

use starling_control::objects::{
    AccountId, AuditAction, AuditEntry, AuditLog, ChatId, ContactRef, Group, GroupMember, Role,
};

use super::{print, print_object, say};
use crate::{cli::Global, error::CliResult, local_time::LocalTimes, terminal::safe_line};

/// Characters of an account whose name is not known.
const SHORT: usize = 8;

/// Shows the audit log of a group, in which some are not any more.
pub fn show(global: &Global, group: &Group, former: &[ContactRef], log: &AuditLog) -> CliResult {
    if global.json {
        return print_object(log);
    }
    if !log.complete {
        say(global, format!("{} earlier entries are missing here: other members hand them on.", log.missing));
    }
    let times = LocalTimes::new(global);
    for line in audit_lines((group, former), log, &times) {
        print(line)?;
    }
    Ok(())
}

/// The audit log in lines.
fn audit_lines((group, former): (&Group, &[ContactRef]), log: &AuditLog, times: &LocalTimes) -> Vec<String> {
    let line = |(at, entry): (usize, &AuditEntry)| {
        let words =
            words_of_audit(&log.entries, at, |account| name_in(group, former, account), |id| channel_in(group, id));
        format!("{:>4}  {}  {words}", entry.number, times.minute(&entry.at))
    };
    log.entries.iter().enumerate().map(line).collect()
}

/// What an account is called in a group, as far as that is known here.
fn name_in(group: &Group, former: &[ContactRef], account: &AccountId) -> String {
    if let Some(member) = group.members.iter().find(|m| m.account == *account) {
        return member_name(member);
    }
    let gone = group.banned.iter().chain(former).find(|gone| gone.account == *account);
    account_name(gone.and_then(|gone| gone.name.as_deref()).unwrap_or_default(), account)
}

/// What a member is called, safe to be shown.
pub fn member_name(member: &GroupMember) -> String {
    account_name(&member.name, &member.account)
}

/// What an account with a name is called, safe to be shown. A node calls by the beginning of its id whose name it does not know.
pub fn account_name(name: &str, account: &AccountId) -> String {
    let is_unknown = name.is_empty() || (name.len() == SHORT && account.as_str().starts_with(name));
    if is_unknown { somebody(account) } else { safe_line(name) }
}

/// What an account is called whose name is not known here (yet): members say theirs to newcomers once one of their devices is online.
fn somebody(account: &AccountId) -> String {
    let short: String = account.as_str().chars().take(SHORT).collect();
    let rest = if short.len() < account.as_str().len() { "…" } else { "" };
    format!("somebody ({}{rest})", safe_line(&short))
}

/// What a channel of a community is called, as far as that is known here.
fn channel_in(group: &Group, id: &ChatId) -> Option<String> {
    let channel = group.channels.iter().find(|channel| channel.id == *id)?;
    channel.name.as_deref().map(safe_line)
}

/// Whether a link has ended, with this entry of an audit log, because somebody came in by it for the last time: the entries of an epoch are one
/// change.
fn is_used_up(entries: &[AuditEntry], at: usize) -> bool {
    let Some(entry) = entries.get(at).filter(|entry| entry.action == AuditAction::LinkEnded) else { return false };
    let mut before = entries[..at].iter().rev().take_while(|other| other.epoch == entry.epoch);
    before.any(|other| {
        other.action == AuditAction::Invited && other.by == entry.by && other.account.as_ref() == Some(&entry.by)
    })
}

/// What an entry of an audit log, by its place among the entries, says. `name` gives what an account is called, and `channel` what a channel of a
/// community is, safe to be shown.
pub fn words_of_audit(
    entries: &[AuditEntry],
    at: usize,
    name: impl Fn(&AccountId) -> String,
    channel: impl Fn(&ChatId) -> Option<String>,
) -> String {
    let Some(entry) = entries.get(at) else { return String::new() };
    let by = name(&entry.by);
    let whom = entry.account.as_ref().map(name).unwrap_or_default();
    let text = || safe_line(entry.text.as_deref().unwrap_or_default());
    let link = || safe_line(entry.link.as_deref().unwrap_or_default());
    let of_channel = || {
        let id = entry.channel.as_ref();
        id.map(|id| channel(id).unwrap_or_else(|| safe_line(id.as_str()))).unwrap_or_default()
    };
    match entry.action {
        AuditAction::Made => format!("{by} made the group"),
        AuditAction::Raised => format!("{by} raised the group to the present version: the log begins here"),
        AuditAction::Renamed => format!("{by} named it {}", text()),
        AuditAction::Topic => format!("{by} set the topic: {}", text()),
        AuditAction::Invited if by == whom => format!("{whom} came in by a link"),
        AuditAction::Invited => format!("{by} invited {whom}"),
        AuditAction::Role => format!("{by} made {whom} {}", entry.role.map_or("", Role::as_str)),
        AuditAction::Removed => format!("{by} removed {whom}"),
        AuditAction::Left => format!("{whom} left"),
        AuditAction::Banned => format!("{by} banned {whom}"),
        AuditAction::Unbanned => format!("{by} lifted the ban of {whom}"),
        AuditAction::Setting => {
            let word = |word: &Option<String>| safe_line(word.as_deref().unwrap_or_default());
            format!("{by} set {} to {}", word(&entry.setting).replace('_', "-"), word(&entry.value))
        }
        AuditAction::LinkMade => format!("{by} made the link {}", link()),
        AuditAction::LinkEnded if is_used_up(entries, at) => {
            format!("the link {} is used up: {by} was the last to come by it", link())
        }
        AuditAction::LinkEnded => format!("{by} ended the link {}", link()),
        AuditAction::LinkUsed => format!("{by} came by the link {}", link()),
        AuditAction::ChannelAdded => format!("{by} added the channel {}", of_channel()),
        AuditAction::ChannelRemoved => format!("{by} ended the channel {}", of_channel()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::local_time::in_zone;

    fn entry(epoch: u64, action: AuditAction, by: &str, account: Option<&str>) -> AuditEntry {
        let at = "2026-07-01T20:30:00.000Z".into();
        let link = Some("1f2e".into());
        AuditEntry { at, epoch, action, by: by.into(), account: account.map(Into::into), link, ..AuditEntry::default() }
    }

    #[test]
    fn a_link_that_is_used_up_was_ended_by_nobody() {
        let entries = [
            entry(7, AuditAction::Invited, "dave", Some("dave")),
            entry(7, AuditAction::LinkEnded, "dave", None),
            entry(8, AuditAction::Invited, "bob", Some("carol")),
            entry(9, AuditAction::LinkEnded, "bob", None),
            entry(10, AuditAction::Left, "dave", Some("dave")),
            entry(10, AuditAction::LinkEnded, "bob", None),
        ];
        let words = |at| words_of_audit(&entries, at, |account| account.as_str().to_owned(), |_| None);
        assert_eq!(words(0), "dave came in by a link");
        assert_eq!(words(1), "the link 1f2e is used up: dave was the last to come by it");
        assert_eq!([words(3), words(5)], ["bob ended the link 1f2e", "bob ended the link 1f2e"]);
        assert_eq!(words(6), "");
    }

    #[test]
    fn times_are_local_and_names_that_are_not_known_are_no_ids() {
        let account = "kdbhfngrxyzabcdefghi";
        let nameless = GroupMember { account: account.into(), name: "kdbhfngr".into(), ..GroupMember::default() };
        let group = Group { members: vec![nameless], ..Group::default() };
        let log =
            AuditLog { entries: vec![entry(1, AuditAction::Left, account, Some(account))], ..AuditLog::default() };
        let lines = in_zone("JST-9", || audit_lines((&group, &[]), &log, &LocalTimes::in_tests()));
        assert_eq!(lines, ["   0  2026-07-02 05:30  somebody (kdbhfngr…) left"]);
        assert_eq!(account_name("bob", &account.into()), "bob");
    }
}
