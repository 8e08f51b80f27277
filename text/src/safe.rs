//! Text that is safe to print.

use std::{borrow::Cow, fmt, ops::Deref};

use unicode_width::UnicodeWidthChar;

/// Zero-width characters in a row that still belong to a normal grapheme cluster; the rest of a flood is left out.
const MAX_ZERO_WIDTH: usize = 8;
/// Stands for a character that cannot be seen.
const INVISIBLE: char = '⍰';

/// Text that may be written to a terminal: nothing in it moves the cursor, sets colours, rings the bell, changes the direction of what stands around
/// it, or hides. Such characters are replaced by visible ones (`␛`, `⍰`).
///
/// Functions that write to a terminal take this type, and the only ways to make one replace what is unsafe: so text from others cannot be printed as
/// it came. Plain strings become one *line*, in which line breaks are shown, too (`⏎`), so that nobody can forge a second one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SafeText(String);

impl SafeText {
    /// On one line: line breaks become `⏎`, tabs a space.
    pub fn line(text: &str) -> Self {
        Self(replaced(text, true))
    }

    /// With its line breaks; tabs become four spaces.
    pub fn block(text: &str) -> Self {
        Self(replaced(text, false))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Honours width and alignment.
        f.pad(&self.0)
    }
}

impl Deref for SafeText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SafeText {
    fn from(text: &str) -> Self {
        Self::line(text)
    }
}

impl From<&String> for SafeText {
    fn from(text: &String) -> Self {
        Self::line(text)
    }
}

impl From<String> for SafeText {
    fn from(text: String) -> Self {
        if is_plain(&text) && !text.contains(['\n', '\t']) { Self(text) } else { Self::line(&text) }
    }
}

impl From<Cow<'_, str>> for SafeText {
    fn from(text: Cow<'_, str>) -> Self {
        Self::line(&text)
    }
}

impl From<&SafeText> for SafeText {
    fn from(text: &SafeText) -> Self {
        text.clone()
    }
}

impl From<SafeText> for String {
    fn from(text: SafeText) -> Self {
        text.0
    }
}

/// Whether a terminal obeys a character instead of showing it, or shows nothing: control characters (also C1), bidi controls, and invisible format
/// characters. Joiners and tags, which have a place in some scripts and emoji, count as unsafe here.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() || is_format(c)
}

/// Characters that are not seen, or reorder what is around them.
fn is_format(c: char) -> bool {
    matches!(c,
        // Soft hyphen, grapheme joiner, the Arabic letter mark, Mongolian selectors, zero-width space and joiners, direction marks.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        // Line and paragraph separators, bidi embeddings and overrides.
        | '\u{2028}'..='\u{202e}'
        // Word joiner, invisible operators, bidi isolates, deprecated format characters.
        | '\u{2060}'..='\u{206f}'
        // Fillers that are letters and yet invisible.
        | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
        // Variation selectors, byte order mark, interlinear annotation.
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
        // Hieroglyph joiners and blanks, shorthand and musical format controls, the null notehead; tags and more variation selectors.
        | '\u{13430}'..='\u{13455}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    ) || is_noncharacter(c)
}

/// Code points that will never be characters.
fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n' | b'\t'))
}

fn replaced(text: &str, one_line: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut zero = 0;
    // What the next joiner or tag would stand behind.
    let mut base = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let shown = match c {
            '\n' if one_line => '⏎',
            '\n' => '\n',
            '\t' => {
                out.push_str(if one_line { " " } else { "    " });
                (zero, base) = (0, ' ');
                continue;
            }
            '\r' if chars.peek().is_none_or(|next| *next == '\n') => continue,
            // Control pictures: ␀ … ␟, ␡.
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('�'),
            '\u{7f}' => '␡',
            '\u{80}'..='\u{9f}' => '�',
            '\u{200c}' | '\u{200d}' if chars.peek().is_some_and(|next| joins(base, *next)) => c,
            '\u{e0020}'..='\u{e007f}' if base == FLAG => c,
            '\u{fe00}'..='\u{fe0f}' | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{e0100}'..='\u{e01ef}'
                if zero == 0 && takes_selector(base, c, chars.peek().copied()) =>
            {
                c
            }
            c if is_format(c) => INVISIBLE,
            c => c,
        };
        if shown.width() == Some(0) {
            zero += 1;
            if zero <= MAX_ZERO_WIDTH {
                out.push(shown);
            }
        } else {
            (zero, base) = (0, shown);
            out.push(shown);
        }
    }
    out
}

