//! The state of the screen. Nothing here waits: what is to be done outside, such as requests to the node, is collected as effects and done by
//! `event_loop.rs`, and answers come back as events.

use std::time::{Duration, Instant};

use starling_control::{
    event::EventKind,
    methods::{
        calls, devices,
        messages::{History, Read, Send},
        node::Subscribe,
        profile::{Availability, SetAvailability},
        screen,
    },
    objects::{AccountId, Chat, ChatId, Contact, ContactState, Path},
};
use starling_node::MessageId;

use super::{
    actions::Keys,
    call::{Calls, Colours},
    component::Layers,
    composer::{Composer, Mode},
    config::Config,
    devices::Devices,
    groups::{GroupPane, Inviting},
    keeping::Keeping,
    markup,
    model::{CallState, Directory, Freshness, ListSources, Wants},
    notify::notify,
    panes::{PaneState, Panes},
    requests::{Answer, PendingRequest, Target},
    theme::Theme,
    timeline::Timeline,
};

/// Messages fetched at a time.
pub const PAGE: u32 = 100;
/// A remark goes away by itself.
const TOAST: Duration = Duration::from_secs(6);

/// What is to be done outside of the state.
#[derive(Debug)]
pub enum Effect {
    /// A request to the node.
    Request(Box<dyn PendingRequest>),
    /// The same, after all that were made before.
    RequestInOrder(Box<dyn PendingRequest>),
    /// Adds somebody by what the user typed.
    Add(String),
    /// Opens a link with the desktop's program.
    Open(String),
    /// Writes a notification to the terminal.
    Ring(Vec<u8>),
    /// Puts a text on the clipboard.
    Copy(String),
    /// The composer's text in `$EDITOR`.
    Editor,
    /// Everything is drawn again.
    Redraw,
}

/// Which place has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    List,
    Timeline,
    Composer,
    /// The members of the open group.
    Details,
}

/// A remark.
#[derive(Debug)]
pub struct Toast {
    pub text: String,
    /// Something could not be done.
    pub is_warning: bool,
    until: Instant,
}

impl Toast {
    fn new(text: String, is_warning: bool) -> Self {
        Self { text, is_warning, until: Instant::now() + TOAST }
    }
}

/// How the user wants the screen.
pub struct Settings {
    pub config: Config,
    pub keys: Keys,
    pub theme: Theme,
}

/// What is on its way for the open chat.
#[derive(Debug, Default)]
pub struct Loading {
    /// Requests for history of it that are not answered yet, and what has happened in it since they were made.
    pub pending: usize,
    pub meanwhile: Vec<EventKind>,
    /// A part that the view lacks is among them.
    pub fetching: bool,
    /// An account that was just added: its chat is opened when it is known.
    pub to_open: Option<AccountId>,
    /// Whose safety number is on its way, and whether it is shown as soon as it is there.
    pub numbered: Option<AccountId>,
    pub verify: bool,
}

/// The chat that is open: what is shown of it, and what is written in it.
#[derive(Default)]
pub struct ChatPane {
    pub open: Option<ChatId>,
    pub loading: Loading,
    pub timeline: Timeline,
    pub composer: Composer,
    pub group: GroupPane,
}

impl ChatPane {
    /// Another chat is opened: what was on its way for the one before does not concern it.
    fn begin(&mut self) {
        self.group = GroupPane::default();
        self.loading = Loading { to_open: self.loading.to_open.take(), ..Loading::default() };
    }

    /// A part of the history that the view lacks, unless one is on its way. It is then.
    fn take_wanted(&mut self) -> Option<Wants> {
        let wants = self.timeline.wants().filter(|_| self.open.is_some() && !self.loading.fetching)?;
        self.loading.fetching = true;
        Some(wants)
    }

    /// Ends a reply or an edit. Gives whether there was one.
    pub fn end_mode(&mut self) -> bool {
        match self.composer.mode {
            Mode::Write => return false,
            Mode::Reply(_) => self.composer.mode = Mode::Write,
            Mode::Edit(_) => self.composer.clear(),
        }
        true
    }
}

/// The screen's state.
pub struct App {
    pub settings: Settings,
    pub directory: Directory,
    pub chat: ChatPane,
    pub keeping: Keeping,
    pub panes: PaneState,
    /// The panes, and what lies over them.
    pub layers: Layers,
    pub toast: Option<Toast>,
    pub calls: Calls,
    pub devices: Devices,
    /// Many who are being invited into a group.
    pub inviting: Option<Inviting>,
    pub effects: Vec<Effect>,
    pub quit: bool,
    /// The terminal's window has the focus.
    pub has_focus: bool,
}

