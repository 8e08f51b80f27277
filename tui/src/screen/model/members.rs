//! The members of the open group, as the details list them: the highest role first, then by name.

use starling_control::objects::{AccountId, Group, GroupMember};

use super::group::rank;

/// The members, and the one that is chosen.
#[derive(Debug, Default)]
pub struct Members {
    rows: Vec<GroupMember>,
    at: usize,
    /// The first row that is seen.
    first: usize,
}

impl Members {
    /// Makes the rows again; who was chosen still is.
    pub fn rebuild(&mut self, group: Option<&Group>) {
        let chosen = self.chosen().map(|member| member.account.clone());
        self.rows = group.map(|group| group.members.clone()).unwrap_or_default();
        self.rows.sort_by_cached_key(|m| (rank(m.role), starling_text::folded(&m.name), m.account.clone()));
        let again = chosen.and_then(|account| self.place_of(&account));
        self.at = again.unwrap_or(self.at).min(self.rows.len().saturating_sub(1));
    }

    fn place_of(&self, account: &AccountId) -> Option<usize> {
        self.rows.iter().position(|member| member.account == *account)
    }

    /// All of them, in order.
    pub fn rows(&self) -> &[GroupMember] {
        &self.rows
    }

    /// The row that is chosen.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The member that is chosen.
    pub fn chosen(&self) -> Option<&GroupMember> {
        self.rows.get(self.at)
    }

    /// Chooses the member so many rows further down; negative is up.
    pub fn step(&mut self, by: isize) {
        self.at = self.at.saturating_add_signed(by).min(self.rows.len().saturating_sub(1));
    }

    /// Chooses the member in a row of what is seen; `false` if there is none.
    pub fn choose_seen(&mut self, row: usize) -> bool {
        let at = self.first + row;
        let is_there = at < self.rows.len();
        if is_there {
            self.at = at;
        }
        is_there
    }

    /// The members that are seen in so many rows, the chosen one among them, with the place of the first.
    pub fn seen(&mut self, height: usize) -> (usize, &[GroupMember]) {
        let last_first = self.rows.len().saturating_sub(height);
        let lowest = (self.at + 1).saturating_sub(height);
        self.first = self.first.clamp(lowest, self.at.max(lowest)).min(last_first.max(lowest));
        let end = (self.first + height).min(self.rows.len());
        (self.first, &self.rows[self.first.min(end)..end])
    }
}

#[cfg(test)]
mod tests {
    use starling_control::objects::Role;

    use super::*;

    fn group(members: &[(&str, Role)]) -> Group {
        let member = |(name, role): &(&str, Role)| GroupMember {
            account: (*name).into(),
            name: (*name).into(),
            role: *role,
            ..GroupMember::default()
        };
        Group { members: members.iter().map(member).collect(), ..Group::default() }
    }

    fn names(members: &Members) -> Vec<&str> {
        members.rows().iter().map(|member| member.name.as_str()).collect()
    }

    #[test]
    fn members_are_sorted_by_role_and_name_and_the_chosen_one_stays_chosen() {
        let mut members = Members::default();
        let all = [("zoe", Role::Owner), ("bob", Role::Member), ("Anna", Role::Member), ("eve", Role::Reader)];
        members.rebuild(Some(&group(&all)));
        assert_eq!(names(&members), ["zoe", "Anna", "bob", "eve"]);
        members.step(2);
        let promoted = [("zoe", Role::Owner), ("bob", Role::Admin), ("Anna", Role::Member), ("carl", Role::Member)];
        members.rebuild(Some(&group(&promoted)));
        assert_eq!((names(&members), members.at()), (vec!["zoe", "bob", "Anna", "carl"], 1));
        members.rebuild(None);
        assert!(members.chosen().is_none() && members.seen(5).1.is_empty() && !members.choose_seen(0));
    }

    #[test]
    fn five_hundred_members_scroll_and_the_chosen_one_is_seen() {
        let many: Vec<String> = (0..500).map(|n| format!("member {n:03}")).collect();
        let many: Vec<(&str, Role)> = many.iter().map(|name| (name.as_str(), Role::Member)).collect();
        let mut members = Members::default();
        members.rebuild(Some(&group(&many)));
        for (by, at, first) in
            [(0, 0, 0), (9, 9, 0), (1, 10, 1), (-5, 5, 1), (-5, 0, 0), (1000, 499, 490), (-1000, 0, 0)]
        {
            members.step(by);
            let (shown, seen) = members.seen(10);
            assert_eq!((seen.len(), shown), (10, first), "after {by}");
            assert_eq!(members.at(), at);
        }
        members.step(100);
        members.seen(10);
        assert!(members.choose_seen(0) && !members.choose_seen(1000));
        assert_eq!(members.at(), 91);
        // A window without room for one row.
        assert!(members.seen(0).1.is_empty());
        assert_eq!(members.seen(1000).1.len(), 500);
    }
}
