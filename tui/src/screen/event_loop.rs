//! What connects the screen's state with the world: it draws, takes keys, answers and events, and makes the calls that the state asks for.
//!
//! All of it runs in one task. Calls to the node are tasks of their own, whose answers come back through a channel; writes go through one
//! more task, in the order in which they were made.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    buffer::Buffer,
    crossterm::{
        clipboard::CopyToClipboard,
        cursor::Hide,
        event::{Event, EventStream, KeyEventKind},
        queue,
        terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate},
    },
};
use starling_control::EventLine;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    app::{App, Effect},
    call,
    pace::Pace,
    panes,
    requests::{Answer, PendingRequest},
};
use crate::{
    cli::Global,
    error::CliResult,
    profile::Profile,
    rpc::{self, Client},
    terminal::{self, Edited, FrameWriter, JobControl, Session, Signals, TtyWriter},
};

/// Events that are taken before the screen is drawn again.
const BURST: usize = 512;
/// Largest text for the clipboard: terminals drop more without a word.
const MAX_COPY: usize = 64 * 1024;
/// How long a screen that ends waits until what was written has reached the node.
const HAND_OVER: Duration = Duration::from_secs(5);
/// Room for a whole screen: what is written in many small pieces is seen to be drawn.
const OUT: usize = 256 * 1024;

/// The terminal as it is drawn to.
pub type Screen = Terminal<CrosstermBackend<FrameWriter<TtyWriter>>>;

/// Takes what a session draws to.
pub fn screen_of(session: &Session) -> CliResult<Screen> {
    Ok(Terminal::new(CrosstermBackend::new(FrameWriter::with_capacity(OUT, session.writer())))?)
}

/// The last line of defence: whatever a drawing has put into a cell, no control character and no override of the direction of text reaches
/// the terminal.
pub fn make_cells_safe(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if let Some(safe) = terminal::safe_cell(cell.symbol()) {
            cell.set_symbol(&safe);
        }
    }
}

/// The way to a node, and back.
struct Link {
    client: Arc<Client>,
    answers: mpsc::UnboundedSender<Answer>,
    answered: mpsc::UnboundedReceiver<Answer>,
    /// `None` once nothing more is to be written.
    in_order: Option<mpsc::UnboundedSender<Box<dyn PendingRequest>>>,
    writer: JoinHandle<()>,
}

impl Link {
    fn new(client: Arc<Client>) -> Self {
        let (answers, answered) = mpsc::unbounded_channel::<Answer>();
        let (in_order, mut to_send) = mpsc::unbounded_channel::<Box<dyn PendingRequest>>();
        let (sender, results) = (client.clone(), answers.clone());
        let writer = tokio::spawn(async move {
            while let Some(ask) = to_send.recv().await {
                let _ = results.send(ask.send(sender.clone()).await);
            }
        });
        Self { client, answers, answered, in_order: Some(in_order), writer }
    }

    fn ask_in_order(&self, ask: Box<dyn PendingRequest>) {
        if let Some(sender) = &self.in_order {
            let _ = sender.send(ask);
        }
    }

    /// Waits until everything that was written has reached the node, or cannot.
    async fn hand_over(&mut self) {
        self.in_order = None;
        let _ = tokio::time::timeout(HAND_OVER, &mut self.writer).await;
    }

    fn ask(&self, ask: Box<dyn PendingRequest>) {
        let (client, answers) = (self.client.clone(), self.answers.clone());
        tokio::spawn(async move {
            let _ = answers.send(ask.send(client).await);
        });
    }

    fn add(&self, what: String) {
        let (client, answers) = (self.client.clone(), self.answers.clone());
        tokio::spawn(async move {
            let result = crate::verbs::add_contact(&client, &what, None, "", None).await;
            let _ = answers.send(Answer::Added(format!("/add {what}"), result));
        });
    }
}

