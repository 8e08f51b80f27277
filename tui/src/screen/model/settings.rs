//! The settings of a group as a form: what each is, and what this account may make of it.

use starling_control::{
    methods::groups::Set,
    objects::{ChatId, Group, GroupPolicy, Role},
};

use super::group::{ROLES, is_above, may_set, own_role, plural};

/// Seconds between two messages that can be chosen.
const SLOW_MODES: [u32; 10] = [0, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400];
/// Seconds for which messages are kept that can be chosen.
const LIFETIMES: [u32; 7] = [0, 3_600, 86_400, 7 * 86_400, 30 * 86_400, 90 * 86_400, 365 * 86_400];

/// A setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Post,
    Comment,
    Invite,
    Remove,
    Pin,
    Delete,
    Settings,
    MentionAll,
    Call,
    SlowMode,
    Lifetime,
    History,
}

/// In the order in which they are shown.
const SETTINGS: [Setting; 12] = [
    Setting::Post,
    Setting::Comment,
    Setting::Invite,
    Setting::Remove,
    Setting::Pin,
    Setting::Delete,
    Setting::MentionAll,
    Setting::Call,
    Setting::Settings,
    Setting::SlowMode,
    Setting::Lifetime,
    Setting::History,
];

/// What a setting is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The lowest role that may.
    Role(Role),
    Nobody,
    Seconds(u32),
    Yes(bool),
}

impl Setting {
    /// What it is called: as on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Post => "post",
            Self::Comment => "comment",
            Self::Invite => "invite",
            Self::Remove => "remove",
            Self::Pin => "pin",
            Self::Delete => "delete",
            Self::Settings => "settings",
            Self::MentionAll => "mention all",
            Self::Call => "call",
            Self::SlowMode => "slow mode",
            Self::Lifetime => "lifetime",
            Self::History => "history",
        }
    }

    /// What it means.
    pub fn help(self) -> &'static str {
        match self {
            Self::Post => "who writes",
            Self::Comment => "who answers, beside those who write",
            Self::Invite => "who lets others in",
            Self::Remove => "who removes and bans lower roles",
            Self::Pin => "kept for later versions: who pins messages",
            Self::Delete => "who deletes what lower roles write",
            Self::Settings => "who changes name, topic and this",
            Self::MentionAll => "who mentions everybody at once",
            Self::Call => "kept for later versions: who calls the group",
            Self::SlowMode => "pause between two of one's messages",
            Self::Lifetime => "kept for later versions: how long messages stay",
            Self::History => "newcomers are handed what was written before",
        }
    }

    /// Whether anything follows from it in this version.
    pub fn has_effect(self) -> bool {
        !matches!(self, Self::Pin | Self::Call | Self::Lifetime)
    }

    fn value(self, policy: &GroupPolicy) -> Value {
        match self {
            Self::Post => Value::Role(policy.post),
            Self::Comment => Value::Role(policy.comment),
            Self::Invite => Value::Role(policy.invite),
            Self::Remove => Value::Role(policy.remove),
            Self::Pin => Value::Role(policy.pin),
            Self::Delete => policy.delete.map_or(Value::Nobody, Value::Role),
            Self::Settings => Value::Role(policy.settings),
            Self::MentionAll => Value::Role(policy.mention_all),
            Self::Call => Value::Role(policy.call),
            Self::SlowMode => Value::Seconds(policy.slow_mode),
            Self::Lifetime => Value::Seconds(policy.lifetime),
            Self::History => Value::Yes(policy.history),
        }
    }

    fn put(self, value: Value, into: &mut Set) {
        let role = if let Value::Role(role) = value { Some(role) } else { None };
        let seconds = if let Value::Seconds(seconds) = value { Some(seconds) } else { None };
        match self {
            Self::Post => into.post = role,
            Self::Comment => into.comment = role,
            Self::Invite => into.invite = role,
            Self::Remove => into.remove = role,
            Self::Pin => into.pin = role,
            Self::Delete => into.delete = role,
            Self::Settings => into.settings = role,
            Self::MentionAll => into.mention_all = role,
            Self::Call => into.call = role,
            Self::SlowMode => into.slow_mode = seconds,
            Self::Lifetime => into.lifetime = seconds,
            Self::History => into.history = if let Value::Yes(yes) = value { Some(yes) } else { None },
        }
    }

    /// What it can be set to by an account with a role, in the order in which the keys go through it.
    fn choices(self, own: Role) -> Vec<Value> {
        match self {
            Self::SlowMode => SLOW_MODES.map(Value::Seconds).to_vec(),
            Self::Lifetime => LIFETIMES.map(Value::Seconds).to_vec(),
            Self::History => vec![Value::Yes(false), Value::Yes(true)],
            // Readers do none of this but comment, and nobody gives what only higher roles have.
            _ => {
                let is_theirs = |role: &Role| *role != Role::Reader || self == Self::Comment;
                let roles = ROLES.into_iter().filter(|role| is_theirs(role) && !is_above(*role, own));
                roles.map(Value::Role).collect()
            }
        }
    }
}

