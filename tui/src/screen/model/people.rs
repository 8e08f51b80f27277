//! Several people in a few words, and who of them is typing.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use starling_control::objects::{AccountId, ChatId};

/// Who types is said again before this; who does not say so has stopped, also where that was lost.
const TYPES_FOR: Duration = Duration::from_secs(15);
/// People who are remembered as typing in one group.
const MAX_TYPING: usize = 64;

/// Names in a few words: `alice`, `alice and bob`, `alice, bob and 3 others`.
pub fn several(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, two] => format!("{one} and {two}"),
        [one, two, three] => format!("{one}, {two} and {three}"),
        [one, two, others @ ..] => format!("{one}, {two} and {} others", others.len()),
    }
}

/// Somebody who is typing.
#[derive(Debug)]
struct Typist {
    account: AccountId,
    name: String,
    until: Instant,
}

/// Who is typing in groups, those who have begun first before the others: so the words change little.
#[derive(Debug, Default)]
pub struct Typing(HashMap<ChatId, Vec<Typist>>);

impl Typing {
    /// Somebody, whose name is safe to be shown, is typing, or has stopped.
    pub fn set(&mut self, chat: &ChatId, account: &AccountId, name: String, typing: bool, now: Instant) {
        if !typing {
            return self.stopped(chat, account);
        }
        let typists = self.0.entry(chat.clone()).or_default();
        typists.retain(|typist| typist.until > now);
        let until = now + TYPES_FOR;
        if let Some(typist) = typists.iter_mut().find(|typist| typist.account == *account) {
            typist.until = until;
        } else if typists.len() < MAX_TYPING {
            typists.push(Typist { account: account.clone(), name, until });
        }
    }

    /// Somebody has sent what they were typing, or has stopped.
    pub fn stopped(&mut self, chat: &ChatId, account: &AccountId) {
        if let Some(typists) = self.0.get_mut(chat) {
            typists.retain(|typist| typist.account != *account);
        }
    }

    /// Whether somebody is typing in a group.
    pub fn has(&self, chat: &ChatId, account: &AccountId, now: Instant) -> bool {
        let typists = self.0.get(chat).into_iter().flatten();
        typists.filter(|typist| typist.until > now).any(|typist| typist.account == *account)
    }

    /// Who is typing in a group, in words.
    pub fn words(&self, chat: &ChatId, now: Instant) -> Option<String> {
        let typists = self.0.get(chat)?.iter().filter(|typist| typist.until > now);
        let names: Vec<&str> = typists.map(|typist| typist.name.as_str()).collect();
        match names.len() {
            0 => None,
            1 => Some(format!("{} is typing…", several(&names))),
            _ => Some(format!("{} are typing…", several(&names))),
        }
    }

    /// When somebody counts as not typing any more in a group.
    pub fn changes_at(&self, chat: &ChatId, now: Instant) -> Option<Instant> {
        self.0.get(chat)?.iter().map(|typist| typist.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_who_type_are_told_calmly_and_forgotten() {
        let (mut typing, now, chat) = (Typing::default(), Instant::now(), ChatId::from("g"));
        let words = |typing: &Typing, now| typing.words(&chat, now).unwrap_or_default();
        assert_eq!(words(&typing, now), "");
        typing.set(&chat, &"a".into(), "alice".into(), true, now);
        assert_eq!(words(&typing, now), "alice is typing…");
        assert!(typing.has(&chat, &"a".into(), now) && !typing.has(&chat, &"b".into(), now));
        for (account, name) in [("b", "bob"), ("a", "alice"), ("c", "carol")] {
            typing.set(&chat, &account.into(), name.into(), true, now);
        }
        assert_eq!(words(&typing, now), "alice, bob and carol are typing…");
        for n in 0..500 {
            typing.set(&chat, &format!("{n}").as_str().into(), format!("guest {n}"), true, now);
        }
        assert_eq!(words(&typing, now), "alice, bob and 62 others are typing…", "as many as are remembered");
        typing.set(&chat, &"a".into(), "alice".into(), false, now);
        assert!(words(&typing, now).starts_with("bob, carol and"));
        assert_eq!(typing.changes_at(&chat, now), Some(now + TYPES_FOR));
        assert_eq!((words(&typing, now + TYPES_FOR), typing.changes_at(&chat, now + TYPES_FOR)), (String::new(), None));
    }
}