/// The screen, running.
pub struct EventLoop {
    app: App,
    session: Session,
    terminal: Screen,
    link: Link,
    /// `None` while another program has the keys: the stream would read them.
    input: Option<EventStream>,
    video: call::Video,
    pace: Pace,
}

impl EventLoop {
    /// Takes the terminal.
    pub fn open(app: App, client: Arc<Client>) -> CliResult<Self> {
        let session = Session::open(app.settings.config.mouse)?;
        let terminal = screen_of(&session)?;
        Ok(Self {
            app,
            session,
            terminal,
            link: Link::new(client),
            input: None,
            video: call::Video::default(),
            pace: Pace::default(),
        })
    }

    /// Runs until the user leaves. When the node was that of a command that has ended, it goes on with another.
    pub async fn run(&mut self, profile: &Profile, global: &Global, signals: &mut Signals) -> CliResult {
        loop {
            match Box::pin(self.serve(profile, signals)).await {
                Err(error) if error.code == "node_gone" && !self.link.client.is_own() => {
                    // The passphrase may have to be asked for.
                    self.suspend();
                    self.link.hand_over().await;
                    while let Ok(answer) = self.link.answered.try_recv() {
                        self.app.answer(answer);
                    }
                    self.link = Link::new(Arc::new(Box::pin(rpc::acquire(profile, global)).await?));
                    self.resume()?;
                }
                result => return result,
            }
        }
    }

    /// Gives the terminal back, keeps what was being written, and ends the node if it is our own.
    pub async fn close(mut self) {
        self.suspend();
        self.app.end_talk();
        self.app.keep();
        for effect in std::mem::take(&mut self.app.effects) {
            if let Effect::RequestInOrder(ask) = effect {
                self.link.ask_in_order(ask);
            }
        }
        self.link.hand_over().await;
        self.link.client.finish().await;
    }

    fn suspend(&mut self) {
        self.input = None;
        self.app.calls.pictures.clear(&mut self.session.writer());
        self.session.suspend();
    }

    fn resume(&mut self) -> CliResult {
        self.session.resume()?;
        self.redraw()
    }

    /// Everything is drawn again. Asks the terminal nothing: not all would answer, or the answer would wait behind the keys.
    fn redraw(&mut self) -> CliResult {
        let size = self.terminal.size()?;
        Ok(self.terminal.resize(size.into())?)
    }

