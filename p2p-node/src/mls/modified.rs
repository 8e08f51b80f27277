//! Clients of modified programs: they take every leaf, and have no rules.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use mls_rs::{
    Client, ExtensionList, MlsMessage,
    crypto::{HpkeCiphertext, SignatureSecretKey},
    extension::{ExtensionType, MlsExtension, recommended::LastResortKeyPackageExt},
    group::{GroupContext, Roster, Sender, proposal::Proposal},
    identity::{SigningIdentity, basic::BasicCredential},
    mls_rules::{CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle, ProposalSource},
    time::MlsTime,
};
use mls_rs_core::identity::{CredentialType, MemberValidationContext};
use starling_keys::{AccountId, AccountKey, Certificate, DeviceId, DeviceKey};
use starling_wire::{CommitAuthors, PolicyContext};

use super::{
    Crypto, SUITE, adds, door,
    policy::{self, Denied},
    rules::{Certificates, NotAllowed, NotCertified, certificate},
};

/// A modified program: it takes every successor of a leaf and has no rules.
#[derive(Clone)]
struct Careless;

impl mls_rs::IdentityProvider for Careless {
    type Error = NotCertified;

    fn validate_member(
        &self,
        _: &SigningIdentity,
        _: Option<MlsTime>,
        _: MemberValidationContext<'_>,
    ) -> Result<(), NotCertified> {
        Ok(())
    }

    fn validate_external_sender(
        &self,
        _: &SigningIdentity,
        _: Option<MlsTime>,
        _: Option<&ExtensionList>,
    ) -> Result<(), NotCertified> {
        Ok(())
    }

    fn identity(&self, identity: &SigningIdentity, extensions: &ExtensionList) -> Result<Vec<u8>, NotCertified> {
        Certificates.identity(identity, extensions)
    }

    fn valid_successor(
        &self,
        _: &SigningIdentity,
        _: &SigningIdentity,
        _: &ExtensionList,
    ) -> Result<bool, NotCertified> {
        Ok(true)
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        Certificates.supported_types()
    }
}

/// It has no rules but what any commit makes of the record of authors: else nobody could follow it.
#[derive(Clone, Debug)]
struct Lawless;

impl mls_rs::MlsRules for Lawless {
    type Error = NotAllowed;

    fn filter_proposals(
        &self,
        _: CommitDirection,
        source: CommitSource,
        _: &Roster<'_>,
        context: &GroupContext,
        mut proposals: ProposalBundle,
    ) -> Result<ProposalBundle, NotAllowed> {
        let brings =
            proposals.clone().into_proposals().any(|p| matches!(p.proposal, Proposal::GroupContextExtensions(_)));
        let (author, sender) = match &source {
            CommitSource::ExistingMember(author) => (&author.signing_identity, Sender::Member(author.index)),
            CommitSource::NewMember(newcomer) => (newcomer, Sender::NewMemberCommit),
        };
        let before = policy::context_of(&context.extensions).ok().flatten();
        if let (Some(mut after), Some(author), false) = (before, certificate(author), brings) {
            after.authors = policy::authors_after(&after, &author.account());
            let extensions = Proposal::GroupContextExtensions(policy::extensions_with(&after));
            proposals.add(extensions, sender, ProposalSource::Local);
        }
        Ok(proposals)
    }

    fn commit_options(
        &self,
        _: &Roster<'_>,
        _: &GroupContext,
        _: &ProposalBundle,
    ) -> Result<CommitOptions, NotAllowed> {
        Ok(CommitOptions::new().with_path_required(!PATHLESS.get()))
    }

    fn encryption_options(&self, _: &Roster<'_>, _: &GroupContext) -> Result<EncryptionOptions, NotAllowed> {
        Ok(EncryptionOptions::default())
    }
}

/// What a client signs with as a device of an account.
pub fn signing(account: &AccountKey, key: &DeviceKey) -> (SignatureSecretKey, SigningIdentity) {
    let certificate = Certificate::issue(account, key.id(), 1);
    let credential = BasicCredential::new(certificate.as_bytes().to_vec()).into_credential();
    let secret = SignatureSecretKey::new([&key.seed()[..], key.id().as_bytes()].concat());
    (secret, SigningIdentity::new(credential, key.id().as_bytes().to_vec().into()))
}

/// A client of such a program, which does not follow external commits.
pub fn modified(account: &AccountKey, key: &DeviceKey) -> Client<impl mls_rs::client_builder::MlsConfig + use<>> {
    let (secret, identity) = signing(account, key);
    careless(secret, identity, &[])
}

/// The same, of a program that follows external commits.
pub fn with_doors(account: &AccountKey, key: &DeviceKey) -> Client<impl mls_rs::client_builder::MlsConfig + use<>> {
    let (secret, identity) = signing(account, key);
    without_rules(secret, identity)
}

/// The same, of a program that knows groups with a policy.
pub fn in_groups(account: &AccountKey, key: &DeviceKey) -> Client<impl mls_rs::client_builder::MlsConfig + use<>> {
    let (secret, identity) = signing(account, key);
    careless(secret, identity, &[door::DOORS, policy::POLICY])
}

