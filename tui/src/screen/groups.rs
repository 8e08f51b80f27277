//! The open group: who is in it, what has been done in it, its settings, and what the user does there.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use ratatui::text::Line;
use starling_control::{
    methods::{
        contacts::Block,
        groups::{Audit, Ban, Decline, Invite, Remove, SetRole, Unban},
    },
    objects::{AccountId, AuditLog, ChatId, ContactState, Group, GroupMember, Presence, Role, Standing},
};

use super::{
    app::App,
    clock,
    group_form::GroupForm,
    model::{Members, Notes, SettingsForm, YOU, group as may},
    pager::Pager,
    palette::{Palette, Question, Row, Run},
    requests::Answer,
    timeline::cut,
};
use crate::{
    error::CliResult,
    terminal::safe_line,
    verbs::{account_name, counted_members, member_name, words_of_audit},
};

/// From so many invitations at once on, it is shown how far they are.
const MANY: usize = 3;
/// How often it is looked how far they are.
const LOOK: Duration = Duration::from_secs(1);
/// A group that does not change for so long after an invitation has taken it, or has not.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// After this it is not looked any more: the rendezvous may be away for days.
const LOOK_FOR: Duration = Duration::from_secs(600);
/// Characters of an account whose name is not known.
const SHORT: u16 = 9;

/// What is known of the open group beyond its list entry.
#[derive(Debug, Default)]
pub struct GroupPane {
    /// As the details list them.
    pub members: Members,
    /// `None` before the node has answered.
    audit: Option<AuditLog>,
    /// The audit log is shown as soon as it is there.
    shows_audit: bool,
}

/// Contacts that are being invited into a group.
#[derive(Debug)]
pub struct Inviting {
    group: ChatId,
    accounts: Vec<AccountId>,
    done: usize,
    has_begun: bool,
    since: Instant,
    look_at: Instant,
}

impl Inviting {
    /// When to look again.
    pub fn look_at(&self) -> Instant {
        self.look_at
    }
}

/// What can be done in a group from a list.
#[derive(Clone, Debug)]
pub enum GroupAction {
    /// Shows a member, and what can be done about it.
    Show(ChatId, AccountId),
    Role(ChatId, AccountId, Role),
    Unban(ChatId, AccountId),
    /// Shows an invitation.
    Invitation(ChatId),
    Decline(ChatId),
    /// Declines an invitation, and blocks who has sent it.
    DeclineAndBlock(ChatId, AccountId),
}

/// What an account is called on the screen.
fn called(names: &HashMap<&AccountId, &str>, me: Option<&AccountId>, account: &AccountId) -> String {
    if me == Some(account) {
        return YOU.to_owned();
    }
    match names.get(account) {
        Some(name) => account_name(name, account),
        None => format!("somebody ({})", cut(&safe_line(account.as_str()), SHORT)),
    }
}

/// What a member is, in a few words: its role, and whether it has not come yet, or is there now.
pub fn state_of(member: &GroupMember, presence: Option<Presence>) -> String {
    let role = member.role.as_str();
    match presence {
        _ if member.devices == 0 && !member.own => format!("{role}, invited"),
        Some(presence @ (Presence::Online | Presence::Away)) => format!("{role}, {}", presence.as_str()),
        Some(Presence::Offline) | None => role.to_owned(),
    }
}

impl App {
    /// The group whose chat is open, with what the node says of it.
    pub fn group(&self) -> Option<&Group> {
        self.directory.group(self.chat.open.as_ref()?)
    }

    /// The same. Warns if there is none.
    fn needed_group(&mut self) -> Option<Group> {
        let group = self.group().cloned();
        if group.is_none() {
            self.warn("Open a group first.".into());
        }
        group
    }

    /// The node has answered with groups.
    pub fn take_groups(&mut self, groups: Vec<Group>) {
        self.directory.take_groups(groups);
        self.relist();
        self.group_changed();
        self.follow_invitations();
        if self.chat.group.audit.is_none() {
            self.refresh_audit();
        }
        let directory = &self.directory;
        if let Some(form) = self.layers.find::<GroupForm>()
            && let Some(group) = directory.group(&form.form.group)
        {
            form.form.follow(group);
        }
    }

    /// The open group is another one, or has changed.
    pub fn group_changed(&mut self) {
        let group = self.chat.open.as_ref().and_then(|id| self.directory.group(id));
        self.chat.group.members.rebuild(group);
        self.show_notes();
        self.name_mentionable();
    }

