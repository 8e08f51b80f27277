//! Links into groups: the secret of one, and the form in which it is handed on.

use std::{fmt, str::FromStr};

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use crate::{
    InviteError, RendezvousAddr,
    account::{sign, verify},
    address::{from_link, to_link},
    random,
};

/// Length of a link's secret: 128 bits cannot be guessed, and the link fits a small QR code.
pub const JOIN_SECRET_LEN: usize = 16;
/// The first byte of a link into a group, where an invite has its version.
pub(crate) const VERSION: u8 = 2;

/// The secret of a link into a group. Who has it may come in by the link.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinSecret(Zeroizing<[u8; JOIN_SECRET_LEN]>);

impl JoinSecret {
    /// A new one from the system's random source.
    pub fn generate() -> Self {
        Self(Zeroizing::new(random()))
    }

    /// One that was stored; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// Its bytes, for storing it sealed.
    pub fn as_bytes(&self) -> &[u8; JOIN_SECRET_LEN] {
        &self.0
    }

    fn signing_key(&self) -> SigningKey {
        let seed = Zeroizing::new(blake3::derive_key("starling 2026 group link key v1", &self.0[..]));
        SigningKey::from_bytes(&seed)
    }

    /// The public key, which the group's policy has.
    pub fn public(&self) -> [u8; 32] {
        self.signing_key().verifying_key().to_bytes()
    }

    /// Signs `domain ‖ message` with the link's key.
    pub fn sign(&self, domain: &str, message: &[u8]) -> [u8; 64] {
        sign(&self.signing_key(), domain, message)
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(…)")
    }
}

/// Whether `signature` over `domain ‖ message` was made by whoever has the secret of the link with this public key.
pub fn verify_link(key: &[u8; 32], domain: &str, message: &[u8], signature: &[u8]) -> bool {
    verify(key, domain, message, signature)
}

/// A link into a group: its secret, and the rendezvous with the group's logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLink {
    /// The secret.
    pub secret: JoinSecret,
    /// Where the group's logs are.
    pub home: RendezvousAddr,
}

impl fmt::Display for GroupLink {
    /// The link, written as an invite is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend(self.secret.as_bytes());
        self.home.encode(&mut bytes);
        f.write_str(&to_link(bytes))
    }
}

impl FromStr for GroupLink {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let bytes = from_link(text)?;
        let (version, rest) = bytes.split_first().ok_or(InviteError::Damaged)?;
        match *version {
            VERSION => {}
            // It is an address or an invite.
            0 | 1 => return Err(InviteError::OfContact),
            _ => return Err(InviteError::Newer),
        }
        let (secret, mut rest) = rest.split_at_checked(JOIN_SECRET_LEN).ok_or(InviteError::Damaged)?;
        let secret = JoinSecret::from_bytes(secret).ok_or(InviteError::Damaged)?;
        let home = RendezvousAddr::decode(&mut rest).ok_or(InviteError::Newer)?;
        Ok(Self { secret, home })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccountKey, Address, Host, Invite, Transport};

    fn link() -> GroupLink {
        let home = RendezvousAddr {
            peer: *AccountKey::from_seed(&[2; 32]).id().as_bytes(),
            host: Host::Dns("rendezvous.example".into()),
            port: 4001,
            transport: Transport::Any,
        };
        GroupLink { secret: JoinSecret::generate(), home }
    }

    #[test]
    fn a_link_is_read_back_in_any_case_and_however_it_was_pasted() {
        let link = link();
        let text = link.to_string();
        assert!(text.len() <= 154, "its QR code is small: {} characters", text.len());
        for pasted in
            [text.clone(), text.to_lowercase(), format!("<{text}>"), format!("> {}\n> {}", &text[..40], &text[40..])]
        {
            assert_eq!(pasted.parse(), Ok(link.clone()), "{pasted:?}");
        }
        assert_eq!(text[..40].parse::<GroupLink>(), Err(InviteError::Damaged));
        assert_eq!(format!("{link:?}").matches("JoinSecret(…)").count(), 1, "its secret is not shown");
    }

    #[test]
    fn links_into_groups_and_invites_are_told_apart() {
        let link = link();
        let address = Address { account: AccountKey::from_seed(&[1; 32]).id(), homes: vec![link.home.clone()] };
        let invite = Invite { address, token: None };
        assert_eq!(invite.to_string().parse::<GroupLink>(), Err(InviteError::OfContact));
        assert_eq!(link.to_string().parse::<Invite>(), Err(InviteError::OfGroup));
    }

    #[test]
    fn what_a_link_has_signed_is_verified_with_its_public_key_alone() {
        let secret = JoinSecret::generate();
        let signature = secret.sign("domain", b"message");
        assert!(verify_link(&secret.public(), "domain", b"message", &signature));
        assert!(!verify_link(&secret.public(), "domain", b"another", &signature));
        assert!(!verify_link(&JoinSecret::generate().public(), "domain", b"message", &signature));
        assert_eq!(JoinSecret::from_bytes(secret.as_bytes()).map(|again| again.public()), Some(secret.public()));
        assert_eq!(JoinSecret::from_bytes(&[1; 15]), None);
    }
}
