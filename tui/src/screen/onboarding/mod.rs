//! The first run: a new account, a device of one that there is, or one that comes back with its phrase. What each asks is a list of steps.

mod form;
mod making;

use std::time::Duration;

use futures::StreamExt;
use ratatui::crossterm::event::{Event, EventStream, KeyEventKind};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use self::{form::Form, making::Progress};
use super::{
    event_loop::{Screen, make_cells_safe, screen_of},
    theme::Theme,
};
use crate::{cli::Global, error::CliResult, profile::Profile, terminal::Session};

/// The rendezvous that is offered, so that a distribution or a company can set its own.
const DEFAULT_HOME: &str = "STARLING_RENDEZVOUS";
/// Keys that come after each other faster than this were typed ahead, or are one that is held down.
const TYPED_AHEAD: Duration = Duration::from_millis(50);

/// What a key leads to.
enum Next {
    /// More keys.
    Stay,
    /// The rendezvous that was typed is asked for its key.
    Introduce,
    /// What the form says is made now.
    Make,
    /// The profile that was made is tried again at its rendezvous, with the token of the form.
    Register,
    /// It is over: whether there is a profile now.
    Leave(bool),
}

/// How the first run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The user has left without a profile.
    Left,
    /// There is a profile.
    Made,
    /// There is a profile, and a phrase may have been typed or pasted.
    MadeWithPhrase,
}

/// Asks, and makes the profile.
pub async fn run(global: &Global, profile: &Profile, theme: &Theme) -> CliResult<Ended> {
    // The mouse is left to the terminal, so that words can be selected with it.
    let session = Session::open(false)?;
    let mut form = Form::new(std::env::var(DEFAULT_HOME).unwrap_or_default());
    let is_made = ask(&mut screen_of(&session)?, &mut form, global, profile, theme).await?;
    Ok(match (is_made, form.asked_for_phrase) {
        (false, _) => Ended::Left,
        (true, false) => Ended::Made,
        (true, true) => Ended::MadeWithPhrase,
    })
}

/// Gives whether there is a profile afterwards.
async fn ask(
    terminal: &mut Screen,
    form: &mut Form,
    global: &Global,
    profile: &Profile,
    theme: &Theme,
) -> CliResult<bool> {
    let mut input = EventStream::new();
    let (told, mut progress) = mpsc::unbounded_channel();
    let mut drawn = terminal.size()?;
    loop {
        let size = terminal.size()?;
        if size != drawn {
            // Wiped before they grow: what has to move to where there is room leaves a copy behind, and a phrase may be in it.
            terminal.swap_buffers();
            drawn = size;
        }
        terminal.draw(|frame| {
            form.draw(frame, theme);
            make_cells_safe(frame.buffer_mut());
        })?;
        let event = tokio::select! {
            biased;
            Some(news) = progress.recv() => {
                if matches!(news, Progress::Ready) {
                    return Ok(true);
                }
                let shows_phrase = matches!(news, Progress::Made(_));
                form.take(news);
                if shows_phrase {
                    // Keys that were typed while the profile was made were not meant for a phrase that nobody had seen.
                    while let Ok(Some(_)) = tokio::time::timeout(TYPED_AHEAD, input.next()).await {}
                }
                continue;
            }
            event = input.next() => event,
        };
        let Some(Ok(event)) = event else { return Ok(profile.exists()) };
        let next = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => form.key(&key),
            Event::Paste(text) => {
                form.paste(Zeroizing::new(text).trim());
                Next::Stay
            }
            _ => Next::Stay,
        };
        match next {
            Next::Stay => {}
            Next::Leave(entered) => return Ok(entered || profile.exists()),
            Next::Introduce => drop(making::introduce(global, form.wanted().home, told.clone())),
            Next::Make => drop(making::make(global, profile, form.wanted(), told.clone())),
            Next::Register => drop(making::register(global, profile, form.token(), told.clone())),
        }
    }
}
