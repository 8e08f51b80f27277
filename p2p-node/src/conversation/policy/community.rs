//! Communities: their channels have their membership and roles. Whoever changes these in a community signs a statement of who is in it, which stands
//! in the community's policy; any member of a channel commits it there, one after the other. The ways into channels are told in the community.

use rand::RngExt;
use starling_keys::AccountId;
use starling_wire::{
    Body, ChannelEntry, ChannelOf, ChannelWay, GroupKind, MAX_CHANNELS, Policy, PolicyMember, Reasons, Role, Ways,
    inbox::GroupOffer,
};

use super::{
    IntentRow, Policies, PolicyEntry,
    change::place_among,
    commands::{checked_group_name, refused},
    limits::{TELL_WAYS_AFTER_MS, TELL_WAYS_TURN_MS},
    moved::shuts_out,
    offers::Answer,
};
use crate::{
    api::{
        error::{GroupRefusal, NodeError, NotFound, Unreachable},
        types::{ChatId, ChatKind},
    },
    contacts::Directory,
    conversation::{ChatState, Conversations, GroupEntry, context::Context},
    mls::{
        community::{carried, level_of, state},
        policy::Change,
    },
    roster::Roster,
    store::{IntentKind, OfferRow, StandingRow},
    turn::{EngineError, Turn},
};

/// What the user asks of the channels of communities.
#[derive(Clone, Debug)]
pub struct NewChannel {
    /// The community.
    pub community: ChatId,
    /// What the channel is called.
    pub name: String,
    /// What it is.
    pub kind: GroupKind,
    /// The lowest role that is in it.
    pub lowest: Role,
}

impl IntentRow {
    fn add_channel(channel: &ChannelEntry) -> Self {
        Self {
            kind: IntentKind::AddChannel.into(),
            channel: channel.conversation.to_vec(),
            channel_group: channel.group.to_vec(),
            role: channel.lowest.rank().into(),
            ..Self::default()
        }
    }

    /// One that ends a channel of a community.
    pub(super) fn remove_channel(channel: ChatId) -> Self {
        Self { kind: IntentKind::RemoveChannel.into(), channel: channel.0.to_vec(), ..Self::default() }
    }

    fn channel_entry(&self) -> Option<ChannelEntry> {
        Some(ChannelEntry {
            conversation: self.channel[..].try_into().ok()?,
            group: self.channel_group[..].try_into().ok()?,
            lowest: Role::from_rank(self.role)?,
        })
    }

    /// Changes the channels of a community as this says. None if it cannot.
    pub(super) fn change_channels(&self, policy: &mut Policy) -> Option<()> {
        let community = policy.rules.as_mut()?.community.as_mut()?;
        match self.kind() {
            IntentKind::AddChannel => community.add(self.channel_entry()?),
            _ => community.channels.retain(|channel| channel.conversation[..] != self.channel[..]),
        }
        Some(())
    }
}

impl PolicyEntry {
    /// Whether our user's role is one that says who is in a community where nobody has said it yet: somebody came by a link, or has left.
    pub(super) fn restates(&self, own: &AccountId) -> bool {
        let Some(policy) = self.policy.as_ref().filter(|policy| !policy.is_stated()) else { return false };
        let Some(role) = policy.role(own.as_bytes()).filter(|role| *role <= Role::Moderator) else { return false };
        let Some(newest) = policy.community().and_then(|community| community.newest()) else {
            return role == Role::Owner;
        };
        let decides = |account: &[u8; 32]| {
            let (was, is) = (newest.role(account), policy.role(account));
            was == is || level_of(was, is).is_none_or(|level| level >= usize::from(role.rank()))
        };
        let mut accounts = policy.members.iter().map(|m| m.account).chain(newest.members.iter().map(|(a, _)| *a));
        accounts.all(|account| decides(&account))
    }
}

/// Whoever adds channels to a community can name any conversation: what is done with it holds for those alone that say themselves whose channels
/// they are.
impl Policies {
    /// The policy of what a community lists, if that is a channel of it.
    fn channel_of(&self, community: ChatId, listed: &ChannelEntry) -> Option<&Policy> {
        let policy = self.policy(&ChatId(listed.conversation))?;
        policy.channel_of().filter(|of| of.community == community.0).map(|_| policy)
    }

    /// Whether what a community lists is a channel of it, or is entered as the group that it lists and its policy is not known yet.
    fn may_be_channel_of(&self, community: ChatId, listed: &ChannelEntry) -> bool {
        let Some(entry) = self.of.get(&ChatId(listed.conversation)) else { return false };
        let is_offered = || entry.row.offer.as_ref().is_some_and(|offer| offer.group[..] == listed.group);
        match entry.policy {
            Some(_) => self.channel_of(community, listed).is_some(),
            None => is_offered(),
        }
    }
}

