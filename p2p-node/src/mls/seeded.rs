//! The cryptography of simulations: where a thread's random numbers follow from a seed, so does all that a group makes.
//!
//! A library that draws an encapsulation's random numbers itself cannot be given any. So a seeded thread seals to the X25519 half of a hybrid key alone,
//! with the same lengths. Other threads seal as programs do, and what was sealed so is opened everywhere.
#![allow(clippy::unwrap_used, reason = "tests")]

use mls_rs::{
    CipherSuite, CipherSuiteProvider, CryptoProvider,
    crypto::{HpkeCiphertext, HpkePublicKey, HpkeSecretKey, SignaturePublicKey, SignatureSecretKey},
};
use mls_rs_core::crypto::HpkePsk;
use mls_rs_crypto_awslc::{AwsLcAead, AwsLcCipherSuite, AwsLcCryptoError, AwsLcCryptoProvider, AwsLcHkdf, Ecdh};
use mls_rs_crypto_hpke::{dhkem::DhKem, hpke::Hpke};
use mls_rs_crypto_traits::{DhType, SamplingMethod};
use zeroize::Zeroizing;

use super::modified::half_opened;

/// The suite whose HPKE is half of ours.
const CLASSICAL: CipherSuite = CipherSuite::CURVE25519_AES128;
/// Lengths of a hybrid public key and of an encapsulation (X-Wing), and of the X25519 half that each ends with.
const PUBLIC_LEN: usize = 1216;
const ENC_LEN: usize = 1120;
const HALF_LEN: usize = 32;

type Error = AwsLcCryptoError;

/// X25519 with ephemeral keys from the thread's seed.
#[derive(Clone)]
struct SeededDh(Ecdh);

impl DhType for SeededDh {
    type Error = Error;

    fn dh(&self, secret: &HpkeSecretKey, public: &HpkePublicKey) -> Result<Vec<u8>, Error> {
        self.0.dh(secret, public)
    }

    fn generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey), Error> {
        let secret = HpkeSecretKey::from(starling_keys::random::<[u8; HALF_LEN]>().to_vec());
        let public = self.0.to_public(&secret)?;
        Ok((secret, public))
    }

    fn to_public(&self, secret: &HpkeSecretKey) -> Result<HpkePublicKey, Error> {
        self.0.to_public(secret)
    }

    fn bitmask_for_rejection_sampling(&self) -> SamplingMethod {
        self.0.bitmask_for_rejection_sampling()
    }

    fn secret_key_size(&self) -> usize {
        self.0.secret_key_size()
    }

    fn public_key_size(&self) -> usize {
        self.0.public_key_size()
    }

    fn public_key_validate(&self, key: &HpkePublicKey) -> Result<(), Error> {
        self.0.public_key_validate(key)
    }
}

/// The provider of [`Suite`].
#[derive(Clone, Debug, Default)]
pub struct Seeded(AwsLcCryptoProvider);

impl CryptoProvider for Seeded {
    type CipherSuiteProvider = Suite;

    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        self.0.supported_cipher_suites()
    }

    fn cipher_suite_provider(&self, suite: CipherSuite) -> Option<Suite> {
        let kdf = AwsLcHkdf::new(CLASSICAL)?;
        // DHKEM(X25519, HKDF-SHA256) of RFC 9180.
        let kem = DhKem::new(SeededDh(Ecdh::new(CLASSICAL)?), kdf, 0x20, 32);
        let half = Hpke::new(kem, kdf, AwsLcAead::new(CLASSICAL));
        Some(Suite { whole: self.0.cipher_suite_provider(suite)?, half })
    }
}

/// The cipher suite of programs, of which a seed decides what it draws.
#[derive(Clone)]
pub struct Suite {
    whole: AwsLcCipherSuite,
    half: Hpke<DhKem<SeededDh, AwsLcHkdf>, AwsLcHkdf, AwsLcAead>,
}

/// The X25519 half of a key.
fn half<K: From<Vec<u8>>>(key: &[u8]) -> K {
    key[key.len() - HALF_LEN..].to_vec().into()
}

/// The half of a public key that a seeded thread seals to.
fn sealed_to(key: &HpkePublicKey) -> Option<HpkePublicKey> {
    (starling_keys::is_seeded() && key.len() == PUBLIC_LEN).then(|| half(key))
}

/// As long as an encapsulation of the whole suite, and as random where it begins.
fn padded(mut enc: Vec<u8>) -> Vec<u8> {
    enc.resize(ENC_LEN, 0);
    enc
}

/// The encapsulation that a seeded thread has made, if this is one, and the key's halves.
fn opened<'a>(
    enc: &'a [u8],
    secret: &HpkeSecretKey,
    public: &HpkePublicKey,
) -> Option<(&'a [u8], HpkeSecretKey, HpkePublicKey)> {
    let (enc, padding) = enc.split_at_checked(HALF_LEN)?;
    let is_half = padding.len() == ENC_LEN - HALF_LEN
        && padding.iter().all(|byte| *byte == 0)
        && secret.len() > HALF_LEN
        && public.len() == PUBLIC_LEN;
    is_half.then(|| (enc, half(secret), half(public)))
}

