//! Short codes such as `271828-unicorn-quiver`: a place at a rendezvous and a password for SPAKE2 (RFC 9382's ancestor, symmetric form).
//!
//! Somebody who does not know the words gets one guess per attempt, also the rendezvous itself; the caller burns the code after three failures.

use std::{fmt, str::FromStr};

use bip39::Language;
use spake2::{Ed25519Group, Identity, Password, Spake2};
use zeroize::Zeroizing;

use crate::{random, seal::StorageKey};

/// As much of a text is read as a code with what may stand around it has, in bytes.
const MAX_WRITTEN: usize = 256;

/// Why a short code was refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum CodeError {
    /// Not a number and two words, or four.
    #[error("a short code is a number and two words, like 271828-unicorn-quiver, or four if it links a device")]
    Form,
    /// A word is not in the list.
    #[error("“{word}” is not a word of the list{}", hint.map(|h| format!(" (did you mean “{h}”?)")).unwrap_or_default())]
    UnknownWord {
        /// As it was typed, shortened.
        word: String,
        /// A word of the list with the same first letters.
        hint: Option<&'static str>,
    },
    /// The other side used other words.
    #[error("the code is wrong")]
    Mismatch,
}

/// Words of a code that makes a contact (22 bits), and of one that links a device (44 bits).
const CONTACT_WORDS: usize = 2;
const DEVICE_WORDS: usize = 4;

/// A place number and two words of the BIP-39 English list, or four.
#[derive(Clone, PartialEq, Eq)]
pub struct ShortCode {
    /// The place at the rendezvous where both sides meet.
    pub place: u32,
    words: Vec<u16>,
}

impl ShortCode {
    /// A new code for a place that the rendezvous gave.
    pub fn generate(place: u32) -> Self {
        Self::of_words(place, CONTACT_WORDS)
    }

    /// The same, with words enough that guessing is hopeless also for who tries all places: what it leads to is worth more.
    pub fn generate_for_device(place: u32) -> Self {
        Self::of_words(place, DEVICE_WORDS)
    }

    fn of_words(place: u32, count: usize) -> Self {
        Self { place, words: (0..count).map(|_| random::<u16>() & 0x7ff).collect() }
    }
}

impl fmt::Display for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = Language::English.word_list();
        write!(f, "{}", self.place)?;
        self.words.iter().try_for_each(|word| write!(f, "-{}", list[usize::from(*word)]))
    }
}

impl FromStr for ShortCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let text =
            starling_text::folded(&starling_text::without_invisible(starling_text::shortened(text, MAX_WRITTEN)));
        // Whatever stands between and around them: hyphens of all kinds, spaces, line breaks, quotes.
        let parts: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|p| !p.is_empty()).collect();
        let Some((place, words)) =
            parts.split_first().filter(|(_, w)| [CONTACT_WORDS, DEVICE_WORDS].contains(&w.len()))
        else {
            return Err(CodeError::Form);
        };
        let place = place.parse().map_err(|_| CodeError::Form)?;
        let word = |word: &str| {
            Language::English.find_word(word).ok_or_else(|| {
                let prefix: String = word.chars().take(3).collect();
                CodeError::UnknownWord {
                    word: word.chars().take(20).collect(),
                    hint: Language::English.words_by_prefix_iter(&prefix).next(),
                }
            })
        };
        Ok(Self { place, words: words.iter().map(|w| word(w)).collect::<Result<_, _>>()? })
    }
}

/// One attempt at a short code: send [`CodeExchange::message`], take the other side's, get a shared key.
pub struct CodeExchange {
    state: Spake2<Ed25519Group>,
    message: Vec<u8>,
}

impl CodeExchange {
    /// Starts an attempt.
    pub fn start(code: &ShortCode) -> Self {
        let password = Zeroizing::new(code.to_string());
        let (state, message) = Spake2::<Ed25519Group>::start_symmetric(
            &Password::new(password.as_bytes()),
            &Identity::new(b"starling short code v1"),
        );
        Self { state, message }
    }

    /// What goes to the other side (33 bytes).
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The key that both sides share if, and only if, both used the same code. Whether they did shows when the first value
    /// sealed with it is opened.
    pub fn finish(self, theirs: &[u8]) -> Result<StorageKey, CodeError> {
        let key = Zeroizing::new(self.state.finish(theirs).map_err(|_| CodeError::Mismatch)?);
        Ok(StorageKey::from_bytes(blake3::derive_key("starling 2026 short code v1", &key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_code_gives_the_same_key_and_another_does_not() {
        let code = ShortCode::generate(7);
        let (a, b) = (CodeExchange::start(&code), CodeExchange::start(&code));
        let (to_b, to_a) = (a.message().to_vec(), b.message().to_vec());
        let (a, b) = (a.finish(&to_a).unwrap(), b.finish(&to_b).unwrap());
        assert_eq!(&*b.open(b"x", &a.seal(b"x", b"hello")).unwrap(), b"hello");

        let mut wrong = code.clone();
        wrong.words[0] ^= 1;
        let (a, b) = (CodeExchange::start(&code), CodeExchange::start(&wrong));
        let (to_b, to_a) = (a.message().to_vec(), b.message().to_vec());
        let (a, b) = (a.finish(&to_a).unwrap(), b.finish(&to_b).unwrap());
        assert!(b.open(b"x", &a.seal(b"x", b"hello")).is_err());
    }

    #[test]
    fn a_code_is_read_however_it_was_pasted() {
        let code: ShortCode = "7-uniform-quiz".parse().unwrap();
        for pasted in [
            "“7-uniform-quiz”.",
            " <7 Uniform  QUIZ>\n",
            "7‑uniform–quiz",
            "7-uniform-\nquiz",
            "\u{feff}7-uniform\u{200b}-quiz,",
        ] {
            assert!(pasted.parse() == Ok::<_, CodeError>(code.clone()), "{pasted:?}");
        }
    }

    #[test]
    fn a_code_is_read_back_and_a_typo_gets_a_hint() {
        let code = ShortCode::generate_for_device(12);
        assert_eq!(code.to_string().split('-').count(), 5);
        assert!(code.to_string().replace('-', " ").parse() == Ok::<_, CodeError>(code.clone()));
        let code = ShortCode::generate(12);
        assert!(code.to_string().to_uppercase().parse() == Ok::<_, CodeError>(code));
        assert!(matches!(
            "7-abandonn-zoo".parse::<ShortCode>(),
            Err(CodeError::UnknownWord { hint: Some("abandon"), .. })
        ));
        assert!(matches!("seven".parse::<ShortCode>(), Err(CodeError::Form)));
    }
}