/// The same, of one that knows commits which add devices.
pub fn with_adds(account: &AccountKey, key: &DeviceKey) -> Client<impl mls_rs::client_builder::MlsConfig + use<>> {
    let (secret, identity) = signing(account, key);
    careless(secret, identity, &[door::DOORS, policy::POLICY, policy::RULES, policy::RAISES, adds::ADDS])
}

/// The same, with any identity.
pub fn without_rules(
    secret: SignatureSecretKey,
    identity: SigningIdentity,
) -> Client<impl mls_rs::client_builder::MlsConfig + use<>> {
    careless(secret, identity, &[door::DOORS])
}

fn careless(
    secret: SignatureSecretKey,
    identity: SigningIdentity,
    extensions: &[ExtensionType],
) -> Client<impl mls_rs::client_builder::MlsConfig + use<>> {
    Client::builder()
        .crypto_provider(Crypto::default())
        .identity_provider(Careless)
        .mls_rules(Lawless)
        .extension_type(LastResortKeyPackageExt::extension_type())
        .extension_types(extensions.iter().copied())
        .custom_proposal_type(policy::REASONS)
        .signing_identity(identity, secret, SUITE)
        .build()
}

/// An external commit of a modified program, which may remove a leaf by it.
pub fn entering(client: &Client<impl mls_rs::client_builder::MlsConfig>, door: &[u8], remove: Option<u32>) -> Vec<u8> {
    let builder = client.external_commit_builder().unwrap();
    let builder = if let Some(leaf) = remove { builder.with_removal(leaf) } else { builder };
    builder.build(MlsMessage::from_bytes(door).unwrap()).unwrap().1.to_bytes().unwrap()
}

/// An external commit of the device with this key, whose leaf shows `certificate`.
pub fn entering_as(certificate: &[u8], key: &DeviceKey, door: &[u8], remove: Option<u32>) -> Vec<u8> {
    let secret = SignatureSecretKey::new([&key.seed()[..], key.id().as_bytes()].concat());
    let credential = BasicCredential::new(certificate.to_vec()).into_credential();
    let identity = SigningIdentity::new(credential, key.id().as_bytes().to_vec().into());
    entering(&without_rules(secret, identity), door, remove)
}

thread_local! {
    static DEFIES: Cell<bool> = const { Cell::new(false) };
    static PATHLESS: Cell<bool> = const { Cell::new(false) };
    static OLDER: RefCell<BTreeSet<DeviceId>> = const { RefCell::new(BTreeSet::new()) };
    static FORMER: Cell<bool> = const { Cell::new(false) };
    static SEALED: Cell<Option<HalfOpen>> = const { Cell::new(None) };
}

/// From its next start a device has the leaves of a program of before there were rules in policies, or has such leaves no more.
pub fn set_older(device: DeviceId, older: bool) {
    OLDER.with_borrow_mut(|devices| if older { devices.insert(device) } else { devices.remove(&device) });
}

/// What the leaves of a device list.
pub fn extensions_of(device: &DeviceId) -> &'static [ExtensionType] {
    let is_older = OLDER.with_borrow(|devices| devices.contains(device));
    if is_older { &[door::DOORS, policy::POLICY] } else { super::EXTENSIONS }
}

/// Makes groups as such a program does.
pub fn formerly<T>(work: impl FnOnce() -> T) -> T {
    FORMER.set(true);
    let made = work();
    FORMER.set(false);
    made
}

/// The policy that it gives to a new group.
pub fn former(policy: starling_wire::Policy) -> starling_wire::Policy {
    if FORMER.get() { starling_wire::Policy { rules: None, large: false, ..policy } } else { policy }
}

/// What was made of the secrets of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfOpen {
    /// So many can be opened …
    pub whole: u32,
    /// … and so many cannot.
    pub spoiled: u32,
}

/// Makes a commit of whose path secrets every second one can be opened by nobody: publicly it is as valid as any other.
pub fn half_open<T>(work: impl FnOnce() -> T) -> (T, HalfOpen) {
    SEALED.set(Some(HalfOpen::default()));
    let made = work();
    (made, SEALED.take().unwrap_or_default())
}

/// What such a program makes of a secret that it has sealed.
pub fn half_opened(mut sealed: HpkeCiphertext) -> HpkeCiphertext {
    let Some(mut so_far) = SEALED.get() else { return sealed };
    if so_far.spoiled < so_far.whole {
        if let Some(last) = sealed.ciphertext.last_mut() {
            *last ^= 1;
        }
        so_far.spoiled += 1;
    } else {
        so_far.whole += 1;
    }
    SEALED.set(Some(so_far));
    sealed
}

/// Makes commits as a program does that lets nobody go first.
pub fn defying<T>(work: impl FnOnce() -> T) -> T {
    DEFIES.set(true);
    let made = work();
    DEFIES.set(false);
    made
}

/// What such a program takes for the record of authors after a commit of its own.
pub fn defied(
    before: &PolicyContext,
    author: &AccountId,
    honest: Result<Option<CommitAuthors>, Denied>,
) -> Result<Option<CommitAuthors>, Denied> {
    if DEFIES.get() { Ok(policy::authors_after(before, author)) } else { honest }
}

/// Makes commits as a program without rules does that leaves out the path where the library lets it.
pub fn pathless<T>(work: impl FnOnce() -> T) -> T {
    PATHLESS.set(true);
    let made = work();
    PATHLESS.set(false);
    made
}
