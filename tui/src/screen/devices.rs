//! The account's devices: their list, what is done to one of them, devices that ask to join, and the copying of the history.

use ratatui::text::Line;
use starling_control::{
    methods::devices::{AnswerLink, CancelHistory, GetHistory, GiveHistory, Link, List, SetRights},
    objects::{CopyState, Device, DeviceId, HistoryCopy, Path, Rights},
};

use super::{
    actions,
    app::App,
    palette::{Palette, Row, Run},
    requests::Answer,
};
use crate::{
    terminal::safe_line,
    verbs::{called, short_device},
};

/// The title of what is said of the account itself.
const ALARM: &str = "⚠ Your account";
/// Alarms that lie over one another; more are said in passing.
const MAX_ALARMS: usize = 8;

/// What is known of the account's devices.
#[derive(Debug, Default)]
pub struct Devices {
    /// As they were listed last.
    pub listed: Vec<Device>,
    /// Codes that this screen has made: who asks over another is answered elsewhere.
    pub codes: Vec<String>,
    /// The history that is copied to this device.
    pub copy: Option<HistoryCopy>,
    /// A new device that does not have all conversations yet.
    pub entering: Option<Entering>,
}

/// How far a new device is.
#[derive(Debug)]
pub struct Entering {
    pub device: DeviceId,
    /// Conversations that it can use.
    ready: usize,
    /// All of them.
    conversations: usize,
}

/// What can be done to a device of the account.
#[derive(Clone, Debug)]
pub enum DeviceAction {
    Rights(DeviceId, Rights),
    /// It may copy the messages of this device.
    Give(DeviceId),
    /// Its messages are copied to this device.
    Get(DeviceId),
    /// Nothing is copied to or from this device any more.
    CancelHistory,
    /// It is let into the account; with the messages of this device, or without.
    LetIn(DeviceId, bool),
    /// It is not let in.
    Decline(DeviceId),
}

impl App {
    /// Asks for a code for another device; it ends with this screen.
    pub fn link_device(&mut self) {
        self.ask(Link { while_connected: Some(true) }, Answer::Link);
    }

    /// Our devices; one can be chosen.
    pub fn show_devices(&mut self, devices: Vec<Device>) {
        let name = |device: &Device| match safe_line(&device.name) {
            name if name.is_empty() => short_device(&device.device).to_owned(),
            name => format!("{name} ({})", short_device(&device.device)),
        };
        let by = |id: &DeviceId| {
            devices.iter().find(|other| other.device == *id).map_or_else(|| short_device(id).to_owned(), name)
        };
        let row = |device: &Device| {
            let day = device.added_at.as_str().get(..10).unwrap_or_default();
            let by = device.linked_by.as_ref().map_or_else(|| "the phrase".to_owned(), by);
            let help = format!("{}, {day}, by {by}, {}", rights(device.rights), state(device));
            Row::new(name(device), help, "", Run::Device(device.device.clone()))
        };
        let mut rows: Vec<Row> = devices.iter().map(row).collect();
        let link = actions::commands().find(|command| command.name == "link");
        rows.extend(link.map(|link| Row::new("link another device", "", "", Run::Command(link))));
        self.devices.listed = devices;
        self.layers.push(Palette::new("Your devices", rows));
    }

