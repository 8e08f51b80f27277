//! Fuzz targets live in `tests/`: `cargo test -p starling-fuzz` runs each for some seconds; `cargo bolero test -p starling-fuzz NAME` with coverage.

pub use starling_node::fuzz as node;
pub use starling_rendezvous::fuzz as rendezvous;

/// Random bytes rarely get past the first check: half of the inputs are a valid message with some bytes changed.
pub fn mutated(valid: &[u8], input: &[u8]) -> Vec<u8> {
    let Some((kind, rest)) = input.split_first() else { return valid.to_vec() };
    if kind % 2 == 0 || valid.is_empty() {
        return rest.to_vec();
    }
    let mut bytes = valid.to_vec();
    for change in rest.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] = change[2];
    }
    if kind % 3 == 0 {
        bytes.truncate(usize::from(*kind) * bytes.len() / 256);
    }
    bytes
}
