//! The 24-word recovery phrase (BIP-39, English list) and the account key derived from it.

use bip39::{Language, Mnemonic};
use zeroize::{Zeroizing, zeroize_stack};

use crate::{AccountKey, random::random_secret};

/// Words of a phrase.
const WORDS: usize = 24;
/// As much of a text is read as a phrase with numbers, punctuation and some words around it can have, in bytes.
const MAX_WRITTEN: usize = 16 * 1024;
/// Most words that are looked at.
const MAX_WORDS: usize = 100;
/// As much of the stack is wiped after work on a phrase, in bytes: more than that work takes.
const WIPED_STACK: usize = 64 * 1024;

/// Why a recovery phrase was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PhraseError {
    /// A recovery phrase has 24 words.
    #[error("a recovery phrase has 24 words, this one has {0}")]
    Length(usize),
    /// A word is not in the list; the word itself is not repeated, as it may be a secret.
    #[error("word {position} is not a word of the list{}", hint.as_ref().map(|h| format!(" (did you mean “{h}”?)")).unwrap_or_default())]
    UnknownWord {
        /// Counted from 1.
        position: usize,
        /// A word of the list with the same first letters.
        hint: Option<&'static str>,
    },
    /// Every word is known, but together they do not make a phrase: one is wrong or two are swapped.
    #[error("the words do not fit together: one is wrong, or two are swapped")]
    Checksum,
}

/// A recovery phrase: 256 bits of entropy as 24 words. In a box as [`AccountKey`] is.
pub struct RecoveryPhrase(Box<Mnemonic>);

/// Works on a phrase, and wipes what that has left on the stack: the library keeps entropy, words and seeds in variables that it does not wipe.
fn wiping_stack<T>(work: impl FnOnce() -> T) -> T {
    // Not inlined, so that its variables are below this function's, where the stack is wiped.
    #[inline(never)]
    fn below<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let result = below(work);
    zeroize_stack::<WIPED_STACK>();
    result
}

impl RecoveryPhrase {
    /// A new phrase from the system's random source.
    pub fn generate() -> Self {
        wiping_stack(|| Self::from_entropy(&random_secret()))
    }

    /// The phrase of this entropy.
    pub fn from_entropy(entropy: &[u8; 32]) -> Self {
        match Mnemonic::from_entropy_in(Language::English, entropy) {
            Ok(mnemonic) => Self(Box::new(mnemonic)),
            Err(_) => unreachable!("BIP-39 takes 32 bytes of entropy"),
        }
    }

    /// Reads a phrase as people keep it: words in any case and layout, with or without numbers and punctuation. If each of the numbers 1 to 24 stands
    /// before a word, those are the words, in the order of their numbers, and the rest of the text is not read.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let words = written_words(text);
        for (i, word) in words.iter().enumerate() {
            if Language::English.find_word(word).is_none() {
                let prefix: String = word.chars().take(3).collect();
                return Err(PhraseError::UnknownWord {
                    position: i + 1,
                    hint: Language::English.words_by_prefix_iter(&prefix).next().filter(|_| !prefix.is_empty()),
                });
            }
        }
        if words.len() != WORDS {
            return Err(PhraseError::Length(words.len()));
        }
        let joined = Zeroizing::new(words.iter().map(|w| w.as_str()).collect::<Vec<_>>().join(" "));
        let parsed = wiping_stack(|| Mnemonic::parse_in_normalized(Language::English, &joined).map(Box::new));
        parsed.map(Self).map_err(|_| PhraseError::Checksum)
    }

    /// The words, separated by single spaces.
    pub fn words(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.words().collect::<Vec<_>>().join(" "))
    }

    /// The account key of this phrase: BLAKE3 in key-derivation mode over the BIP-39 seed (empty passphrase).
    pub fn account_key(&self) -> AccountKey {
        wiping_stack(|| {
            let seed = Zeroizing::new(self.0.to_seed_normalized(""));
            let key = Zeroizing::new(blake3::derive_key("starling 2026 account key v1", seed.as_ref()));
            AccountKey::from_seed(&key)
        })
    }
}

/// A text without the colours of a terminal, with letters and digits of full width as those of ASCII, and with a space for all that cannot be seen.
fn plain_letters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // An SGR sequence: parameters, then a letter.
                while chars.next_if(|c| matches!(c, '0'..='9' | ';' | ':')).is_some() {}
                chars.next();
            }
            '\u{ff01}'..='\u{ff5e}' => out.extend(char::from_u32(u32::from(c) - 0xfee0)),
            // Hidden inside of a word, where it was broken or protected: not a place between two.
            '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}' => {}
            c if c.is_alphanumeric() => out.push(c),
            _ => out.push(' '),
        }
    }
    out
}

