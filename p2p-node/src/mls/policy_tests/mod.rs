//! What a group's policy lets members do, as all others judge it.

mod entering;
mod links;
mod records;
mod removed_devices;
mod roles;
mod settings;
mod turns;
mod versions;

use mls_rs::{
    Client, ExtensionList, Group, MlsMessage,
    client_builder::MlsConfig,
    group::proposal::{CustomProposal, Proposal},
};
use starling_keys::{
    AccountId, AccountKey, Certificate, DeviceChain, DeviceKey, JoinSecret, RecoveryPhrase,
    chain::{Joining, Rights, SignWith},
};
use starling_wire::{
    AuditAction, AuditHead, ChannelOf, GroupKind, GroupRules, GroupSetting, JOIN_DOMAIN, JoinLink, JoinProof, Joiner,
    LEAVE_DOMAIN, Leave, MAX_AUTHORS, MAX_GROUP_ACCOUNTS, Permissions, Policy, PolicyContext, PolicyMember, Reasons,
    Role, Statement,
};

use super::{
    super::{
        ByLink, Expected, GroupError, Judged, KeyPackages, LiveGroup, Mls, Processed, audit_of,
        community::{carried, state},
        join::joined,
        modified,
    },
    *,
};

const NOW_MS: u64 = 1_800_000_000_000;
const GROUP: &[u8; 16] = b"the group's name";
const TALK: [u8; 16] = [7; 16];

fn account() -> AccountKey {
    RecoveryPhrase::generate().account_key()
}

fn device(account: &AccountKey) -> (Mls, DeviceKey) {
    let key = DeviceKey::generate();
    (Mls::new(&Certificate::issue(account, key.id(), 1), &key, KeyPackages::default()).unwrap(), key)
}

fn member(account: &AccountKey, role: Role, by: &AccountKey) -> PolicyMember {
    PolicyMember { account: *account.id().as_bytes(), role, by: *by.id().as_bytes(), since: 0 }
}

fn enter(group: &LiveGroup, mls: &Mls) -> Option<(LiveGroup, Vec<u8>)> {
    let door = group.door().unwrap().unwrap();
    let entered = mls.enter(&door, (GROUP, group.epoch()), Expected::Group(TALK), Vec::new(), NOW_MS).ok()?;
    Some((entered.live, entered.commit))
}

fn follow(group: &LiveGroup, commit: &[u8]) -> LiveGroup {
    let Judged::Valid(next, _) = group.judge(commit) else { panic!("not valid") };
    *next
}

fn is_void(group: &LiveGroup, commit: &[u8]) -> bool {
    matches!(group.judge(commit), Judged::Void)
}

/// A group of an owner, and of others with these roles, each with one device.
struct Company {
    owner: AccountKey,
    group: LiveGroup,
    others: Vec<(AccountKey, DeviceKey, LiveGroup)>,
}

impl Company {
    fn of(roles: &[Role]) -> Self {
        Self::made(roles, |policy| policy)
    }

    /// One of a group with rules.
    fn with_rules(roles: &[Role]) -> Self {
        Self::made(roles, |policy| policy.with_rules(GroupKind::Group))
    }

    fn made(roles: &[Role], rules: impl FnOnce(Policy) -> Policy) -> Self {
        let owner = account();
        let accounts: Vec<AccountKey> = roles.iter().map(|_| account()).collect();
        let mut policy = rules(Policy::new(TALK, "ops".into(), *owner.id().as_bytes()));
        for (account, role) in accounts.iter().zip(roles) {
            policy.add(member(account, *role, &owner));
        }
        let mut group = device(&owner).0.create_with(GROUP, &policy, NOW_MS).unwrap();
        let mut others: Vec<(AccountKey, DeviceKey, LiveGroup)> = Vec::new();
        for account in accounts {
            let (mls, key) = device(&account);
            let (live, commit) = enter(&group, &mls).unwrap();
            group = follow(&group, &commit);
            for (_, _, other) in &mut others {
                *other = follow(other, &commit);
            }
            others.push((account, key, live));
        }
        Self { owner, group, others }
    }

