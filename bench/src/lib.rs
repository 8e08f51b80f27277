//! Benchmarks of Starling
