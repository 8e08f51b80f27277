//! Fuzz targets live in `tests/`: `cargo test -p starling-fuzz` runs each for some seconds; `cargo bolero test -p starling-fuzz NAME` with coverage.