impl CipherSuiteProvider for Suite {
    type Error = Error;
    type HpkeContextS = <AwsLcCipherSuite as CipherSuiteProvider>::HpkeContextS;
    type HpkeContextR = <AwsLcCipherSuite as CipherSuiteProvider>::HpkeContextR;

    fn random_bytes(&self, out: &mut [u8]) -> Result<(), Error> {
        out.fill_with(starling_keys::random);
        Ok(())
    }

    fn kem_generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey), Error> {
        self.whole.kem_derive(&starling_keys::random::<[u8; 32]>())
    }

    fn hpke_seal(
        &self,
        key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        plain: &[u8],
    ) -> Result<HpkeCiphertext, Error> {
        let Some(half) = sealed_to(key) else {
            return self.whole.hpke_seal(key, info, aad, plain).map(half_opened);
        };
        let sealed = self.half.seal(&half, info, None, aad, plain)?;
        Ok(half_opened(HpkeCiphertext { kem_output: padded(sealed.kem_output), ..sealed }))
    }

    fn hpke_open(
        &self,
        sealed: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Some((enc, secret, public)) = opened(&sealed.kem_output, secret, public) else {
            return self.whole.hpke_open(sealed, secret, public, info, aad);
        };
        let sealed = HpkeCiphertext { kem_output: enc.to_vec(), ciphertext: sealed.ciphertext.clone() };
        Ok(self.half.open(&sealed, &secret, &public, info, None, aad)?)
    }

    fn hpke_setup_s(&self, key: &HpkePublicKey, info: &[u8]) -> Result<(Vec<u8>, Self::HpkeContextS), Error> {
        let Some(half) = sealed_to(key) else { return self.whole.hpke_setup_s(key, info) };
        let (enc, context) = self.half.setup_sender(&half, info, None)?;
        Ok((padded(enc), context))
    }

    fn hpke_setup_r(
        &self,
        enc: &[u8],
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
    ) -> Result<Self::HpkeContextR, Error> {
        let Some((enc, secret, public)) = opened(enc, secret, public) else {
            return self.whole.hpke_setup_r(enc, secret, public, info);
        };
        Ok(self.half.setup_receiver(enc, &secret, &public, info, None)?)
    }

    // All else draws nothing, or is not used.

    fn cipher_suite(&self) -> CipherSuite {
        self.whole.cipher_suite()
    }

    fn hash(&self, data: &[u8]) -> Result<Vec<u8>, Error> {
        self.whole.hash(data)
    }

    fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, Error> {
        self.whole.mac(key, data)
    }

    fn aead_seal(&self, key: &[u8], data: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Result<Vec<u8>, Error> {
        self.whole.aead_seal(key, data, aad, nonce)
    }

    fn aead_open(
        &self,
        key: &[u8],
        sealed: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.whole.aead_open(key, sealed, aad, nonce)
    }

    fn aead_key_size(&self) -> usize {
        self.whole.aead_key_size()
    }

    fn aead_nonce_size(&self) -> usize {
        self.whole.aead_nonce_size()
    }

    fn kdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.whole.kdf_extract(salt, ikm)
    }

    fn kdf_expand(&self, prk: &[u8], info: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.whole.kdf_expand(prk, info, len)
    }

    fn kdf_extract_size(&self) -> usize {
        self.whole.kdf_extract_size()
    }

    fn hpke_seal_psk(
        &self,
        key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        plain: &[u8],
        psk: HpkePsk<'_>,
    ) -> Result<HpkeCiphertext, Error> {
        self.whole.hpke_seal_psk(key, info, aad, plain, psk)
    }

    fn hpke_open_psk(
        &self,
        sealed: &HpkeCiphertext,
        secret: &HpkeSecretKey,
        public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.whole.hpke_open_psk(sealed, secret, public, info, aad, psk)
    }

    fn kem_derive(&self, ikm: &[u8]) -> Result<(HpkeSecretKey, HpkePublicKey), Error> {
        self.whole.kem_derive(ikm)
    }

    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Result<(), Error> {
        self.whole.kem_public_key_validate(key)
    }

    fn signature_key_generate(&self) -> Result<(SignatureSecretKey, SignaturePublicKey), Error> {
        self.whole.signature_key_generate()
    }

    fn signature_key_derive_public(&self, secret: &SignatureSecretKey) -> Result<SignaturePublicKey, Error> {
        self.whole.signature_key_derive_public(secret)
    }

    fn sign(&self, secret: &SignatureSecretKey, data: &[u8]) -> Result<Vec<u8>, Error> {
        self.whole.sign(secret, data)
    }

    fn verify(&self, public: &SignaturePublicKey, signature: &[u8], data: &[u8]) -> Result<(), Error> {
        self.whole.verify(public, signature, data)
    }
}