impl Conversations {
    /// A change of a community with the statement of who is in it after that, if it is our user's to say so.
    pub(super) fn with_statement(&self, cx: &Context<'_>, chat: ChatId, change: &Change) -> Change {
        let (mut change, own) = (change.clone(), cx.dir.account.id());
        let Some(entry) = self.policies.of.get(&chat) else { return change };
        let Some(before) = &entry.policy else { return change };
        let role = before.role(own.as_bytes()).filter(|role| *role <= Role::Moderator);
        let Some((community, role)) = before.community().zip(role) else { return change };
        if before.roster() == change.policy.roster() && !entry.restates(&own) {
            return change;
        }
        // What was said in a channel and is not known here does not come before it.
        let of_channel = |channel: &ChannelEntry| self.policies.channel_of(chat, channel)?.channel_of();
        let known = community.channels.iter().filter_map(of_channel).map(ChannelOf::newest).max();
        let number = community.number().max(known.unwrap_or_default()).saturating_add(1);
        // Nor does what was forged in a channel keep anybody from saying what counts in the others.
        let number = number.min(community.highest_number(role));
        let identity = &cx.dir.account.identity;
        let by = (&identity.certificate, &identity.device_key);
        let statement = state(before.conversation, number, change.policy.roster(), by);
        if let Some(after) = change.policy.rules.as_mut().and_then(|rules| rules.community.as_mut()) {
            after.state(role, statement.clone());
            change.reasons.statement = Some(statement);
        }
        change
    }

    /// What the statements of its community make of a channel, the oldest first; with whether this device has signed it.
    pub(super) fn carried_change(
        &self,
        dir: Directory<'_>,
        chat: ChatId,
        group: &GroupEntry,
    ) -> Option<(Change, bool)> {
        let policy = self.policies.policy(&chat)?;
        let community = self.policies.policy(&ChatId(policy.channel_of()?.community))?.community()?;
        let mut statements: Vec<_> = community.statements.iter().map(|(_, statement)| statement).collect();
        statements.sort_by_key(|statement| statement.number);
        let own = &dir.account.identity.certificate;
        statements.into_iter().find_map(|statement| {
            let after = carried(policy, statement, group.epoch())?;
            // Nobody removes itself by a commit.
            after.role(dir.account.id().as_bytes())?;
            let is_own = statement.certificate == own.as_bytes();
            let reasons = Reasons { statement: Some(statement.clone()), ..Reasons::default() };
            Some((Change { policy: after, reasons }, is_own))
        })
    }

    /// The policy of a community, or of one of its channels, is another: what was said is carried into the channels, and who comes is told the ways.
    pub(super) fn community_moved(
        &mut self,
        turn: &mut Turn<'_>,
        dir: Directory<'_>,
        chat: ChatId,
        before: Option<&Policy>,
    ) -> Result<(), EngineError> {
        let Some(policy) = self.policies.policy(&chat).cloned() else { return Ok(()) };
        // Who has made a channel, or let somebody in, knows the way before all others.
        let is_first = self.policies.of.get(&chat).is_some_and(|entry| entry.made_last);
        if let Some(channel) = policy.channel_of() {
            let is_new = |m: &PolicyMember| before.is_some_and(|before| before.member(&m.account).is_none());
            let is_shut = before.is_some_and(|before| shuts_out(before, &policy));
            if is_shut || policy.members.iter().any(is_new) {
                self.tell_ways_soon(turn, dir, ChatId(channel.community), is_first);
            }
        }
        let Some(community) = policy.community() else { return Ok(()) };
        for channel in &community.channels {
            self.touch_groups_of(ChatId(channel.conversation));
        }
        let had = before.and_then(Policy::community).map(|community| community.channels.clone()).unwrap_or_default();
        if had != community.channels {
            self.tell_ways_soon(turn, dir, chat, is_first);
        }
        for gone in had.iter().filter(|channel| community.channel(&channel.conversation).is_none()) {
            let channel = ChatId(gone.conversation);
            if self.policies.is_in(&channel) && self.policies.may_be_channel_of(chat, gone) {
                self.be_out(turn, channel, StandingRow::Left)?;
            }
        }
        Ok(())
    }

    /// Somebody has come who does not know the ways into channels, or there are others: those who know them say them, one after the other until one
    /// has. Who is the first to know them begins.
    pub(super) fn tell_ways_soon(&mut self, turn: &Turn<'_>, dir: Directory<'_>, community: ChatId, is_first: bool) {
        let Some(group) = self.active_group(dir, community).and_then(|id| self.groups.get(&id)) else { return };
        let place = if is_first { 0 } else { place_among(group, &dir.account.device(), |_| true) };
        let Some(entry) = self.policies.of.get_mut(&community) else { return };
        let at = turn.now() + TELL_WAYS_AFTER_MS + TELL_WAYS_TURN_MS * place;
        if entry.policy.as_ref().is_some_and(|policy| policy.community().is_some()) {
            (entry.row.tell_ways, entry.dirty) = (true, true);
            entry.due.tell_ways_at = Some(entry.due.tell_ways_at.map_or(at, |before| before.min(at)));
        }
    }