/// The flag that subdivision flags (Scotland) are made of, with tags.
const FLAG: char = '🏴';

/// Whether a zero-width joiner has a meaning between two characters: of emoji, or of a script whose letters join.
fn joins(before: char, after: char) -> bool {
    is_emoji(before) && is_emoji(after) || is_joining(before) && is_joining(after)
}

fn is_joining(c: char) -> bool {
    matches!(c,
        '\u{600}'..='\u{dff}' | '\u{f00}'..='\u{109f}' | '\u{1780}'..='\u{18af}' | '\u{a8e0}'..='\u{a8ff}' | '\u{11000}'..='\u{11fff}')
}

pub(crate) fn is_emoji(c: char) -> bool {
    c != INVISIBLE
        && matches!(c,
            '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{2bff}' | '\u{3030}' | '\u{303d}'
            | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// Whether a variation selector has a meaning behind a character: text or emoji style, keycaps, variants of ideographs, Mongolian letters.
fn takes_selector(base: char, selector: char, next: Option<char>) -> bool {
    let is_ideograph = matches!(base, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}');
    match selector {
        '\u{fe0e}' | '\u{fe0f}' => is_emoji(base) || matches!(base, '0'..='9' | '#' | '*') && next == Some('\u{20e3}'),
        '\u{fe00}'..='\u{fe0d}' | '\u{e0100}'..='\u{e01ef}' => is_ideograph,
        _ => matches!(base, '\u{1800}'..='\u{18aa}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(SafeText::block("a\u{1b}[31mred\u{7}\r\n").as_str(), "a␛[31mred␇\n");
        assert_eq!(SafeText::block("new\rold").as_str(), "new␍old");
        assert_eq!(SafeText::line("\u{9b}31m\u{85}\u{7f}\0").as_str(), "�31m�␡␀");
        assert_eq!(SafeText::line("a\nb\tc").as_str(), "a⏎b c");
        assert_eq!(SafeText::block("a\nb\tc").as_str(), "a\nb    c");
    }

    #[test]
    fn what_hides_or_reorders_is_shown() {
        for c in
            "\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{202e}\u{2060}\u{2066}\u{2069}\u{3164}\u{feff}\u{e0041}"
                .chars()
        {
            assert!(is_unsafe(c), "{c:?}");
            assert_eq!(SafeText::line(&format!("x{c}y")).as_str(), "x⍰y", "{c:?}");
        }
        for c in "\u{34f}\u{180b}\u{fe00}\u{fe0f}\u{e0100}\u{13430}\u{13441}\u{1d159}\u{fdd0}\u{ffff}\u{10fffe}".chars()
        {
            assert!(is_unsafe(c), "{c:?}");
            assert_eq!(SafeText::line(&format!("x{c}y")).as_str(), "x⍰y", "{c:?}");
        }
        // Not behind its own mark, nor where it joins nothing.
        assert_eq!(SafeText::line("\u{200b}\u{200d}⍰\u{fe0f}☺\u{200d}x").as_str(), "⍰⍰⍰⍰☺⍰x");
        // A joiner between Latin letters only makes a second name that looks like the first.
        assert_eq!(SafeText::line("ali\u{200d}ce").as_str(), "ali⍰ce");
    }

    #[test]
    fn every_character_that_is_left_takes_room_or_joins_what_does() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let text = SafeText::line(&c.to_string());
            assert!(!text.chars().any(is_unsafe), "{:x}", u32::from(c));
            let behind = SafeText::line(&format!("x{c}"));
            assert!(!behind.chars().any(is_unsafe), "{:x}", u32::from(c));
        }
    }

    #[test]
    fn emoji_and_joining_scripts_stay_whole() {
        for whole in
            ["👩‍👩‍👧", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🏴‍☠️", "❤️‍🔥", "🧑🏽‍💻", "می‌خواهم", "क्‍ष", "e\u{301}", "1\u{fe0f}\u{20e3}", "葛\u{e0100}", "☎\u{fe0e}"]
        {
            assert_eq!(SafeText::line(whole).as_str(), whole);
        }
    }

    #[test]
    fn a_flood_of_marks_is_cut() {
        let flood = format!("a{}b", "\u{300}".repeat(1000));
        assert_eq!(SafeText::line(&flood).chars().count(), 2 + MAX_ZERO_WIDTH);
    }

    #[test]
    fn padding_is_that_of_a_string() {
        assert_eq!(format!("[{:<6}]", SafeText::line("ab")), "[ab    ]");
    }
}
