//! Who may relay: short-lived credentials, and nonces that nothing has to be remembered of.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use data_encoding::{BASE64, HEXLOWER};
use rtc_stun::{
    attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME},
    crypto::{CryptoError, HmacAlgorithm, RTCCrypto, constant_time_eq},
    error_code::{CODE_BAD_REQUEST, CODE_STALE_NONCE, CODE_UNAUTHORIZED, ErrorCode},
    integrity::MessageIntegrity,
    message::Message,
};

use super::{
    CRYPTO, Moment, Turn,
    client::Client,
    codec::{RequestHead, value},
};
use crate::limits::{TURN_NONCE_LIFE_S, TURN_USERNAME};

/// With what a client authenticates.
#[derive(Clone)]
pub struct Credentials {
    /// When they end (seconds since 1970), `:`, and the user.
    pub username: String,
    /// A MAC of the user name.
    pub password: String,
}

/// Users whose credentials do not count, although they have not expired: a handle, whose clones share them.
#[derive(Clone, Debug, Default)]
pub struct Revoked(Arc<RwLock<HashSet<String>>>);

impl Revoked {
    /// Revokes what a user has, or lets it count again.
    pub fn set(&self, user: String, revoked: bool) {
        let mut users = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if revoked {
            users.insert(user);
        } else {
            users.remove(&user);
        }
    }

    fn contains(&self, user: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(user)
    }
}

/// Credentials for a user, as coturn's REST interface makes them. `user` is any name without personal data; quotas are counted by it.
pub fn credentials(secret: &[u8], ends_unix_s: u64, user: &str) -> Result<Credentials, CryptoError> {
    let username = format!("{ends_unix_s}:{user}");
    Ok(Credentials { password: password(secret, &username)?, username })
}

fn password(secret: &[u8], username: &str) -> Result<String, CryptoError> {
    let mut tag = [0; 20];
    CRYPTO.new_hmac(HmacAlgorithm::Sha1, secret)?.sign(&[username.as_bytes()], &mut tag)?;
    Ok(BASE64.encode(&tag))
}

/// Why a request is not authentic.
pub(super) enum Denied {
    With(ErrorCode),
    /// Too many requests.
    Silently,
}

impl Turn {
    /// The user and the key of a request's long-term credentials. Leaves only those attributes that are covered by its integrity.
    pub(super) fn authenticate(
        &mut self,
        now: Moment,
        from: Client,
        message: &mut Message,
    ) -> Result<(String, Vec<u8>), Denied> {
        let attributes = &message.attributes.0;
        let Some(covered) = attributes.iter().position(|a| a.typ == ATTR_MESSAGE_INTEGRITY) else {
            return Err(Denied::With(CODE_UNAUTHORIZED));
        };
        let attributes = attributes.get(..covered).unwrap_or_default();
        let (Some(username), Some(nonce), Some(_)) =
            (value(attributes, ATTR_USERNAME), value(attributes, ATTR_NONCE), value(attributes, ATTR_REALM))
        else {
            return Err(Denied::With(CODE_BAD_REQUEST));
        };
        // A living allocation goes on with the nonce it began with: webrtc 0.21 does not repeat a request after a 438, and would lose the
        // allocation to the next timer. Who replays such a request can only repeat what its client asked for.
        let begun = self.allocation_of(from).map_or(now.unix_s, |allocation| allocation.created_s);
        if self.issued(from, nonce).is_none_or(|issued| issued < begun.saturating_sub(TURN_NONCE_LIFE_S)) {
            return Err(Denied::With(CODE_STALE_NONCE));
        }
        // The nonce went to this address: it is not forged.
        let requests = match from {
            Client::Datagram(_) | Client::QuicPort(_) => &mut self.requests,
            Client::Stream { .. } => &mut self.stream_requests,
        };
        if !requests.take(from.rate_key(), message.raw.len() as u64, now.instant) {
            return Err(Denied::Silently);
        }
        let Some((user, key)) = std::str::from_utf8(username).ok().and_then(|username| self.key(now, username)) else {
            return Err(Denied::With(CODE_UNAUTHORIZED));
        };
        if MessageIntegrity::check(message, &key, CRYPTO).is_err() {
            return Err(Denied::With(CODE_UNAUTHORIZED));
        }
        message.attributes.0.truncate(covered);
        Ok((user, key))
    }

    /// The user behind a user name that has not expired, and the key that goes with it.
    fn key(&self, now: Moment, username: &str) -> Option<(String, Vec<u8>)> {
        let (ends, user) = username.split_once(':')?;
        if self.setup.revoked.contains(user)
            || username.len() > TURN_USERNAME
            || user.is_empty()
            || ends.parse::<u64>().ok()? <= now.unix_s
        {
            return None;
        }
        let password = password(&self.setup.secret, username).ok()?;
        let realm = self.setup.realm.clone();
        let key = MessageIntegrity::long_term_integrity_key(username.to_owned(), realm, password, CRYPTO).ok()?;
        Some((user.to_owned(), key))
    }

    pub(super) fn challenge(&self, now: Moment, from: Client, head: &RequestHead, code: ErrorCode) -> Option<Vec<u8>> {
        let mut message = head.with_code(code)?;
        message.add(ATTR_REALM, self.setup.realm.as_bytes());
        message.add(ATTR_NONCE, self.nonce(from, now.unix_s).as_bytes());
        head.seal(message)
    }

    /// A nonce holds the time and a MAC of it and the client's address: nothing is remembered.
    fn nonce(&self, to: Client, unix_s: u64) -> String {
        // Seconds fit until 2106.
        let time = (unix_s as u32).to_be_bytes();
        let tag = self.nonce_tag(to, time);
        HEXLOWER.encode(&[time.as_slice(), tag.as_slice()].concat())
    }

    /// When a nonce was given to this client.
    fn issued(&self, to: Client, nonce: &[u8]) -> Option<u64> {
        let bytes = HEXLOWER.decode(nonce).ok()?;
        let (time, tag) = bytes.split_first_chunk::<4>()?;
        constant_time_eq(tag, &self.nonce_tag(to, *time)).then(|| u32::from_be_bytes(*time).into())
    }

    fn nonce_tag(&self, to: Client, time: [u8; 4]) -> [u8; 12] {
        let input = [time.as_slice(), to.tag().as_slice()].concat();
        let hash = blake3::keyed_hash(&self.nonce_key, &input);
        let mut tag = [0; 12];
        tag.copy_from_slice(&hash.as_bytes()[..12]);
        tag
    }
}
