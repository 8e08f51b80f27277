//! The people, the chats and the node, as the node has answered last.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use starling_control::objects::{
    AccountId, Chat, ChatId, Contact, Group, GroupMember, Presence, Request, Standing, Status,
};

use super::{group::may_mention_all, people::Typing};

/// Something that the node is asked for again whenever it may have changed. A change while an answer is on its way makes another request:
/// that answer may be from before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refresh {
    on_its_way: bool,
    again: bool,
}

impl Refresh {
    /// It may have changed: whether to ask now.
    pub fn changed(&mut self) -> bool {
        self.again = self.on_its_way;
        !std::mem::replace(&mut self.on_its_way, true)
    }

    /// Whether what is known may be from before a change.
    fn is_behind(self) -> bool {
        self.on_its_way
    }

    /// The answer is there: whether to ask again.
    pub fn answered(&mut self) -> bool {
        self.on_its_way = std::mem::take(&mut self.again);
        self.on_its_way
    }
}

/// Members of groups that are remembered as writing too much.
const MAX_SLOWED: usize = 256;

/// How far what is shown is up to date.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freshness {
    pub status: Refresh,
    pub contacts: Refresh,
    pub chats: Refresh,
    pub requests: Refresh,
    pub groups: Refresh,
    /// The audit log of the open group.
    pub audit: Refresh,
}

/// What the node has answered.
#[derive(Debug, Default)]
pub struct Directory {
    /// `None` before it has answered.
    pub me: Option<Status>,
    pub contacts: Vec<Contact>,
    pub chats: Vec<Chat>,
    pub requests: Vec<Request>,
    /// Groups, and invitations into others.
    pub groups: Vec<Group>,
    pub typing: Typing,
    /// Unread messages that mention us, by chat, as far as they came while this screen was open.
    mentions: HashMap<ChatId, u32>,
    /// Who writes too much in a group, and until when nobody is notified of it.
    slowed: HashMap<(ChatId, AccountId), Instant>,
    /// What members of groups were called, also of those that are none any more.
    names: HashMap<AccountId, String>,
    pub fresh: Freshness,
}

impl Directory {
    /// Takes a list of contacts. It may come without safety numbers, which do not change: those that are known stay.
    pub fn take_contacts(&mut self, contacts: Vec<Contact>) {
        let before = std::mem::replace(&mut self.contacts, contacts);
        for known in before.into_iter().filter(|contact| contact.safety_number.is_some()) {
            self.take_safety_number(known);
        }
    }

    /// Takes the safety number of a contact.
    pub fn take_safety_number(&mut self, known: Contact) {
        if let Some(contact) = self.contacts.iter_mut().find(|contact| contact.account == known.account) {
            contact.safety_number = contact.safety_number.take().or(known.safety_number);
        }
    }

    /// Takes a list of groups.
    pub fn take_groups(&mut self, groups: Vec<Group>) {
        self.groups = groups;
        for member in self.groups.iter().flat_map(|group| &group.members) {
            if !member.own && self.names.get(&member.account).is_none_or(|known| *known != member.name) {
                self.names.insert(member.account.clone(), member.name.clone());
            }
        }
    }

    /// What accounts are called: contacts, and all that were in a group with us while this screen was open.
    pub fn names(&self) -> HashMap<&AccountId, &str> {
        let members = self.names.iter().map(|(account, name)| (account, name.as_str()));
        let contacts = self.contacts.iter().map(|contact| (&contact.account, contact.name.as_str()));
        members.chain(contacts).filter(|(_, name)| !name.is_empty()).collect()
    }

    /// Takes a list of chats. Where nothing is unread no mention is.
    pub fn take_chats(&mut self, chats: Vec<Chat>) {
        self.chats = chats;
        if self.fresh.chats.is_behind() {
            return;
        }
        let chats = &self.chats;
        self.mentions.retain(|id, _| chats.iter().any(|chat| chat.id == *id && chat.unread > 0));
    }