impl Value {
    /// In words; `setting` says of what.
    pub fn words(self, setting: Setting) -> String {
        match (self, setting) {
            (Self::Role(Role::Owner), _) => "owners".to_owned(),
            (Self::Role(role), _) => format!("{} +", plural(role)),
            (Self::Nobody, _) => "nobody".to_owned(),
            (Self::Seconds(0), Setting::Lifetime) => "for ever".to_owned(),
            (Self::Seconds(0), _) => "no pause".to_owned(),
            (Self::Seconds(seconds), _) => span(seconds),
            (Self::Yes(yes), _) => if yes { "yes" } else { "no" }.to_owned(),
        }
    }

    /// Where it is among what can be chosen: numbers that are not to be chosen are between their neighbours.
    fn next_of(self, choices: &[Self], up: bool) -> Option<Self> {
        if let Self::Seconds(now) = self {
            let seconds = |choice: &&Self| if let Self::Seconds(seconds) = choice { *seconds } else { 0 };
            return match up {
                true => choices.iter().find(|choice| seconds(choice) > now).copied(),
                false => choices.iter().rev().find(|choice| seconds(choice) < now).copied(),
            };
        }
        match choices.iter().position(|choice| *choice == self) {
            Some(at) => choices.get(at.checked_add_signed(if up { 1 } else { -1 })?).copied(),
            None => choices.first().copied(),
        }
    }
}

/// Those who have a role, and those above them.
pub fn and_above(role: Role) -> String {
    match role {
        Role::Owner => plural(role).to_owned(),
        _ => format!("{} and above", plural(role)),
    }
}

/// A time in the largest unit that it is a whole number of.
pub fn span(seconds: u32) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let (unit, name) = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, "second"));
    let count = seconds / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// A row of the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub setting: Setting,
    /// As it is in the form.
    pub value: Value,
    /// As it is in the group.
    before: Value,
    /// What it can be set to; empty where this account may not change it.
    choices: Vec<Value>,
}

impl Field {
    fn of(group: &Group, setting: Setting) -> Self {
        let before = setting.value(&group.policy);
        let own = own_role(group).filter(|_| may_set(group) && !group.policy.fixed);
        // What only higher roles may do stays so.
        let is_theirs = |own: &Role| !matches!(before, Value::Role(needed) if is_above(needed, *own));
        let choices = own.filter(is_theirs).map(|own| setting.choices(own)).unwrap_or_default();
        Self { setting, value: before, before, choices }
    }

    /// Whether this account may change it.
    pub fn is_open(&self) -> bool {
        !self.choices.is_empty()
    }

    /// Whether it was changed in the form.
    pub fn is_changed(&self) -> bool {
        self.value != self.before
    }
}

/// The form.
#[derive(Clone, Debug)]
pub struct SettingsForm {
    pub group: ChatId,
    pub fields: Vec<Field>,
    pub at: usize,
    /// Why nothing of it can be changed, if so.
    pub note: Option<String>,
}

impl SettingsForm {
    /// The settings of a group.
    pub fn new(group: &Group) -> Self {
        let fields = SETTINGS.map(|setting| Field::of(group, setting)).to_vec();
        Self { group: group.id.clone(), fields, at: 0, note: closed(group) }
    }

    /// The group has changed meanwhile: what the user has not touched follows, and what may not be changed any more.
    pub fn follow(&mut self, group: &Group) {
        for field in &mut self.fields {
            let now = Field::of(group, field.setting);
            let kept = Some(field.value).filter(|_| field.is_changed() && now.is_open());
            *field = Field { value: kept.unwrap_or(now.value), ..now };
        }
        self.note = closed(group);
    }

    /// Goes to another row.
    pub fn step(&mut self, by: isize) {
        self.at = self.at.saturating_add_signed(by).min(self.fields.len().saturating_sub(1));
    }

    /// The next value of the chosen row, or the one before.
    pub fn turn(&mut self, up: bool) {
        if let Some(field) = self.fields.get_mut(self.at) {
            field.value = field.value.next_of(&field.choices, up).unwrap_or(field.value);
        }
    }

