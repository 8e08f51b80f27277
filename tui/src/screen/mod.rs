//! The screen. It talks to the node by JSON-RPC like every other client; it draws when something has happened, and at rest nothing wakes it.

mod actions;
mod answers;
mod app;
mod arranging;
mod call;
mod card;
mod clock;
mod component;
mod composer;
mod config;
mod devices;
mod event_loop;
mod events;
mod group_form;
mod groups;
mod input;
mod keeping;
mod markup;
mod model;
mod notify;
mod onboarding;
mod pace;
mod pager;
mod palette;
mod panes;
mod popups;
mod question;
mod refresh;
mod requests;
mod theme;
mod timeline;

use std::{os::unix::process::CommandExt, panic::AssertUnwindSafe, process::Command, sync::Arc};

use futures::FutureExt;

pub use self::call::{Colours, GraphicsProtocol, Picture, Pictures, Tile, half_blocks};
use self::{app::App, config::Config, event_loop::EventLoop, onboarding::Ended};
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
        let first_run = tokio::select! {
            biased;
            error = &mut ended => return Err(error),
            first_run = onboarding::run(global, &profile, &theme) => first_run?,
        };
        match first_run {
            Ended::Left => return Ok(()),
            Ended::Made => {}
            Ended::MadeWithPhrase => return Err(start_again()),
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

/// Puts the same program, from its beginning, in the place of this process; returns only if that fails. The library that reads the terminal keeps what
/// was typed or pasted in buffers that nobody else can wipe, and a phrase was among it. A passphrase is asked for once more.
fn start_again() -> CliError {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| "starling".into());
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program).arg0(name).args(args).exec(),
        Err(error) => error,
    };
    CliError::internal(error).hint("the account is on this device now: start Starling once more")
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;

#[cfg(test)]
mod arranging_tests;

#[cfg(test)]
mod golden_tests;

#[cfg(test)]
mod group_tests;

#[cfg(test)]
mod testing;
