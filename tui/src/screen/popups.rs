//! What lies over the screen for a while: the palette, help, search, questions and cards.

use std::collections::HashSet;

use ratatui::text::Line;
use starling_control::{
    methods::{
        chats::Clear,
        contacts::{Accept, Block, Decline, Remove, Trust, Verify},
        devices, groups,
        messages::{Delete, Search},
    },
    objects::{AccountId, ChatId, ContactRef, GroupLink, GroupPreview, GroupReport, JoinRequest, Role, Standing},
};
use starling_node::MessageId;

use super::{
    actions,
    app::{App, Focus},
    card::Card,
    clock,
    groups::GroupAction,
    model::ListRow,
    palette::{Palette, Question, Row, Run, Verdict},
    requests::Answer,
    theme::{THEMES, Theme},
    timeline::cut,
};
use crate::terminal::safe_line;

/// Messages that a search shows.
const MAX_FOUND: u32 = 200;
/// Columns of a message that a question quotes.
const QUOTED: u16 = 60;

impl App {
    /// Opens the search.
    pub fn show_search(&mut self) {
        let mut palette = Palette::new("Search in this chat", Vec::new());
        palette.searches = true;
        self.layers.push(palette);
    }

    /// Opens the search, and searches.
    pub fn search(&mut self, query: &str) {
        self.show_search();
        if let Some(palette) = self.layers.find::<Palette>() {
            palette.query = query.to_owned();
        }
        self.run_search();
    }

    /// Searches for what stands in the palette.
    pub fn run_search(&mut self) {
        let Some(palette) = self.layers.find::<Palette>() else {
            return;
        };
        let query = palette.query.clone();
        if let Some(chat) = self.chat.open.clone().filter(|_| !query.trim().is_empty()) {
            palette.title = "Search …".into();
            let search = Search { query: query.clone(), chat: Some(chat), limit: Some(MAX_FOUND), ..Search::default() };
            self.ask(search, |found| Answer::Found(query, found));
        }
    }

    pub fn show_palette(&mut self) {
        let mut rows = Vec::new();
        for row in self.panes.list.rows() {
            if let ListRow::Request(account) = row {
                let request = self.directory.requests.iter().find(|r| r.account == *account);
                let name = request.map(|r| safe_line(&r.name)).unwrap_or_default();
                rows.push(Row::new(name, "asks to talk to you", "", Run::Request(account.clone())));
            }
            if let ListRow::Invitation(id) = row {
                let name = self.directory.group(id).map(|group| format!("#{}", safe_line(&group.name)));
                let run = Run::Group(GroupAction::Invitation(id.clone()));
                rows.push(Row::new(name.unwrap_or_default(), "a group that you are invited into", "", run));
            }
            rows.extend(row.chat().map(|id| self.chat_row(id)));
        }
        let shown: HashSet<&ChatId> = self.panes.list.rows().iter().filter_map(ListRow::chat).collect();
        let folded = self.directory.chats.iter().map(|chat| &chat.id).filter(|id| !shown.contains(id));
        rows.extend(folded.map(|id| self.chat_row(id)));
        let everywhere = actions::bindings().into_iter().filter(|b| !b.place.is_pane() && b.name != "palette");
        rows.extend(everywhere.map(|b| Row::new(b.name, b.help, self.settings.keys.keys_of(b.name), Run::Action(b))));
        rows.extend(command_rows());
        rows.extend(THEMES.iter().map(|t| Row::new(format!("theme {t}"), "colours", "", Run::Theme(t))));
        self.layers.push(Palette::new("Find", rows));
    }

    /// A row that opens a chat.
    fn chat_row(&self, id: &ChatId) -> Row {
        let name = self.directory.full_name(id).map(|name| safe_line(&name)).unwrap_or_default();
        let unread = self.directory.chat(id).map(|c| c.unread).filter(|n| *n > 0);
        let help = unread.map_or("chat".to_owned(), |n| format!("chat, {n} unread"));
        Row::new(name, help, "", Run::Chat(id.clone()))
    }

    pub fn show_help(&mut self) {
        let mut rows: Vec<Row> = Vec::new();
        for binding in actions::bindings() {
            let help = format!("{}{}", binding.help, binding.place.in_words());
            rows.push(Row::new(binding.name, help, self.settings.keys.keys_of(binding.name), Run::Action(binding)));
        }
        rows.extend(command_rows());
        self.layers.push(Palette::new("Help — type to filter, Enter runs", rows));
    }

    pub fn show_invite(&mut self, link: &str) {
        let hint = "Let them scan or paste this: it works once, for 7 days. y copies it, other keys close this.";
        let text = vec![String::new(), link.to_owned(), String::new(), hint.to_owned()];
        let code = crate::verbs::qr(link).unwrap_or_default();
        self.layers.push(Card { title: "Invite somebody".into(), code, text, copy: Some(link.to_owned()) });
    }