    /// What was changed, as one request; `None` for nothing.
    pub fn change(&self) -> Option<Set> {
        let mut set = Set { group: self.group.clone(), ..Set::default() };
        let changed: Vec<&Field> = self.fields.iter().filter(|field| field.is_changed()).collect();
        changed.iter().for_each(|field| field.setting.put(field.value, &mut set));
        (!changed.is_empty()).then_some(set)
    }
}

/// Why this account changes nothing in a group.
fn closed(group: &Group) -> Option<String> {
    if group.policy.fixed {
        return Some("An older version made this group: nothing can be changed in it.".to_owned());
    }
    (!may_set(group)).then(|| format!("Only {} can change this.", and_above(group.policy.settings)))
}

#[cfg(test)]
mod tests {
    use starling_control::objects::Standing;

    use super::*;

    fn group(own: Role) -> Group {
        let mut group = Group { id: "g".into(), standing: Standing::Member, role: Some(own), ..Group::default() };
        group.policy = GroupPolicy {
            post: Role::Member,
            invite: Role::Admin,
            remove: Role::Moderator,
            pin: Role::Moderator,
            delete: Some(Role::Moderator),
            settings: Role::Admin,
            mention_all: Role::Owner,
            call: Role::Member,
            slow_mode: 45,
            ..GroupPolicy::default()
        };
        group
    }

    fn go_to(form: &mut SettingsForm, setting: Setting) {
        form.at = form.fields.iter().position(|field| field.setting == setting).unwrap();
    }

    fn shown(form: &SettingsForm) -> String {
        let field = &form.fields[form.at];
        field.value.words(field.setting)
    }

    #[test]
    fn what_was_changed_goes_out_as_one_request() {
        let mut form = SettingsForm::new(&group(Role::Admin));
        assert_eq!((form.change(), &form.note), (None, &None));
        go_to(&mut form, Setting::Post);
        form.turn(true);
        assert_eq!(shown(&form), "members +", "readers never write");
        form.turn(false);
        form.turn(false);
        form.turn(false);
        assert_eq!(shown(&form), "admins +", "an admin takes nothing from admins");
        go_to(&mut form, Setting::Comment);
        form.turn(true);
        assert_eq!(shown(&form), "readers +", "they may answer");
        // What is not in the list of choices is between two of them.
        go_to(&mut form, Setting::SlowMode);
        assert_eq!(shown(&form), "45 seconds");
        form.turn(true);
        assert_eq!(shown(&form), "1 minute");
        go_to(&mut form, Setting::History);
        form.turn(true);
        let expected = Set {
            group: "g".into(),
            post: Some(Role::Admin),
            comment: Some(Role::Reader),
            slow_mode: Some(60),
            history: Some(true),
            ..Set::default()
        };
        assert_eq!(form.change(), Some(expected));
        form.turn(false);
        go_to(&mut form, Setting::Lifetime);
        form.turn(false);
        assert_eq!((shown(&form).as_str(), form.change().and_then(|set| set.history)), ("for ever", None));
    }

    #[test]
    fn only_what_may_be_changed_can_be() {
        let mut form = SettingsForm::new(&group(Role::Admin));
        go_to(&mut form, Setting::MentionAll);
        form.turn(true);
        assert_eq!((shown(&form).as_str(), form.change()), ("owners", None), "it is the owners'");
        for mut group in [group(Role::Member), group(Role::Owner)] {
            let is_owner = group.role == Some(Role::Owner);
            group.policy.fixed = is_owner;
            let mut form = SettingsForm::new(&group);
            assert!(form.fields.iter().all(|field| !field.is_open()));
            assert_eq!(form.note.unwrap().starts_with("An older version"), is_owner);
            form.note = None;
            for _ in 0..20 {
                form.turn(true);
                form.step(1);
            }
            assert_eq!((form.change(), form.at), (None, 11));
        }
    }

    #[test]
    fn a_form_follows_what_others_change_but_for_what_was_touched() {
        let mut form = SettingsForm::new(&group(Role::Admin));
        go_to(&mut form, Setting::Call);
        form.turn(false);
        let mut other = group(Role::Admin);
        (other.policy.call, other.policy.slow_mode) = (Role::Admin, 0);
        form.follow(&other);
        assert_eq!(form.change().map(|set| (set.call, set.slow_mode)), Some((Some(Role::Moderator), None)));
        // No admin any more.
        form.follow(&group(Role::Member));
        assert_eq!(form.change(), None);
        assert!(form.note.is_some());
    }

    #[test]
    fn times_are_in_the_unit_that_fits() {
        let spans = [1, 30, 60, 90, 3_600, 86_400, 7 * 86_400].map(span);
        assert_eq!(spans, ["1 second", "30 seconds", "1 minute", "90 seconds", "1 hour", "1 day", "7 days"]);
    }
}
