//! Everything that the user can do, in one registry. The key map, the palette, slash commands, their completion and help come from it.
//!
//! To add an action, add one entry to a list in this folder: a [`Binding`] makes it a key and a row of the palette, a [`Command`] a slash
//! command; most need only one of the two. A test checks that every entry can be reached and is in the help.

mod account;
mod calls;
mod chats;
mod general;
mod groups;
mod keys;
mod messages;
mod people;

pub use keys::Keys;

use super::app::{App, Focus};

/// Something that the user can do.
#[derive(Clone, Copy)]
pub struct Action {
    pub binding: Option<Binding>,
    pub command: Option<Command>,
}

/// How an action is done with a key, or from the palette.
#[derive(Clone, Copy)]
pub struct Binding {
    /// Its name in `keys.toml`, in the palette and in help.
    pub name: &'static str,
    pub place: Place,
    /// Default keys, with spaces between them; some have none.
    pub keys: &'static str,
    pub help: &'static str,
    pub run: fn(&mut App),
}

/// How an action is done by a line that begins with a slash.
#[derive(Clone, Copy)]
pub struct Command {
    /// Without the slash.
    pub name: &'static str,
    /// What follows, for people; in square brackets if it may be left out.
    pub arguments: &'static str,
    /// Whether it runs with nothing behind its name, too.
    pub may_be_bare: bool,
    pub help: &'static str,
    pub run: fn(&mut App, &str),
}

/// Where an action's key works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Wherever the focus is.
    Everywhere,
    /// The same, also while something lies over the screen.
    Always,
    /// The same while there is a call.
    InCall,
    /// On the selected message.
    Timeline,
    /// In the list of chats.
    List,
    /// While something is written.
    Composer,
    /// On a member in the details of a group.
    Details,
    /// In each of these four, unless something else in it takes the key.
    Panes,
}

impl Place {
    /// Whether it is one of the panes alone: what is done there depends on what is selected or written there.
    pub fn is_pane(self) -> bool {
        matches!(self, Self::Timeline | Self::List | Self::Composer | Self::Details | Self::Panes)
    }

    /// What help says behind what is done there.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Everywhere | Self::Always | Self::InCall | Self::Panes => "",
            Self::Timeline => " (on a message)",
            Self::List => " (in the list)",
            Self::Composer => " (while you write)",
            Self::Details => " (in the details)",
        }
    }
}

impl Command {
    /// How it is shown, with its arguments.
    pub fn usage(&self) -> String {
        format!("/{} {}", self.name, self.arguments)
    }

    /// What is put into the composer: a space behind it where something has to follow.
    pub fn prefix(&self) -> String {
        let space = if self.arguments.is_empty() || self.arguments.starts_with('[') { "" } else { " " };
        format!("/{}{space}", self.name)
    }
}

/// An action with a key and no command.
const fn key(name: &'static str, place: Place, keys: &'static str, help: &'static str, run: fn(&mut App)) -> Action {
    Action { binding: Some(Binding { name, place, keys, help, run }), command: None }
}

/// A command without a key, which needs all its arguments that are not in brackets.
const fn command(name: &'static str, arguments: &'static str, help: &'static str, run: fn(&mut App, &str)) -> Action {
    let bytes = arguments.as_bytes();
    let may_be_bare = bytes.is_empty() || bytes[0] == b'[';
    Action { binding: None, command: Some(Command { name, arguments, may_be_bare, help, run }) }
}

impl Action {
    /// The same, also as a command.
    const fn or_command(
        self,
        name: &'static str,
        arguments: &'static str,
        help: &'static str,
        run: fn(&mut App, &str),
    ) -> Self {
        Self { command: command(name, arguments, help, run).command, ..self }
    }

    /// The same; its command also runs with nothing behind its name.
    const fn bare(self) -> Self {
        match self.command {
            Some(command) => Self { command: Some(Command { may_be_bare: true, ..command }), ..self },
            None => self,
        }
    }
}

