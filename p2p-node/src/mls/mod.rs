//! MLS (RFC 9420) by `mls-rs`: our client, and what the engine needs of a group. Nothing here touches the disk: a group's state is a value that
//! the engine writes in its own transaction.

mod adds;
mod change;
mod commits;
pub mod community;
mod door;
mod join;
#[cfg(test)]
pub mod modified;
mod pace;
mod permissions;
pub mod policy;
mod read;
mod rules;
mod seal;
#[cfg(test)]
mod seeded;
mod storage;
mod tree;
mod verified;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mls_rs::{
    CipherSuite, Client, CryptoProvider, ExtensionList, Group, MlsMessage, WireFormat,
    client_builder::{
        BaseConfig, WithCryptoProvider, WithGroupStateStorage, WithIdentityProvider, WithKeyPackageRepo, WithMlsRules,
    },
    crypto::SignatureSecretKey,
    error::MlsError,
    extension::{ExtensionType, MlsExtension, recommended::LastResortKeyPackageExt},
    group::{CommitEffect, ReceivedMessage},
    identity::{SigningIdentity, basic::BasicCredential},
    time::MlsTime,
};
use starling_keys::{Certificate, DeviceId, DeviceKey};
use starling_wire::Policy;
use zeroize::Zeroizing;

pub use adds::{Welcomed, device_added_by};
pub use change::{Expected, claimed_policy};
pub use door::AFTER_MEMBERS;
pub use join::{ByLink, came_by_link};
pub use permissions::audit_of;
pub use read::Processed;
use rules::{Certificates, Rules, certificate};
pub use seal::{derived_seal_keys, seal_keys};
pub use storage::{GroupValue, KeyPackageChange, KeyPackages, States};

#[cfg(not(test))]
type Crypto = mls_rs_crypto_awslc::AwsLcCryptoProvider;
#[cfg(test)]
type Crypto = seeded::Seeded;

/// What the leaves of this program list beside what the library needs.
const EXTENSIONS: &[ExtensionType] = &[door::DOORS, policy::POLICY, policy::RULES, policy::RAISES, adds::ADDS];

/// A group's id.
pub type GroupId = [u8; 16];

/// Hybrid post-quantum (X-Wing): nothing more per message, some KB per commit.
const SUITE: CipherSuite = CipherSuite::ML_KEM_768_X25519;
/// Late messages of so many epochs still decrypt.
pub const PAST_EPOCHS: usize = 4;
/// Key packages are valid from so long before they were made: whoever uses one may have a clock that is behind.
const CLOCK_MARGIN: Duration = Duration::from_secs(2 * 86_400);

/// Why an MLS operation failed. The details are the library's; none of them is secret.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The library refused.
    #[error("MLS: {0}")]
    Mls(#[from] MlsError),
    /// Bytes that are no MLS message, or not of the kind expected.
    #[error("not an MLS message of this kind")]
    Malformed,
    /// A group whose rules are not known here.
    #[error("a group of a newer version")]
    Newer,
    /// A link does not lead in.
    #[error("a link into a group: {0}")]
    Link(policy::Denied),
    /// The account is in the group that a link leads into: its devices come by the group's door.
    #[error("a link into a group that the account is in")]
    AlreadyIn,
    /// A member is not a device that its account has certified.
    #[error("a member's certificate is wrong")]
    Certificate,
}

type Config = WithIdentityProvider<
    Certificates,
    WithKeyPackageRepo<
        KeyPackages,
        WithGroupStateStorage<States, WithMlsRules<Rules, WithCryptoProvider<Crypto, BaseConfig>>>,
    >,
>;

/// What a commit is to a group.
pub enum Judged {
    /// Valid: the group in its next epoch.
    Valid(Box<LiveGroup>, Box<Authored>),
    /// Valid, and this device is not in the group any more.
    Removed(Box<Removal>),
    /// Nothing that counts, for any member.
    Void,
    /// It may be valid for others, and its secrets cannot be derived here.
    Underivable,
}