    /// Names that are completed are of those who read it.
    pub fn name_mentionable(&mut self) {
        let people = self.directory.mentionable(self.chat.open.as_ref());
        self.chat.composer.names = people.into_iter().map(|(_, name)| safe_line(name)).collect();
    }

    /// Puts what the audit log says of members into the timeline.
    fn show_notes(&mut self) {
        let log = self.chat.group.audit.as_ref();
        let notes = match self.group().zip(log) {
            Some((group, log)) => {
                let (names, me) = (self.directory.names(), self.directory.me.as_ref().map(|me| &me.account));
                Notes::of(&log.entries, group, |account| called(&names, me, account))
            }
            None => Notes::default(),
        };
        self.chat.timeline.set_notes(notes);
    }

    /// The open group, if it has an audit log that this account can read.
    fn audited_group(&self) -> Option<ChatId> {
        let group = self.group()?;
        let is_in = matches!(group.standing, Standing::Member | Standing::Leaving);
        (is_in && !group.policy.fixed).then(|| group.id.clone())
    }

    /// Asks for the audit log of the open group, which may have more entries now.
    pub fn refresh_audit(&mut self) {
        if let Some(group) = self.audited_group()
            && self.directory.fresh.audit.changed()
        {
            self.ask_audit(group);
        }
    }

    /// An audit log is there: whether it is to be asked for again was noted meanwhile.
    pub fn refresh_audit_again(&mut self) {
        match self.audited_group() {
            Some(group) => self.ask_audit(group),
            None => _ = self.directory.fresh.audit.answered(),
        }
    }

    fn ask_audit(&mut self, group: ChatId) {
        self.ask(Audit { group: group.clone() }, |log| Answer::Audit(group, log));
    }

    /// The node has answered with an audit log.
    pub fn take_audit(&mut self, group: &ChatId, log: CliResult<AuditLog>) -> CliResult {
        if self.chat.open.as_ref() != Some(group) {
            return Ok(());
        }
        let is_wanted = std::mem::take(&mut self.chat.group.shows_audit);
        match log {
            Ok(log) => self.chat.group.audit = Some(log),
            Err(error) => {
                // It is asked for by itself: that there is none is told to who wants to see it.
                self.chat.group.audit = Some(AuditLog::default());
                return if is_wanted { Err(error) } else { Ok(()) };
            }
        }
        self.show_notes();
        let lines = self.audit_lines();
        match self.layers.find::<Pager>() {
            Some(pager) => pager.set_lines(lines),
            None if is_wanted => self.open_audit(lines),
            None => {}
        }
        Ok(())
    }

    /// Shows the audit log of the open group.
    pub fn show_audit(&mut self) {
        let Some(group) = self.needed_group() else { return };
        if group.policy.fixed {
            return self.warn("An older version made this group: it has no audit log.".into());
        }
        match &self.chat.group.audit {
            Some(log) if !log.entries.is_empty() => {
                let lines = self.audit_lines();
                self.open_audit(lines);
            }
            _ => {
                self.chat.group.shows_audit = true;
                self.refresh_audit();
            }
        }
    }

    fn open_audit(&mut self, lines: Vec<String>) {
        let name = self.group().map(|group| safe_line(&group.name)).unwrap_or_default();
        self.layers.push(Pager::new(format!("Audit log of #{name}"), lines));
    }

    /// The audit log in lines, with one for each day.
    fn audit_lines(&self) -> Vec<String> {
        let Some(log) = &self.chat.group.audit else { return Vec::new() };
        let (names, me) = (self.directory.names(), self.directory.me.as_ref().map(|me| &me.account));
        let mut lines = Vec::new();
        if !log.complete {
            lines.push(format!("{} earlier entries are missing here: other members hand them on.", log.missing));
        }
        let mut before = String::new();
        for (at, entry) in log.entries.iter().enumerate() {
            let (day, time) = clock::local(clock::milliseconds(&entry.at));
            if day != before {
                lines.push(format!("── {day} ──"));
            }
            let channel = |id: &ChatId| self.directory.name_of(id).map(safe_line);
            let words = words_of_audit(&log.entries, at, |account| called(&names, me, account), channel);
            lines.push(format!("{:>4}  {time}  {words}", entry.number));
            before = day;
        }
        lines
    }

    /// Shows the settings of the open group as a form.
    pub fn show_group_settings(&mut self) {
        if let Some(group) = self.needed_group() {
            self.layers.push(GroupForm::new(safe_line(&group.name), SettingsForm::new(&group)));
        }
    }