/// The registry, in the order in which commands are listed.
const ACTIONS: [&[Action]; 8] = [
    messages::ACTIONS,
    chats::FINDING,
    people::ACTIONS,
    groups::ACTIONS,
    calls::ACTIONS,
    chats::ARRANGING,
    account::ACTIONS,
    general::ACTIONS,
];

/// All actions.
pub fn all() -> impl Iterator<Item = &'static Action> {
    ACTIONS.into_iter().flatten()
}

/// All slash commands.
pub fn commands() -> impl Iterator<Item = &'static Command> {
    all().filter_map(|action| action.command.as_ref())
}

/// All actions that have or can have a key: those of everywhere first, by their function keys.
pub fn bindings() -> Vec<&'static Binding> {
    let mut bindings: Vec<&Binding> = all().filter_map(|action| action.binding.as_ref()).collect();
    let function_key = |keys: &str| keys.split(' ').find_map(|key| key.strip_prefix('F')?.parse::<u8>().ok());
    bindings.sort_by_key(|b| (b.place.is_pane(), function_key(b.keys).unwrap_or(u8::MAX)));
    bindings
}

/// The action with this name.
pub fn binding(name: &str) -> Option<&'static Binding> {
    all().filter_map(|action| action.binding.as_ref()).find(|binding| binding.name == name)
}

impl App {
    /// Does what a key or a row of the palette stands for.
    pub fn act(&mut self, binding: &'static Binding) {
        (binding.run)(self);
    }

    /// Does an action from the palette: what concerns a message needs the timeline, and so on.
    pub fn act_from_palette(&mut self, binding: &'static Binding) {
        match binding.place {
            Place::Timeline => self.panes.focus = Focus::Timeline,
            Place::List => self.panes.focus = Focus::List,
            Place::Composer => self.panes.focus = Focus::Composer,
            Place::Details if self.shows_members() => self.panes.focus = Focus::Details,
            Place::Details => {}
            Place::Everywhere | Place::Always | Place::InCall | Place::Panes => {}
        }
        self.act(binding);
    }

    /// Runs a line that begins with one slash.
    pub fn command(&mut self, line: &str) {
        let (name, rest) = line[1..].split_once(char::is_whitespace).unwrap_or((&line[1..], ""));
        let rest = rest.trim();
        let Some(command) = commands().find(|c| c.name == name) else {
            let close = commands().find(|c| name.len() > 1 && (c.name.starts_with(name) || name.starts_with(c.name)));
            let hint = close.map(|c| format!(" Did you mean /{}?", c.name)).unwrap_or_default();
            self.warn(format!("There is no command /{name}.{hint} Two slashes send the text."));
            return;
        };
        if rest.is_empty() && !command.may_be_bare {
            return self.show_usage(command);
        }
        if !rest.is_empty() && command.arguments.is_empty() {
            self.warn(format!("/{name} takes no words: it is about what is open here."));
            return;
        }
        let line = self.chat.composer.text();
        self.chat.composer.set("");
        self.toast = None;
        (command.run)(self, rest);
        // What could not be done can be mended and tried again.
        if self.toast.as_ref().is_some_and(|toast| toast.is_warning)
            && self.chat.composer.is_empty()
            && !line.is_empty()
        {
            self.chat.composer.set(&line);
            self.chat.composer.offers.clear();
        }
    }

