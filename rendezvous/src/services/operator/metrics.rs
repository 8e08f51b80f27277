//! Counters and gauges. Labels are enumerations of this program: nothing that a client sends becomes a label.

use std::fmt::Write;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use starling_wire::rendezvous::Refusal;

/// The label of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabel {
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reason(Refusal);

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        // `NotFound` becomes `not_found`.
        for (index, letter) in format!("{:?}", self.0).chars().enumerate() {
            if letter.is_uppercase() && index > 0 {
                encoder.write_char('_')?;
            }
            encoder.write_char(letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

impl From<Refusal> for RefusalLabel {
    fn from(reason: Refusal) -> Self {
        Self { reason: Reason(reason) }
    }
}

/// All metrics.
#[derive(Default)]
pub struct Metrics {
    registry: Registry,
    pub connections: Gauge,
    pub refused_connections: Counter,
    pub sessions: Gauge,
    pub requests: Counter,
    pub refusals: Family<RefusalLabel, Counter>,
    pub malformed: Counter,
    pub registrations: Counter,
    pub appended: Counter,
    pub fetched: Counter,
    pub reservations: Counter,
    pub circuits: Gauge,
    pub turn_credentials: Counter,
    pub turn_allocations: Gauge,
    pub turn_bytes: Counter,
    pub turn_dropped: Counter,
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self::default();
        let mut registry = Registry::with_prefix("starling");
        registry.register("connections", "Connections open now", metrics.connections.clone());
        registry.register("connections_refused", "Connections turned away", metrics.refused_connections.clone());
        registry.register("sessions", "Devices with an open session", metrics.sessions.clone());
        registry.register("requests", "Requests", metrics.requests.clone());
        registry.register("refusals", "Requests refused", metrics.refusals.clone());
        registry.register("malformed", "Sessions ended for sending what is no message", metrics.malformed.clone());
        registry.register("registrations", "Accounts registered since the start", metrics.registrations.clone());
        registry.register("log_entries_appended", "Log entries stored", metrics.appended.clone());
        registry.register("log_entries_fetched", "Log entries read", metrics.fetched.clone());
        registry.register("relay_reservations", "Relay reservations granted", metrics.reservations.clone());
        registry.register("relay_circuits", "Relay circuits open now", metrics.circuits.clone());
        registry.register("turn_credentials", "TURN credentials handed out", metrics.turn_credentials.clone());
        registry.register("turn_allocations", "TURN allocations open now", metrics.turn_allocations.clone());
        registry.register("turn_bytes", "Bytes relayed for calls", metrics.turn_bytes.clone());
        registry.register("turn_dropped", "Datagrams not relayed for their rate", metrics.turn_dropped.clone());
        metrics.registry = registry;
        metrics
    }

    /// In the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
