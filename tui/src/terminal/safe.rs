//! Text from others, made safe for the terminal.

use std::borrow::Cow;

use starling_text::{SafeText, is_unsafe};
use unicode_width::UnicodeWidthChar;

/// Text from others with its line breaks, made safe for a terminal (see [`SafeText`]).
pub fn safe(text: &str) -> String {
    SafeText::block(&in_parts(text)).into()
}

/// The same on one line.
pub fn safe_line(text: &str) -> String {
    SafeText::line(&in_parts(text)).into()
}

/// What stands in a cell in place of a symbol that a terminal would obey instead of showing it; `None` for all others.
pub fn safe_cell(symbol: &str) -> Option<String> {
    if !symbol.contains(is_unsafe) {
        return None;
    }
    let safe = SafeText::line(symbol);
    let shown = safe.as_str();
    (shown != symbol).then(|| shown.chars().next().unwrap_or('�').to_string())
}

/// Whether clusters of emoji are shown in parts, and few combining marks: on the screen, in terminals that are not known to join them. Where a
/// terminal draws a cluster wider or narrower than is reckoned, the rest of the row would be smeared.
static IN_PARTS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// From now on text is for the screen.
pub fn for_the_screen() {
    let set = |name: &str| std::env::var_os(name).is_some();
    let joins = ["KITTY_WINDOW_ID", "WEZTERM_EXECUTABLE", "GHOSTTY_RESOURCES_DIR"].iter().any(|name| set(name));
    IN_PARTS.store(!joins || set("TMUX") || set("STY"), std::sync::atomic::Ordering::Relaxed);
}

/// Combining marks in a row where clusters are shown in parts.
const MAX_MARKS: usize = 2;

/// A text as it goes onto the screen: where clusters are shown in parts, without joiners, the emoji selector, skin tones, and many marks.
fn in_parts(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !IN_PARTS.load(std::sync::atomic::Ordering::Relaxed) {
        return text.into();
    }
    let mut marks = 0;
    let keep = |c: &char| {
        if matches!(c, '\u{200d}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}') {
            return false;
        }
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        marks <= MAX_MARKS
    };
    text.chars().filter(keep).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_others_cannot_reach_the_terminal() {
        assert_eq!(safe("a\u{1b}[31mred\u{7}\r\n"), "a␛[31mred␇\n");
        assert_eq!(safe_line("a\nb\tc"), "a⏎b c");
        assert_eq!(safe("x\u{202e}evil"), "x⍰evil");
        // Emoji with joiners stay whole.
        assert_eq!(safe("👩‍👩‍👧"), "👩‍👩‍👧");
        for shown in ["a", "🦜", "e\u{301}", "👩‍👩‍👧"] {
            assert_eq!(safe_cell(shown), None, "{shown}");
        }
        for obeyed in ["\u{1b}", "x\u{202e}", "\u{9b}", "\r"] {
            assert!(safe_cell(obeyed).is_some_and(|cell| !cell.contains(is_unsafe)), "{obeyed:?}");
        }
    }
}
