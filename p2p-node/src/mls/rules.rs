//! Who may be in a group and what a commit may do, as every member enforces it.

use mls_rs::{
    ExtensionList,
    client_builder::PaddingMode,
    error::IntoAnyError,
    group::{
        GroupContext, Roster, Sender,
        proposal::{CustomProposal, Proposal},
    },
    identity::SigningIdentity,
    mls_rules::{CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle, ProposalSource},
    time::MlsTime,
};
use mls_rs_core::identity::{CredentialType, MemberValidationContext};
use starling_keys::{AccountId, Certificate};
use starling_wire::PolicyContext;

use super::{
    commits, door,
    policy::{self, Denied},
    verified::verified,
};

/// A member's certificate was refused.
#[derive(Debug, thiserror::Error)]
#[error("not a certified device")]
pub struct NotCertified;

impl IntoAnyError for NotCertified {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

/// A commit does what it may not do.
#[derive(Debug, thiserror::Error)]
#[error("a commit changes who is in the conversation")]
pub struct NotAllowed;

impl IntoAnyError for NotAllowed {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

/// Members are devices; their credential is the account's certificate.
#[derive(Clone, Debug)]
pub struct Certificates;

pub(super) fn certificate(identity: &SigningIdentity) -> Option<Certificate> {
    let basic = identity.credential.as_basic()?;
    let certificate = verified(&basic.identifier)?;
    (certificate.device().as_bytes()[..] == *identity.signature_key.as_bytes()).then_some(certificate)
}

impl mls_rs::IdentityProvider for Certificates {
    type Error = NotCertified;

    fn validate_member(
        &self,
        identity: &SigningIdentity,
        _: Option<MlsTime>,
        _: MemberValidationContext<'_>,
    ) -> Result<(), NotCertified> {
        certificate(identity).map(|_| ()).ok_or(NotCertified)
    }

    fn validate_external_sender(
        &self,
        _: &SigningIdentity,
        _: Option<MlsTime>,
        _: Option<&ExtensionList>,
    ) -> Result<(), NotCertified> {
        Err(NotCertified)
    }

    fn identity(&self, identity: &SigningIdentity, _: &ExtensionList) -> Result<Vec<u8>, NotCertified> {
        Ok(identity.signature_key.as_bytes().to_vec())
    }

    fn valid_successor(
        &self,
        predecessor: &SigningIdentity,
        successor: &SigningIdentity,
        _: &ExtensionList,
    ) -> Result<bool, NotCertified> {
        // A leaf stays its account's: with the same device key alone, a member could write in another account's name.
        let (Some(before), Some(after)) = (certificate(predecessor), certificate(successor)) else {
            return Ok(false);
        };
        Ok((before.account(), before.device()) == (after.account(), after.device()))
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        vec![CredentialType::BASIC]
    }
}

/// What a commit to a group with a policy may have; with what follows from it for all.
fn check_with_policy(
    before: &PolicyContext,
    source: &CommitSource,
    roster: &Roster<'_>,
    context: &GroupContext,
    mut proposals: ProposalBundle,
) -> Result<ProposalBundle, Denied> {
    let policy = &before.policy;
    let (allowed, sender) = match source {
        CommitSource::ExistingMember(author) => {
            (commits::check_commit(policy, context, roster, author, &proposals)?, Sender::Member(author.index))
        }
        CommitSource::NewMember(newcomer) => {
            (commits::check_entry(policy, context, roster, newcomer, &proposals)?, Sender::NewMemberCommit)
        }
    };
    let authors = commits::check_pace(before, roster, &allowed.author, allowed.kind);
    #[cfg(test)]
    let authors = super::modified::defied(before, &allowed.author, authors);
    match (allowed.brings, authors?) {
        // A commit that brings a context of its own has the record in it.
        (Some(after), authors) if after.authors != authors => return Err(Denied::Malformed),
        (Some(_), _) | (None, None) => {}
        // Of the others it is not sent: everybody comes to the same.
        (None, authors) => {
            let policy = allowed.joins.unwrap_or_else(|| policy.clone());
            let after = PolicyContext { policy, authors };
            let extensions = Proposal::GroupContextExtensions(policy::extensions_with(&after));
            proposals.add(extensions, sender, ProposalSource::Local);
            // For the library a commit with that one alone needs no path. One with reasons does.
            if let Sender::Member(_) = sender {
                let reasons = Proposal::Custom(CustomProposal::new(policy::REASONS, Vec::new()));
                proposals.add(reasons, sender, ProposalSource::Local);
            }
        }
    }
    Ok(proposals)
}

/// A group has a policy in its context; a direct conversation has none, and the devices of two accounts. Every member enforces it.
#[derive(Clone, Debug)]
pub struct Rules;

impl mls_rs::MlsRules for Rules {
    type Error = NotAllowed;

    fn filter_proposals(
        &self,
        direction: CommitDirection,
        source: CommitSource,
        roster: &Roster<'_>,
        context: &GroupContext,
        proposals: ProposalBundle,
    ) -> Result<ProposalBundle, NotAllowed> {
        let refused = |error| {
            tracing::debug!(%error, "a commit that the policy does not allow");
            NotAllowed
        };
        if let Some(before) = policy::context_of(&context.extensions).map_err(refused)? {
            return check_with_policy(&before, &source, roster, context, proposals).map_err(refused);
        }
        if let CommitSource::NewMember(newcomer) = &source {
            let may_enter = door::may_enter(newcomer, roster, &proposals);
            return if may_enter { Ok(proposals) } else { Err(NotAllowed) };
        }
        // Members are added when a group is made, and only then: a commit on the way renews keys and nothing else.
        if direction == CommitDirection::Receive && proposals.clone().into_proposals().next().is_some() {
            return Err(NotAllowed);
        }
        let mut accounts: Vec<AccountId> =
            roster.members_iter().filter_map(|m| certificate(&m.signing_identity)).map(|c| c.account()).collect();
        for proposal in proposals.clone().into_proposals() {
            match proposal.proposal {
                Proposal::Add(add) => {
                    let added = certificate(add.signing_identity()).ok_or(NotAllowed)?;
                    accounts.push(added.account());
                }
                Proposal::Update(_) => {}
                _ => return Err(NotAllowed),
            }
        }
        accounts.sort();
        accounts.dedup();
        if accounts.len() > 2 {
            return Err(NotAllowed);
        }
        Ok(proposals)
    }

    fn commit_options(
        &self,
        _: &Roster<'_>,
        context: &GroupContext,
        _: &ProposalBundle,
    ) -> Result<CommitOptions, NotAllowed> {
        let options = CommitOptions::new().with_path_required(true);
        Ok(match context.extensions.has_extension(policy::POLICY) {
            // Many may be added at once: each is told what is for it, and finds the tree in the door.
            true => options.with_ratchet_tree_extension(false).with_single_welcome_message(false),
            false => options,
        })
    }

    fn encryption_options(&self, _: &Roster<'_>, _: &GroupContext) -> Result<EncryptionOptions, NotAllowed> {
        // Commits stand in logs, sealed: whoever has a log's key can check them without the group's secrets. Sizes are padded where they are stored.
        Ok(EncryptionOptions::new(false, PaddingMode::None))
    }
}
