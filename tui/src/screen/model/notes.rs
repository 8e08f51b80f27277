//! What has happened to the membership of a group, from its audit log, in lines of its timeline: what comes between two messages is one line.

use std::{collections::HashSet, ops::Range};

use starling_control::objects::{AccountId, AuditAction, AuditEntry, Group, Role};

use super::{group::plural, people::several};
use crate::{
    screen::{clock, timeline::cut},
    terminal::safe_line,
};

/// What the account of this profile is called.
pub const YOU: &str = "you";
/// Columns of a name in a line, and of a topic.
const MAX_NAME: u16 = 24;
const MAX_TOPIC: u16 = 60;

/// What has happened. What is the same goes together, with the names of all that it has happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Made,
    Joined,
    Invited,
    Left,
    Removed,
    Banned,
    Unbanned,
    Role(Role),
    Renamed,
    Topic,
    Settings,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    /// In milliseconds since 1970; not before the one before it.
    at_ms: u64,
    what: What,
    /// To whom, or the new name or topic. Safe to be shown.
    name: String,
}

/// All of it, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(Vec<Note>);

impl Notes {
    /// From the audit log of a group. `name` gives what an account is called.
    pub fn of(entries: &[AuditEntry], group: &Group, name: impl Fn(&AccountId) -> String) -> Self {
        // Who was let in and has no device here yet has not come.
        let waits: HashSet<&AccountId> = group.members.iter().filter(|m| m.devices == 0).map(|m| &m.account).collect();
        let mut at_ms = 0;
        let mut notes = Vec::new();
        for entry in entries {
            at_ms = clock::milliseconds(&entry.at).max(at_ms);
            let whom = entry.account.as_ref();
            let text = |width| cut(&safe_line(entry.text.as_deref().unwrap_or_default()), width);
            let of_whom = || cut(&whom.map(&name).unwrap_or_default(), MAX_NAME);
            let by = || cut(&name(&entry.by), MAX_NAME);
            let (what, name) = match entry.action {
                AuditAction::Made => (What::Made, by()),
                AuditAction::Invited if whom.is_some_and(|account| waits.contains(account)) => {
                    (What::Invited, of_whom())
                }
                AuditAction::Invited => (What::Joined, of_whom()),
                AuditAction::Left => (What::Left, of_whom()),
                AuditAction::Removed => (What::Removed, of_whom()),
                AuditAction::Banned => (What::Banned, of_whom()),
                AuditAction::Unbanned => (What::Unbanned, of_whom()),
                AuditAction::Role => (What::Role(entry.role.unwrap_or_default()), of_whom()),
                AuditAction::Renamed => (What::Renamed, text(MAX_NAME)),
                AuditAction::Topic => (What::Topic, text(MAX_TOPIC)),
                AuditAction::Setting | AuditAction::Raised => (What::Settings, String::new()),
                // The log says more than a conversation needs.
                _ => continue,
            };
            notes.push(Note { at_ms, what, name });
        }
        Self(notes)
    }

    /// Those from a moment on, and before another one; without one to the end.
    pub fn between(&self, from_ms: u64, to_ms: Option<u64>) -> Range<usize> {
        let place = |ms: u64| self.0.partition_point(|note| note.at_ms < ms);
        let (from, to) = (place(from_ms), to_ms.map_or(self.0.len(), place));
        from..to.max(from)
    }

    /// Some of them in one line; empty for none.
    pub fn words(&self, range: Range<usize>) -> String {
        let mut kinds: Vec<(What, Vec<&str>, HashSet<&str>)> = Vec::new();
        for note in self.0.get(range).unwrap_or_default() {
            let place = kinds.iter().position(|(what, ..)| *what == note.what).unwrap_or_else(|| {
                kinds.push((note.what, Vec::new(), HashSet::new()));
                kinds.len() - 1
            });
            let (_, names, seen) = &mut kinds[place];
            if seen.insert(note.name.as_str()) {
                names.push(note.name.as_str());
            }
        }
        let words: Vec<String> = kinds.iter().map(|(what, names, _)| in_words(*what, names)).collect();
        words.join(" · ")
    }
}

