//! Small things done with a terminal outside the screen.

use std::io::Write;

use zeroize::Zeroizing;

use crate::error::{CliError, CliResult};

/// Reads a line from the terminal without echo.
pub fn read_secret(prompt: &str) -> CliResult<Zeroizing<String>> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let tty = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|e| {
        CliError::locked(format!("cannot ask for the passphrase: {e}")).hint("use --passphrase-file FILE")
    })?;
    let mut out = tty.try_clone().map_err(CliError::internal)?;
    write!(out, "{prompt}").map_err(CliError::internal)?;
    out.flush().map_err(CliError::internal)?;
    let before = tcgetattr(&tty).map_err(CliError::internal)?;
    let mut quiet = before.clone();
    quiet.local_modes &= !LocalModes::ECHO;
    tcsetattr(&tty, OptionalActions::Flush, &quiet).map_err(CliError::internal)?;
    let mut line = Zeroizing::new(String::new());
    let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(&tty), &mut line);
    let _ = tcsetattr(&tty, OptionalActions::Flush, &before);
    let _ = writeln!(out);
    read.map_err(CliError::internal)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Text from others, made safe for a terminal: control characters, escape sequences and bidi overrides are shown, not obeyed; floods of
/// zero-width characters are cut.
pub fn safe(text: &str) -> String {
    safe_with(text, false)
}

/// The same on one line.
pub fn safe_line(text: &str) -> String {
    safe_with(text, true)
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
/// Zero-width characters in a row that still belong to a normal grapheme cluster.
const MAX_ZERO_WIDTH: usize = 8;

fn safe_with(text: &str, one_line: bool) -> String {
    use unicode_width::UnicodeWidthChar;
    let mut out = String::with_capacity(text.len());
    let mut zero = 0;
    let in_parts = IN_PARTS.load(std::sync::atomic::Ordering::Relaxed);
    for c in text.chars() {
        match c {
            // Joiners, the emoji selector, skin tones.
            '\u{200d}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' if in_parts => continue,
            '\n' if !one_line => out.push('\n'),
            '\n' => out.push('⏎'),
            '\t' => out.push_str(if one_line { " " } else { "    " }),
            '\r' => {}
            // Control pictures: ␀ … ␟, ␡.
            '\u{0}'..='\u{1f}' => out.push(char::from_u32(0x2400 + c as u32).unwrap_or('�')),
            '\u{7f}' => out.push('␡'),
            '\u{80}'..='\u{9f}' => out.push('�'),
            // Bidi embeddings, overrides and isolates, and the marks, would reorder what is around them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}' => out.push('⍰'),
            // Interlinear annotation, tags, and other invisible format characters.
            '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' | '\u{feff}' | '\u{2028}' | '\u{2029}' => out.push('⍰'),
            c if c.width() == Some(0) => {
                zero += 1;
                if zero <= if in_parts { MAX_MARKS } else { MAX_ZERO_WIDTH } {
                    out.push(c);
                }
                continue;
            }
            c => out.push(c),
        }
        zero = 0;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_others_cannot_reach_the_terminal() {
        assert_eq!(safe("a\u{1b}[31mred\u{7}\r\n"), "a␛[31mred␇\n");
        assert_eq!(safe_line("a\nb\tc"), "a⏎b c");
        assert_eq!(safe("x\u{202e}evil"), "x⍰evil");
        assert_eq!(safe("\u{9b}31m"), "�31m");
        let flood = format!("a{}b", "\u{300}".repeat(1000));
        assert_eq!(safe(&flood).chars().count(), 2 + MAX_ZERO_WIDTH);
        // Emoji with joiners stay whole.
        assert_eq!(safe("👩‍👩‍👧"), "👩‍👩‍👧");
    }
}
