//! Notifications: by the desktop, by the terminal, or by the bell.

use super::{clock::minute_of_day, config::Config};
use crate::terminal::safe_line;

/// The minutes of the day at which hours such as `22:00-07:00` begin and end.
pub fn span(hours: &str) -> Option<(u64, u64)> {
    let time = |text: &str| -> Option<u64> {
        let (h, m) = text.trim().split_once(':')?;
        let (h, m): (u64, u64) = (h.parse().ok()?, m.parse().ok()?);
        (h < 24 && m < 60).then_some(h * 60 + m)
    };
    let (from, to) = hours.split_once('-')?;
    Some((time(from)?, time(to)?))
}

/// Whether now lies in hours such as `22:00-07:00`.
fn is_quiet(hours: &str, now: u64) -> bool {
    match span(hours) {
        Some((from, to)) if from <= to => (from..to).contains(&now),
        Some((from, to)) => now >= from || now < to,
        None => false,
    }
}

/// Notifies of a message, as the configuration says: by the desktop at once, or with what is returned, for the terminal.
pub fn notify(config: &Config, from: &str, text: &str, mentions_us: bool) -> Option<Vec<u8>> {
    if config.notify == "off"
        || (config.notify_mentions_only && !mentions_us)
        || is_quiet(&config.quiet_hours, minute_of_day())
    {
        return None;
    }
    let from = safe_line(from);
    let (title, body) = match config.notify_shows.as_str() {
        "full" => (from, safe_line(text)),
        "none" => ("Starling".into(), "a new message".into()),
        _ => (from, "a new message".into()),
    };
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let desktop = set("DBUS_SESSION_BUS_ADDRESS") && !set("SSH_CONNECTION");
    if config.notify == "desktop" || (config.notify == "auto" && desktop) {
        // Arguments, not a shell's line.
        let started = std::process::Command::new("notify-send")
            .args(["--app-name=Starling", "--", &title, &body])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        if let Ok(mut child) = started {
            std::thread::spawn(move || child.wait());
            return None;
        }
    }
    let mut bytes = Vec::new();
    if config.notify != "bell" {
        bytes.extend(sequence(&title, &body).into_bytes());
    }
    bytes.push(b'\x07');
    Some(bytes)
}

/// The terminal's own sequence. tmux and screen keep these from the terminal outside; tmux passes on what is wrapped.
fn sequence(title: &str, body: &str) -> String {
    let clean = |text: &str| text.replace(';', ",");
    let (title, body) = (clean(title), clean(body));
    let program = std::env::var("TERM_PROGRAM").unwrap_or_default();
    let plain = if program == "iTerm.app" {
        format!("\x1b]9;{title}: {body}\x1b\\")
    } else if std::env::var("TERM").is_ok_and(|t| t.contains("kitty")) {
        format!("\x1b]99;i=starling:d=0;{title}\x1b\\\x1b]99;i=starling:p=body;{body}\x1b\\")
    } else {
        format!("\x1b]777;notify;{title};{body}\x1b\\")
    };
    if std::env::var_os("TMUX").is_some() {
        format!("\x1bPtmux;{}\x1b\\", plain.replace('\x1b', "\x1b\x1b"))
    } else {
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_hours_may_span_midnight() {
        assert!(is_quiet("22:00-07:00", 23 * 60) && is_quiet("22:00-07:00", 60) && !is_quiet("22:00-07:00", 12 * 60));
        assert!(is_quiet("12:00-13:30", 13 * 60) && !is_quiet("12:00-13:30", 14 * 60));
        assert!(!is_quiet("", 0) && !is_quiet("nonsense", 0) && !is_quiet("25:00-26:00", 0));
    }
}
