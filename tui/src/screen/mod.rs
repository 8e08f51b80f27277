//! The screen. It talks to the node by JSON-RPC like every other client; it draws when something has happened, and at rest nothing wakes it.

mod actions;
mod answers;
mod app;
mod call;
mod card;
mod clock;
mod component;
mod composer;
mod config;
mod devices;
mod event_loop;
mod events;
mod input;
mod keeping;
mod markup;
mod model;
mod notify;
mod onboarding;
mod palette;
mod panes;
mod popups;
mod refresh;
mod requests;
mod theme;
mod timeline;

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;

pub use self::call::{Colours, GraphicsProtocol, Picture, Pictures, Tile, half_blocks};
use self::{app::App, config::Config, event_loop::EventLoop};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::Profile,
    rpc,
    terminal::{self, Signals},
};

/// Runs the screen until the user leaves it or the process is to end. The terminal is as it was afterwards, whatever the way out.
pub async fn run(global: &Global) -> CliResult {
    terminal::for_the_screen();
    let config = Config::load()?;
    let (keys, theme) = (config.key_map()?, config.theme(global)?);
    let profile = Profile::new(global)?;
    let mut signals = Signals::take()?;
    let mut ended = Box::pin(Signals::ended());
    if !profile.exists() {
        let entered = tokio::select! {
            biased;
            error = &mut ended => return Err(error),
            entered = onboarding::run(global, &profile, &theme) => entered?,
        };
        if !entered {
            return Ok(());
        }
    }
    // Before the terminal is ours: the passphrase may have to be asked for.
    let client = tokio::select! {
        biased;
        error = &mut ended => return Err(error),
        client = Box::pin(rpc::acquire(&profile, global)) => Arc::new(client?),
    };
    let mut screen = EventLoop::open(App::new(config, keys, theme), client)?;
    let result = tokio::select! {
        biased;
        error = &mut ended => Err(error),
        result = AssertUnwindSafe(Box::pin(screen.run(&profile, global, &mut signals))).catch_unwind() => {
            result.unwrap_or_else(|_| Err(CliError::internal("the screen has failed; what you were writing is kept")))
        }
    };
    screen.close().await;
    result
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
mod testing;
