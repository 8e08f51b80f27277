//! Keeping drafts, the open chat and the place in it, so that they are there again in the next run, also when this one is killed.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use starling_control::{
    methods::chats::SetDraft,
    objects::{Chat, ChatId},
};

use super::{
    app::App,
    model::{Draft, Kept, KeptChat, Mode, Place},
    requests::Answer,
    timeline::Timeline,
};
use crate::error::CliError;

/// Longer drafts, in bytes, stay on their device, whole: the others show none, rather than a beginning that somebody might go on with or send.
const MAX_SHARED: usize = 1_024;
/// From the first change until it is stored: short enough to lose no more than a word, long enough not to store each letter.
const KEEP_AFTER: Duration = Duration::from_millis(300);

/// What is kept, and how far it is stored.
#[derive(Default)]
pub struct Keeping {
    /// Read from the last run; before that nothing is stored.
    loaded: bool,
    /// The chats that are not open.
    kept: Kept,
    /// What the node has stored.
    stored: Kept,
    due: Option<Instant>,
    /// Drafts as all devices of the account know them.
    shared: HashMap<ChatId, String>,
    /// The chats of which this screen has told the last of those.
    told: HashSet<ChatId>,
    /// Only the first failure is shown.
    failed: bool,
    /// A place is gone back to once, in the chat that was open.
    place: Option<(ChatId, Place)>,
}

impl Keeping {
    /// Whether what was kept is known.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The chat that was open in the last run.
    pub fn last_open(&self) -> Option<&ChatId> {
        self.kept.open.as_ref()
    }

    /// Folders of the list that are folded.
    pub fn folded(&self) -> &BTreeSet<String> {
        &self.kept.folded
    }

    /// When changes have to be stored.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

impl App {
    /// What was kept from the last run; nothing if the node keeps nothing.
    pub fn take_kept(&mut self, kept: Kept) {
        self.keeping.stored = kept.clone();
        if !self.keeping.loaded {
            let place = |open: &ChatId| Some((open.clone(), kept.chats.get(open)?.place?));
            self.keeping.place = kept.open.as_ref().and_then(place);
            self.keeping.kept = kept;
        }
        self.keeping.loaded = true;
        self.relist();
        self.open_what_is_due();
        self.take_listed_drafts();
    }

    /// Drafts of other devices that were there before this screen; what comes later comes as events.
    pub fn take_listed_drafts(&mut self) {
        let of = |chat: &Chat| Some((chat.id.clone(), chat.draft.clone()?));
        let drafts: Vec<(ChatId, String)> = self.directory.chats.iter().filter_map(of).collect();
        for (chat, text) in drafts {
            if !self.keeping.shared.contains_key(&chat) {
                self.take_draft(&chat, text);
            }
        }
    }

    /// Another device has left this unsent in a chat. It takes the place of what was the same on both before, but not of what is being written here.
    pub fn take_draft(&mut self, chat: &ChatId, text: String) {
        if !self.keeping.loaded {
            return;
        }
        let stored =
            self.keeping.stored.chats.get(chat).map(|kept| shared(&kept.draft.text).to_owned()).unwrap_or_default();
        let before = self.keeping.shared.insert(chat.clone(), text.clone()).unwrap_or(stored);
        self.keeping.told.remove(chat);
        let is_open = self.chat.open.as_ref() == Some(chat);
        let draft = match is_open {
            true => self.chat.composer.draft(),
            false => self.keeping.kept.chats.get(chat).map(|kept| kept.draft.clone()).unwrap_or_default(),
        };
        let is_written = is_open && self.has_focus && !draft.text.is_empty() && !text.is_empty();
        let is_theirs = draft.text.is_empty() || draft.text == before;
        if draft.text == text || !is_theirs || is_written || matches!(draft.mode, Mode::Edit(_)) {
            return;
        }
        let draft = Draft { text, ..draft };
        match is_open {
            true => self.chat.composer.set_draft(draft),
            false => self.keeping.kept.chats.entry(chat.clone()).or_default().draft = draft,
        }
    }

    /// Tells the account's other devices what is being written here.
    fn share_drafts(&mut self, wanted: &Kept) {
        let gone = self.keeping.shared.keys().filter(|chat| !wanted.chats.contains_key(*chat));
        let mut drafts: Vec<(ChatId, String)> = gone.map(|chat| (chat.clone(), String::new())).collect();
        drafts.extend(wanted.chats.iter().map(|(chat, kept)| {
            // What waits while a message is edited.
            let draft = if matches!(kept.draft.mode, Mode::Edit(_)) { &kept.draft.waiting } else { &kept.draft.text };
            (chat.clone(), draft.clone())
        }));
        for (chat, draft) in drafts {
            let (text, known) = (shared(&draft), self.keeping.shared.get(&chat).map_or("", String::as_str));
            // A long one takes back what was told of it before, and not what another device has left there.
            let is_told = text == draft || self.keeping.told.contains(&chat);
            if known != text && is_told {
                let text = text.to_owned();
                self.keeping.shared.insert(chat.clone(), text.clone());
                self.keeping.told.insert(chat.clone());
                // A node of an older version keeps them to itself.
                self.ask_in_order(SetDraft { chat, text }, |_| Answer::Keep(Ok(())));
            }
        }
    }