impl App {
    pub fn new(config: Config, keys: Keys, theme: Theme) -> Self {
        let focus = if keys.starts_on_timeline { Focus::Timeline } else { Focus::Composer };
        Self {
            panes: PaneState::new(focus, config.list_width),
            calls: Calls::new(Colours::of_terminal(&theme.name)),
            settings: Settings { config, keys, theme },
            directory: Directory::default(),
            chat: ChatPane::default(),
            keeping: Keeping::default(),
            layers: Layers::over(Panes::default()),
            toast: None,
            devices: Devices::default(),
            inviting: None,
            effects: Vec::new(),
            quit: false,
            has_focus: true,
        }
    }

    /// Asks for everything that is shown first.
    pub fn start(&mut self) {
        self.tell(Subscribe::watching());
        self.ask(screen::Get {}, Answer::Kept);
        self.directory.fresh = Freshness::default();
        self.refresh_status();
        self.refresh();
        self.ask(calls::List {}, Answer::Calls);
        self.ask(devices::History {}, Answer::Copy);
    }

    pub fn say(&mut self, text: String) {
        self.toast = Some(Toast::new(text, false));
    }

    pub fn warn(&mut self, text: String) {
        self.toast = Some(Toast::new(text, true));
    }

    /// When something has to be drawn again without any event.
    pub fn wakes_at(&self) -> Option<Instant> {
        let toast = self.toast.as_ref().map(|toast| toast.until);
        let second = self.calls.shown.as_ref().and_then(CallState::next_second);
        let now = Instant::now();
        let typing = self.chat.open.as_ref().and_then(|chat| self.directory.typing.changes_at(chat, now));
        let inviting = self.inviting.as_ref().map(Inviting::look_at);
        let due = [toast, second, self.calls.talk_until, self.keeping.due(), typing, inviting, self.resorts_at()];
        due.into_iter().flatten().min()
    }

    pub fn tick(&mut self) {
        if self.toast.as_ref().is_some_and(|toast| toast.until <= Instant::now()) {
            self.toast = None;
        }
        if self.calls.talk_until.is_some_and(|until| until <= Instant::now()) {
            self.end_talk();
        }
        if self.keeping.due().is_some_and(|due| due <= Instant::now()) {
            self.keep();
        }
        if self.resorts_at().is_some_and(|due| due <= Instant::now()) {
            self.relist();
        }
        self.look_at_invitations();
    }

    pub fn set_theme(&mut self, theme: Theme) {
        match super::config::remember_theme(&theme.name) {
            Ok(()) => self.say(format!("Theme {}.", theme.name)),
            Err(error) => self.warn(format!("Theme {}, for now: it cannot be kept: {error}", theme.name)),
        }
        self.settings.theme = theme;
        self.chat.timeline.relay();
    }

    /// How a contact is reached. In a call that is the call's way: the link beside it may take another one, or may just be changing.
    pub fn path_to(&self, contact: &Contact) -> Path {
        let call = self.calls.shown.as_ref().filter(|call| call.wire.chat.id == contact.chat);
        match call.and_then(CallState::is_direct) {
            Some(true) => Path::Direct,
            Some(false) => Path::Relay,
            None => contact.path,
        }
    }

    /// Devices that are connected directly and through a relay. The one we are in a call with counts as the call goes.
    pub fn peers(&self) -> (usize, usize) {
        let (direct, relayed) = self.directory.me.as_ref().map_or((0, 0), |me| (me.peers.direct, me.peers.relayed));
        let link = self
            .calls
            .shown
            .as_ref()
            .and_then(|call| self.directory.contact_of(&call.wire.chat.id))
            .map(|contact| contact.path);
        match (link, self.calls.shown.as_ref().and_then(CallState::is_direct)) {
            (Some(Path::Relay), Some(true)) if relayed > 0 => (direct + 1, relayed - 1),
            (Some(Path::Direct), Some(false)) if direct > 0 => (direct - 1, relayed + 1),
            _ => (direct, relayed),
        }
    }

    /// Whether a chat is open: with somebody, or of a group.
    pub fn has_open(&self) -> bool {
        self.open_contact().is_some() || self.open_group().is_some()
    }

    /// The group whose chat is open.
    pub fn open_group(&self) -> Option<&Chat> {
        let chat = self.directory.chat(self.chat.open.as_ref()?)?;
        Some(chat).filter(|chat| chat.kind.is_group())
    }

    pub fn open_contact(&self) -> Option<&Contact> {
        self.directory.contact_of(self.chat.open.as_ref()?)
    }

    /// Notifies the user by the desktop or the terminal, as the configuration says.
    pub fn notify(&mut self, from: &str, text: &str, mentions_us: bool) {
        if let Some(bytes) = notify(&self.settings.config, from, text, mentions_us) {
            self.effects.push(Effect::Ring(bytes));
        }
    }

    pub fn mark_read(&mut self) {
        if let Some(chat) = self.chat.open.clone().filter(|_| self.has_focus) {
            // The count of unread messages is asked for once this is answered.
            self.ask(Read { chat, message: None }, |result| Answer::Read(result.map(drop)));
        }
    }

