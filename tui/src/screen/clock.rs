//! Local time, as the screen shows it.

use jiff::Timestamp;
use starling_control::objects::Time;

use crate::local_time::{now, zoned};

/// Day and time of day of a moment in milliseconds since 1970.
pub fn local(ms: u64) -> (String, String) {
    let (then, today) = (zoned(ms), now());
    let day = if then.date() == today.date() {
        "Today".to_owned()
    } else if then.year() == today.year() {
        then.strftime("%A, %-d %B").to_string()
    } else {
        then.strftime("%A, %-d %B %Y").to_string()
    };
    (day, then.strftime("%H:%M").to_string())
}

/// Now, for the name of a file.
pub fn stamp() -> String {
    now().strftime("%Y%m%d-%H%M%S").to_string()
}

/// Minutes since local midnight.
pub fn minute_of_day() -> u64 {
    let now = now();
    u64::from(now.hour().unsigned_abs()) * 60 + u64::from(now.minute().unsigned_abs())
}

/// Milliseconds since 1970 of a time of the control interface; 0 if it is none.
pub fn milliseconds(time: &Time) -> u64 {
    time.as_str().parse::<Timestamp>().ok().and_then(|t| u64::try_from(t.as_millisecond()).ok()).unwrap_or(0)
}