    /// Tells the ways into the channels that this device is in.
    pub(super) fn tell_ways(&mut self, turn: &Turn<'_>, cx: &mut Context<'_>, community: ChatId) {
        let Some(entry) = self.policies.of.get_mut(&community) else { return };
        (entry.row.tell_ways, entry.due.tell_ways_at, entry.dirty) = (false, None, true);
        if entry.standing() != StandingRow::Member {
            return;
        }
        let ways = self.known_ways(cx.dir, community);
        if !ways.is_empty() {
            self.chats.announce(turn, cx, community, Body::Ways(Ways { ways }));
        }
    }

    /// The ways into those channels of a community in which all are let in that may be there: to the others they would lead nowhere yet.
    fn known_ways(&self, dir: Directory<'_>, community: ChatId) -> Vec<ChannelWay> {
        let Some(policy) = self.policies.policy(&community) else { return Vec::new() };
        let way = |listed: &ChannelEntry| {
            let chat = ChatId(listed.conversation);
            let channel = self.policies.channel_of(community, listed)?;
            self.policies.standing(&chat).filter(|standing| *standing == StandingRow::Member)?;
            let is_let_in = |m: &PolicyMember| {
                let is_out = || channel.removed.contains(&m.account) || channel.bans(&m.account);
                m.role > listed.lowest || channel.member(&m.account).is_some() || is_out()
            };
            let is_open = |offer: &GroupOffer| offer.group[..] == listed.group && policy.members.iter().all(is_let_in);
            let offer = self.way_into(dir, chat).filter(is_open)?;
            Some(ChannelWay {
                conversation: listed.conversation,
                group: offer.group[..].try_into().ok()?,
                secret: offer.secret[..].try_into().ok()?,
                home: offer.home,
                name: offer.name,
            })
        };
        policy.community().into_iter().flat_map(|community| &community.channels).filter_map(way).collect()
    }

    /// A member of a community tells ways into its channels: those that are open to our account are entered, unless our user has left them.
    pub(crate) fn on_ways(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        (community, from): (ChatId, AccountId),
        ways: &Ways,
    ) -> Result<(), EngineError> {
        if self.policies.of.get(&community).is_some_and(|entry| entry.row.tell_ways) {
            let is_told = |own: &ChannelWay| {
                ways.ways.iter().any(|way| (way.conversation, way.secret) == (own.conversation, own.secret))
            };
            let all_told = self.known_ways(cx.dir, community).iter().all(is_told);
            if let Some(entry) = self.policies.of.get_mut(&community).filter(|_| all_told) {
                (entry.row.tell_ways, entry.due.tell_ways_at, entry.dirty) = (false, None, true);
            }
        }
        for way in &ways.ways {
            if self.may_take(cx.dir, community, way) {
                self.take_way(turn, cx, from, way)?;
            }
        }
        Ok(())
    }

    /// Whether a way leads into a channel of a community that is for our account, and that it may enter now.
    fn may_take(&self, dir: Directory<'_>, community: ChatId, way: &ChannelWay) -> bool {
        let is_member = self.policies.standing(&community) == Some(StandingRow::Member);
        let Some(policy) = self.policies.policy(&community).filter(|_| is_member) else { return false };
        let listed = policy.community().and_then(|community| community.channel(&way.conversation));
        let role = policy.role(dir.account.id().as_bytes());
        let is_open = listed.zip(role).is_some_and(|(listed, role)| listed.group == way.group && role <= listed.lowest);
        let chat = ChatId(way.conversation);
        let is_other = |listed: &ChannelEntry| {
            self.policies.of.contains_key(&chat) && !self.policies.may_be_channel_of(community, listed)
        };
        if listed.is_none_or(is_other) {
            return false;
        }
        let is_free = match self.policies.standing(&chat) {
            None => self.policies.has_room() && !self.chats.contains_key(&chat),
            Some(StandingRow::Invited | StandingRow::Asked | StandingRow::Removed) => self.policies.has_room(),
            Some(StandingRow::Entering) => {
                let door = self.chats.get(&chat).and_then(|state| state.row.door.as_ref());
                door.is_none_or(|door| door.secret[..] != way.secret)
            }
            Some(StandingRow::Member | StandingRow::Leaving | StandingRow::Left | StandingRow::Declined) => false,
        };
        is_open && is_free
    }