    pub fn relist(&mut self) {
        // Who moves in the list is not moved from there.
        let is_moving = self.panes.focus == Focus::List;
        let (open, directory) = (self.chat.open.as_ref(), &self.directory);
        self.panes.order.update(&directory.chats, Instant::now(), is_moving);
        let sources = ListSources {
            requests: &directory.requests,
            invitations: directory.invitations().map(|group| &group.id).collect(),
            asked: directory.asked().map(|group| &group.id).collect(),
            chats: self.panes.order.sorted(&directory.chats),
            communities: directory.communities(),
            folded: self.keeping.folded().iter().map(String::as_str).collect(),
            open,
        };
        self.panes.list.rebuild(&sources, open.filter(|_| !is_moving));
    }

    /// When the order of the list has to be looked at again; not while the user moves there.
    fn resorts_at(&self) -> Option<Instant> {
        self.panes.order.due().filter(|_| self.panes.focus != Focus::List)
    }

    /// Opens the chat that was just added, or the first one where none is open.
    pub fn open_what_is_due(&mut self) {
        if let Some(account) = &self.chat.loading.to_open
            && let Some(contact) = self.directory.contacts.iter().find(|c| c.account == *account)
            && let chat = contact.chat.clone()
            && self.directory.chat(&chat).is_some()
        {
            self.chat.loading.to_open = None;
            return self.open(&chat);
        }
        // Which one was open in the last run?
        if !self.keeping.is_loaded() {
            return;
        }
        let gone = self.open_contact().is_some_and(|c| c.state == ContactState::Removed);
        if gone || self.chat.open.is_none() {
            let last = self.keeping.last_open().filter(|id| !gone && self.directory.chat(id).is_some()).cloned();
            match last.or_else(|| self.directory.chats.first().map(|c| c.id.clone())) {
                Some(first) => self.open(&first),
                None => self.chat.open = None,
            }
        }
    }

    pub fn open(&mut self, chat: &ChatId) {
        if self.chat.open.as_ref() == Some(chat) {
            self.chat.timeline.go_to_bottom();
            return;
        }
        let place = self.switch_draft(chat);
        self.chat.begin();
        match place {
            None => self.load_newest(),
            Some(place) => {
                self.chat.loading.fetching = true;
                self.ask_history(Target::Place(place));
            }
        }
        self.fetch_safety_number();
        self.group_changed();
        self.refresh_audit();
        self.relist();
    }

    /// Loads the newest messages of the open chat.
    pub fn load_newest(&mut self) {
        self.ask_history(Target::Newest);
    }

    /// Asks for history of the open chat. Until it is there, events are noted: they may be newer than what comes.
    pub fn ask_history(&mut self, target: Target) {
        let Some(chat) = self.chat.open.clone() else { return };
        let id = |id: &MessageId| Some(id.to_string().into());
        let history = History { chat: chat.clone(), limit: Some(PAGE), ..History::default() };
        let around = |message| History { around: id(message), limit: Some(2 * PAGE), ..history.clone() };
        let history = match &target {
            Target::Newest => history,
            Target::Page(Wants::Older(before)) => History { before: id(before), ..history },
            Target::Page(Wants::Newer(after)) => History { after: id(after), ..history },
            Target::Around(message) => around(message),
            Target::Place(place) => around(&place.message),
        };
        self.chat.loading.pending += 1;
        self.ask(history, |page| Answer::History(chat, target, page));
    }

    /// After a drawing: what the view lacks is fetched.
    pub fn fetch(&mut self) {
        if let Some(wants) = self.chat.take_wanted() {
            self.ask_history(Target::Page(wants));
        }
    }

    pub fn focus_changed(&mut self, has_focus: bool) {
        self.has_focus = has_focus;
        if !has_focus {
            // The key may be let go elsewhere.
            self.end_talk();
        }
        if has_focus && self.chat.timeline.is_at_bottom() && !self.chat.timeline.is_empty() {
            self.mark_read();
        }
        if self.chat.open.is_none() {
            return;
        }
        let availability = if has_focus { Availability::Online } else { Availability::Away };
        self.tell(SetAvailability { availability });
    }

    pub fn send(&mut self, text: &str, reply_to: Option<MessageId>) {
        let Some(chat) = self.chat.open.clone() else {
            return self.warn("Open a chat first, or add somebody with /add.".into());
        };
        let sent = markup::emoji(text);
        let (mentions, reply_to) =
            (Some(self.directory.mentions(&chat, &sent)), reply_to.map(|id| id.to_string().into()));
        let mentions_all = self.directory.mentions_all(&chat, &sent).then_some(true);
        let send = Send { reply_to, mentions, mentions_all, ..Send::text(chat.clone(), sent) };
        self.chat.composer.told_typing = None;
        let text = text.to_owned();
        self.ask_in_order(send, |result| Answer::Sent(chat, text, result.map(drop)));
        if self.chat.timeline.has_newest() {
            self.chat.timeline.go_to_bottom();
        } else {
            // The view is far up in the past: back to now.
            self.load_newest();
        }
        self.chat.timeline.all_read();
    }
}
