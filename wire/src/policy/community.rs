//! Communities: groups with channels that have their membership and roles. What changes in a community is carried into its channels by statements.

use prost::Message as _;

use super::{Account, MAX_GROUP_ACCOUNTS, Policy, PolicyError, Role, id, is_sorted_set, proto};

/// Channels of one community.
pub const MAX_CHANNELS: usize = 32;
/// By how much the number of a statement may be above others, by the rank of its signer's role: an owner's above all, an admin's above those of
/// owners, a moderator's above those of owners and admins. So nobody uses up the numbers of those above, who have room for a newer one.
pub const STATEMENT_STEPS: [u64; 3] = [1 << 48, 1 << 40, 1 << 20];
/// How many such steps an owner's may take in a channel: those in the community may be several ahead of what was carried.
const OWNER_STEPS_IN_CHANNEL: u64 = 16;
/// A statement that changes nobody's role in a channel is carried into it only if its number is further ahead than this: later ones would be too far.
pub const MAX_STATEMENT_LAG: u64 = 1 << 19;
/// The domain of the signature of a [`Statement`].
pub const STATEMENT_DOMAIN: &str = "starling community statement v1";
/// Bytes of the certificate in a statement.
const MAX_CERTIFICATE: usize = 4096;
/// Bytes of an encoded statement.
const MAX_STATEMENT: usize = 8 * 1024;

/// Who is in a community and in which role, as a device of one of its owners, admins or moderators says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The community's conversation.
    pub community: [u8; 16],
    /// Of two statements the one with the higher number is the newer.
    pub number: u64,
    /// Its accounts with their roles, in the order of their ids.
    pub members: Vec<(Account, Role)>,
    /// The certificate of the device that has signed it.
    pub certificate: Vec<u8>,
    /// The signature over [`Statement::content`], in [`STATEMENT_DOMAIN`].
    pub signature: [u8; 64],
}

impl Statement {
    /// What its device signs.
    pub fn content(&self) -> Vec<u8> {
        let mut content = [&self.community[..], &self.number.to_be_bytes()].concat();
        for (account, role) in &self.members {
            content.extend_from_slice(account);
            content.push(role.rank());
        }
        content
    }

    /// What an account is in the community.
    pub fn role(&self, account: &Account) -> Option<Role> {
        let at = self.members.binary_search_by_key(account, |(account, _)| *account).ok()?;
        self.members.get(at).map(|(_, role)| *role)
    }

    fn is_in_order(&self) -> bool {
        let accounts: Vec<Account> = self.members.iter().map(|(account, _)| *account).collect();
        accounts.len() <= MAX_GROUP_ACCOUNTS && is_sorted_set(&accounts) && self.certificate.len() <= MAX_CERTIFICATE
    }

    /// Encoded. Equal ones have the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let member = |(account, role): &(Account, Role)| proto::StatedMember {
            account: account.to_vec(),
            role: role.rank().into(),
        };
        proto::Statement {
            community: self.community.to_vec(),
            number: self.number,
            members: self.members.iter().map(member).collect(),
            certificate: self.certificate.clone(),
            signature: self.signature.to_vec(),
        }
        .encode_to_vec()
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it is malformed, not in order, or beyond its limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_STATEMENT {
            return Err(PolicyError::Malformed);
        }
        let statement = proto::Statement::decode(bytes).map_err(|_| PolicyError::Malformed)?;
        let member = |member: &proto::StatedMember| -> Result<(Account, Role), PolicyError> {
            Ok((id(&member.account)?, Role::from_rank(member.role).ok_or(PolicyError::Malformed)?))
        };
        let read = Self {
            community: id(&statement.community)?,
            number: statement.number,
            members: statement.members.iter().map(member).collect::<Result<_, _>>()?,
            certificate: statement.certificate,
            signature: id(&statement.signature)?,
        };
        if read.is_in_order() && read.to_bytes() == bytes { Ok(read) } else { Err(PolicyError::Malformed) }
    }
}

/// A channel of a community.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelEntry {
    /// Its conversation.
    pub conversation: [u8; 16],
    /// The MLS group of it.
    pub group: [u8; 16],
    /// The lowest role that is in it.
    pub lowest: Role,
}

/// What a community has beside its own members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Community {
    /// Its channels, in the order of their conversations.
    pub channels: Vec<ChannelEntry>,
    /// The newest statement of each role that is not covered by a newer one of a higher role or the same, the highest role first.
    pub statements: Vec<(Role, Statement)>,
}

