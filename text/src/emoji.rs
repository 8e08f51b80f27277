//! What counts as one emoji.

use unicode_segmentation::UnicodeSegmentation;

use crate::safe::{SafeText, is_emoji};

/// The mark that makes a key of a digit.
const KEYCAP: char = '\u{20e3}';
/// Two of these letters are a flag.
const FLAG_LETTERS: std::ops::RangeInclusive<char> = '\u{1f1e6}'..='\u{1f1ff}';

/// Whether a text is one emoji as people count them, and nothing else: flags, families and keycaps are one each.
pub fn is_one_emoji(text: &str) -> bool {
    let mut graphemes = text.graphemes(true);
    let (Some(one), None) = (graphemes.next(), graphemes.next()) else { return false };
    let Some(first) = one.chars().next() else { return false };
    let is_flag = one.chars().count() == 2 && one.chars().all(|c| FLAG_LETTERS.contains(&c));
    let is_key = matches!(first, '0'..='9' | '#' | '*') && one.ends_with(KEYCAP);
    let is_picture = is_emoji(first) && !FLAG_LETTERS.contains(&first);
    // What would have to be made safe to be shown is none.
    (is_picture || is_flag || is_key) && SafeText::line(one).as_str() == one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_emoji_is_told_from_other_text() {
        for good in ["👍", "❤️", "❤", "👍🏽", "🇨🇦", "🏴‍☠️", "👩‍👩‍👧‍👦", "1️⃣", "#⃣", "☺️", "🫠", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"]
        {
            assert!(is_one_emoji(good), "{good}");
        }
        let bad = [
            "",
            "x",
            "1",
            "😀😀",
            "👍 ",
            " 👍",
            "\u{1b}",
            "\u{200b}",
            "👍\u{200b}",
            "\u{20e3}",
            "🇨",
            ":tada:",
            "é",
            "漢",
            "\u{fe0f}",
            "👍\n",
        ];
        for bad in bad {
            assert!(!is_one_emoji(bad), "{bad:?}");
        }
    }
}