    async fn serve(&mut self, profile: &Profile, signals: &mut Signals) -> CliResult {
        self.app.start();
        loop {
            self.do_effects(signals).await?;
            let began = Instant::now();
            let waits = self.pace.waits_until(began);
            if waits.is_none() {
                self.paint()?;
                self.pace.drawn(began);
                // Only now the tiles have their places.
                self.video.want(self.app.wants_video(), profile, began);
                self.app.fetch();
                self.do_effects(signals).await?;
            }
            let wake = self.app.wakes_at().into_iter().chain(waits).min();
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep(at.saturating_duration_since(Instant::now())).await,
                    None => std::future::pending().await,
                }
            };
            let client = self.link.client.clone();
            let input = self.input.get_or_insert_default();
            tokio::select! {
                biased;
                event = input.next() => match event {
                    Some(Ok(event)) => {
                        self.pace.hurry();
                        self.on_terminal(event)?;
                    }
                    _ => return Ok(()),
                },
                job = signals.job_control() => {
                    self.pace.hurry();
                    self.on_job_control(job)?;
                }
                Some(answer) = self.link.answered.recv() => self.app.answer(answer),
                line = client.line() => self.take_line(&line?),
                // After keys and events: a film does not hold them up.
                parts = self.video.next() => {
                    self.pace.hurry();
                    self.app.calls.take_frame(parts);
                }
                () = sleep => self.app.tick(),
            }
            self.take_what_is_there();
            self.app.note_changes();
            if self.app.quit {
                return self.do_effects(signals).await;
            }
        }
    }

    /// What is there already is taken before the next drawing.
    fn take_what_is_there(&mut self) {
        for _ in 0..BURST {
            match (self.link.answered.try_recv(), self.link.client.try_line()) {
                (Err(_), None) => break,
                (answer, line) => {
                    if let Ok(answer) = answer {
                        self.app.answer(answer);
                    }
                    if let Some(line) = line {
                        self.take_line(&line);
                    }
                }
            }
        }
    }

    /// Takes an event. One that cannot be read, as of a node of another version, is no reason to end.
    fn take_line(&mut self, line: &EventLine) {
        match line.event() {
            Ok(event) => self.app.event(event.kind),
            Err(error) => tracing::warn!(%error, "an event was not understood"),
        }
    }

    /// Draws everything; pictures in one piece with what is around them.
    fn paint(&mut self) -> CliResult {
        let moving = self.app.calls.shot.is_some() || self.app.calls.pictures.draws();
        if moving {
            queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate, Hide)?;
        }
        self.draw()?;
        if moving {
            if self.app.calls.pictures.write(self.terminal.backend_mut())? {
                self.redraw()?;
                self.draw()?;
                self.app.calls.pictures.write(self.terminal.backend_mut())?;
            }
            let out = self.terminal.backend_mut();
            queue!(out, EndSynchronizedUpdate)?;
            out.flush()?;
        }
        Ok(())
    }

    fn draw(&mut self) -> CliResult {
        let app = &mut self.app;
        self.terminal.draw(|frame| {
            panes::draw(app, frame);
            make_cells_safe(frame.buffer_mut());
        })?;
        Ok(())
    }

    fn on_terminal(&mut self, event: Event) -> CliResult {
        let app = &mut self.app;
        match event {
            // Some terminals report releases, too.
            Event::Key(key) if key.kind == KeyEventKind::Release => app.key_released(&key),
            Event::Key(key) => app.key(&key),
            Event::Mouse(_) | Event::Paste(_) => app.handle_event(&event),
            Event::FocusGained => app.focus_changed(true),
            Event::FocusLost => app.focus_changed(false),
            _ => {}
        }
        Ok(())
    }

    fn on_job_control(&mut self, job: JobControl) -> CliResult {
        self.app.end_talk();
        self.suspend();
        if job == JobControl::Stop {
            self.session.stop_process()?;
        } else {
            self.session.resume()?;
        }
        self.redraw()
    }

    async fn do_effects(&mut self, signals: &mut Signals) -> CliResult {
        for effect in std::mem::take(&mut self.app.effects) {
            match effect {
                Effect::Request(ask) => self.link.ask(ask),
                Effect::RequestInOrder(ask) => self.link.ask_in_order(ask),
                Effect::Add(what) => self.link.add(what),
                Effect::Open(link) => self.open_link(&link),
                Effect::Copy(text) if text.len() > MAX_COPY => {
                    self.app.warn("The text is too long for the terminal's clipboard.".into());
                }
                Effect::Copy(text) => {
                    let mut bytes = Vec::new();
                    queue!(bytes, CopyToClipboard::to_clipboard_from(text))?;
                    if self.session.writer().write_all(&bytes).is_ok() {
                        self.app.say("Copied (if your terminal allows it).".into());
                    }
                }
                Effect::Ring(bytes) => self.session.writer().write_all(&bytes)?,
                Effect::Editor => self.edit(signals).await?,
                Effect::Redraw => self.redraw()?,
            }
        }
        Ok(())
    }

    fn open_link(&mut self, link: &str) {
        let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
        let started = std::process::Command::new(program)
            .arg(link)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn();
        match started {
            Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
            Err(_) => self.app.warn(format!("There is no program to open links ({program}): {link}")),
        }
    }

    /// The draft in the user's editor.
    async fn edit(&mut self, signals: &mut Signals) -> CliResult {
        self.suspend();
        let draft = self.app.chat.composer.text();
        match terminal::edit(&draft, &mut self.session, signals).await? {
            Edited::Text(text) => self.app.chat.composer.set(&text),
            Edited::Failed(reason) => self.app.warn(reason),
        }
        self.redraw()
    }
}