/// The highest number that a statement of a role may have after those with these numbers: the newest of owners, of admins and above, and of all.
fn highest_number(role: Role, numbers: [u64; 3]) -> u64 {
    let ([owners, admins, all], [by_owner, by_admin, by_moderator]) = (numbers, STATEMENT_STEPS);
    match role {
        Role::Owner => all.saturating_add(by_owner),
        Role::Admin => owners.saturating_add(by_admin),
        Role::Moderator | Role::Member | Role::Reader => admins.saturating_add(by_moderator),
    }
}

impl Community {
    /// A channel, by its conversation.
    pub fn channel(&self, conversation: &[u8; 16]) -> Option<&ChannelEntry> {
        self.channels.iter().find(|channel| channel.conversation == *conversation)
    }

    /// With one more channel.
    pub fn add(&mut self, channel: ChannelEntry) {
        if let Err(at) = self.channels.binary_search_by_key(&channel.conversation, |channel| channel.conversation) {
            self.channels.insert(at, channel);
        }
    }

    /// The newest statement.
    pub fn newest(&self) -> Option<&Statement> {
        self.statements.iter().map(|(_, statement)| statement).max_by_key(|statement| statement.number)
    }

    /// The number of the newest statement; 0 if there is none.
    pub fn number(&self) -> u64 {
        self.newest().map_or(0, |statement| statement.number)
    }

    /// The highest number that a statement of a role may have here.
    pub fn highest_number(&self, role: Role) -> u64 {
        let newest = |lowest: Role| {
            let above = self.statements.iter().filter(|(role, _)| *role <= lowest);
            above.map(|(_, statement)| statement.number).max().unwrap_or_default()
        };
        highest_number(role, [Role::Owner, Role::Admin, Role::Moderator].map(newest))
    }

    /// With a newer statement of an account with a role: it covers those of its role and of lower ones.
    pub fn state(&mut self, role: Role, statement: Statement) {
        self.statements.retain(|(of, _)| *of < role);
        self.statements.push((role, statement));
    }

    pub(super) fn is_in_order(&self) -> bool {
        let channels: Vec<[u8; 16]> = self.channels.iter().map(|channel| channel.conversation).collect();
        let roles: Vec<Role> = self.statements.iter().map(|(role, _)| *role).collect();
        channels.len() <= MAX_CHANNELS
            && is_sorted_set(&channels)
            && is_sorted_set(&roles)
            && roles.iter().all(|role| *role <= Role::Moderator)
            && self.statements.iter().all(|(_, statement)| statement.is_in_order())
    }
}

/// That a channel is one of a community: its membership and roles are those that statements of the community say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelOf {
    /// The community's conversation.
    pub community: [u8; 16],
    /// The lowest role that is in the channel.
    pub lowest: Role,
    /// The numbers of the last statements that counted: for owners and admins, for moderators, for members and readers.
    pub numbers: [u64; 3],
}

impl ChannelOf {
    /// The highest of its numbers.
    pub fn newest(&self) -> u64 {
        self.numbers.into_iter().max().unwrap_or_default()
    }

    /// The highest number that a statement of a role may have here.
    pub fn highest_number(&self, role: Role) -> u64 {
        let [step, ..] = STATEMENT_STEPS;
        match role {
            Role::Owner => self.newest().saturating_add(step.saturating_mul(OWNER_STEPS_IN_CHANNEL)),
            _ => highest_number(role, self.numbers),
        }
    }
}

impl Policy {
    /// What a community has beside its own members; none of another group.
    pub fn community(&self) -> Option<&Community> {
        self.rules.as_ref()?.community.as_ref()
    }

    /// Of which community it is a channel; none of another group.
    pub fn channel_of(&self) -> Option<&ChannelOf> {
        self.rules.as_ref()?.channel_of.as_ref()
    }

    /// Its accounts with their roles.
    pub fn roster(&self) -> Vec<(Account, Role)> {
        self.members.iter().map(|member| (member.account, member.role)).collect()
    }

    /// Whether the newest statement of a community says who is in it now.
    pub fn is_stated(&self) -> bool {
        let Some(community) = self.community() else { return true };
        match community.newest() {
            Some(statement) => statement.members == self.roster(),
            None => community.channels.is_empty(),
        }
    }
}
