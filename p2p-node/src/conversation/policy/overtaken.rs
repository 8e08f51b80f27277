//! What our user wanted of a group before somebody else has changed the same: the newer of two changes stays, whichever commit came first. A wish
//! can wait for long, as where the group's home is away or full.

use starling_keys::AccountId;
use starling_wire::{GroupSetting, Policy};

use super::{IntentRow, PolicyEntry};
use crate::store::IntentKind;

/// What a policy says of what an intent is about.
#[derive(PartialEq, Eq)]
enum Said<'a> {
    Text(&'a str),
    Number(u32),
}

impl IntentRow {
    /// What a policy says of a name, topic, setting or role; none of anything else.
    fn said_in<'a>(&self, policy: &'a Policy) -> Option<Said<'a>> {
        match self.kind() {
            IntentKind::Name => Some(Said::Text(&policy.name)),
            IntentKind::Topic => Some(Said::Text(&policy.topic)),
            IntentKind::Setting => {
                let setting = GroupSetting::from_number(self.setting)?;
                Some(Said::Number(policy.rules.as_ref()?.value(setting)))
            }
            IntentKind::Role => {
                let account: Option<AccountId> = self.account();
                Some(Said::Number(policy.role(account?.as_bytes())?.rank().into()))
            }
            _ => None,
        }
    }

    /// What it wants to be said.
    fn wanted(&self) -> Said<'_> {
        match self.kind() {
            IntentKind::Setting => Said::Number(self.value),
            IntentKind::Role => Said::Number(self.role),
            _ => Said::Text(&self.text),
        }
    }
}

impl PolicyEntry {
    /// The group has another policy: what was wanted before it was made, and is said there in another way now, is not wanted any more. Gives whether
    /// there was such a wish.
    pub(super) fn drop_overtaken(&mut self, now: &Policy) -> bool {
        let went_back = std::mem::take(&mut self.went_back);
        let changed = self.policy.as_ref().zip(now.rules.as_ref()).filter(|_| !went_back);
        let Some((before, rules)) = changed else { return false };
        let is_overtaken = |intent: &IntentRow| {
            let (was, is) = (intent.said_in(before), intent.said_in(now));
            // Where a group is raised it has settings for the first time: nobody has changed them.
            let has_changed = was.is_some() && was != is && is.is_some_and(|is| is != intent.wanted());
            // Older versions did not say when.
            has_changed && (1..rules.audit.at).contains(&intent.wanted_ms)
        };
        let wishes = self.row.intents.len();
        self.row.intents.retain(|intent| !is_overtaken(intent));
        let were_some = self.row.intents.len() < wishes;
        self.dirty |= were_some;
        were_some
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use starling_wire::GroupKind;

    use super::*;

    /// A group's policy with this topic, given to it at this time.
    fn policy(topic: &str, at: u64) -> Policy {
        let mut policy = Policy::new([1; 16], "ops".into(), [2; 32]).with_rules(GroupKind::Group);
        policy.topic = topic.into();
        policy.rules.as_mut().unwrap().audit.at = at;
        policy
    }

    fn waiting(topic: &str, wanted_ms: u64) -> PolicyEntry {
        let mut entry = PolicyEntry::default();
        entry.set_policy(policy("", 1));
        entry.want(IntentRow::says(IntentKind::Topic, topic.into(), wanted_ms));
        entry
    }

    #[test]
    fn a_topic_that_was_wanted_before_another_was_given_is_dropped() {
        let mut older = waiting("older", 5);
        assert!(older.drop_overtaken(&policy("newer", 6)));
        assert!(older.row.intents.is_empty());
        let mut newer = waiting("newer", 7);
        assert!(!newer.drop_overtaken(&policy("older", 6)));
        assert_eq!(newer.row.intents.len(), 1);
    }

    #[test]
    fn what_is_done_or_untouched_is_not_overtaken() {
        // Our own commit has done it, some time after it was wanted.
        let mut done = waiting("ours", 5);
        assert!(!done.drop_overtaken(&policy("ours", 9)));
        assert_eq!(done.row.intents.len(), 1, "it is settled, and remembered");
        let mut other = waiting("ours", 5);
        let renamed = Policy { name: "devs".into(), ..policy("", 9) };
        assert!(!other.drop_overtaken(&renamed));
        assert_eq!(other.row.intents.len(), 1);
        let mut back = waiting("ours", 5);
        back.want_again_from(1);
        assert!(!back.drop_overtaken(&policy("of before", 9)), "the way that had another topic is left");
        // Of an older version.
        let mut unknown = waiting("ours", 0);
        assert!(!unknown.drop_overtaken(&policy("newer", 9)));
    }

    #[test]
    fn a_setting_that_waits_until_the_group_is_raised_is_not_overtaken_by_that() {
        let before = Policy { rules: None, ..policy("", 1) };
        let mut after = before.raised();
        after.rules.as_mut().unwrap().audit.at = 9;
        let mut entry = PolicyEntry::default();
        entry.set_policy(before);
        let (kind, setting) = (IntentKind::Setting.into(), GroupSetting::SlowMode.number());
        entry.want(IntentRow { kind, setting, value: 5, wanted_ms: 5, ..IntentRow::default() });
        assert!(!entry.drop_overtaken(&after));
        assert_eq!(entry.row.intents.len(), 1);
    }
}