fn in_words(what: What, names: &[&str]) -> String {
    let who = several(names);
    let were = if matches!(names, [one] if *one != YOU) { "was" } else { "were" };
    let last = names.last().copied().unwrap_or_default();
    match what {
        What::Made => format!("{who} made the group"),
        What::Joined => format!("{who} joined"),
        What::Invited => format!("{who} {were} invited"),
        What::Left => format!("{who} left"),
        What::Removed => format!("{who} {were} removed"),
        What::Banned => format!("{who} {were} banned"),
        What::Unbanned => format!("{who} {were} unbanned"),
        What::Role(role) if names.len() == 1 => format!("{who} {were} made {}", role.as_str()),
        What::Role(role) => format!("{who} {were} made {}", plural(role)),
        What::Renamed => format!("the name is #{last}"),
        What::Topic if last.is_empty() => "the topic was removed".to_owned(),
        What::Topic => format!("the topic is “{last}”"),
        What::Settings => "settings were changed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use starling_control::objects::GroupMember;

    use super::*;

    fn entry(at_ms: u64, action: AuditAction, account: &str) -> AuditEntry {
        let account = Some(account.into());
        AuditEntry {
            at: crate::rpc::rfc3339(at_ms).into(),
            by: "owner".into(),
            action,
            account,
            ..AuditEntry::default()
        }
    }

    fn notes(entries: &[AuditEntry], group: &Group) -> Notes {
        Notes::of(entries, group, |account| account.as_str().to_owned())
    }

    #[test]
    fn what_comes_between_two_messages_is_one_line() {
        let role =
            |account: &str| AuditEntry { role: Some(Role::Moderator), ..entry(5_000, AuditAction::Role, account) };
        let mut entries = vec![entry(1_000, AuditAction::Made, "")];
        entries.extend(["alice", "bob", "carol", "dave", "erin"].map(|name| entry(2_000, AuditAction::Invited, name)));
        entries.push(entry(3_000, AuditAction::Left, "dave"));
        entries.push(entry(3_000, AuditAction::LinkMade, ""));
        entries.extend(["alice", "bob", "alice"].map(role));
        // A clock that goes back does not change the order of the log.
        entries.push(entry(10, AuditAction::Removed, "erin"));
        let mut topic = entry(6_000, AuditAction::Topic, "");
        topic.text = Some("\u{1b}[2Jwhat\nwe run".into());
        entries.push(topic);
        let waits = GroupMember { account: "carol".into(), ..GroupMember::default() };
        let group = Group { members: vec![waits], ..Group::default() };
        let notes = notes(&entries, &group);
        let words = |from, to| notes.words(notes.between(from, to));
        assert_eq!(words(0, Some(1_000)), "");
        assert_eq!(words(0, Some(2_000)), "owner made the group");
        assert_eq!(words(2_000, Some(4_000)), "alice, bob and 2 others joined · carol was invited · dave left");
        let last = words(4_000, None);
        assert!(last.starts_with("alice and bob were made moderators · erin was removed · the topic is “"), "{last}");
        assert!(!last.contains(['\u{1b}', '\n']), "{last:?}");
        // Messages whose times are not in order.
        assert_eq!(words(9_000, Some(1_000)), "");
    }

    #[test]
    fn a_wave_of_joins_is_short() {
        let many: Vec<AuditEntry> = (0..500).map(|n| entry(n, AuditAction::Invited, &format!("m{n}"))).collect();
        let notes = notes(&many, &Group::default());
        assert_eq!(notes.words(notes.between(0, None)), "m0, m1 and 498 others joined");
        assert_eq!(Notes::default().words(0..0), "");
        assert_eq!(in_words(What::Removed, &[YOU]), "you were removed");
        assert_eq!(in_words(What::Role(Role::Admin), &["bob"]), "bob was made admin");
    }
}