/// The words of a phrase that was printed, written down or copied.
fn written_words(text: &str) -> Vec<Zeroizing<String>> {
    let text = Zeroizing::new(plain_letters(starling_text::shortened(text, MAX_WRITTEN)));
    let mut number = None;
    let mut words: Vec<(Option<usize>, Zeroizing<String>)> = Vec::new();
    for token in text.split_whitespace() {
        let word = token.trim_matches(|c: char| c.is_numeric());
        if word.is_empty() {
            number = token.parse().ok();
        } else {
            words.push((number.take(), Zeroizing::new(starling_text::folded(word))));
        }
    }
    let mut numbered: Vec<&(Option<usize>, Zeroizing<String>)> = words.iter().filter(|(n, _)| n.is_some()).collect();
    numbered.sort_by_key(|(n, _)| *n);
    if numbered.iter().map(|(n, _)| *n).eq((1..=WORDS).map(Some)) {
        return numbered.into_iter().map(|(_, word)| word.clone()).collect();
    }
    words.into_iter().take(MAX_WORDS).map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_restores_the_same_account() {
        let phrase = RecoveryPhrase::generate();
        let again = RecoveryPhrase::parse(&phrase.words().to_uppercase()).unwrap();
        assert_eq!(phrase.account_key().id(), again.account_key().id());
    }

    #[test]
    fn layout_numbers_and_punctuation_do_not_matter() {
        let phrase = RecoveryPhrase::from_entropy(&[7; 32]);
        let words = phrase.words();
        let list: Vec<&str> = words.split(' ').collect();
        let numbered = |form: fn(usize, &str) -> String, between: &str| {
            list.iter().enumerate().map(|(i, w)| form(i + 1, w)).collect::<Vec<_>>().join(between)
        };
        let columns: String = (0..6)
            .map(|row| {
                (0..4).map(|c| format!("{:>2} {:<10}", row + 6 * c + 1, list[row + 6 * c])).collect::<String>() + "\n"
            })
            .collect();
        let written = [
            numbered(|i, w| format!("{i:>2} {w:<10}"), "\n"),
            numbered(|i, w| format!("{i}. {w}"), "\r\n"),
            numbered(|i, w| format!("{i}) {}", w.to_uppercase()), "; "),
            numbered(|i, w| format!("{i}{w}"), " "),
            numbered(|_, w| w.to_owned(), ", "),
            numbered(|_, w| w.to_owned(), "\u{a0}\u{200b}"),
            numbered(|_, w| w.to_owned(), "-"),
            numbered(|_, w| w.to_owned(), "\u{200b}"),
            numbered(|i, w| format!("\u{1b}[1;32m{i:>2}\u{1b}[0m {w}"), "\n"),
            numbered(|_, w| w.chars().flat_map(|c| char::from_u32(u32::from(c) + 0xfee0)).collect(), "\u{3000}"),
            numbered(|_, w| format!("{}\u{ad}{}", &w[..1], &w[1..]), " "),
            format!("\u{feff}“{}”.", *words),
            format!(
                "Profile “default” is ready. Account 5w6vbef7puhb2y2j\n\nRecovery phrase, write it down:\n{columns}\n"
            ),
        ];
        for text in written {
            let read = RecoveryPhrase::parse(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert_eq!(read.words(), words, "{text}");
        }
    }

    #[test]
    fn a_wrong_phrase_says_what_is_wrong() {
        let phrase = RecoveryPhrase::from_entropy(&[7; 32]);
        let words = phrase.words();
        let mut list: Vec<&str> = words.split(' ').collect();
        assert_eq!(RecoveryPhrase::parse(&list[..12].join(" ")).err(), Some(PhraseError::Length(12)));
        list.swap(0, 23);
        assert_eq!(RecoveryPhrase::parse(&list.join(" ")).err(), Some(PhraseError::Checksum));
        list[2] = "abandonn";
        assert_eq!(
            RecoveryPhrase::parse(&list.join(" ")).err(),
            Some(PhraseError::UnknownWord { position: 3, hint: Some("abandon") })
        );
    }

    /// The derivation is part of the format: a change would lose every account.
    #[test]
    fn the_derivation_is_pinned() {
        let id = RecoveryPhrase::from_entropy(&[0; 32]).account_key().id();
        assert_eq!(id.to_string(), "5w6vbef7puhb2y2jfk32ugslhnw4lnabicpirlaaebbkr6bvz2fq");
    }
}
