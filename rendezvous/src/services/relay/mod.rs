//! Relaying between peers that cannot reach each other. Circuits are the network's own; calls go through TURN.

pub mod turn;