    /// A link into a group that was made.
    pub fn show_group_link(&mut self, made: &GroupLink) {
        let link = made.link.clone().unwrap_or_default();
        let hint = match made.approval {
            true => "Whoever has it can ask to be let in: /requests shows them.",
            false => "Whoever has it comes in, and sees who is here. It ends when somebody leaves or is removed.",
        };
        let keys = "y copies it, other keys close this.";
        let text = vec![String::new(), link.clone(), String::new(), hint.to_owned(), keys.to_owned()];
        let code = crate::verbs::qr(&link).unwrap_or_default();
        self.layers.push(Card { title: "A link into this group".into(), code, text, copy: Some(link) });
    }

    /// Where a link leads: the user is asked before anything is done.
    pub fn ask_to_join(&mut self, link: String, preview: &GroupPreview) {
        let name = cut(&safe_line(&preview.name), 40);
        if matches!(preview.standing, Some(Standing::Member | Standing::Entering)) {
            return self.say(format!("You are in #{name} already."));
        }
        let by = safe_line(preview.by.name.as_deref().unwrap_or(preview.by.account.as_str()));
        self.say(format!(
            "#{name}: {}, link by {}. {}",
            crate::verbs::counted_members(preview.members as usize),
            cut(&by, 24),
            safe_line(&preview.topic)
        ));
        self.ask_yes(Question::JoinByLink(link, preview.approval));
    }

    /// Those who ask to be let into a group.
    pub fn show_join_requests(&mut self, asking: &[JoinRequest], group: &ChatId) {
        let name = self.directory.name_of(group).map(safe_line).unwrap_or_default();
        if asking.is_empty() {
            return self.say(format!("Nobody asks to be let into {name}."));
        }
        let line = |request: &JoinRequest| {
            let (day, time) = clock::local(clock::milliseconds(&request.at));
            format!("{}  {}  {day} {time}", safe_line(&request.name), safe_line(request.account.as_str()))
        };
        let mut text: Vec<String> = asking.iter().take(20).map(line).collect();
        text.extend([String::new(), "/approve @WHO lets somebody in, /refuse @WHO does not.".to_owned()]);
        self.layers.push(Card::new("Who asks to be let in", text, None));
    }

    /// The newest reports of a group, the newest first.
    pub fn show_reports(&mut self, reports: &[GroupReport], group: &ChatId) {
        let name = self.directory.name_of(group).map(safe_line).unwrap_or_default();
        if reports.is_empty() {
            return self.say(format!("Nothing was reported in {name}."));
        }
        let who = |who: &ContactRef| safe_line(who.name.as_deref().unwrap_or(who.account.as_str()));
        let mut text = Vec::new();
        for report in reports.iter().rev().take(8) {
            let reason = report.reason.as_deref().map(|reason| format!(": {}", safe_line(reason))).unwrap_or_default();
            text.push(format!("{} reports {}{reason}", who(&report.by), who(&report.author)));
            let proof = if report.confirmed { "" } else { " (not confirmed: this device does not have the message)" };
            text.push(format!("  “{}”{proof}", cut(&safe_line(&report.text), 200)));
        }
        self.layers.push(Card::new("What was reported", text, None));
    }

    pub fn show_request(&mut self, account: &AccountId) {
        let Some(request) = self.directory.requests.iter().find(|r| r.account == *account) else {
            return;
        };
        let name = safe_line(&request.name);
        let greeting = safe_line(&request.greeting);
        let text = vec![
            Line::from(format!("{name} wants to talk to you.")),
            Line::styled(
                if greeting.is_empty() { "No greeting.".into() } else { format!("“{greeting}”") },
                self.settings.theme.dim,
            ),
            Line::styled(format!("account {}", cut(&safe_line(account.as_str()), 17)), self.settings.theme.dim),
        ];
        let row = |name: &str, help: &str, key: &str, verdict: Verdict| {
            Row::new(name, help, key, Run::Answer(verdict, account.clone()))
        };
        let rows = vec![
            row("accept", "you can write to each other", "a", Verdict::Accept),
            row("decline", "they are not told", "d", Verdict::Decline),
            row("block", "they cannot ask again", "b", Verdict::Block),
        ];
        self.layers.push(Palette::ask("A request", text, rows));
    }

    pub fn show_verify(&mut self) {
        let Some(contact) = self.open_contact().cloned() else {
            return self.warn("Open a chat first.".into());
        };
        let Some(number) = &contact.safety_number else {
            // It is shown as soon as it is there.
            self.chat.loading.verify = true;
            return self.fetch_safety_number();
        };
        let name = safe_line(&contact.name);
        let number: Vec<&str> = number.split_whitespace().collect();
        let mut text = vec![
            Line::from(format!("Compare these numbers with {name}, by voice or side by side.")),
            Line::from("If they are the same, nobody sits between you."),
            Line::default(),
        ];
        text.extend(number.chunks(4).map(|c| Line::styled(format!("   {}", c.join("  ")), self.settings.theme.accent)));
        let account = contact.account.clone();
        let mut rows =
            vec![Row::new("they are the same", "mark as verified", "y", Run::Yes(Question::Verified(account.clone())))];
        if contact.key_changed {
            rows.push(Row::new("trust the new devices", "without comparing", "t", Run::Yes(Question::Trust(account))));
        }
        rows.push(Row::new("not now", "", "n", Run::Nothing));
        let mut palette = Palette::ask(format!("Safety number with {name}"), text, rows);
        palette.at = palette.rows.len() - 1;
        self.layers.push(palette);
    }

