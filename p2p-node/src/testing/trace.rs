//! What happens in a world, line by line, so that two tellings of a story can be compared.

use std::cell::RefCell;

use prost::Message;

use super::world::{Packet, Wire};
use crate::engine::Input;

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// All that happens in the worlds of this thread while a story is told.
pub fn traced(tell: impl FnOnce()) -> Vec<String> {
    LINES.set(Some(Vec::new()));
    tell();
    LINES.take().unwrap_or_default()
}

fn note(line: impl FnOnce() -> String) {
    LINES.with_borrow_mut(|lines| {
        if let Some(lines) = lines {
            lines.push(line());
        }
    });
}

/// Time has passed.
pub fn time(steady_ms: u64) {
    note(|| format!("{steady_ms}"));
}

/// Packets have arrived.
pub fn arrived<'a>(wire: Wire, packets: impl Iterator<Item = &'a Packet>) {
    note(|| format!("{wire:?}: {}", packets.map(describe).collect::<Vec<_>>().join(", ")));
}

/// What it is, how long, and a digest of it.
fn describe(packet: &Packet) -> String {
    let line = |kind: &str, bytes: &[u8]| {
        let digest = &blake3::hash(bytes).to_hex()[..8];
        format!("{} ({} bytes, {digest})", kind.chars().take(60).collect::<String>(), bytes.len())
    };
    match packet {
        Packet::Request(request) => {
            let kind = format!("{:?}", request.body);
            line(kind.split('{').next().unwrap_or_default(), &request.encode_to_vec())
        }
        Packet::Gossip(_, envelope) => line("gossip", envelope),
        Packet::In(input) => match &**input {
            Input::Net(event) => {
                let whole = format!("{event:?}");
                line(&whole, whole.as_bytes())
            }
            Input::Command(_) => "a command".into(),
            Input::Call(_) => "media".into(),
            Input::Stop => "a stop".into(),
        },
    }
}
