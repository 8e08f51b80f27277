//! Times as people read them: in the time zone of the environment (`TZ` as a name or a POSIX rule, else the system's). JSON has UTC.

use std::sync::{LazyLock, Once};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use starling_control::objects::Time;

use crate::{cli::Global, output::say};

/// The time zone, or what is wrong with `TZ`.
static ZONE: LazyLock<(TimeZone, Option<String>)> = LazyLock::new(|| match TimeZone::try_system() {
    // Tests compare whole screens, wherever they run.
    _ if cfg!(test) => (TimeZone::UTC, None),
    Ok(zone) => (zone, None),
    Err(_) => {
        let named = std::env::var_os("TZ").filter(|tz| !tz.is_empty());
        let problem = named.map(|tz| format!("TZ={} is no time zone: times are in UTC", tz.to_string_lossy()));
        (TimeZone::UTC, problem)
    }
});

/// A moment, in milliseconds since 1970, in the local time zone.
pub fn zoned(ms: u64) -> Zoned {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(ZONE.0.clone())
}

/// Now, in the local time zone.
pub fn now() -> Zoned {
    Timestamp::now().to_zoned(ZONE.0.clone())
}

/// The local times of a verb's text output.
pub struct LocalTimes(());

impl LocalTimes {
    /// Says, once in a run, if `TZ` cannot be used.
    pub fn new(global: &Global) -> Self {
        static SAID: Once = Once::new();
        if let Some(problem) = &ZONE.1 {
            SAID.call_once(|| say(global, format!("note: {problem}")));
        }
        Self(())
    }

    /// Day and minute.
    pub fn minute(&self, time: &Time) -> String {
        format(time, "%Y-%m-%d %H:%M")
    }

    /// The same with the zone: for times that are passed on to others.
    pub fn minute_with_zone(&self, time: &Time) -> String {
        format(time, "%Y-%m-%d %H:%M %Z")
    }

    /// The day.
    pub fn day(&self, time: &Time) -> String {
        format(time, "%Y-%m-%d")
    }
}

/// Empty if the node has given no valid time.
fn format(time: &Time, format: &str) -> String {
    let time: Option<Timestamp> = time.as_str().parse().ok();
    time.map(|time| time.to_zoned(ZONE.0.clone()).strftime(format).to_string()).unwrap_or_default()
}

/// A moment that was typed: RFC 3339, or a local date with or without a time of day. In milliseconds since 1970.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        // A date alone is its beginning.
        Err(_) => text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(ZONE.0.clone()).ok()?.timestamp(),
    };
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read() {
        assert_eq!(parse("2026-01-31T10:00:00Z"), Some(1_769_853_600_000));
        assert_eq!(parse("2026-01-31T10:00:00+09:00"), Some(1_769_853_600_000 - 9 * 3_600_000));
        let midnight = parse("2026-01-31").map(|ms| zoned(ms).strftime("%H:%M:%S").to_string());
        assert_eq!(midnight.as_deref(), Some("00:00:00"));
        assert_eq!(parse("2026-01-31 13:30"), parse("2026-01-31T13:30"));
        for wrong in ["", "yesterday", "2026-13-01", "2026-01-31x", "10"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