    /// A message in one line, so that nobody decides about another one than they mean.
    fn quote(&self, id: MessageId) -> String {
        let number = self.chat.timeline.numbers.get(id).map(|n| format!("{n} ")).unwrap_or_default();
        match self.chat.timeline.find(id) {
            Some(message) => format!("{number}“{}”", cut(&safe_line(&message.words()), QUOTED)),
            None => format!("{number}(not on the screen)"),
        }
    }

    pub fn ask_yes(&mut self, question: Question) {
        let (title, text, yes) = question.words();
        let mut lines: Vec<Line<'static>> = Vec::new();
        if let Question::Expel(group, account) | Question::Ban(group, account) | Question::MakeOwner(group, account) =
            &question
        {
            lines.push(Line::styled(self.member_name(group, account), self.settings.theme.peer));
        }
        if let Question::Delete(id) = &question {
            lines.push(Line::styled(self.quote(*id), self.settings.theme.text));
        }
        if !text.is_empty() {
            lines.push(Line::styled(text, self.settings.theme.dim));
        }
        let rows = vec![Row::new(yes, "", "y", Run::Yes(question)), Row::new("no", "", "n", Run::Nothing)];
        let mut palette = Palette::ask(title, lines, rows);
        // Enter pressed by mistake does nothing that cannot be undone.
        let harmless = matches!(palette.rows[0].run, Run::Yes(Question::Quit));
        palette.at = if harmless { 0 } else { 1 };
        self.layers.push(palette);
    }

    pub fn run(&mut self, run: Run) {
        match run {
            Run::Action(binding) => self.act_from_palette(binding),
            Run::Chat(chat) => {
                self.open(&chat);
                self.panes.focus = Focus::Composer;
            }
            Run::Answer(verdict, account) => self.answer_request(verdict, account),
            Run::Command(command) => {
                self.panes.focus = Focus::Composer;
                match command.prefix() {
                    // Something has to follow.
                    line if line.ends_with(' ') => self.chat.composer.set(&line),
                    line => self.command(&line),
                }
            }
            Run::Theme(name) => {
                if let Some(theme) = Theme::named(name) {
                    self.set_theme(theme);
                }
            }
            Run::Emoji(emoji) => {
                if let Some(id) = self.chat.timeline.selected_message().map(|m| m.id) {
                    self.react(id, &emoji);
                }
            }
            Run::Message(id) => self.go_to(id),
            Run::Yes(question) => self.answer_yes(question),
            Run::Device(device) => self.show_device(&device),
            Run::Unlink(device) => self.ask_yes(Question::Unlink(device)),
            Run::Change(change) => self.change_device(change),
            Run::Group(action) => self.group_action(action),
            Run::Ask(question) => self.ask_yes(question),
            Run::Request(account) => self.show_request(&account),
            Run::Nothing => {}
        }
    }

    /// Answers somebody who asks to be a contact.
    pub fn answer_request(&mut self, verdict: Verdict, account: AccountId) {
        match verdict {
            Verdict::Accept => self.change(Accept { account }),
            Verdict::Decline => self.change(Decline { account }),
            Verdict::Block => self.change(Block { account }),
        }
    }

    fn answer_yes(&mut self, question: Question) {
        match question {
            Question::Quit => self.quit = true,
            Question::Delete(id) => {
                if let Some(chat) = self.chat.open.clone() {
                    self.change_in_order(Delete { chat, message: id.to_string().into() });
                }
            }
            Question::Block(account) => self.change(Block { account }),
            Question::Verified(account) => self.change(Verify { account, verified: Some(true) }),
            Question::Trust(account) => self.change(Trust { account }),
            Question::Remove(account) => self.change(Remove { account }),
            Question::Clear(chat) => {
                self.ask(Clear { chat: chat.clone() }, |result| Answer::Cleared(chat, result.map(drop)));
            }
            Question::Unlink(device) => self.change(devices::Remove { device }),
            Question::Join(group) => self.change(groups::Accept { group }),
            Question::JoinByLink(link, _) => self.change(groups::Join { link }),
            Question::Leave(group) => self.change(groups::Leave { group, block: None }),
            Question::Expel(group, account) => self.expel(group, account, false),
            Question::Ban(group, account) => self.expel(group, account, true),
            Question::MakeOwner(group, account) => self.change(groups::SetRole { group, account, role: Role::Owner }),
        }
    }
}

/// A row for each slash command.
fn command_rows() -> impl Iterator<Item = Row> {
    actions::commands().map(|c| Row::new(format!("/{}", c.name), c.help, c.arguments, Run::Command(c)))
}