    /// Lists the members of the open group; one can be chosen.
    pub fn show_members(&mut self) {
        let Some(group) = self.needed_group() else { return };
        let name = |member: &GroupMember| match member.own {
            true => YOU.to_owned(),
            false => member_name(member),
        };
        let row = |member: &GroupMember| {
            let help = state_of(member, self.directory.presence_in_group(member));
            Row::new(name(member), help, "", Run::Group(GroupAction::Show(group.id.clone(), member.account.clone())))
        };
        let mut rows: Vec<Row> = self.chat.group.members.rows().iter().map(row).collect();
        if may::may_unban(&group) {
            let names = self.directory.names();
            rows.extend(group.banned.iter().map(|banned| {
                let account = banned.account.clone();
                let name = banned.name.as_deref().map_or_else(|| called(&names, None, &account), safe_line);
                Row::new(name, "banned: lift the ban", "", Run::Group(GroupAction::Unban(group.id.clone(), account)))
            }));
        }
        let members = counted_members(group.members.len());
        let title = format!("#{} — {members}", cut(&safe_line(&group.name), 30));
        self.layers.push(Palette::new(title, rows));
    }

    /// Shows a member of a group, and what the user may do about it.
    pub fn show_member(&mut self, id: &ChatId, account: &AccountId) {
        let Some(group) = self.directory.group(id) else { return };
        let Some(member) = group.members.iter().find(|member| member.account == *account) else {
            return self.warn("They are no longer in this group.".into());
        };
        let theme = &self.settings.theme;
        let devices = match member.devices {
            0 => "invited, and has not come yet".to_owned(),
            1 => "1 device".to_owned(),
            n => format!("{n} devices"),
        };
        let name = member_name(member);
        let contact = self.directory.contacts.iter().find(|contact| contact.account == *account);
        let known = match contact.map(|contact| (contact.state, contact.verified)) {
            _ if member.own => "your account",
            Some((ContactState::Blocked, _)) => "blocked by you",
            Some((_, true)) => "a contact, verified",
            Some((_, false)) => "a contact, not verified",
            None => "no contact of yours",
        };
        let text = vec![
            Line::styled(name.clone(), theme.peer),
            Line::styled(format!("{} · {devices}", member.role.as_str()), theme.dim),
            Line::styled(format!("{known} · account {}", cut(&safe_line(account.as_str()), SHORT)), theme.dim),
        ];
        let mut rows = Vec::new();
        let chat = contact.filter(|contact| contact.state == ContactState::Active).map(|contact| contact.chat.clone());
        rows.extend(chat.map(|chat| Row::new("write to them", "the chat of you two", "w", Run::Chat(chat))));
        rows.extend(may::roles_for(group, member).into_iter().map(|role| {
            let run = match role {
                Role::Owner => Run::Ask(Question::MakeOwner(id.clone(), account.clone())),
                _ => Run::Group(GroupAction::Role(id.clone(), account.clone(), role)),
            };
            let (key, help) = about(role);
            Row::new(format!("make {}", role.as_str()), help, key, run)
        }));
        if may::may_remove(group, member) {
            let run = Run::Ask(Question::Expel(id.clone(), account.clone()));
            rows.push(Row::new("remove", "they can be invited again", "x", run));
        }
        if may::may_ban(group, member) {
            let run = Run::Ask(Question::Ban(id.clone(), account.clone()));
            rows.push(Row::new("ban", "nobody lets them in until the ban is lifted", "b", run));
        }
        rows.push(Row::new("close", "", "q", Run::Nothing));
        let mut palette = Palette::ask("A member", text, rows);
        palette.at = palette.rows.len() - 1;
        self.layers.push(palette);
    }

    /// Shows the member that is chosen in the details.
    pub fn show_chosen_member(&mut self) {
        let chosen = self.chat.group.members.chosen().map(|member| member.account.clone());
        if let Some((group, account)) = self.chat.open.clone().zip(chosen) {
            self.show_member(&group, &account);
        }
    }

    /// Shows an invitation into a group, and the answers to it.
    pub fn show_invitation(&mut self, id: &ChatId) {
        let Some(group) = self.directory.group(id).filter(|group| group.standing == Standing::Invited) else { return };
        let by = group.invited_by.as_ref();
        let inviter = by.and_then(|by| by.name.as_deref()).map(safe_line).unwrap_or_else(|| "Somebody".to_owned());
        let mut text = vec![Line::styled(
            format!("{inviter} invites you into #{}.", safe_line(&group.name)),
            self.settings.theme.text,
        )];
        if !group.topic.is_empty() {
            text.push(Line::styled(safe_line(&group.topic), self.settings.theme.dim));
        }
        text.push(Line::styled("Its members see your name, and read what you write there.", self.settings.theme.dim));
        let decline = Run::Group(GroupAction::Decline(id.clone()));
        let mut rows = vec![
            Row::new("join", "", "y", Run::Yes(Question::Join(id.clone()))),
            Row::new("decline", "they are not told", "d", decline),
        ];
        rows.extend(by.map(|by| {
            let run = Run::Group(GroupAction::DeclineAndBlock(id.clone(), by.account.clone()));
            Row::new("decline and block", format!("{} does not reach you any more", cut(&inviter, 20)), "b", run)
        }));
        rows.push(Row::new("later", "", "n", Run::Nothing));
        let mut palette = Palette::ask("An invitation", text, rows);
        palette.at = palette.rows.len() - 1;
        self.layers.push(palette);
    }

