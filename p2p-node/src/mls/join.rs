//! Coming in by a link: the commit that brings a device in also lets its account in, and uses the link once. What becomes of the policy is not sent:
//! every member comes to the same by the proof in the commit. So of two who use a link for the last time the one comes in whose commit counts.

use mls_rs::MlsMessage;
use starling_keys::{AccountId, Certificate, JoinSecret, verify_link};
use starling_wire::{JOIN_DOMAIN, JoinLink, JoinProof, Joiner, Policy, PolicyMember, Reasons, Role};

use super::{
    Expected, GroupError, GroupId, Mls, certificate,
    door::Entered,
    permissions::audited,
    policy::{Denied, Place, context_of},
};

/// The policy after a device has come in by a link whose account is not in the group.
///
/// # Errors
/// Why it may not.
pub(super) fn joined(
    policy: &Policy,
    newcomer: &Certificate,
    proof: &JoinProof,
    place: Place<'_>,
) -> Result<Policy, Denied> {
    let (account, device) = (newcomer.account(), newcomer.device());
    let joiner =
        Joiner { group: place.group, epoch: place.epoch, account: account.as_bytes(), device: device.as_bytes() };
    let mut after = policy.clone();
    let rules = after.rules.as_mut().ok_or(Denied::OldGroup)?;
    let link = rules.link(&proof.link).ok_or(Denied::Link)?.clone();
    // Whoever has made it has to be one who may invite still.
    let may_invite = policy.role(&link.by).is_some_and(|role| role <= policy.permissions().invite);
    // What its author says of the time is no clock: who lies about it does so in the audit log.
    let is_over = link.expires > 0 && proof.at >= link.expires;
    if link.approve || is_over || !may_invite {
        return Err(Denied::Link);
    }
    let statement = JoinProof::statement(joiner, &proof.link, proof.at);
    if !verify_link(&link.key, JOIN_DOMAIN, &statement, &proof.signature) {
        return Err(Denied::Reason);
    }
    if policy.bans(account.as_bytes()) {
        return Err(Denied::Banned);
    }
    if policy.members.len() >= policy.most_accounts() {
        return Err(Denied::Full);
    }
    rules.use_link(&proof.link);
    let since = place.epoch.checked_add(1).ok_or(Denied::Malformed)?;
    after.add(PolicyMember { account: *account.as_bytes(), role: Role::Member, by: link.by, since });
    let after = audited(policy, &after, account, &Reasons::default(), (place, proof.at));
    // It is not sent, so nobody reads it before it counts: one that is too large could never be read again.
    if after.is_in_order() { Ok(after) } else { Err(Denied::Full) }
}

/// The proof of a device that comes in by a link.
fn proof_of(secret: &JoinSecret, newcomer: &Certificate, place: Place<'_>, at: u64) -> JoinProof {
    let (account, device) = (newcomer.account(), newcomer.device());
    let joiner =
        Joiner { group: place.group, epoch: place.epoch, account: account.as_bytes(), device: device.as_bytes() };
    let link = JoinLink::id_of(&secret.public());
    let signature = secret.sign(JOIN_DOMAIN, &JoinProof::statement(joiner, &link, at));
    JoinProof { link, at, signature }
}

/// Where a group is entered by a link.
pub struct ByLink<'a> {
    /// The conversation.
    pub conversation: [u8; 16],
    /// The secret of the link.
    pub secret: &'a JoinSecret,
}

impl Mls {
    /// As [`Mls::enter`], by a link, with an account that is not in the group's policy.
    ///
    /// # Errors
    /// As of that; [`GroupError::Link`] if the link does not lead in (any more); [`GroupError::AlreadyIn`] if the account is in: its devices come by the
    /// group's door, which who comes by a link does not know.
    pub fn enter_by_link(
        &self,
        info: &[u8],
        (id, epoch): (&GroupId, u64),
        by: &ByLink<'_>,
        note: Vec<u8>,
        now_ms: u64,
    ) -> Result<Entered, GroupError> {
        let message = MlsMessage::from_bytes(info)?;
        let extensions = message.as_group_info().map(|info| &info.group_context().extensions);
        let policy = extensions.and_then(|extensions| context_of(extensions).ok()?).map(|context| context.policy);
        let (own, _) = self.client.signing_identity()?;
        let own = certificate(own).ok_or(GroupError::Certificate)?;
        let expected = Expected::Group(by.conversation);
        let Some(policy) = policy else { return self.enter(info, (id, epoch), expected, note, now_ms) };
        if policy.role(own.account().as_bytes()).is_some() {
            return Err(GroupError::AlreadyIn);
        }
        let place = Place { group: id, epoch };
        let proof = proof_of(by.secret, &own, place, now_ms);
        joined(&policy, &own, &proof, place).map_err(GroupError::Link)?;
        let reasons = Reasons { join: Some(proof), ..Reasons::default() };
        self.enter_with(info, (id, epoch), expected, (note, Some(reasons)), now_ms)
    }
}

/// Whether the commit that led from one policy to another was one by which its author's account has come in by a link.
pub fn came_by_link(before: &Policy, after: &Policy, author: &AccountId) -> bool {
    before.role(author.as_bytes()).is_none() && after.role(author.as_bytes()).is_some()
}