/// What is known of a valid commit that removes this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The policy of the next epoch.
    pub policy: Policy,
    /// The commit's place among rivals.
    pub place: u32,
    /// Who has made it; none if this device has, as it has entered again.
    pub author: Option<Certificate>,
}

/// What is known of a valid commit besides what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authored {
    /// Its place among rivals: the leaf of its author, or [`AFTER_MEMBERS`].
    pub place: u32,
    /// Who has made it.
    pub author: Option<Certificate>,
    /// Who has come into the group by it.
    pub newcomer: Option<Certificate>,
    /// What its author says with it, authenticated.
    pub note: Vec<u8>,
}

/// An MLS client: this device.
#[derive(Clone)]
pub struct Mls {
    client: Client<Config>,
    states: States,
    packages: KeyPackages,
    provider: Arc<<Crypto as CryptoProvider>::CipherSuiteProvider>,
    is_current: bool,
}

/// A group's live state.
#[derive(Clone)]
pub struct LiveGroup {
    group: read::Kept,
    states: States,
    /// Who has written, by leaf: a certificate's signature is verified once, not with each message.
    senders: BTreeMap<u32, Certificate>,
}

impl std::fmt::Debug for LiveGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LiveGroup(epoch {})", self.epoch())
    }
}

impl Mls {
    /// The client of a certified device.
    pub fn new(certificate: &Certificate, key: &DeviceKey, packages: KeyPackages) -> Result<Self, GroupError> {
        Self::with_storage(certificate, key, packages, States::default())
    }

    fn with_storage(
        certificate: &Certificate,
        key: &DeviceKey,
        packages: KeyPackages,
        states: States,
    ) -> Result<Self, GroupError> {
        let crypto = Crypto::default();
        let provider = crypto.cipher_suite_provider(SUITE).ok_or(GroupError::Malformed)?;
        let id = key.id();
        let secret = Zeroizing::new([&key.seed()[..], id.as_bytes()].concat());
        let credential = BasicCredential::new(certificate.as_bytes().to_vec()).into_credential();
        let identity = SigningIdentity::new(credential, id.as_bytes().to_vec().into());
        #[cfg(not(test))]
        let extensions = EXTENSIONS;
        #[cfg(test)]
        let extensions = modified::extensions_of(&id);
        let client = Client::builder()
            .crypto_provider(crypto)
            .mls_rules(Rules)
            .group_state_storage(states.clone())
            .key_package_repo(packages.clone())
            .identity_provider(Certificates)
            .extension_type(LastResortKeyPackageExt::extension_type())
            .extension_types(extensions.iter().copied())
            .custom_proposal_type(policy::REASONS)
            .signing_identity(identity, SignatureSecretKey::new(secret.to_vec()), SUITE)
            .build();
        let is_current = extensions == EXTENSIONS;
        Ok(Self { client, states, packages, provider: Arc::new(provider), is_current })
    }

    /// The same client, certified otherwise: groups and key packages that are there keep what they have.
    pub fn certified(&self, certificate: &Certificate, key: &DeviceKey) -> Result<Self, GroupError> {
        Self::with_storage(certificate, key, self.packages.clone(), self.states.clone())
    }

    /// Whether what it makes lists all that this program follows: a leaf of it that does not was made by a program of before.
    pub fn is_current(&self) -> bool {
        self.is_current
    }

    /// Our key packages and what has changed of them.
    pub fn packages(&self) -> &KeyPackages {
        &self.packages
    }

    /// A new key package, made at this time (milliseconds since 1970).
    pub fn key_package(&self, last_resort: bool, now_ms: u64) -> Result<Vec<u8>, GroupError> {
        let mut extensions = ExtensionList::new();
        if last_resort {
            extensions.set_from(LastResortKeyPackageExt).map_err(|_| GroupError::Malformed)?;
        }
        let from = time(now_ms) - CLOCK_MARGIN;
        let package = self.client.generate_key_package_message(extensions, ExtensionList::new(), Some(from))?;
        Ok(package.to_bytes()?)
    }