    fn show_usage(&mut self, command: &Command) {
        self.warn(format!("{} — {}", command.usage(), command.help));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{super::palette::Palette, super::testing::app, *};

    /// The names in the list that something opens.
    fn listed(open: fn(&mut App)) -> HashSet<String> {
        let mut app = app();
        open(&mut app);
        let palette = app.layers.find::<Palette>().expect("a list is open");
        palette.rows.iter().map(|row| row.name.clone()).collect()
    }

    #[test]
    fn every_action_is_reached_in_each_way_that_it_declares() {
        let keys = Keys::profile("default").expect("it is there");
        let (palette, help) = (listed(App::show_palette), listed(App::show_help));
        for binding in bindings() {
            let name = binding.name;
            let declared = binding.keys.split(' ').filter(|key| !key.is_empty()).count();
            let bound = keys.keys_of(name);
            let bound = bound.split(' ').filter(|key| !key.is_empty()).count();
            assert_eq!(bound, declared, "{name} has the keys {}", binding.keys);
            assert!(help.contains(name), "{name} is not in the help");
            // What needs a message is in the list on Space instead, which is made of the same bindings.
            let in_palette = !binding.place.is_pane() && name != "palette";
            assert_eq!(palette.contains(name), in_palette, "{name} in the palette");
        }
        for command in commands() {
            let slash = format!("/{}", command.name);
            assert!(help.contains(&slash) && palette.contains(&slash), "{slash} is not listed");
            let mut app = app();
            app.chat.composer.set(&slash);
            let offered = app.chat.composer.offers.iter().any(|offer| offer.insert == command.prefix());
            assert!(offered, "{slash} is not offered");
            if !command.may_be_bare {
                app.command(&slash);
                let usage = app.toast.is_some_and(|toast| toast.text.starts_with(&command.usage()));
                assert!(usage, "{slash} does not say how it is used");
            }
        }
        let mut app = app();
        app.command("/nonsense");
        assert!(app.toast.is_some_and(|toast| toast.text.contains("no command /nonsense")));
    }

    /// The texts of a source file that look like a command: a slash and letters, at the beginning of a text or after a space or a bracket.
    fn slashes(source: &str) -> Vec<&str> {
        let begins = source.match_indices('/').filter(|(at, _)| source[..*at].ends_with([' ', '(', '"', '`']));
        let word = |at: usize| {
            let word = &source[at..];
            &word[..word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len())]
        };
        let is_path = |at: usize| source[at..].starts_with(['/', '.', '-']);
        let words = begins.map(|(at, _)| (word(at + 1), at + 1));
        words.filter(|(word, at)| !word.is_empty() && !is_path(at + word.len())).map(|(word, _)| word).collect()
    }

    #[test]
    fn every_command_that_a_text_of_the_screen_names_exists() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut folders, mut named) = (vec![root.join("screen"), root.join("error")], 0);
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                let is_source = path.extension().is_some_and(|end| end == "rs");
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if !is_source || path.ends_with("actions/mod.rs") || path.to_string_lossy().ends_with("_tests.rs") {
                    continue;
                }
                let source = std::fs::read_to_string(&path).unwrap();
                let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                for word in lines.flat_map(slashes) {
                    named += 1;
                    assert!(commands().any(|c| c.name == word), "{} names /{word}", path.display());
                }
            }
        }
        assert!(named > 10, "only {named} commands were found");
    }

    #[test]
    fn every_action_can_be_reached_without_a_mouse_and_by_one_name() {
        let (mut names, mut slashes) = (HashSet::new(), HashSet::new());
        for action in all() {
            let (binding, command) = (action.binding.as_ref(), action.command.as_ref());
            let name = binding.map(|b| b.name).or(command.map(|c| c.name)).expect("it can be reached");
            assert!(binding.is_none_or(|b| names.insert(b.name)), "{name} twice");
            assert!(command.is_none_or(|c| slashes.insert(c.name)), "/{name} twice");
            // The palette lists what is done everywhere, and all commands. What needs a message has a key, and the list on Space.
            let key = binding.is_some_and(|b| b.place.is_pane() && !b.keys.is_empty());
            let palette = binding.is_some_and(|b| !b.place.is_pane()) || command.is_some();
            assert!(key || palette, "{name}");
            for help in binding.map(|b| b.help).into_iter().chain(command.map(|c| c.help)) {
                assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
            }
        }
    }
}