    /// A message that mentions us has come, and was not seen.
    pub fn note_mention(&mut self, chat: &ChatId) {
        *self.mentions.entry(chat.clone()).or_default() += 1;
    }

    /// Unread messages of a chat that mention us.
    pub fn mentions_in(&self, chat: &ChatId) -> u32 {
        self.mentions.get(chat).copied().unwrap_or_default()
    }

    /// Somebody writes too much in a group: until this time nobody is notified of it.
    pub fn slow(&mut self, chat: &ChatId, account: AccountId, until: Instant) {
        let now = Instant::now();
        self.slowed.retain(|_, until| *until > now);
        if self.slowed.len() < MAX_SLOWED {
            self.slowed.insert((chat.clone(), account), until);
        }
    }

    /// Whether somebody writes too much in a group.
    pub fn is_slowed(&self, chat: &ChatId, account: &AccountId) -> bool {
        let key = (chat.clone(), account.clone());
        self.slowed.get(&key).is_some_and(|until| *until > Instant::now())
    }

    /// How present somebody is; `None` where they do not show it, or are no contact.
    pub fn presence_of(&self, account: &AccountId) -> Option<Presence> {
        self.contacts.iter().find(|contact| contact.account == *account)?.presence
    }

    /// How present a member of a group is; `None` where they do not show it, and have neither written nor typed there lately.
    pub fn presence_in_group(&self, member: &GroupMember) -> Option<Presence> {
        let by_activity = || member.online.then_some(Presence::Online);
        self.presence_of(&member.account).filter(|presence| *presence != Presence::Offline).or_else(by_activity)
    }

