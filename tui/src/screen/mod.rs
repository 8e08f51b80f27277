//! The screen. It talks to the node by JSON-RPC like every other client; it draws when something has happened, and at rest nothing wakes it.

mod app;
mod call;
mod clock;
mod commands;
mod composer;
mod config;
mod draw;
mod input;
mod keys;
mod markup;
mod news;
mod notify;
mod onboarding;
mod palette;
mod popups;
mod theme;
mod timeline;

use std::{
    io::{BufWriter, Stdout, Write},
    path::Path,
    sync::Arc,
    time::Instant,
};

use futures::StreamExt;
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        clipboard::CopyToClipboard,
        cursor::Hide,
        event::{
            DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste, EnableFocusChange,
            EnableMouseCapture, Event, EventStream, KeyEventKind, KeyboardEnhancementFlags,
            PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags,
        },
        execute, queue,
        terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate, supports_keyboard_enhancement},
    },
};
use serde_json::Value;
use tokio::sync::mpsc;

pub use self::call::{Colours, Picture, Pictures, Tile, Way, half_blocks};
use self::{
    app::{App, Call, Tag},
    config::Config,
};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::Profile,
    rpc::{self, Client},
};

/// Events that are taken before the screen is drawn again.
const BURST: usize = 512;
/// Largest text for the clipboard: terminals drop more without a word.
const MAX_COPY: usize = 64 * 1024;

/// The terminal, with room for a whole screen: what is written in many small pieces is seen to be drawn.
type Screen = Terminal<CrosstermBackend<BufWriter<Stdout>>>;
const OUT: usize = 256 * 1024;

/// Runs the screen until the user leaves it.
pub async fn run(global: &Global) -> CliResult {
    crate::terminal::for_the_screen();
    let config = Config::load()?;
    let (keys, theme) = (config.key_map()?, config.theme(global)?);
    let profile = Profile::new(global)?;
    if !profile.exists() && !onboarding::run(global, &profile, &theme).await? {
        return Ok(());
    }
    // Before the terminal is ours: the passphrase may have to be asked for.
    let mut client = Arc::new(rpc::acquire(&profile, global).await?);
    let mut terminal = enter(&config)?;
    let mut app = App::new(config, keys, theme);
    loop {
        let result = Box::pin(serve(&mut terminal, &mut app, client.clone(), &profile.socket)).await;
        match result {
            // It was the node of a command that has ended: we go on with another, or one of our own.
            Err(error) if error.code == "node_gone" && !client.is_own() => {
                app.pictures.clear(&mut std::io::stdout());
                leave();
                client = Arc::new(rpc::acquire(&profile, global).await?);
                terminal = enter(&app.config)?;
            }
            result => {
                app.pictures.clear(&mut std::io::stdout());
                leave();
                client.finish().await;
                return result;
            }
        }
    }
}

fn enter(config: &Config) -> CliResult<Screen> {
    // For raw mode, the other screen and the hook; drawing goes through a larger buffer.
    drop(ratatui::init());
    let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(OUT, std::io::stdout())))?;
    let mut out = std::io::stdout();
    let _ = execute!(out, EnableBracketedPaste, EnableFocusChange);
    if config.mouse {
        let _ = execute!(out, EnableMouseCapture);
    }
    // Asking a terminal costs a round trip; those that have it say so in their name or are asked by these variables.
    let known = ["KITTY_WINDOW_ID", "WEZTERM_EXECUTABLE", "GHOSTTY_RESOURCES_DIR"];
    let flags = KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES | KeyboardEnhancementFlags::REPORT_EVENT_TYPES;
    if known.iter().any(|v| std::env::var_os(v).is_some()) && matches!(supports_keyboard_enhancement(), Ok(true)) {
        let _ = execute!(out, PushKeyboardEnhancementFlags(flags));
    }
    Ok(terminal)
}

/// Draws everything; pictures in one piece with what is around them.
fn paint(terminal: &mut Screen, app: &mut App) -> CliResult {
    let moving = app.shot.is_some() || app.pictures.draws();
    if moving {
        queue!(terminal.backend_mut(), BeginSynchronizedUpdate, Hide)?;
    }
    terminal.draw(|frame| draw::draw(app, frame))?;
    if moving {
        if app.pictures.write(terminal.backend_mut())? {
            // Asks the terminal nothing: the answer would wait behind the keys.
            let size = terminal.size()?;
            terminal.resize(size.into())?;
            terminal.draw(|frame| draw::draw(app, frame))?;
            app.pictures.write(terminal.backend_mut())?;
        }
        let out = terminal.backend_mut();
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()?;
    }
    Ok(())
}

fn leave() {
    let _ = execute!(
        std::io::stdout(),
        PopKeyboardEnhancementFlags,
        DisableMouseCapture,
        DisableFocusChange,
        DisableBracketedPaste
    );
    ratatui::restore();
}

type Answer = (Tag, CliResult<Value>);

