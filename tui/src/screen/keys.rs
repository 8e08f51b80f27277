//! Actions, and the keys that do them. Every action has a name, so that it can be found in the palette and bound to another key.

use std::collections::HashMap;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Where an action's key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Wherever the focus is.
    Everywhere,
    /// On the selected message.
    Timeline,
}

macro_rules! actions {
    ($($action:ident, $place:ident, $name:literal, $key:literal, $help:literal;)*) => {
        /// What the user can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($action),* }

        /// All actions: place, name, default keys, help.
        pub const ACTIONS: &[(Action, Place, &str, &str, &str)] =
            &[$((Action::$action, Place::$place, $name, $key, $help)),*];
    };
}

actions! {
    Palette, Everywhere, "palette", "F2 Ctrl-P", "find a chat, a person, a command, a setting";
    Help, Everywhere, "help", "F1", "all keys and commands; type to filter, Enter runs";
    NextUnread, Everywhere, "next-unread", "F3", "next chat with unread messages";
    Search, Everywhere, "search", "F4", "search in this chat";
    NextPane, Everywhere, "next-pane", "F6", "next pane";
    PreviousChat, Everywhere, "previous-chat", "Ctrl-PageUp Alt-Up", "previous chat";
    NextChat, Everywhere, "next-chat", "Ctrl-PageDown Alt-Down", "next chat";
    Microphone, Everywhere, "microphone", "F7", "microphone on or off, in a call";
    Talk, Everywhere, "talk", "F12", "hold to talk while the microphone is off, in a call";
    Camera, Everywhere, "camera", "F8", "camera on or off, in a call";
    Answer, Everywhere, "answer", "F9", "answer a call, or hang up";
    CallView, Everywhere, "call-view", "F10", "the call large, or small in the corner";
    Details, Everywhere, "details", "F5", "details of this chat";
    PageUp, Everywhere, "page-up", "PageUp", "one page up";
    PageDown, Everywhere, "page-down", "PageDown", "one page down";
    Invite, Everywhere, "invite", "", "make an invite link";
    Quit, Everywhere, "quit", "", "leave Starling";
    Up, Timeline, "up", "k Up", "message above";
    Down, Timeline, "down", "j Down", "message below";
    Top, Timeline, "top", "g Home", "oldest message";
    Bottom, Timeline, "bottom", "G End", "newest message";
    Reply, Timeline, "reply", "r", "reply to the message";
    Edit, Timeline, "edit", "e", "edit your message";
    Delete, Timeline, "delete", "d", "delete your message for everyone";
    React, Timeline, "react", "+", "react with an emoji";
    Copy, Timeline, "copy", "y", "copy the message's text";
    Retry, Timeline, "retry", "R", "send a failed message anew";
    Open, Timeline, "open", "o", "open the message's link";
    Unfold, Timeline, "unfold", "x", "show all of a long message";
    Info, Timeline, "info", "i", "when, how and how far the message came";
    Verify, Timeline, "verify", "v", "compare safety numbers";
    GoToQuoted, Timeline, "go-to-quoted", "q", "go to the message that it answers";
    Actions, Timeline, "actions", "Space", "all actions on the message";
    Compose, Timeline, "compose", "Enter", "back to writing";
    Filter, Timeline, "filter-help", "?", "help";
}

impl Action {
    fn row(self) -> &'static (Action, Place, &'static str, &'static str, &'static str) {
        // Every action is made by the macro above, together with its row.
        ACTIONS.iter().find(|row| row.0 == self).unwrap_or(&ACTIONS[0])
    }

    pub fn place(self) -> Place {
        self.row().1
    }

    pub fn name(self) -> &'static str {
        self.row().2
    }
}

type Chord = (KeyModifiers, KeyCode);

/// The key map.
#[derive(Clone, Debug)]
pub struct Keys {
    map: HashMap<(Place, Chord), Action>,
    /// Starts on the timeline instead of in the composer.
    pub starts_on_timeline: bool,
    /// `Ctrl-P` and `Ctrl-N` move the cursor.
    pub emacs: bool,
}

impl Action {
    /// Whether it is about a call: those work whatever lies over the screen.
    pub fn is_of_call(self) -> bool {
        matches!(self, Self::Microphone | Self::Talk | Self::Camera | Self::Answer | Self::CallView)
    }
}

impl Keys {
    /// A profile by name.
    pub fn profile(name: &str) -> Option<Self> {
        let mut keys = Self { map: HashMap::new(), starts_on_timeline: false, emacs: false };
        for (action, place, _, chords, _) in ACTIONS {
            for chord in chords.split(' ').filter_map(parse) {
                keys.map.insert((*place, chord), *action);
            }
        }
        let mut bind = |place, chord: &str, action| {
            if let Some(chord) = parse(chord) {
                keys.map.insert((place, chord), action);
            }
        };
        match name {
            "default" => {}
            "vim" => {
                bind(Place::Timeline, "i", Action::Compose);
                bind(Place::Timeline, "a", Action::Compose);
                bind(Place::Timeline, "I", Action::Info);
                bind(Place::Timeline, ":", Action::Palette);
                bind(Place::Timeline, "/", Action::Search);
                bind(Place::Timeline, "Ctrl-U", Action::PageUp);
                bind(Place::Timeline, "Ctrl-D", Action::PageDown);
                bind(Place::Timeline, "J", Action::NextChat);
                bind(Place::Timeline, "K", Action::PreviousChat);
                keys.starts_on_timeline = true;
            }
            "emacs" => {
                keys.map.remove(&(Place::Everywhere, (KeyModifiers::CONTROL, KeyCode::Char('p'))));
                keys.emacs = true;
            }
            // Arrows, function keys and letters on the timeline: nothing with Ctrl or Alt.
            "minimal" => keys.map.retain(|(_, (modifiers, _)), _| modifiers.is_empty()),
            _ => return None,
        }
        Some(keys)
    }

