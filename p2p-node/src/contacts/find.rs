//! Finding a contact by what people call them.

use starling_keys::AccountId;

use super::{Contacts, Person};
use crate::api::types::ContactState;

/// Names that are suggested in place of one that nobody has.
const SUGGESTED: usize = 3;
/// So many letters of a name have to be right for that.
const BEGINNING: usize = 2;

impl Contacts {
    /// Those with a name: as it is written if anybody has it so, else without regard to case and accents.
    pub fn named(&self, name: &str) -> Vec<AccountId> {
        let exact: Vec<AccountId> = self.shown(|shown| shown == name).map(|(account, _)| account).collect();
        if !exact.is_empty() {
            return exact;
        }
        self.shown(|shown| starling_text::same(shown, name)).map(|(account, _)| account).collect()
    }

    /// Some names that begin like another.
    pub fn called_like(&self, name: &str) -> Vec<String> {
        let beginning: String = starling_text::folded(name).chars().take(BEGINNING).collect();
        let like = self.shown(|shown| starling_text::folded(shown).starts_with(&beginning));
        like.take(SUGGESTED).map(|(_, person)| person.name().to_owned()).collect()
    }

    /// Whether somebody was asked who has not accepted yet, and whose name is known only then.
    pub fn has_asked_nameless(&self) -> bool {
        let is_nameless = |person: &Person| person.row.alias.is_empty() && person.row.found_as.is_empty();
        self.people.iter().any(|(_, person)| person.state() == ContactState::Outgoing && is_nameless(person))
    }

    /// Those who were not removed, and whose name fits.
    fn shown(&self, fits: impl Fn(&str) -> bool) -> impl Iterator<Item = (AccountId, &Person)> {
        let people = self.people.iter().filter(|(_, person)| person.state() != ContactState::Removed);
        people.filter(move |(_, person)| fits(person.name())).map(|(account, person)| (*account, person))
    }
}
