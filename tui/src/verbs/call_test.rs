//! `starling call test`: what a call needs, tried.

use crate::{cli::Global, error::CliResult};

pub async fn call_test(_global: &Global) -> CliResult {
    Ok(())
}