    /// Makes a group with the devices of these key packages, at this time (milliseconds since 1970); gives the welcome for all of them.
    pub fn create(
        &self,
        id: &[u8],
        packages: &[bytes::Bytes],
        now_ms: u64,
    ) -> Result<(LiveGroup, Vec<u8>), GroupError> {
        let mut group = self.client.create_group_with_id(
            id.to_vec(),
            ExtensionList::new(),
            ExtensionList::new(),
            Some(time(now_ms)),
        )?;
        let mut commit = group.commit_builder().commit_time(time(now_ms));
        for package in packages {
            commit = commit.add_member(MlsMessage::from_bytes(package)?)?;
        }
        let commit = commit.build()?;
        group.apply_pending_commit()?;
        let welcome = commit.welcome_messages.first().ok_or(GroupError::Malformed)?.to_bytes()?;
        Ok((self.live(group), welcome))
    }

    /// The device that a key package is for.
    pub fn device_of(package: &[u8]) -> Option<DeviceId> {
        let message = MlsMessage::from_bytes(package).ok()?;
        let package = message.as_key_package()?;
        certificate(package.signing_identity()).map(|c| c.device())
    }

    /// Joins a group.
    ///
    /// No time is given to mls-rs, which then looks at no clock: a welcome may be read long after the key packages in its group have ended.
    pub fn join(&self, welcome: &[u8]) -> Result<LiveGroup, GroupError> {
        let welcome = MlsMessage::from_bytes(welcome)?;
        let (group, _) = self.client.join_group(None, &welcome, None)?;
        Ok(self.live(group))
    }

    /// A group from its stored value.
    pub fn load(&self, id: &[u8], value: GroupValue) -> Result<LiveGroup, GroupError> {
        self.states.put(id, value);
        let group = self.client.load_group(id)?;
        Ok(self.live(group))
    }

    /// Makes a value what the library thinks is stored for a group, as [`LiveGroup::reset_value`] does.
    pub fn keep(&self, id: &[u8], value: GroupValue) {
        self.states.put(id, value);
    }

    /// Forgets a group that was given up.
    pub fn forget(&self, id: &[u8]) {
        self.states.forget(id);
    }

    fn live(&self, group: Group<Config>) -> LiveGroup {
        LiveGroup { group: group.into(), states: self.states.clone(), senders: BTreeMap::new() }
    }
}

impl LiveGroup {
    /// The group's id.
    pub fn id(&self) -> &[u8] {
        self.group.group_id()
    }

    /// The current epoch.
    pub fn epoch(&self) -> u64 {
        self.group.current_epoch()
    }

    /// Our leaf in the ratchet tree. It stays the same for as long as we are a member.
    pub fn leaf(&self) -> u32 {
        self.group.current_member_index()
    }

    /// The devices in the group.
    pub fn members(&self) -> Vec<Certificate> {
        self.group.roster().members_iter().filter_map(|m| certificate(&m.signing_identity)).collect()
    }

    /// The device at a leaf.
    pub fn member_at(&self, leaf: u32) -> Option<Certificate> {
        self.group.member_at_index(leaf).and_then(|m| certificate(&m.signing_identity))
    }

    /// A 32-byte secret of the current epoch.
    pub fn export(&self, label: &str) -> Result<Zeroizing<[u8; 32]>, GroupError> {
        let secret = self.group.export_secret(label.as_bytes(), b"", 32)?;
        let bytes = secret.as_bytes().try_into().map_err(|_| GroupError::Malformed)?;
        Ok(Zeroizing::new(bytes))
    }

    /// Encrypts an application message.
    pub fn encrypt(&mut self, plain: &[u8]) -> Result<Vec<u8>, GroupError> {
        Ok(self.group.change().encrypt_application_message(plain, Vec::new())?.to_bytes()?)
    }

    /// Passes over the keys of the next messages of ours: they may have been used.
    pub fn pass_over(&mut self, messages: u32) -> Result<(), GroupError> {
        (0..messages).try_for_each(|_| self.encrypt(&[]).map(drop))
    }