    fn take_way(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        from: AccountId,
        way: &ChannelWay,
    ) -> Result<(), EngineError> {
        if way.home.parse::<starling_keys::RendezvousAddr>().is_err() {
            return Ok(());
        }
        let row = OfferRow {
            group: way.group.to_vec(),
            secret: way.secret.to_vec(),
            home: way.home.clone(),
            name: starling_text::received_name(&way.name),
            by: from.as_bytes().to_vec(),
            at_ms: turn.wall(),
            link: Vec::new(),
        };
        self.enter_by_offer(turn, cx, ChatId(way.conversation), row)
    }

    /// Makes a channel of a community: it has the members and roles of the community from the beginning.
    pub(super) fn new_channel(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        wanted: &NewChannel,
    ) -> Result<Result<ChatId, NodeError>, EngineError> {
        let own = cx.dir.account.id();
        let name = match checked_group_name(&wanted.name) {
            Ok(name) => name,
            Err(error) => return Ok(Err(error)),
        };
        let Some(parent) = self.policies.policy(&wanted.community).cloned() else {
            return Ok(Err(NotFound::Group.into()));
        };
        let Some(community) = parent.community().filter(|_| wanted.kind != GroupKind::Community) else {
            return Ok(refused(GroupRefusal::NotACommunity));
        };
        if community.channels.len() >= MAX_CHANNELS {
            return Ok(refused(GroupRefusal::Full));
        }
        if !self.policies.has_room() {
            return Ok(refused(GroupRefusal::TooManyGroups));
        }
        // Who makes a channel is in it.
        if parent.role(own.as_bytes()).is_none_or(|role| role > wanted.lowest) {
            return Ok(refused(GroupRefusal::Role));
        }
        let chat = ChatId(turn.rng().random());
        let entry = ChannelEntry { conversation: chat.0, group: [0; 16], lowest: wanted.lowest };
        if let Err(error) = self.check_wanted(cx.dir, wanted.community, &[IntentRow::add_channel(&entry)]) {
            return Ok(Err(error));
        }
        let homes = &cx.dir.account.identity.homes;
        let home = homes.iter().find(|h| cx.homes.answers(&h.peer)).or(homes.first());
        let Some(home) = home.map(ToString::to_string) else { return Ok(Err(Unreachable::Home.into())) };
        let mut policy = Policy::new(chat.0, name, *own.as_bytes()).with_rules(wanted.kind);
        let members = parent.members.iter().filter(|m| m.role <= wanted.lowest);
        policy.members = members.map(|m| PolicyMember { by: *own.as_bytes(), since: 0, ..*m }).collect();
        if let Some(rules) = &mut policy.rules {
            let numbers = [community.number(); 3];
            rules.channel_of = Some(ChannelOf { community: wanted.community.0, lowest: wanted.lowest, numbers });
        }
        self.chats.insert(ChatState::new(chat, ChatKind::Group, Roster::of(own, &[])));
        self.policies.of.get_or_insert_with(chat, PolicyEntry::default).set_standing(StandingRow::Member);
        let group = self.make_mls_group(turn, cx, chat, &policy, home)?;
        self.tell_own_devices(turn, cx, chat, Answer::Accepted)?;
        let intent = IntentRow::add_channel(&ChannelEntry { group, ..entry });
        Ok(self.want(cx.dir, wanted.community, vec![intent]).map(|()| chat))
    }

    /// Whether a conversation is a channel of a community in which our account may remove others: what it says there has to count in the channel.
    pub(super) fn leads_community_of(&self, own: &AccountId, chat: ChatId) -> bool {
        let Some(channel) = self.policies.policy(&chat).and_then(Policy::channel_of) else { return false };
        let community = ChatId(channel.community);
        let role = self.policies.policy(&community).and_then(|policy| policy.role(own.as_bytes()));
        self.policies.standing(&community) == Some(StandingRow::Member)
            && role.is_some_and(|role| role <= Role::Moderator)
    }

    /// Our user leaves a community: its channels, too.
    pub(super) fn leave_channels(
        &mut self,
        turn: &mut Turn<'_>,
        cx: &mut Context<'_>,
        community: ChatId,
    ) -> Result<(), EngineError> {
        let channels = self.policies.policy(&community).and_then(Policy::community);
        let channels: Vec<ChannelEntry> = channels.map(|community| community.channels.clone()).unwrap_or_default();
        for channel in channels {
            let chat = ChatId(channel.conversation);
            if self.policies.is_in(&chat)
                && self.policies.may_be_channel_of(community, &channel)
                && let Err(error) = self.leave(turn, cx, chat)?
            {
                tracing::warn!(%error, "a channel of a community cannot be left");
            }
        }
        Ok(())
    }
}
