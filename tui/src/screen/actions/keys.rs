//! The key map: which key does what. It begins with the defaults of the registry; the user's own keys go over them.

use std::collections::HashMap;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Binding, Place, binding, bindings};

/// Keys that the profile `vim` adds on the timeline.
const VIM: [(&str, &str); 9] = [
    ("i", "compose"),
    ("a", "compose"),
    ("I", "info"),
    (":", "palette"),
    ("/", "search"),
    ("Ctrl-U", "page-up"),
    ("Ctrl-D", "page-down"),
    ("J", "next-chat"),
    ("K", "previous-chat"),
];

type Chord = (KeyModifiers, KeyCode);

/// The key map.
#[derive(Clone)]
pub struct Keys {
    map: HashMap<(Scope, Chord), &'static Binding>,
    /// Starts on the timeline instead of in the composer.
    pub starts_on_timeline: bool,
    /// `Ctrl-P` and `Ctrl-N` move the cursor.
    pub emacs: bool,
}

/// Keys of one scope exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scope {
    Everywhere,
    Timeline,
    List,
    Composer,
    Details,
}

impl Place {
    /// Where its keys are looked for.
    fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Everywhere | Self::Always | Self::InCall => &[Scope::Everywhere],
            Self::Timeline => &[Scope::Timeline],
            Self::List => &[Scope::List],
            Self::Composer => &[Scope::Composer],
            Self::Details => &[Scope::Details],
            Self::Panes => &[Scope::Timeline, Scope::List, Scope::Composer, Scope::Details],
        }
    }
}

/// Those without which nobody finds the way out, or back to a whole screen.
const NEEDED: [&str; 2] = ["interrupt", "redraw"];

impl Keys {
    /// A profile by name.
    pub fn profile(name: &str) -> Option<Self> {
        let mut keys = Self { map: HashMap::new(), starts_on_timeline: false, emacs: false };
        for binding in bindings() {
            for chord in binding.keys.split(' ').filter_map(parse) {
                keys.bind(binding, chord);
            }
        }
        match name {
            "default" => {}
            "vim" => {
                for (key, name) in VIM {
                    if let (Some(chord), Some(binding)) = (parse(key), binding(name)) {
                        keys.map.insert((Scope::Timeline, chord), binding);
                    }
                }
                keys.starts_on_timeline = true;
            }
            "emacs" => {
                keys.map.remove(&(Scope::Everywhere, (KeyModifiers::CONTROL, KeyCode::Char('p'))));
                keys.emacs = true;
            }
            // Arrows, function keys, letters on the timeline and the list: nothing with Ctrl or Alt but what is needed, or edits text.
            "minimal" => keys.map.retain(|(scope, (modifiers, _)), binding| {
                modifiers.is_empty() || *scope == Scope::Composer || NEEDED.contains(&binding.name)
            }),
            _ => return None,
        }
        Some(keys)
    }

    /// Binds other keys: `reply = "R"`, or several, `["R", "Ctrl-R"]`. They are taken from the actions that have them by default.
    pub fn rebind(&mut self, table: &toml::Table) -> Result<(), String> {
        let mut taken = HashMap::new();
        for (name, value) in table {
            let Some(binding) = binding(name) else {
                return Err(format!("there is no action “{name}”; `F1` lists them"));
            };
            let chords: Vec<&str> = match value {
                toml::Value::String(one) => vec![one],
                toml::Value::Array(many) => many.iter().filter_map(toml::Value::as_str).collect(),
                _ => return Err(format!("“{name}” needs a key such as \"Ctrl-R\"")),
            };
            self.map.retain(|_, bound| bound.name != name);
            for text in chords {
                let chord = parse(text).ok_or_else(|| format!("“{text}” is no key"))?;
                for scope in binding.place.scopes() {
                    if let Some(other) = taken.insert((*scope, chord), name).filter(|other| *other != name) {
                        return Err(format!("“{text}” is bound to both {other} and {name}"));
                    }
                }
                self.bind(binding, chord);
            }
        }
        Ok(())
    }

    fn bind(&mut self, binding: &'static Binding, chord: Chord) {
        for scope in binding.place.scopes() {
            self.map.insert((*scope, chord), binding);
        }
    }

    /// What a key does wherever the focus is.
    pub fn everywhere(&self, key: &KeyEvent) -> Option<&'static Binding> {
        self.map.get(&(Scope::Everywhere, chord_of(key))).copied()
    }

    /// What a key does to the selected message.
    pub fn on_timeline(&self, key: &KeyEvent) -> Option<&'static Binding> {
        self.map.get(&(Scope::Timeline, chord_of(key))).copied()
    }

    /// What a key does in the list of chats.
    pub fn on_list(&self, key: &KeyEvent) -> Option<&'static Binding> {
        self.map.get(&(Scope::List, chord_of(key))).copied()
    }

    /// What a key does to the members in the details.
    pub fn on_details(&self, key: &KeyEvent) -> Option<&'static Binding> {
        self.map.get(&(Scope::Details, chord_of(key))).copied()
    }

    /// What a key does while something is written, before it edits that.
    pub fn in_composer(&self, key: &KeyEvent) -> Option<&'static Binding> {
        self.map.get(&(Scope::Composer, chord_of(key))).copied()
    }

    /// The keys of an action, to show.
    pub fn keys_of(&self, name: &str) -> String {
        let mut keys: Vec<String> =
            self.map.iter().filter(|(_, bound)| bound.name == name).map(|((_, chord), _)| show(*chord)).collect();
        keys.sort_by_key(|k| (k.len(), k.clone()));
        keys.dedup();
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
    fn a_key_can_be_bound_to_another_action_and_a_conflict_is_reported() {
        let mut keys = Keys::profile("default").unwrap();
        let key = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
        let name = |keys: &Keys, c| keys.on_timeline(&key(c)).map(|binding| binding.name);
        assert_eq!(name(&keys, 'r'), Some("reply"));
        keys.rebind(&"reply = \"Z\"".parse().unwrap()).unwrap();
        assert_eq!((name(&keys, 'r'), name(&keys, 'Z')), (None, Some("reply")));
        assert!(keys.rebind(&"edit = \"Z\"\nreply = \"Z\"".parse().unwrap()).unwrap_err().contains("both"));
        // As the README has it: the user's own key goes before one of the defaults.
        keys.rebind(&"reply = \"R\"".parse().unwrap()).unwrap();
        assert_eq!((name(&keys, 'R'), keys.keys_of("retry")), (Some("reply"), String::new()));
        assert!(keys.rebind(&"nonsense = \"Z\"".parse().unwrap()).is_err());
        for name in ["default", "vim", "emacs", "minimal"] {
            let keys = Keys::profile(name).unwrap();
            assert!(!keys.keys_of("palette").is_empty() && !keys.keys_of("help").is_empty());
        }
    }
}
