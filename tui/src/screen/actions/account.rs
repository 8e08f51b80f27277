//! What concerns our own account.

use serde_json::json;

use super::{
    super::app::{App, Tag},
    Action, command,
};

pub const ACTIONS: &[Action] = &[
    command("name", "NAME", "the name that others see", |app, name| {
        app.ask(Tag::Changed, "profile.name", json!({ "name": name }));
    }),
    command("privacy", PRIVACY, PRIVACY_HELP, set_privacy),
    command("devices", "", "your devices; a chosen one can be removed", |app, _| {
        app.ask(Tag::Devices, "device.list", json!({}));
    }),
    command("link", "", "link another device of yours", |app, _| app.ask(Tag::Link, "device.link", json!({}))),
    command("away", "", "show yourself as away", |app, _| set_availability(app, "away")),
    command("online", "", "show yourself as online", |app, _| set_availability(app, "online")),
];

const PRIVACY: &str = "WHAT WHO";
const PRIVACY_HELP: &str = "last_seen, receipts or typing for everyone, contacts or nobody";

fn set_privacy(app: &mut App, rest: &str) {
    match rest.split_once(' ') {
        Some((what @ ("last_seen" | "receipts" | "typing"), who)) => {
            app.ask(Tag::Privacy, "profile.privacy", json!({ what: who.trim() }));
        }
        _ => app.warn(format!("/privacy {PRIVACY} — {PRIVACY_HELP}")),
    }
}

fn set_availability(app: &mut App, availability: &str) {
    app.ask(Tag::Changed, "availability", json!({ "availability": availability }));
}
