//! Names that people give themselves and one another.

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthChar;

use crate::safe::{SafeText, is_unsafe};

/// Longest name in characters as people count them: flags and families are one each.
pub const MAX_NAME_GRAPHEMES: usize = 64;
/// Longest name in bytes: 64 flags, or 64 letters with a few marks each.
pub const MAX_NAME_BYTES: usize = 512;

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or of spaces and invisible characters only.
    #[error("a name needs something that can be seen")]
    Invisible,
    /// More than [`MAX_NAME_GRAPHEMES`], or more than [`MAX_NAME_BYTES`].
    #[error(
        "a name has at most {MAX_NAME_GRAPHEMES} characters ({MAX_NAME_BYTES} bytes), this one has {graphemes} ({bytes} bytes)"
    )]
    TooLong {
        /// Its length as people count it.
        graphemes: usize,
        /// Its length in UTF-8.
        bytes: usize,
    },
}

/// A name as it is kept: composed (NFC), single spaces between words and none around them, without control, bidi and invisible characters.
///
/// # Errors
/// If nothing visible is left, or too much.
pub fn display_name(text: &str) -> Result<String, NameError> {
    // Bounded before it is worked on.
    let too_long = |text: &str| NameError::TooLong { graphemes: text.graphemes(true).count(), bytes: text.len() };
    if text.len() > 8 * MAX_NAME_BYTES {
        return Err(too_long(text));
    }
    let name = cleaned(text);
    if !is_visible(&name) {
        return Err(NameError::Invisible);
    }
    if name.len() > MAX_NAME_BYTES || name.graphemes(true).nth(MAX_NAME_GRAPHEMES).is_some() {
        return Err(too_long(&name));
    }
    Ok(name)
}

/// What is taken of a name that a peer sends: cleaned as [`display_name`] does, and cut where it is too long; empty if nothing can be seen.
pub fn received_name(text: &str) -> String {
    let name = cleaned(shortened(text, 8 * MAX_NAME_BYTES));
    if !is_visible(&name) {
        return String::new();
    }
    let end = name.grapheme_indices(true).nth(MAX_NAME_GRAPHEMES).map_or(name.len(), |(at, _)| at);
    shortened(&name[..end], MAX_NAME_BYTES).trim_end().to_owned()
}

/// As many whole characters of a text, as people count them, as fit into `max` bytes.
pub fn shortened(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = text.grapheme_indices(true).map(|(at, _)| at).take_while(|at| *at <= max).last().unwrap_or(0);
    &text[..end]
}

/// Composed, with single spaces, and without what [`SafeText`] would have to replace.
fn cleaned(text: &str) -> String {
    let spaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Joiners and tags that belong to a script or an emoji stay: `SafeText` knows which.
    let marked = spaced.replace(is_control, "");
    let safe: String = SafeText::line(&marked).chars().filter(|c| *c != '⍰').nfc().collect();
    safe.trim().to_owned()
}

/// What never belongs into a name. (Joiners, emoji styles and tags may.)
fn is_control(c: char) -> bool {
    let has_a_place = matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' | '\u{e0020}'..='\u{e007f}');
    c == '⍰' || is_unsafe(c) && !has_a_place
}

/// Whether there is something in a text that takes room and is no blank: not only marks that would join what stands before it.
pub fn is_visible(name: &str) -> bool {
    name.chars().any(|c| c.width() > Some(0) && !c.is_whitespace() && !is_unsafe(c) && c != '\u{2800}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_something_visible() {
        for nothing in [
            "",
            " ",
            "\t\n",
            "\u{a0}\u{3000}",
            "\u{200b}",
            "\u{202e}",
            "\u{2060}\u{feff}",
            "\u{301}",
            "\u{200d}\u{fe0f}",
            "\u{3164}",
            "\u{2800}",
            "\u{e0041}",
            "\u{ad}",
            "\u{34f}",
            "\u{fe0f}",
            "\u{1d159}",
            "\u{13430}",
            "\u{13441}\u{13442}",
            "\u{ffff}",
        ] {
            assert_eq!(display_name(nothing), Err(NameError::Invisible), "{nothing:?}");
            assert_eq!(received_name(nothing), "", "{nothing:?}");
        }
    }

    #[test]
    fn a_name_has_64_characters_as_people_count_them() {
        let mandalorian = "🇨🇦 🏴‍☠️ Poρїŋѕҡi 🏴‍☠️ 🇨🇦 -The-Mandalorian";
        assert!(mandalorian.len() > 64);
        assert_eq!(display_name(mandalorian).as_deref(), Ok(mandalorian));
        let flags = "🇨🇦".repeat(64);
        assert_eq!(display_name(&flags), Ok(flags.clone()));
        assert_eq!(display_name(&"x".repeat(65)), Err(NameError::TooLong { graphemes: 65, bytes: 65 }));
        assert!(display_name(&"👩‍👩‍👧‍👦".repeat(64)).is_err(), "bounded in bytes, too");
        assert!(matches!(display_name(&"x".repeat(1_000_000)), Err(NameError::TooLong { .. })));
    }

    #[test]
    fn a_name_is_composed_and_cleaned() {
        assert_eq!(display_name(" Jose\u{301}  Ruiz\n").as_deref(), Ok("Jos\u{e9} Ruiz"));
        assert_eq!(display_name("bo\u{1b}]0;pwned\u{7}\u{202e}").as_deref(), Ok("bo]0;pwned"));
        for hidden in ["ali\u{200d}ce", "ali\u{34f}ce", "alice\u{fe0f}", "alice\u{e0100}", "alice\u{200d}"] {
            assert_eq!(display_name(hidden).as_deref(), Ok("alice"), "{hidden:?}");
            assert_eq!(received_name(hidden), "alice", "{hidden:?}");
        }
        assert_eq!(display_name("❤\u{fe0f}").as_deref(), Ok("❤\u{fe0f}"));
        assert_eq!(display_name("می‌خواهم").as_deref(), Ok("می‌خواهم"));
    }

    #[test]
    fn of_a_long_name_from_a_peer_whole_characters_are_taken() {
        assert_eq!(received_name(&"🇨🇦".repeat(1000)), "🇨🇦".repeat(64));
        assert_eq!(received_name(&"👩‍👩‍👧‍👦".repeat(64)), "👩‍👩‍👧‍👦".repeat(20));
        assert_eq!(shortened("ab🇨🇦", 9), "ab");
        assert_eq!(shortened("ab🇨🇦", 10), "ab🇨🇦");
        assert_eq!(shortened("🇨🇦", 3), "");
    }
}