    fn policy(&self) -> Policy {
        self.group.policy().unwrap()
    }

    /// What becomes of an honest commit of the member at a place, with others; of the owner if none is given.
    fn changes(&self, at: Option<usize>, change: impl FnOnce(&mut Policy)) -> Option<LiveGroup> {
        let (live, other) = match at {
            Some(at) => (&self.others[at].2, &self.group),
            None => (&self.group, &self.others[0].2),
        };
        let change = Change { policy: self.with(change), reasons: Reasons::default() };
        let (commit, after) = live.prepare_change(&change, NOW_MS, Vec::new()).ok()?;
        let theirs = follow(other, &commit);
        assert_eq!(theirs.policy(), after.policy());
        Some(theirs)
    }

    fn with(&self, change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = self.policy();
        change(&mut policy);
        policy
    }

    /// A commit of a program without rules in the place of the member: it says what it likes.
    fn forged(&self, at: usize, proposals: Vec<Proposal>) -> Vec<u8> {
        let (account, key, _) = &self.others[at];
        let (mut rogue, entry) = rogue(account, key, &self.group);
        let group = follow(&self.group, &entry);
        assert_eq!(group.epoch(), rogue.current_epoch());
        let proposals = on_record(&group, account, proposals);
        rogue.commit_builder().raw_proposals(proposals).build().unwrap().commit_message.to_bytes().unwrap()
    }

    /// What honest members make of a forged commit.
    fn takes(&self, at: usize, proposals: Vec<Proposal>) -> bool {
        let (account, key, _) = &self.others[at];
        let (mut rogue, entry) = rogue(account, key, &self.group);
        let group = follow(&self.group, &entry);
        let proposals = on_record(&group, account, proposals);
        let commit = rogue.commit_builder().raw_proposals(proposals).build().unwrap().commit_message;
        !is_void(&group, &commit.to_bytes().unwrap())
    }
}

/// The same device with a program without rules, in place of its honest leaf; and the commit by which it is there.
fn rogue(account: &AccountKey, key: &DeviceKey, group: &LiveGroup) -> (Group<impl MlsConfig + use<>>, Vec<u8>) {
    let client = modified::in_groups(account, key);
    let door = group.door().unwrap().unwrap();
    let leaf = members(&group.group.roster()).find(|(_, c)| c.device() == key.id()).map(|(leaf, _)| leaf);
    let builder = client.external_commit_builder().unwrap();
    let builder = if let Some(leaf) = leaf { builder.with_removal(leaf) } else { builder };
    let (rogue, commit) = builder.build(MlsMessage::from_bytes(&door).unwrap()).unwrap();
    (rogue, commit.to_bytes().unwrap())
}

fn says(policy: &Policy) -> Proposal {
    Proposal::GroupContextExtensions(extensions_with(&PolicyContext { policy: policy.clone(), authors: None }))
}

/// The same proposals with the record of authors that a commit of this account leads to.
fn on_record(group: &LiveGroup, author: &AccountKey, proposals: Vec<Proposal>) -> Vec<Proposal> {
    let context = context_of(&group.group.context().extensions).unwrap().unwrap();
    let authors = authors_after(&context, &author.id());
    let with_authors = |proposal| match proposal {
        Proposal::GroupContextExtensions(mut extensions) => {
            // What cannot be read stays as it is.
            let said = extensions.get(POLICY).and_then(|said| Policy::from_bytes(&said.extension_data).ok());
            if let Some(policy) = said {
                let context = PolicyContext { policy, authors: authors.clone() };
                extensions.set(Extension::new(POLICY, context.to_bytes()));
            }
            Proposal::GroupContextExtensions(extensions)
        }
        other => other,
    };
    proposals.into_iter().map(with_authors).collect()
}

fn removes(leaf: u32) -> Proposal {
    Proposal::Remove(mls_rs::group::proposal::RemoveProposal::removing(leaf).unwrap())
}

fn leaf_of(group: &LiveGroup, account: AccountId) -> u32 {
    members(&group.group.roster()).find(|(_, c)| c.account() == account).unwrap().0
}
