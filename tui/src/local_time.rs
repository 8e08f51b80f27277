//! Times as people read them: in the time zone of the environment (`TZ` as a name or a POSIX rule, else the system's). JSON has UTC.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::{LazyLock, Once},
};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use starling_control::objects::Time;

use crate::{cli::Global, output::say};

/// The time zone, or what is wrong with `TZ`.
static ZONE: LazyLock<(TimeZone, Option<String>)> = LazyLock::new(|| {
    // Tests compare whole screens, wherever they run.
    if cfg!(test) {
        return (TimeZone::UTC, None);
    }
    match std::env::var_os("TZ").filter(|tz| !tz.is_empty()) {
        Some(named) => match named.to_str().and_then(named_zone) {
            Some(zone) => (zone, None),
            None => {
                let problem = format!("TZ={} is no time zone: times are in UTC", named.to_string_lossy());
                (TimeZone::UTC, Some(problem))
            }
        },
        None => (TimeZone::try_system().unwrap_or(TimeZone::UTC), None),
    }
});

/// As much is read of a time zone's file, in bytes: the largest of the tz database have some 4 KB.
const MAX_ZONE_FILE: u64 = 256 * 1024;
#[cfg(test)]
std::thread_local! {
    /// The zone of a test that is not about UTC.
    static TEST_ZONE: std::cell::RefCell<Option<TimeZone>> = const { std::cell::RefCell::new(None) };
}

/// The time zone.
fn zone() -> TimeZone {
    #[cfg(test)]
    if let Some(zone) = TEST_ZONE.with_borrow(Clone::clone) {
        return zone;
    }
    ZONE.0.clone()
}

/// Runs a part of a test in a time zone, which is named as `TZ` names it.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub fn in_zone<T>(named: &str, run: impl FnOnce() -> T) -> T {
    TEST_ZONE.set(Some(named_zone(named).unwrap()));
    let result = run();
    TEST_ZONE.set(None);
    result
}

/// When daylight saving time begins and ends in a rule that does not say so, as the C library assumes.
const DEFAULT_RULES: &str = ",M3.2.0,M11.1.0";

/// A zone by what `TZ` says, as POSIX and the C library read it: a rule, a name of the tz database, or the path of a file; a colon before it
/// changes nothing.
fn named_zone(text: &str) -> Option<TimeZone> {
    let text = text.strip_prefix(':').unwrap_or(text);
    if text.starts_with('/') {
        return zone_file(text.as_ref());
    }
    let rule = || TimeZone::posix(text).or_else(|_| TimeZone::posix(&format!("{text}{DEFAULT_RULES}"))).ok();
    TimeZone::get(text).ok().or_else(rule)
}

/// Reads a zone from a file of the tz database's format (RFC 9636). Other kinds of files, such as devices, may have no end.
fn zone_file(path: &Path) -> Option<TimeZone> {
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_ZONE_FILE).read_to_end(&mut bytes).ok()?;
    TimeZone::tzif(&path.to_string_lossy(), &bytes).ok()
}

/// A moment, in milliseconds since 1970, in the local time zone.
pub fn zoned(ms: u64) -> Zoned {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone())
}

/// Now, in the local time zone.
pub fn now() -> Zoned {
    Timestamp::now().to_zoned(zone())
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

    /// The same in a test, which has no options.
    #[cfg(test)]
    pub fn in_tests() -> Self {
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
    time.map(|time| time.to_zoned(zone()).strftime(format).to_string()).unwrap_or_default()
}

/// A moment that was typed: RFC 3339, or a local date with or without a time of day. In milliseconds since 1970.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let time = match text.parse::<Timestamp>() {
        Ok(time) => time,
        // A date alone is its beginning.
        Err(_) => text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone()).ok()?.timestamp(),
    };
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn time_zones_are_read_as_the_c_library_reads_them() {
        let summer = "2026-07-01T12:00:00Z".parse::<Timestamp>().unwrap();
        let offset = |tz: &str| Some(named_zone(tz)?.to_offset(summer).seconds() / 3_600);
        for (tz, hours) in [
            ("JST-9", 9),
            (":JST-9", 9),
            ("CET-1CEST", 2),
            ("EST5EDT", -4),
            ("CET-1CEST,M3.5.0,M10.5.0/3", 2),
            ("<+03>-3", 3),
            ("Asia/Tokyo", 9),
            (":Asia/Tokyo", 9),
        ] {
            assert_eq!(offset(tz), Some(hours), "{tz}");
        }
        for wrong in ["Nowhere/Land", "/dev/zero", "/dev/null", "/nonexistent", "/", "JST", "XXX-99", "\u{1b}[2J"] {
            assert_eq!(offset(wrong), None, "{wrong}");
        }
    }

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