    /// Does what a row stands for.
    pub fn group_action(&mut self, action: GroupAction) {
        match action {
            GroupAction::Show(group, account) => self.show_member(&group, &account),
            GroupAction::Role(group, account, role) => self.change(SetRole { group, account, role }),
            GroupAction::Unban(group, account) => self.change(Unban { group, account }),
            GroupAction::Invitation(group) => self.show_invitation(&group),
            GroupAction::Decline(group) => self.change(Decline { group, block: None }),
            GroupAction::DeclineAndBlock(group, account) => {
                self.change(Decline { group, block: None });
                self.change(Block { account });
            }
        }
    }

    /// Does what was asked about a member.
    pub fn expel(&mut self, group: ChatId, account: AccountId, bans: bool) {
        match bans {
            true => self.change(Ban { group, account }),
            false => self.change(Remove { group, account }),
        }
    }

    /// The name of a member of a group, for a question.
    pub fn member_name(&self, group: &ChatId, account: &AccountId) -> String {
        let member = self.directory.group(group).and_then(|g| g.members.iter().find(|m| m.account == *account));
        member.map(member_name).unwrap_or_default()
    }

    /// Invites contacts into a group. How far many of them are is shown.
    pub fn invite_into(&mut self, group: ChatId, accounts: Vec<AccountId>) {
        let now = Instant::now();
        if accounts.len() >= MANY {
            let (accounts, group) = (accounts.clone(), group.clone());
            let begun = Inviting { group, accounts, done: 0, has_begun: false, since: now, look_at: now + LOOK };
            self.inviting = Some(begun);
        }
        self.ask(Invite { group, accounts }, |result| Answer::Invited(result.map(drop)));
    }

    /// The node has taken invitations, or has not.
    pub fn take_invited(&mut self, invited: CliResult) -> CliResult {
        match &invited {
            Ok(()) => self.take_change(),
            Err(_) => self.inviting = None,
        }
        invited
    }

    /// How far the invitations of many are, as the group says.
    fn follow_invitations(&mut self) {
        let Some(inviting) = &mut self.inviting else { return };
        let Some(group) = self.directory.group(&inviting.group) else {
            self.inviting = None;
            return;
        };
        inviting.done = {
            let members: HashSet<&AccountId> = group.members.iter().map(|member| &member.account).collect();
            inviting.accounts.iter().filter(|account| members.contains(account)).count()
        };
        inviting.has_begun |= group.changing;
        let (done, all) = (inviting.done, inviting.accounts.len());
        let is_over = !group.changing && (inviting.has_begun || inviting.since.elapsed() >= TAKEN_WITHIN);
        if done == all {
            self.inviting = None;
            self.say(format!("All {all} are invited: they come in when they accept."));
        } else if is_over {
            self.inviting = None;
            self.warn(format!("{done} of {all} are invited."));
        }
    }

    /// Looks how far invitations are, when that is due.
    pub fn look_at_invitations(&mut self) {
        let now = Instant::now();
        let Some(inviting) = self.inviting.as_mut().filter(|inviting| inviting.look_at <= now) else { return };
        inviting.look_at = now + LOOK;
        if now.duration_since(inviting.since) > LOOK_FOR {
            self.inviting = None;
        }
        self.refresh_groups();
    }

    /// How far the invitations of many are, for the line of state.
    pub fn invite_progress(&self) -> Option<String> {
        let inviting = self.inviting.as_ref()?;
        Some(format!("invited: {} of {}", inviting.done, inviting.accounts.len()))
    }
}

/// The key of a role in a list, and what who has it does.
fn about(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Owner => ("o", "does everything, and cannot be removed"),
        Role::Admin => ("a", "invites, removes, changes settings"),
        Role::Moderator => ("m", "removes and deletes for others"),
        Role::Member => ("e", "writes"),
        Role::Reader => ("r", "reads"),
    }
}