    /// Binds keys anew: `reply = "R"`, or several, `["R", "Ctrl-R"]`.
    pub fn rebind(&mut self, table: &toml::Table) -> Result<(), String> {
        for (name, value) in table {
            let Some((action, place, ..)) = ACTIONS.iter().find(|row| row.2 == name) else {
                return Err(format!("there is no action “{name}”; `F1` lists them"));
            };
            let chords: Vec<&str> = match value {
                toml::Value::String(one) => vec![one],
                toml::Value::Array(many) => many.iter().filter_map(toml::Value::as_str).collect(),
                _ => return Err(format!("“{name}” needs a key such as \"Ctrl-R\"")),
            };
            self.map.retain(|_, bound| bound != action);
            for text in chords {
                let chord = parse(text).ok_or_else(|| format!("“{text}” is no key"))?;
                if let Some(other) = self.map.insert((*place, chord), *action) {
                    return Err(format!("“{text}” is bound to both {name} and {}", other.name()));
                }
            }
        }
        Ok(())
    }

    /// The action of a key.
    pub fn action(&self, place: Place, key: &KeyEvent) -> Option<Action> {
        self.map.get(&(place, chord_of(key))).copied()
    }

    /// The keys of an action, to show.
    pub fn keys_of(&self, action: Action) -> String {
        let mut keys: Vec<String> =
            self.map.iter().filter(|(_, a)| **a == action).map(|((_, chord), _)| show(*chord)).collect();
        keys.sort_by_key(|k| (k.len(), k.clone()));
        keys.join(" ")
    }
}

fn chord_of(key: &KeyEvent) -> Chord {
    let code = match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => KeyCode::Char(c.to_ascii_lowercase()),
        code => code,
    };
    // Shift is in the letter already.
    let shift = matches!(code, KeyCode::Char(_));
    (if shift { key.modifiers - KeyModifiers::SHIFT } else { key.modifiers }, code)
}

/// `Ctrl-P`, `F2`, `Alt-Up`, `r`.
fn parse(text: &str) -> Option<Chord> {
    let mut modifiers = KeyModifiers::NONE;
    let mut rest = text;
    loop {
        let (modifier, after) = if let Some(after) = rest.strip_prefix("Ctrl-") {
            (KeyModifiers::CONTROL, after)
        } else if let Some(after) = rest.strip_prefix("Alt-") {
            (KeyModifiers::ALT, after)
        } else if let Some(after) = rest.strip_prefix("Shift-") {
            (KeyModifiers::SHIFT, after)
        } else {
            break;
        };
        modifiers |= modifier;
        rest = after;
    }
    let code = match rest {
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "Home" => KeyCode::Home,
        "End" => KeyCode::End,
        "PageUp" => KeyCode::PageUp,
        "PageDown" => KeyCode::PageDown,
        "Enter" => KeyCode::Enter,
        "Space" => KeyCode::Char(' '),
        "Tab" => KeyCode::Tab,
        "Esc" => KeyCode::Esc,
        "Backspace" => KeyCode::Backspace,
        _ => {
            if let Some(n) = rest.strip_prefix('F').and_then(|n| n.parse::<u8>().ok()) {
                KeyCode::F(n)
            } else {
                let mut chars = rest.chars();
                let c = chars.next().filter(|_| chars.next().is_none())?;
                let lower = modifiers.contains(KeyModifiers::CONTROL);
                KeyCode::Char(if lower { c.to_ascii_lowercase() } else { c })
            }
        }
    };
    Some((modifiers, code))
}

fn show((modifiers, code): Chord) -> String {
    let mut text = String::new();
    for (modifier, name) in
        [(KeyModifiers::CONTROL, "Ctrl-"), (KeyModifiers::ALT, "Alt-"), (KeyModifiers::SHIFT, "Shift-")]
    {
        if modifiers.contains(modifier) {
            text.push_str(name);
        }
    }
    match code {
        KeyCode::Char(' ') => text.push_str("Space"),
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => text.push(c.to_ascii_uppercase()),
        KeyCode::Char(c) => text.push(c),
        KeyCode::F(n) => text.push_str(&format!("F{n}")),
        KeyCode::PageUp => text.push_str("PgUp"),
        KeyCode::PageDown => text.push_str("PgDn"),
        KeyCode::Up => text.push('↑'),
        KeyCode::Down => text.push('↓'),
        other => text.push_str(&format!("{other:?}")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_can_be_bound_anew_and_a_conflict_is_told() {
        let mut keys = Keys::profile("default").unwrap();
        let key = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
        assert_eq!(keys.action(Place::Timeline, &key('r')), Some(Action::Reply));
        keys.rebind(&"reply = \"Z\"".parse().unwrap()).unwrap();
        assert_eq!(keys.action(Place::Timeline, &key('r')), None);
        assert_eq!(keys.action(Place::Timeline, &key('Z')), Some(Action::Reply));
        assert!(keys.rebind(&"edit = \"Z\"".parse().unwrap()).unwrap_err().contains("both"));
        assert!(keys.rebind(&"nonsense = \"Z\"".parse().unwrap()).is_err());
        for name in ["default", "vim", "emacs", "minimal"] {
            let keys = Keys::profile(name).unwrap();
            assert!(!keys.keys_of(Action::Palette).is_empty() && !keys.keys_of(Action::Help).is_empty());
        }
    }
}
