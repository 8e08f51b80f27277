//! Whether devices print the same of a group: `group show --json`, `group audit --json` and `history --json`.

use std::{collections::BTreeSet, time::Instant};

use serde_json::Value;
use starling_tests::until_none;

use crate::devices::Devices;

/// What is looked at of a conversation.
const HISTORY: &str = "1000";

/// What a device prints, without what is its own.
struct View {
    show: Value,
    audit: Value,
    history: Vec<Value>,
}

fn without(value: &mut Value, keys: &[&str]) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// `group show`, without our role and how we were invited, which differ between accounts; whether a change of ours is under way; who is connected, and
/// which member we are; and names of who is banned and of channels: these a device knows only if it was in the group with them.
fn shown(mut group: Value) -> Value {
    without(&mut group, &["role", "invited_by", "changing"]);
    let parts = [("members", &["online", "self"][..]), ("banned", &["name"][..]), ("channels", &["name"][..])];
    for (part, keys) in parts {
        group[part].as_array_mut().into_iter().flatten().for_each(|value| without(value, keys));
    }
    group
}

/// A line of `history`, without how it came and what it is called for short; and, of its author, whether that is us, and a contact that was verified.
fn line(mut message: Value) -> Value {
    without(&mut message, &["via", "handle"]);
    without(&mut message["from"], &["self", "verified"]);
    message
}

fn view(devices: &Devices, who: &str, group: &str) -> View {
    let history = devices.lines(who, &["history", group, "--limit", HISTORY]);
    View {
        show: shown(devices.show(who, group)),
        audit: devices.lines(who, &["group", "audit", group]).into_iter().next().unwrap_or_default(),
        history: history.into_iter().filter(|message| message["device_note"].is_null()).map(line).collect(),
    }
}

fn id(message: &Value) -> &str {
    message["id"].as_str().unwrap_or_default()
}

/// Where two lists differ first.
fn first_difference(one: &[Value], other: &[Value]) -> Option<String> {
    let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at))?;
    let shown = |list: &[Value]| list.get(at).map_or_else(|| "nothing".to_owned(), ToString::to_string);
    Some(format!("line {at}: {} and {}", shown(one), shown(other)))
}

/// How a device's view differs from that of one that was there from the beginning. Who came later has the messages since then: all that the first has,
/// from the oldest that both have; or from a text on, for who was out in between.
fn difference(first: &View, other: &View, since: Option<&str>) -> Option<String> {
    if first.show != other.show {
        return Some(format!("show: {} and {}", first.show, other.show));
    }
    if first.audit != other.audit {
        return Some(format!("audit: {} and {}", first.audit, other.audit));
    }
    if first.audit["complete"] != true {
        return Some(format!("an audit log that lacks entries: {}", first.audit));
    }
    let has: BTreeSet<&str> = other.history.iter().map(id).collect();
    let begins = |message: &&Value| since.map_or_else(|| has.contains(id(message)), |text| message["text"] == text);
    let lines_of =
        |view: &View| view.history.iter().skip_while(|message| !begins(message)).cloned().collect::<Vec<_>>();
    let (one, two) = (lines_of(first), lines_of(other));
    if since.is_some() && one.is_empty() {
        return Some(format!("history: nothing since {since:?}"));
    }
    first_difference(&one, &two).map(|difference| format!("history: {difference}"))
}

impl Devices {
    /// Waits until devices print the same of a group; what differs for long is said. The first was there from the beginning.
    pub fn agree(&self, all: &[&str], group: &str) {
        self.agree_since(all, group, None);
    }

    /// The same, with the messages from one with this text on.
    pub fn agree_since(&self, all: &[&str], group: &str, since: Option<&str>) {
        let start = Instant::now();
        until_none("devices print different things", || {
            let first = view(self, all[0], group);
            all[1..].iter().find_map(|who| {
                let difference = difference(&first, &view(self, who, group), since)?;
                Some(format!("{} and {who}, in {group}: {difference}", all[0]))
            })
        });
        println!("{} agree on {group} after {:.1} s", all.join(", "), start.elapsed().as_secs_f64());
    }

    /// A device has these texts, in this order, and no others.
    pub fn has_just(&self, who: &str, group: &str, texts: &[&str]) {
        assert_eq!(self.world.texts(who, group, 1_000), texts, "{who} in {group}");
    }
}