    /// The others of a group who are there now, as far as they show it to us: contacts that do, and who is typing.
    pub fn online_in<'a>(&self, group: &'a Group) -> Vec<&'a GroupMember> {
        let online = self.contacts.iter().filter(|contact| contact.presence == Some(Presence::Online));
        let online: HashSet<&AccountId> = online.map(|contact| &contact.account).collect();
        let now = Instant::now();
        let is_there = |member: &&GroupMember| {
            member.online || online.contains(&member.account) || self.typing.has(&group.id, &member.account, now)
        };
        group.members.iter().filter(|member| !member.own).filter(is_there).collect()
    }

    pub fn chat(&self, id: &ChatId) -> Option<&Chat> {
        self.chats.iter().find(|chat| chat.id == *id)
    }

    pub fn group(&self, id: &ChatId) -> Option<&Group> {
        self.groups.iter().find(|group| group.id == *id)
    }

    /// Groups that we are invited into.
    pub fn invitations(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.standing == Standing::Invited)
    }

    /// Groups that we have asked to be let into.
    pub fn asked(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.standing == Standing::Asked)
    }

    /// The community that a chat is a channel of: both say so. Anybody can make a group that says so alone.
    pub fn community_of(&self, id: &ChatId) -> Option<&Group> {
        let community = self.group(self.group(id)?.community.as_ref()?)?;
        Some(community).filter(|community| community.channels.iter().any(|channel| channel.id == *id))
    }

    /// The communities of all channels.
    pub fn communities(&self) -> HashMap<&ChatId, &ChatId> {
        let claims = self.groups.iter().filter_map(|group| Some((&group.id, group.community.as_ref()?)));
        let claims: HashMap<&ChatId, &ChatId> = claims.collect();
        let listed = self.groups.iter().flat_map(|group| group.channels.iter().map(|channel| (&channel.id, &group.id)));
        listed.filter(|(channel, community)| claims.get(channel) == Some(community)).collect()
    }

    /// Gives chats these places in the list, in order, or none, before the node has answered.
    pub fn arrange(&mut self, order: &[ChatId], by_activity: bool) {
        let places: HashMap<&ChatId, u32> = order.iter().zip(1..).collect();
        for chat in &mut self.chats {
            if let Some(place) = places.get(&chat.id) {
                chat.place = (!by_activity).then_some(*place);
            }
        }
    }

    /// What a chat is called.
    pub fn name_of(&self, id: &ChatId) -> Option<&str> {
        let contact = self.contact_of(id).map(|contact| contact.name.as_str());
        contact.or_else(|| Some(self.chat(id)?.name.as_str()))
    }

    /// What a chat is called among all others: a channel of a community behind its community, as commands take it.
    pub fn full_name(&self, id: &ChatId) -> Option<String> {
        let name = self.name_of(id)?;
        let community = self.community_of(id);
        Some(community.map_or_else(|| name.to_owned(), |community| format!("{}/{name}", community.name)))
    }

    pub fn contact_of(&self, chat: &ChatId) -> Option<&Contact> {
        self.contacts.iter().find(|contact| contact.chat == *chat)
    }

    /// The chat with the contact of this name, with or without `@`, or the group, with or without `#`; a channel also behind its community.
    pub fn chat_named(&self, name: &str) -> Option<ChatId> {
        let group = name.trim_start_matches('#');
        let of_group = || {
            let is_it = |name: &str| starling_text::same(name, group);
            let groups = || self.chats.iter().filter(|chat| chat.kind.is_group());
            let is_in_full = |chat: &&Chat| self.full_name(&chat.id).is_some_and(|name| is_it(&name));
            let found = groups().find(|chat| is_it(&chat.name)).or_else(|| groups().find(is_in_full));
            found.map(|chat| chat.id.clone())
        };
        let name = name.trim_start_matches('@');
        let contact = self.contacts.iter().find(|c| starling_text::same(&c.name, name)).map(|c| c.chat.clone());
        contact.or_else(of_group)
    }

    /// Whether somebody of this name asks to be a contact.
    pub fn asks(&self, name: &str) -> bool {
        self.requests.iter().any(|request| starling_text::same(&request.name, name))
    }

    /// Who can be mentioned in a chat, with their names: the members of a group, else all contacts.
    pub fn mentionable(&self, chat: Option<&ChatId>) -> Vec<(&AccountId, &str)> {
        match chat.and_then(|chat| self.group(chat)) {
            Some(group) => {
                let others = group.members.iter().filter(|member| !member.own);
                others.map(|member| (&member.account, member.name.as_str())).collect()
            }
            None => self.contacts.iter().map(|contact| (&contact.account, contact.name.as_str())).collect(),
        }
    }

    /// Whether a text for a chat mentions everybody there, with `@all`, and this account may do that.
    pub fn mentions_all(&self, chat: &ChatId, text: &str) -> bool {
        let is_in_word = |letter: char| letter.is_alphanumeric() || letter == '@' || letter == '_';
        let mut words = text.split(|letter: char| !is_in_word(letter));
        words.any(|word| word.eq_ignore_ascii_case("@all")) && self.group(chat).is_some_and(may_mention_all)
    }

    /// The mentions in a text for a chat: accounts of those whose `@name` it has.
    pub fn mentions(&self, chat: &ChatId, text: &str) -> Vec<AccountId> {
        if !text.contains('@') {
            return Vec::new();
        }
        let text = starling_text::folded(text);
        let is_named = |name: &str| !name.is_empty() && text.contains(&starling_text::folded(&format!("@{name}")));
        let named = self.mentionable(Some(chat)).into_iter().filter(|(_, name)| is_named(name));
        named.map(|(account, _)| account.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use starling_control::objects::{ChatKind, GroupChannel};

    use super::*;

    fn member(account: &str, name: &str) -> GroupMember {
        GroupMember { account: account.into(), name: name.into(), own: account == "me", ..GroupMember::default() }
    }

    #[test]
    fn who_floods_a_group_is_quiet_there_for_a_time() {
        let (mut directory, now) = (Directory::default(), Instant::now());
        directory.slow(&"g".into(), "m".into(), now + Duration::from_secs(60));
        directory.slow(&"g".into(), "b".into(), now);
        assert!(directory.is_slowed(&"g".into(), &"m".into()));
        assert!(!directory.is_slowed(&"h".into(), &"m".into()) && !directory.is_slowed(&"g".into(), &"b".into()));
    }

    #[test]
    fn in_a_group_its_members_are_mentioned_and_who_has_left_keeps_a_name() {
        let contact = |account: &str, name: &str, presence| Contact {
            account: account.into(),
            name: name.into(),
            presence,
            ..Contact::default()
        };
        let mut directory = Directory::default();
        let contacts = [contact("b", "bob", Some(Presence::Online)), contact("z", "zoe", Some(Presence::Online))];
        directory.take_contacts(contacts.to_vec());
        let members = vec![member("me", "alice"), member("b", "bob"), member("c", "carol"), member("n", "")];
        let group = Group { id: "g".into(), members, ..Group::default() };
        directory.take_groups(vec![group.clone()]);
        let named = |directory: &Directory, chat: &str| {
            let found = directory.mentions(&chat.into(), "hi @Bob, @carol, @zoe, @alice");
            found.iter().map(|account| account.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named(&directory, "g"), ["b", "c"]);
        assert!(!directory.mentions_all(&"g".into(), "hi @all"), "our role there does not allow that");
        assert_eq!(named(&directory, "direct"), ["b", "z"]);
        let online = directory.online_in(&group);
        assert_eq!(online.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["bob"]);
        directory.take_groups(Vec::new());
        let names = directory.names();
        let (carol, nameless) = (AccountId::from("c"), AccountId::from("n"));
        assert_eq!([names.get(&carol), names.get(&nameless)], [Some(&"carol"), None]);
    }

    #[test]
    fn a_channel_is_found_by_its_name_and_behind_its_community() {
        let chat = |id: &str, name: &str, kind| Chat { id: id.into(), name: name.into(), kind, ..Chat::default() };
        let mut directory = Directory::default();
        directory.take_chats(vec![
            chat("a", "general", ChatKind::Group),
            chat("b", "general", ChatKind::Channel),
            chat("c", "club", ChatKind::Community),
        ]);
        let mut groups = [("a", None), ("b", Some("c")), ("c", None)].map(|(id, community)| Group {
            id: id.into(),
            name: if id == "c" { "club" } else { "general" }.into(),
            community: community.map(Into::into),
            ..Group::default()
        });
        // Anybody can make a group that says it is a channel of this community.
        directory.take_groups(groups.to_vec());
        assert_eq!(directory.full_name(&"b".into()).as_deref(), Some("general"));
        assert_eq!(directory.chat_named("#club/general"), None);
        assert!(directory.communities().is_empty());
        groups[2].channels = vec![GroupChannel { id: "b".into(), ..GroupChannel::default() }];
        directory.take_groups(groups.to_vec());
        assert_eq!(directory.communities().get(&ChatId::from("b")), Some(&&ChatId::from("c")));
        assert_eq!(directory.full_name(&"b".into()).as_deref(), Some("club/general"));
        let found = ["#general", "#club/General", "club", "#club/other"].map(|name| directory.chat_named(name));
        assert_eq!(found, [Some("a"), Some("b"), Some("c"), None].map(|id| id.map(ChatId::from)));
    }

    #[test]
    fn mentions_are_counted_until_the_chat_is_read() {
        let (mut directory, chat) = (Directory::default(), ChatId::from("g"));
        directory.note_mention(&chat);
        directory.note_mention(&chat);
        let listed = |unread| vec![Chat { id: "g".into(), unread, ..Chat::default() }];
        directory.take_chats(listed(5));
        assert_eq!(directory.mentions_in(&chat), 2);
        directory.take_chats(listed(0));
        directory.take_chats(listed(1));
        assert_eq!(directory.mentions_in(&chat), 0);
    }
}
