//! The terminal client of Starling
