//! When two names or words are the same.

use unicode_normalization::UnicodeNormalization;

/// A text in the form in which names and words are compared and searched: composed (NFC) and without case, so that `José` in one piece and in two, and
/// `Straße` and `STRASSE`, are the same.
pub fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // By way of upper case, which makes one of “ß” and “ss”, and of “ς” and “σ”; the capital “ẞ” has no other.
    let spaced = |c: char| if c.is_whitespace() { ' ' } else { c };
    let upper: String = text.nfd().map(spaced).flat_map(char::to_uppercase).collect();
    upper.replace('ẞ', "SS").chars().flat_map(char::to_lowercase).nfc().collect()
}

/// Whether two names or words are the same but for case, composition, and how much white space of which kind is in and around them.
pub fn same(a: &str, b: &str) -> bool {
    let (a, b) = (folded(a), folded(b));
    a == b || a.split_whitespace().eq(b.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composition_and_case_do_not_matter() {
        assert!(same("Jos\u{e9}", "jose\u{301}"));
        assert!(same("Stra\u{df}e", "STRASSE"));
        assert!(same("STRA\u{1e9e}E", "Stra\u{df}e"));
        assert!(same("A\u{a0}B", "a b") && same("A  B", "a\u{3000}b"));
        assert!(!same("ab", "a b"));
        assert!(same("\u{39f}\u{394}\u{3a5}\u{3a3}\u{3a3}\u{395}\u{3a5}\u{3a3}", "οδυσσευς"));
        assert!(same(" \u{c5}ngstr\u{f6}m", "A\u{30a}NGSTRO\u{308}M "));
        assert!(same("\u{ac00}", "\u{1100}\u{1161}"), "Hangul");
        assert!(!same("Jose", "José"));
    }

    #[test]
    fn words_are_found_in_folded_text() {
        assert!(folded("Caf\u{e9} in KÖLN").contains(&folded("cafe\u{301}")));
    }
}
