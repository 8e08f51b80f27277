//! The screen.
use crate::{
    cli::Global,
    error::{CliError, CliResult},
};

pub async fn run(_: &Global) -> CliResult {
    Err(CliError::internal("not yet"))
}
