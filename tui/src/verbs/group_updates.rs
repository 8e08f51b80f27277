//! What is said of a group: how many are in it, and what keeps somebody from it, which is programs that have to be updated.

use starling_control::objects::{Group, OldProgram};

use crate::{error::old_programs, terminal::safe_line};

/// Whose programs are too old, of those that are meant, in words.
pub(super) fn outdated(group: &Group, is_meant: impl Fn(&OldProgram) -> bool) -> Option<String> {
    let name = |old: &OldProgram| {
        let name = (!old.own).then(|| safe_line(&old.name));
        (name, old.label.as_deref().map(safe_line).unwrap_or_default())
    };
    let words = old_programs(group.outdated.iter().filter(|old| is_meant(old)).map(name));
    (!words.is_empty()).then_some(words)
}

/// Which programs have to be updated, and before what.
pub fn updates(group: &Group) -> Vec<String> {
    let newer = "this group is of a newer version: update Starling, and it goes on by itself";
    let own = group.needs_update.then(|| newer.to_owned());
    let others = outdated(group, |_| true).map(|who| match group.policy.fixed {
        true => format!("{who} must be updated before the group can have settings, bans, links and an audit log"),
        false => format!("{who} must be updated before it can come in"),
    });
    own.into_iter().chain(others).collect()
}

/// How many members a group has, in words.
pub fn counted_members(count: usize) -> String {
    if count == 1 { "1 member".to_owned() } else { format!("{count} members") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(name: &str, label: &str) -> OldProgram {
        OldProgram {
            name: name.into(),
            label: Some(label.to_owned()).filter(|l| !l.is_empty()),
            ..OldProgram::default()
        }
    }

    #[test]
    fn it_is_said_whose_program_is_too_old_and_for_what() {
        let mut group = Group { outdated: vec![old("bob", "laptop")], ..Group::default() };
        assert_eq!(updates(&group), ["bob's program (device laptop) must be updated before it can come in"]);
        group.outdated.push(OldProgram { own: true, ..old("alice", "") });
        group.policy.fixed = true;
        let before = "before the group can have settings, bans, links and an audit log";
        assert_eq!(
            updates(&group),
            [format!("bob's program (device laptop) and your program must be updated {before}")]
        );
        group.outdated = (0..7).map(|n| old(&format!("m{n}"), "")).collect();
        let said = updates(&group).concat();
        assert!(said.starts_with("m0's program, m1's program, m2's program and 4 more must be updated"), "{said}");
        group = Group { needs_update: true, ..Group::default() };
        assert_eq!(updates(&group), ["this group is of a newer version: update Starling, and it goes on by itself"]);
    }
}
