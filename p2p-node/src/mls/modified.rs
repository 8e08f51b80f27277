//! Clients of modified programs: they take every leaf, and have no rules.
#![allow(clippy::unwrap_used, reason = "tests")]

use mls_rs::{
    Client, ExtensionList, MlsMessage,
    crypto::SignatureSecretKey,
    extension::{ExtensionType, MlsExtension, recommended::LastResortKeyPackageExt},
    identity::{SigningIdentity, basic::BasicCredential},
    time::MlsTime,
};
use mls_rs_core::identity::{CredentialType, MemberValidationContext};
use starling_keys::{AccountKey, Certificate, DeviceKey};

use super::{
    Crypto, SUITE, door, policy,
    rules::{Certificates, NotCertified},
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