    /// Judges a commit by the state of this group alone, which stays as it is.
    pub fn judge(&self, bytes: &[u8]) -> Judged {
        let Ok(message) = MlsMessage::from_bytes(bytes) else { return Judged::Void };
        if message.group_id() != Some(self.group.group_id()) || message.epoch() != Some(self.epoch()) {
            return Judged::Void;
        }
        // Of a private message nobody can say that it is a member's before it is decrypted.
        let is_public = message.wire_format() == WireFormat::PublicMessage;
        let mut next = self.clone();
        match next.group.change().process_incoming_message(message) {
            Ok(ReceivedMessage::Commit(commit))
                if matches!(commit.effect, CommitEffect::NewEpoch(_))
                    && (next.follows_newcomers(commit.committer)
                        || !commit.is_external && !self.follows_newcomers(commit.committer)) =>
            {
                next.senders.clear();
                let author =
                    if commit.is_external { next.sender(commit.committer) } else { self.member_at(commit.committer) };
                let newcomer = author.clone().filter(|_| commit.is_external);
                let place = match &newcomer {
                    Some(newcomer) => self.place_of_entry(newcomer),
                    None => self.place_of(&next, commit.committer),
                };
                let by = Authored { place, author, newcomer, note: commit.authenticated_data };
                Judged::Valid(Box::new(next), Box::new(by))
            }
            Ok(ReceivedMessage::Commit(commit)) => change::removal(&commit.effect).map_or(Judged::Void, |policy| {
                let author = self.member_at(commit.committer).filter(|_| !commit.is_external);
                let place = self.place_of_change(&policy, commit.committer).filter(|_| !commit.is_external);
                Judged::Removed(Box::new(Removal { policy, place: place.unwrap_or(policy::REENTRY), author }))
            }),
            Ok(_) => Judged::Void,
            // What comes after all that is the same for every member: the path's secrets, and what follows from them. Also a commit of this device
            // that it does not have any more.
            Err(
                error @ (MlsError::CryptoProviderError(_)
                | MlsError::PubKeyMismatch
                | MlsError::UpdateErrorNoSecretKey
                | MlsError::LcaNotFoundInDirectPath
                | MlsError::InvalidConfirmationTag
                | MlsError::CantProcessMessageFromSelf),
            ) if is_public => {
                tracing::warn!(%error, "a commit cannot be followed");
                Judged::Underivable
            }
            Err(error) => {
                tracing::debug!(%error, "a commit is void");
                Judged::Void
            }
        }
    }

    /// A commit at this time (milliseconds since 1970) that renews our keys and says `note` to the members: the commit's bytes, and the group as it will
    /// be. This group stays as it is.
    pub fn prepare_update(&self, now_ms: u64, note: Vec<u8>) -> Result<(Vec<u8>, LiveGroup), GroupError> {
        let mut after = self.clone();
        let commit =
            after.group.change().commit_builder().commit_time(time(now_ms)).authenticated_data(note).build()?;
        let bytes = commit.commit_message.to_bytes()?;
        after.group.change().apply_pending_commit()?;
        after.senders.clear();
        Ok((bytes, after))
    }

    /// A commit that adds the device of a key package, as a modified program makes it.
    #[cfg(test)]
    pub fn commit_adding(&self, package: &[u8], now_ms: u64) -> Result<Vec<u8>, GroupError> {
        let commit = self
            .clone()
            .group
            .change()
            .commit_builder()
            .commit_time(time(now_ms))
            .add_member(MlsMessage::from_bytes(package)?)?
            .build()?;
        Ok(commit.commit_message.to_bytes()?)
    }

    /// Makes a value what the library thinks is stored for this group: a group that is prepared beside it writes to the same place.
    pub fn reset_value(&self, value: GroupValue) {
        self.states.put(self.group.group_id(), value);
    }

    /// The group's whole state as a value.
    pub fn value(&mut self) -> Result<GroupValue, GroupError> {
        self.group.change().write_to_storage()?;
        self.states.get(self.group.group_id()).ok_or(GroupError::Malformed)
    }
}

fn time(ms: u64) -> MlsTime {
    Duration::from_millis(ms).into()
}

#[cfg(test)]
#[path = "mls_tests.rs"]
mod tests;