    /// One of our devices, and what can be done to it.
    pub fn show_device(&mut self, id: &DeviceId) {
        let Some(device) = self.devices.listed.iter().find(|device| device.device == *id).cloned() else { return };
        let (theme, day) = (&self.settings.theme, device.added_at.as_str().get(..10).unwrap_or_default());
        let by = match &device.linked_by {
            Some(by) => self.device_name(by),
            None => "the recovery phrase".to_owned(),
        };
        let text = vec![
            Line::from(called(&safe_line(&device.name), &safe_line(&device.system), Some(id))),
            Line::styled(format!("{}, {}", rights(device.rights), state(&device)), theme.dim),
            Line::styled(format!("since {day}, let in by {by}"), theme.dim),
        ];
        let done = |name: &str, help: &str, key: &str, change| Row::new(name, help, key, Run::Change(change));
        let mut rows = Vec::new();
        if !device.this {
            let all = [
                (Rights::Admin, "make it an admin", "it changes the account", "a"),
                (Rights::Member, "make it a member", "it reads and writes", "m"),
                (Rights::Bot, "make it a bot", "a member without your contacts", "b"),
            ];
            let others = all.into_iter().filter(|(right, ..)| *right != device.rights);
            rows.extend(
                others.map(|(right, name, help, key)| done(name, help, key, DeviceAction::Rights(id.clone(), right))),
            );
            rows.push(done("give it the history", "it may copy all messages", "h", DeviceAction::Give(id.clone())));
            rows.push(done("get its history", "its messages are copied", "g", DeviceAction::Get(id.clone())));
            rows.push(Row::new("remove it", "for good", "r", Run::Unlink(id.clone())));
        } else if self.devices.copy.as_ref().is_some_and(is_open) {
            rows.push(done("end the copying", "what has come stays", "c", DeviceAction::CancelHistory));
        }
        rows.push(Row::new("back", "", "q", Run::Nothing));
        let mut palette = Palette::ask("Your device", text, rows);
        palette.at = palette.rows.len() - 1;
        self.layers.push(palette);
    }

    /// What a device of ours is called.
    fn device_name(&self, id: &DeviceId) -> String {
        let device = self.devices.listed.iter().find(|device| device.device == *id);
        called(&device.map(|device| safe_line(&device.name)).unwrap_or_default(), "", Some(id))
    }

    /// A device asks to join with a code that this screen has made.
    pub fn device_asks(&mut self, code: &str, device: DeviceId, [name, system]: [&str; 2], place: &str) {
        if !self.devices.codes.iter().any(|own| own == code) {
            return;
        }
        let theme = &self.settings.theme;
        let text = vec![
            Line::styled(called(&safe_line(name), &safe_line(system), Some(&device)), theme.text),
            Line::styled(format!("It asks with the code that you have made, {place}."), theme.dim),
            Line::styled("What it shows has to be the same.", theme.dim),
        ];
        let row = |name: &str, help: &str, key: &str, change| Row::new(name, help, key, Run::Change(change));
        let rows = vec![
            row("let it in", "without older messages", "y", DeviceAction::LetIn(device.clone(), false)),
            row("let it in, with all", "messages of this device", "a", DeviceAction::LetIn(device.clone(), true)),
            row("no", "", "n", DeviceAction::Decline(device)),
        ];
        let mut palette = Palette::unasked("Let this device into your account?", text, rows);
        palette.at = 2;
        self.layers.push(palette);
    }

    /// Changes one of our devices, as the user wants it.
    pub fn change_device(&mut self, change: DeviceAction) {
        let answered = |device, rights, history| AnswerLink { device, rights, history: Some(history) };
        match change {
            DeviceAction::Rights(device, rights) => {
                self.ask(SetRights { device, rights }, |result| Answer::DeviceChanged(result.map(drop)));
            }
            DeviceAction::Give(device) => {
                let said = format!("{} may copy all messages of this device.", self.device_name(&device));
                self.ask(GiveHistory { device }, |result| Answer::Said(said, result.map(drop)));
            }
            DeviceAction::Get(device) => {
                let said = format!("The messages of {} come as soon as it gives them.", self.device_name(&device));
                self.ask(GetHistory { device: Some(device) }, |result| Answer::Said(said, result.map(drop)));
            }
            DeviceAction::CancelHistory => {
                let said = "Nothing is copied any more; what has come stays.".to_owned();
                self.ask(CancelHistory {}, |result| Answer::Said(said, result.map(drop)));
            }
            DeviceAction::LetIn(device, history) => self.change(answered(device, Some(Rights::Admin), history)),
            DeviceAction::Decline(device) => self.change(answered(device, None, false)),
        }
    }

    /// The list of devices is shown again: one of them was changed.
    pub fn device_changed(&mut self) {
        self.say("Done.".into());
        self.ask(List {}, Answer::Devices);
    }

