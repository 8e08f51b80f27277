//! Epoch logs: their keys, the signatures that append and read, and padding.

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::rendezvous::{LogRequest, RequestBody};

/// What a log signature allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogVerb {
    /// Create the log.
    Open,
    /// Append entries.
    Append,
    /// Read, and be told of new entries.
    Read,
    /// Pass a signal to those who read.
    Signal,
    /// Delete entries.
    Trim,
}

impl LogVerb {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Open => b"open",
            Self::Append => b"append",
            Self::Read => b"read",
            Self::Signal => b"signal",
            Self::Trim => b"trim",
        }
    }
}

/// The key of one epoch's log, derived from the epoch's exporter secret: who holds it is a member.
#[derive(Clone)]
pub struct LogKey(SigningKey);

impl LogKey {
    /// The key of this 32-byte exporter secret.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The log's address.
    pub fn address(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a request. `nonce` is the one that the server gave this session.
    pub fn sign(&self, verb: LogVerb, nonce: &[u8], payload: &[u8]) -> [u8; 64] {
        self.0.sign(&signed_bytes(verb.label(), nonce, &self.address(), payload)).to_bytes()
    }

    /// A signed request to this log, in the session with this nonce.
    pub fn request(&self, verb: LogVerb, nonce: &[u8], mut request: LogRequest) -> RequestBody {
        request.address = Bytes::copy_from_slice(&self.address());
        request.signature = Bytes::copy_from_slice(&self.sign(verb, nonce, &request.signed_payload()));
        match verb {
            LogVerb::Open => RequestBody::LogOpen(request),
            LogVerb::Append => RequestBody::LogAppend(request),
            LogVerb::Read => RequestBody::LogRead(request),
            LogVerb::Signal => RequestBody::LogSignal(request),
            LogVerb::Trim => RequestBody::LogTrim(request),
        }
    }

    /// Lets whoever shows this open the log at `next` behind this one, in this session.
    pub fn permit(&self, nonce: &[u8], next: &[u8; 32]) -> [u8; 64] {
        self.0.sign(&signed_bytes(PERMIT, nonce, &self.address(), next)).to_bytes()
    }

    /// A request to the log at `next`, which it opens behind this one if it is not there yet.
    pub fn followed_by(&self, nonce: &[u8], next: &[u8; 32], request: LogRequest) -> LogRequest {
        let permit = Bytes::copy_from_slice(&self.permit(nonce, next));
        LogRequest { parent: Bytes::copy_from_slice(&self.address()), permit, ..request }
    }

    /// Shows who holds this key that `subject` comes from somebody who holds it, too, in this session.
    pub fn vouch(&self, nonce: &[u8], subject: &[u8]) -> [u8; 64] {
        self.0.sign(&signed_bytes(VOUCH, nonce, &self.address(), subject)).to_bytes()
    }
}

/// Whether `signature` allows `verb` with `payload` on the log at `address` in this session.
pub fn verify_log(address: &[u8; 32], verb: LogVerb, nonce: &[u8], payload: &[u8], signature: &[u8]) -> bool {
    verify(address, verb.label(), nonce, payload, signature)
}

/// Whether `signature` is that of [`LogKey::vouch`] with the key of the log at `address`.
pub fn verify_vouch(address: &[u8; 32], nonce: &[u8], subject: &[u8], signature: &[u8]) -> bool {
    verify(address, VOUCH, nonce, subject, signature)
}

/// Whether `signature` is that of [`LogKey::permit`] with the key of the log at `parent`.
pub fn verify_permit(parent: &[u8; 32], nonce: &[u8], next: &[u8; 32], signature: &[u8]) -> bool {
    verify(parent, PERMIT, nonce, next, signature)
}

/// The label of [`LogKey::vouch`]: no verb of a log.
const VOUCH: &[u8] = b"vouch";
/// The label of [`LogKey::permit`]: no verb of a log.
const PERMIT: &[u8] = b"permit";

fn verify(address: &[u8; 32], label: &[u8], nonce: &[u8], payload: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(address), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify_strict(&signed_bytes(label, nonce, address, payload), &signature).is_ok()
}

/// What a log keeps with an entry that only who knows `secret` may delete.
pub fn eraser_of(secret: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key("starling 2026 log eraser v1", secret)
}

fn signed_bytes(label: &[u8], nonce: &[u8], address: &[u8; 32], payload: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("starling 2026 log request v1");
    for part in [label, nonce, address, payload] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().as_bytes().to_vec()
}

/// Padding that is not of the form that [`pad`] makes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("wrong padding")]
pub struct PaddingError;

/// Pads to the next bucket, so that a stored size tells little: multiples of 256 B up to 1 KiB, then four for each doubling up to 64 KiB, then multiples
/// of 64 KiB. Powers of two alone would hide some more, and add 40 % to what all members of a group read of a message; this adds 11 %.
pub fn pad(mut bytes: Vec<u8>) -> Vec<u8> {
    const SMALLEST: usize = 256;
    const LARGEST_STEP: usize = 64 * 1024;
    let len = bytes.len() + 1;
    let step = if len <= LARGEST_STEP { (len.next_power_of_two() / 8).max(SMALLEST) } else { LARGEST_STEP };
    let bucket = len.div_ceil(step) * step;
    bytes.push(0x80);
    bytes.resize(bucket, 0);
    bytes
}

/// Undoes [`pad`].
pub fn unpad(bytes: &[u8]) -> Result<&[u8], PaddingError> {
    let end = bytes.iter().rposition(|b| *b != 0).ok_or(PaddingError)?;
    if bytes[end] != 0x80 {
        return Err(PaddingError);
    }
    Ok(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_undone_and_hides_the_size() {
        for len in [0, 1, 255, 256, 300, 65_535, 65_536, 100_000] {
            let bytes = vec![0; len];
            let padded = pad(bytes.clone());
            assert_eq!(unpad(&padded), Ok(&bytes[..]));
            assert!(padded.len() >= 256 && padded.len().is_multiple_of(256));
        }
        assert_eq!(pad(vec![1; 10]).len(), pad(vec![1; 200]).len());
        let sizes: std::collections::BTreeSet<usize> = (0..=65_535).map(|len| pad(vec![0; len]).len()).collect();
        assert_eq!(sizes.into_iter().take(6).collect::<Vec<_>>(), [256, 512, 768, 1024, 1280, 1536]);
        assert!((1_024..65_536).all(|len| pad(vec![0; len]).len() * 4 <= len * 5 + 4));
        assert_eq!(unpad(&[0; 8]), Err(PaddingError));
    }

    #[test]
    fn a_signature_is_good_for_one_verb_session_and_payload() {
        let key = LogKey::from_secret(&[1; 32]);
        let signature = key.sign(LogVerb::Append, b"nonce", b"entry");
        let check = |verb, nonce: &[u8], payload: &[u8]| verify_log(&key.address(), verb, nonce, payload, &signature);
        assert!(check(LogVerb::Append, b"nonce", b"entry"));
        assert!(!check(LogVerb::Trim, b"nonce", b"entry"));
        assert!(!check(LogVerb::Append, b"other", b"entry"));
        assert!(!check(LogVerb::Append, b"nonce", b"other"));
        let permit = key.permit(b"nonce", &[2; 32]);
        assert!(verify_permit(&key.address(), b"nonce", &[2; 32], &permit));
        assert!(!verify_permit(&key.address(), b"nonce", &[3; 32], &permit));
        assert!(!verify_vouch(&key.address(), b"nonce", &[2; 32], &permit));
    }
}
