//! What concerns our own account.

use starling_control::{
    methods::{
        devices::List,
        profile::{Availability, SetAvailability, SetName, SetPrivacy},
    },
    objects::Audience,
};

use super::{
    super::{app::App, requests::Answer},
    Action, command,
};

pub const ACTIONS: &[Action] = &[
    command("name", "NAME", "the name that others see", |app, name| {
        app.change(SetName { name: name.to_owned() });
    }),
    command("privacy", PRIVACY, PRIVACY_HELP, set_privacy),
    command("devices", "", "your devices: rights, history, removal", |app, _| {
        app.ask(List {}, Answer::Devices);
    }),
    command("link", "", "link another device of yours", |app, _| app.link_device()),
    command("away", "", "show yourself as away", |app, _| {
        app.change(SetAvailability { availability: Availability::Away });
    }),
    command("online", "", "show yourself as online", |app, _| {
        app.change(SetAvailability { availability: Availability::Online });
    }),
];

const PRIVACY: &str = "WHAT WHO";
const PRIVACY_HELP: &str = "last_seen, receipts or typing for everyone, contacts or nobody";

fn set_privacy(app: &mut App, rest: &str) {
    let all = [Audience::Everyone, Audience::Contacts, Audience::Nobody];
    let (what, who) = rest.split_once(' ').unwrap_or((rest, ""));
    let who = all.into_iter().find(|audience| audience.as_str() == who.trim());
    let privacy = match what {
        "last_seen" => SetPrivacy { last_seen: who, ..SetPrivacy::default() },
        "receipts" => SetPrivacy { receipts: who, ..SetPrivacy::default() },
        "typing" => SetPrivacy { typing: who, ..SetPrivacy::default() },
        _ => SetPrivacy::default(),
    };
    if privacy == SetPrivacy::default() {
        return app.warn(format!("/privacy {PRIVACY} — {PRIVACY_HELP}"));
    }
    app.ask(privacy, Answer::Privacy);
}