    /// Folds a folder of the list, or unfolds it. Names of folders that are gone are forgotten.
    pub fn fold_folder(&mut self, name: &str) {
        let folded = &mut self.keeping.kept.folded;
        if !folded.remove(name) {
            folded.insert(name.to_owned());
        }
        let chats = &self.directory.chats;
        folded.retain(|name| chats.iter().any(|chat| chat.folder.as_ref() == Some(name)));
        let row = Kept::set_folded(folded);
        if self.keeping.loaded {
            self.ask_in_order(row, |result| Answer::Keep(result.map(drop)));
        }
    }

    /// Something could not be kept.
    pub fn cannot_keep(&mut self, error: &CliError) {
        if !std::mem::replace(&mut self.keeping.failed, true) {
            self.warn(format!("Drafts are not kept: {}.", error.message));
        }
    }

    /// Whether a chat has a draft, the open one apart.
    pub fn has_draft(&self, chat: &ChatId) -> bool {
        self.keeping.kept.chats.get(chat).is_some_and(|kept| !kept.draft.is_empty())
    }

    fn open_chat_now(&self) -> KeptChat {
        KeptChat {
            draft: self.chat.composer.draft(),
            place: self.chat.timeline.place(),
            numbers: self.chat.timeline.numbers.clone(),
        }
    }

    /// Leaves the open chat and goes on with the draft of another, which is open from now on. Gives the place to go to, if that is not the
    /// newest message.
    pub fn switch_draft(&mut self, chat: &ChatId) -> Option<Place> {
        let early = match self.chat.open.take() {
            Some(left) => {
                let now = KeptChat { place: None, ..self.open_chat_now() };
                self.keeping.kept.chats.insert(left, now);
                String::new()
            }
            // Written before the first chat was there.
            None => self.chat.composer.text(),
        };
        let mut kept = self.keeping.kept.chats.remove(chat).unwrap_or_default();
        if !early.is_empty() {
            let before = std::mem::take(&mut kept.draft.text);
            kept.draft.text = if before.is_empty() { early } else { format!("{before}\n{early}") };
        }
        self.chat.composer.set_draft(kept.draft);
        self.chat.timeline = Timeline::of(kept.numbers);
        self.chat.open = Some(chat.clone());
        self.keeping.place.take().filter(|(open, _)| open == chat).map(|(_, place)| place)
    }

    /// Puts a text that could not be sent back into the draft of its chat.
    pub fn put_back(&mut self, chat: &ChatId, text: &str) {
        if self.chat.open.as_ref() == Some(chat) {
            return self.chat.composer.put_back(text);
        }
        let draft = &mut self.keeping.kept.chats.entry(chat.clone()).or_default().draft;
        let since = std::mem::take(&mut draft.text);
        *draft = Draft {
            text: if since.is_empty() { text.to_owned() } else { format!("{text}\n{since}") },
            mode: Mode::Write,
            waiting: std::mem::take(&mut draft.waiting),
        };
    }

    /// After something has happened: what has to be kept will be stored soon.
    pub fn note_changes(&mut self) {
        if !self.keeping.loaded || self.keeping.due.is_some() {
            return;
        }
        let Some(open) = &self.chat.open else { return };
        let stored = self.keeping.stored.chats.get(open);
        let same = |stored: &KeptChat| {
            stored.place == self.chat.timeline.place() && stored.draft == self.chat.composer.draft()
        };
        if self.keeping.stored.open.as_ref() != Some(open) || !stored.is_some_and(same) {
            self.keeping.due = Some(Instant::now() + KEEP_AFTER);
        }
    }

    /// Stores what has changed.
    pub fn keep(&mut self) {
        self.keeping.due = None;
        let Some(open) = self.chat.open.clone().filter(|_| self.keeping.loaded) else { return };
        let mut wanted = Kept { open: Some(open.clone()), ..self.keeping.kept.clone() };
        // Numbers are worth keeping only beside what the user comes back to.
        wanted.chats.retain(|_, kept| !kept.draft.is_empty());
        wanted.chats.insert(open.clone(), self.open_chat_now());
        let mut rows = Vec::new();
        for (chat, kept) in &wanted.chats {
            if self.keeping.stored.chats.get(chat) != Some(kept) {
                rows.push(Kept::set_chat(chat, kept));
            }
        }
        let gone = self.keeping.stored.chats.keys().filter(|chat| !wanted.chats.contains_key(*chat));
        rows.extend(gone.map(Kept::remove_chat));
        if self.keeping.stored.open != wanted.open {
            rows.push(Kept::set_open(&open));
        }
        self.share_drafts(&wanted);
        self.keeping.stored = wanted;
        for row in rows {
            self.ask_in_order(row, |result| Answer::Keep(result.map(drop)));
        }
    }
}

/// What the account's other devices have of a draft: all of it, or nothing.
fn shared(draft: &str) -> &str {
    if draft.len() <= MAX_SHARED { draft } else { "" }
}