async fn serve(terminal: &mut Screen, app: &mut App, client: Arc<Client>, socket: &Path) -> CliResult {
    let (answers, mut answered) = mpsc::unbounded_channel::<Answer>();
    let (ordered, mut to_send) = mpsc::unbounded_channel::<(Tag, &'static str, Value)>();
    let (sender, results) = (client.clone(), answers.clone());
    tokio::spawn(async move {
        while let Some((tag, method, params)) = to_send.recv().await {
            let result = sender.call(method, params).await;
            let _ = results.send((tag, result));
        }
    });
    let mut input = EventStream::new();
    let mut video = call::Video::default();
    app.start();
    loop {
        make_calls(app, terminal, &client, &answers, &ordered)?;
        let began = Instant::now();
        paint(terminal, app)?;
        // Only now the tiles have their places.
        video.want(app.wants_video(), socket, began);
        app.fetch();
        make_calls(app, terminal, &client, &answers, &ordered)?;
        let wake = app.wakes_at();
        let sleep = async {
            match wake {
                Some(at) => tokio::time::sleep(at.saturating_duration_since(Instant::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = input.next() => match event {
                Some(Ok(event)) => on_terminal(app, terminal, event)?,
                _ => return Ok(()),
            },
            Some((tag, result)) = answered.recv() => app.answer(tag, result),
            event = client.event() => match event {
                Ok(event) => app.event(&event),
                Err(error) => return Err(error),
            },
            // After keys and events: a film does not hold them up.
            parts = video.next() => app.took_frame(parts),
            () = sleep => app.tick(),
        }
        // What is there already is taken before the next drawing.
        for _ in 0..BURST {
            match (answered.try_recv(), client.try_event()) {
                (Err(_), None) => break,
                (answer, event) => {
                    if let Ok((tag, result)) = answer {
                        app.answer(tag, result);
                    }
                    if let Some(event) = event {
                        app.event(&event);
                    }
                }
            }
        }
        if app.quit {
            app.end_talk();
            make_calls(app, terminal, &client, &answers, &ordered)?;
            return Ok(());
        }
    }
}

fn on_terminal(app: &mut App, terminal: &mut Screen, event: Event) -> CliResult {
    match event {
        // Some terminals tell of releases, too.
        Event::Key(key) if key.kind == KeyEventKind::Release => app.key_released(&key),
        Event::Key(key) => {
            use ratatui::crossterm::event::{KeyCode, KeyModifiers};
            if key.code == KeyCode::Char('l') && key.modifiers.contains(KeyModifiers::CONTROL) {
                // Asks the terminal nothing: not all would answer.
                let size = terminal.size()?;
                terminal.resize(size.into())?;
            } else {
                app.key(&key);
            }
        }
        Event::Mouse(mouse) => app.mouse(&mouse),
        Event::Paste(text) => app.paste(&text),
        Event::FocusGained => app.focus_changed(true),
        Event::FocusLost => app.focus_changed(false),
        _ => {}
    }
    Ok(())
}

fn make_calls(
    app: &mut App,
    terminal: &mut Screen,
    client: &Arc<Client>,
    answers: &mpsc::UnboundedSender<Answer>,
    ordered: &mpsc::UnboundedSender<(Tag, &'static str, Value)>,
) -> CliResult {
    for call in std::mem::take(&mut app.calls) {
        match call {
            Call::Rpc { tag, method, params, in_order: true } => {
                let _ = ordered.send((tag, method, params));
            }
            Call::Rpc { tag, method, params, in_order: false } => {
                let (client, answers) = (client.clone(), answers.clone());
                tokio::spawn(async move {
                    let result = client.call(method, params).await;
                    let _ = answers.send((tag, result));
                });
            }
            Call::Add(what) => {
                let (client, answers) = (client.clone(), answers.clone());
                tokio::spawn(async move {
                    let result = crate::verbs::add_contact(&client, &what, None, "", None).await;
                    let _ = answers.send((Tag::Added(format!("/add {what}")), result));
                });
            }
            Call::Open(link) => {
                let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
                let started = std::process::Command::new(program)
                    .arg(&link)
                    .stdin(std::process::Stdio::null())
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .spawn();
                match started {
                    Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
                    Err(_) => app.warn(format!("There is no program to open links ({program}): {link}")),
                }
            }
            Call::Copy(text) if text.len() > MAX_COPY => {
                app.warn("The text is too long for the terminal's clipboard.".into());
            }
            Call::Copy(text) => {
                let done = execute!(std::io::stdout(), CopyToClipboard::to_clipboard_from(text));
                if done.is_ok() {
                    app.say("Copied (if your terminal allows it).".into());
                }
            }
            Call::Editor => edit(app, terminal)?,
        }
    }
    Ok(())
}

/// The draft in the user's editor.
fn edit(app: &mut App, terminal: &mut Screen) -> CliResult {
    let editor = std::env::var("VISUAL").or_else(|_| std::env::var("EDITOR")).unwrap_or_else(|_| "vi".into());
    let mut file = tempfile::Builder::new().prefix("starling-").suffix(".md").tempfile().map_err(CliError::internal)?;
    file.write_all(app.composer.text().as_bytes()).map_err(CliError::internal)?;
    file.flush().map_err(CliError::internal)?;
    leave();
    // The variable may hold arguments; it is the user's own.
    let mut words = editor.split_whitespace();
    let status = std::process::Command::new(words.next().unwrap_or("vi")).args(words).arg(file.path()).status();
    *terminal = enter(&app.config)?;
    match status {
        Ok(status) if status.success() => {
            let text = std::fs::read_to_string(file.path()).map_err(CliError::internal)?;
            app.composer.set(text.trim_end_matches('\n'));
        }
        _ => app.warn(format!("The editor “{editor}” did not end well; the draft is as it was.")),
    }
    Ok(())
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