    /// The copying of the history to this device has come further.
    pub fn history_copied(&mut self, copy: HistoryCopy) {
        let before = self.devices.copy.replace(copy);
        let Some(copy) = &self.devices.copy else { return };
        match copy.state {
            CopyState::Complete if before.as_ref().is_none_or(is_open) => {
                self.say(format!("The history is complete: {} messages have come.", copy.copied));
                self.show_copied();
            }
            CopyState::Refused => self.warn("The other device does not give its history any more.".into()),
            _ => {}
        }
    }

    /// There are older messages than there were.
    fn show_copied(&mut self) {
        self.refresh();
        self.chat.timeline.has_older_now();
        if self.chat.open.is_some() && self.chat.timeline.is_at_bottom() {
            self.load_newest();
        }
    }

    /// Something was done to the account, or to a device of it, that its user may not have wanted: that stays until it is seen.
    pub fn alarm(&mut self, words: String) {
        self.notify("Your account", &words, true);
        let is_alarm = |palette: &Palette| palette.title == ALARM;
        let says_so = |palette: &Palette| palette.text.first().is_some_and(|line| line.to_string() == words);
        if self.layers.count::<Palette>(|palette| is_alarm(palette) && says_so(palette)) > 0 {
            return;
        }
        let open = self.layers.count::<Palette>(is_alarm);
        if open >= MAX_ALARMS {
            return self.warn(words);
        }
        let mut rows: Vec<Row> = Vec::new();
        let list = actions::commands().find(|command| command.name == "devices");
        rows.extend(list.map(|list| Row::new("your devices", "remove what is not yours", "d", Run::Command(list))));
        rows.push(Row::new("later", "", "q", Run::Nothing));
        let text = vec![Line::styled(words, self.settings.theme.warn)];
        let mut palette = Palette::unasked(ALARM, text, rows);
        palette.at = 1;
        self.layers.push(palette);
    }

    /// Another device wishes to copy the messages of this one, or lets this one copy its own.
    pub fn history_asked(&mut self, device: &DeviceId, offers: bool) {
        let name = self.device_name(device);
        let row = |name: &str, key: &str, run| Row::new(name, "", key, run);
        let (title, text, yes, change) = match offers {
            true => ("Copy older messages?", "has them, and lets this device copy them.", "copy", {
                DeviceAction::Get(device.clone())
            }),
            false => {
                ("Give away all messages?", "is a device of yours, and wishes to copy those of this one.", "give", {
                    DeviceAction::Give(device.clone())
                })
            }
        };
        let rows = vec![row(yes, "y", Run::Change(change)), row("no", "n", Run::Nothing)];
        let mut palette = Palette::unasked(title, vec![Line::from(format!("{name} {text}"))], rows);
        palette.at = 1;
        self.layers.push(palette);
    }

    /// A new device, perhaps this one, can use so many of the conversations.
    pub fn device_entered(&mut self, device: DeviceId, ready: usize, conversations: usize) {
        self.devices.entering = (ready < conversations).then_some(Entering { device, ready, conversations });
    }

    /// How many conversations a new device can use while others follow, for the line of state.
    pub fn entering_progress(&self) -> Option<String> {
        let Entering { ready, conversations, .. } = self.devices.entering.as_ref()?;
        Some(format!("chats: {ready} of {conversations}"))
    }

    /// How far the copying of the history is, for the line of state.
    pub fn copy_progress(&self) -> Option<String> {
        let copy = self.devices.copy.as_ref().filter(|copy| copy.state == CopyState::Copying)?;
        Some(match copy.total {
            0 => "history: waits".to_owned(),
            total => format!("history: {} %", copy.done.saturating_mul(100) / total),
        })
    }
}

fn is_open(copy: &HistoryCopy) -> bool {
    matches!(copy.state, CopyState::Wished | CopyState::Copying)
}

/// What a device may do, in a word.
fn rights(rights: Rights) -> &'static str {
    match rights {
        Rights::Admin => "admin",
        Rights::Member => "member",
        Rights::Bot => "bot",
    }
}

fn state(device: &Device) -> &'static str {
    match device.connection {
        _ if device.this => "this device",
        Some(Path::Direct) => "connected",
        Some(Path::Relay) => "connected through a relay",
        Some(Path::None) | None => "not connected",
    }
}
