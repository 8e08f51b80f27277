//! End-to-end tests of Starling's programs
