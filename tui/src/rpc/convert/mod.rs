//! From the node's types to those of the control interface.

mod account;
mod audit;
mod calls;
mod events;
mod people;

use std::time::{SystemTime, UNIX_EPOCH};

use starling_control::objects::{self, Cursor, Path, Time};
use starling_node::{Audience, Availability, DeliveryState, Via};

pub use account::{device, history, node_rights, status};
pub use audit::{audit_log, link_id, link_of};
pub use calls::{call, call_elsewhere, media_devices};
pub use events::{Names, transient};
pub use people::{chat, closeness, contact, kind_of, request};

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(ms: u64) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    format!("{at:.3}")
}

/// The milliseconds since 1970 of a time as [`rfc3339`] writes it, or of the beginning of a date in UTC.
pub fn milliseconds(text: &str) -> Option<u64> {
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) => text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
    };
    Some(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

pub fn time(ms: u64) -> Time {
    Time(rfc3339(ms))
}

/// A time that is not known where it is 0.
fn known_time(ms: u64) -> Option<Time> {
    (ms > 0).then(|| time(ms))
}

/// The text of an id.
pub fn id<T: From<String>>(id: impl ToString) -> T {
    id.to_string().into()
}

pub fn cursor(sequence: u64) -> Cursor {
    Cursor(format!("c1:{sequence}"))
}

pub fn state(state: DeliveryState) -> objects::DeliveryState {
    match state {
        DeliveryState::Queued => objects::DeliveryState::Queued,
        DeliveryState::Sent => objects::DeliveryState::Sent,
        DeliveryState::Delivered => objects::DeliveryState::Delivered,
        DeliveryState::Read => objects::DeliveryState::Read,
        DeliveryState::Failed => objects::DeliveryState::Failed,
    }
}

pub fn audience(audience: Audience) -> objects::Audience {
    match audience {
        Audience::Contacts => objects::Audience::Contacts,
        Audience::Everyone => objects::Audience::Everyone,
        Audience::Nobody => objects::Audience::Nobody,
    }
}

pub fn node_audience(audience: objects::Audience) -> Audience {
    match audience {
        objects::Audience::Contacts => Audience::Contacts,
        objects::Audience::Everyone => Audience::Everyone,
        objects::Audience::Nobody => Audience::Nobody,
    }
}

fn via(via: Via) -> objects::Via {
    match via {
        Via::Own => objects::Via::Own,
        Via::Direct => objects::Via::Direct,
        Via::Relay => objects::Via::Relay,
        Via::Log => objects::Via::Log,
        Via::Copy => objects::Via::Copy,
        Via::Gossip => objects::Via::Gossip,
        Via::Handed => objects::Via::Handed,
    }
}

fn presence(availability: Availability) -> objects::Presence {
    match availability {
        Availability::Online => objects::Presence::Online,
        Availability::Away => objects::Presence::Away,
        Availability::Offline => objects::Presence::Offline,
    }
}

/// How something is connected, from whether it is relayed.
fn path(relayed: Option<bool>) -> Option<Path> {
    relayed.map(|relayed| if relayed { Path::Relay } else { Path::Direct })
}
