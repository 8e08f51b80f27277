//! What was meant by text that was pasted: out of a mail, a chat, a terminal, a word processor.

use crate::safe::is_unsafe;

/// Quotes, brackets and other marks that stand around a pasted word and are not part of it.
const WRAPPERS: &[char] = &[
    '"', '\'', '`', '<', '>', '(', ')', '[', ']', '{', '}', '“', '”', '„', '‟', '‘', '’', '‚', '‛', '«', '»', '‹', '›',
    '「', '」', '『', '』', '*', '|',
];
/// Marks that end a sentence in which a word was pasted.
const TRAILING: &[char] = &['.', ',', ';', ':', '!', '?', '…', '。', '、', '，'];

/// A text without characters that cannot be seen: byte order mark, zero-width spaces, bidi marks, controls. White space of all kinds becomes a space.
pub fn without_invisible(text: &str) -> String {
    text.chars()
        .filter_map(|c| if c.is_whitespace() { Some(' ') } else { Some(c).filter(|c| !is_unsafe(*c)) })
        .collect()
}

/// A pasted link, code or address without what stood around it: white space, quotes, brackets, the full stop of its sentence.
pub fn unquoted(text: &str) -> String {
    let text = without_invisible(text);
    let around = |c: char| c == ' ' || WRAPPERS.contains(&c);
    text.trim_start_matches(around).trim_end_matches(|c| around(c) || TRAILING.contains(&c)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_a_pasted_word_is_taken_away() {
        for pasted in [
            "x-y",
            " x-y\n",
            "\"x-y\"",
            "“x-y”.",
            "<x-y>,",
            "\u{feff}x-y\u{200b}",
            "(`x-y`)!",
            "«x-y»\r\n",
            "x\u{ad}-y",
        ] {
            assert_eq!(unquoted(pasted), "x-y", "{pasted:?}");
        }
    }

    #[test]
    fn line_breaks_and_special_spaces_become_spaces() {
        assert_eq!(without_invisible("a\u{a0}b\r\nc\u{2028}d\te"), "a b  c d e");
    }
}
