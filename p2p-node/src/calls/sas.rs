//! The short authentication string of a call: six emoji that are the same at both ends unless somebody sits between them.
//!
//! Six emoji are 36 bits: who sits between and may choose the last value that goes into them finds two connections that show the same. So the side
//! that offers binds itself first (a hash commitment, as ZRTP does it: RFC 6189, 4.4.1.1): its offer carries the hash of a nonce, the answer
//! carries the other side's nonce, and only then the first nonce is revealed. Whoever is between has to choose everything that it says to one end
//! before it knows what the emoji of the other end depend on, and is left with one guess in 2^36.
//!
//! The certificates are in the offer and its answer, and count from there: an end that shows another one later is not who the emoji are about.
//! Only a call that moves to another device begins again.

use starling_keys::DeviceId;
use starling_wire::{CallEnd, CallId, CallSignal, SasCommitment, SasNonce};

use super::{Calls, host::CallHost, limits::CALL_REVEAL_MS, session::CallSession, signal};
use crate::{
    api::{
        problem::{CallProblem, SasError},
        types::CallEnded,
    },
    call_media::{Fingerprints, RouteId},
    turn::EngineError,
};

/// What a session description says of its side's certificates.
pub fn fingerprints(sdp: &str) -> Fingerprints {
    let values = sdp.split(['\n', '\r']).filter_map(|line| line.trim().strip_prefix("a=fingerprint:"));
    values.map(str::to_uppercase).collect()
}

/// Which part a side has in the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Part {
    /// It has made the offer, with a commitment.
    #[default]
    Offers,
    Answers,
}

/// What was exchanged with one participant. Goes with one offer and its answer: another device at either end begins a new one.
#[derive(Debug, Default)]
pub struct Sas {
    part: Part,
    own_nonce: Option<SasNonce>,
    peer_nonce: Option<SasNonce>,
    /// What the peer that offers has bound itself to.
    commitment: Option<SasCommitment>,
    own_certificates: Fingerprints,
    peer_certificates: Fingerprints,
}

impl Sas {
    /// We make an offer. Returns what it is sent with.
    pub fn offer(call: CallId, sdp: &str, nonce: SasNonce) -> (Self, SasCommitment) {
        let sas =
            Self { part: Part::Offers, own_nonce: Some(nonce), own_certificates: fingerprints(sdp), ..Self::default() };
        (sas, commitment(call, &nonce))
    }

    /// The peer has made an offer.
    pub fn on_offer(sdp: &str, commitment: Option<SasCommitment>) -> Self {
        Self { part: Part::Answers, commitment, peer_certificates: fingerprints(sdp), ..Self::default() }
    }

    /// We answer its offer. Returns the nonce to send with the answer; none to an older version.
    pub fn answer(&mut self, sdp: &str, nonce: SasNonce) -> Option<SasNonce> {
        self.own_certificates = fingerprints(sdp);
        self.own_nonce = self.commitment.map(|_| nonce);
        self.own_nonce
    }

    /// The peer has answered our offer. Returns the nonce to reveal now; none to an older version.
    pub fn on_answer(&mut self, sdp: &str, nonce: Option<SasNonce>) -> Option<SasNonce> {
        self.peer_certificates = fingerprints(sdp);
        self.peer_nonce = nonce;
        nonce.and(self.own_nonce)
    }

    /// The peer reveals what it was bound to. Nothing can be revealed before our nonce is out, and only once.
    pub fn on_reveal(&mut self, call: CallId, nonce: SasNonce) -> Result<(), SasError> {
        if self.part != Part::Answers || self.own_nonce.is_none() || self.peer_nonce.is_some() {
            return Ok(());
        }
        if self.commitment != Some(commitment(call, &nonce)) {
            return Err(SasError::WrongReveal);
        }
        self.peer_nonce = Some(nonce);
        Ok(())
    }

    /// Whether the peer takes part; older versions do not.
    pub fn is_supported(&self) -> bool {
        match self.part {
            Part::Offers => self.peer_nonce.is_some(),
            Part::Answers => self.commitment.is_some(),
        }
    }

    /// Checks a later description of the peer, within the same call. An older version makes a certificate for each connection.
    pub fn check_description(&self, sdp: &str) -> Result<(), SasError> {
        let same = fingerprints(sdp) == self.peer_certificates;
        if same || !self.is_supported() { Ok(()) } else { Err(SasError::OtherCertificate) }
    }

    /// Checks the certificates of a connection: our own and the peer's.
    pub fn check_connection(&self, certificates: &Fingerprints) -> Result<(), SasError> {
        let known = |one: &String| self.own_certificates.contains(one) || self.peer_certificates.contains(one);
        if !self.is_supported() || certificates.iter().all(known) { Ok(()) } else { Err(SasError::OtherCertificate) }
    }

    /// The emoji, once both nonces are known.
    pub fn emoji(&self, call: CallId) -> Option<String> {
        let (own, peer) =
            ((self.own_nonce.as_ref()?, &self.own_certificates), (self.peer_nonce.as_ref()?, &self.peer_certificates));
        let sides = if self.part == Part::Offers { [own, peer] } else { [peer, own] };
        let mut hash = blake3::Hasher::new_derive_key("starling 2026 call emoji v2");
        hash.update(&call.0);
        for (nonce, certificates) in sides {
            hash.update(nonce);
            hash.update(&(certificates.len() as u64).to_le_bytes());
            for certificate in certificates {
                hash.update(&(certificate.len() as u64).to_le_bytes()).update(certificate.as_bytes());
            }
        }
        let bytes = hash.finalize();
        let emoji = bytes.as_bytes().iter().take(6).map(|byte| EMOJI[usize::from(byte & 63)]);
        Some(emoji.collect::<Vec<_>>().join(" "))
    }
}

impl CallSession {
    /// Our offer to a participant begins an exchange. Returns what the offer is sent with.
    pub fn commit(&mut self, route: RouteId, offer: &str, nonce: SasNonce) -> Option<SasCommitment> {
        let (sas, commitment) = Sas::offer(self.wire_id, offer, nonce);
        self.on_route(route)?.sas = sas;
        Some(commitment)
    }

    /// Our answer to a participant's offer. Returns the nonce that it is sent with.
    pub fn contribute(&mut self, route: RouteId, answer: &str, nonce: SasNonce) -> Option<SasNonce> {
        self.on_route(route)?.sas.answer(answer, nonce)
    }
}

impl Calls {
    /// Our offer was answered by a device: reveals our nonce, if that device has one.
    pub(super) fn reveal(&mut self, host: &mut dyn CallHost, id: CallId, to: DeviceId, nonce: Option<SasNonce>) {
        if let (Some(session), Some(nonce)) = (self.find(id), nonce) {
            signal(host, session, CallSignal::Reveal { nonce, to: Some(*to.as_bytes()) });
        }
    }

    /// Shows the emoji of a connected participant, or why there are none.
    pub(super) fn show_emoji(&mut self, host: &mut dyn CallHost, id: CallId, route: RouteId) {
        let now = host.time().running;
        let Some(session) = self.find(id).filter(|session| session.connected.is_some()) else { return };
        let wire_id = session.wire_id;
        let Some(participant) = session.on_route(route) else { return };
        match participant.sas.emoji(wire_id) {
            Some(emoji) => {
                participant.emoji = emoji;
                session.deadline = None;
            }
            None => {
                participant.emoji.clear();
                if participant.sas.is_supported() {
                    session.deadline = Some(now + CALL_REVEAL_MS);
                } else {
                    session.notice.trouble = Some(CallProblem::OldVersion);
                }
            }
        }
        self.changed(host, id);
    }

    /// The other end has not revealed its nonce in time.
    pub(super) fn on_not_revealed(&mut self, host: &mut dyn CallHost, id: CallId) {
        if let Some(session) = self.find(id) {
            session.deadline = None;
            session.notice.trouble = Some(CallProblem::NotRevealed);
        }
        self.changed(host, id);
    }

    /// Ends a call that somebody may listen to.
    pub(super) fn end_insecure(
        &mut self,
        host: &mut dyn CallHost,
        id: CallId,
        error: SasError,
    ) -> Result<(), EngineError> {
        tracing::warn!(%error, "a call is not safe");
        self.end(host, id, CallEnded::by(CallEnd::Insecure, error.into()), true)
    }
}

fn commitment(call: CallId, nonce: &SasNonce) -> SasCommitment {
    let mut hash = blake3::Hasher::new_derive_key("starling 2026 call commitment v1");
    hash.update(&call.0).update(nonce);
    hash.finalize().into()
}

/// Sixty-four pictures that look different at any size and have one common name (those of Matrix' verification).
const EMOJI: [&str; 64] = [
    "🐶", "🐱", "🦁", "🐎", "🦄", "🐷", "🐘", "🐰", "🐼", "🐓", "🐧", "🐢", "🐟", "🐙", "🦋", "🌷", "🌳", "🌵", "🍄",
    "🌏", "🌙", "☁", "🔥", "🍌", "🍎", "🍓", "🌽", "🍕", "🎂", "❤", "😀", "🤖", "🎩", "👓", "🔧", "🎅", "👍", "☂",
    "⌛", "⏰", "🎁", "💡", "📕", "✏", "📎", "✂", "🔒", "🔑", "🔨", "☎", "🏁", "🚂", "🚲", "✈", "🚀", "🏆", "⚽", "🎸",
    "🎺", "🔔", "⚓", "🎧", "📁", "📌",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CALL: CallId = CallId([5; 16]);
    const OFFER: &str = "v=0\r\na=fingerprint:sha-256 aa:bb\r\n";
    const ANSWER: &str = "v=0\r\na=fingerprint:sha-256 CC:DD\r\n";

    /// An exchange up to the reveal.
    fn exchange() -> (Sas, Sas, SasNonce) {
        let (mut alice, commitment) = Sas::offer(CALL, OFFER, [1; 32]);
        let mut bob = Sas::on_offer(OFFER, Some(commitment));
        let nonce = bob.answer(ANSWER, [2; 32]);
        let reveal = alice.on_answer(ANSWER, nonce).unwrap();
        (alice, bob, reveal)
    }

    #[test]
    fn both_ends_see_the_same_emoji_once_the_nonce_is_revealed() {
        let (alice, mut bob, reveal) = exchange();
        assert_eq!(bob.emoji(CALL), None);
        bob.on_reveal(CALL, reveal).unwrap();
        assert_eq!(alice.emoji(CALL).unwrap(), bob.emoji(CALL).unwrap());
        let seen = ["SHA-256 AA:BB", "SHA-256 CC:DD"].map(String::from).into();
        assert_eq!(bob.check_connection(&seen), Ok(()));
    }

    #[test]
    fn a_nonce_other_than_the_one_committed_to_is_detected() {
        let (_, mut bob, _) = exchange();
        assert_eq!(bob.on_reveal(CALL, [3; 32]), Err(SasError::WrongReveal));
        assert_eq!(bob.emoji(CALL), None);
    }

    #[test]
    fn a_certificate_that_comes_after_the_commitment_is_detected() {
        let (alice, mut bob, reveal) = exchange();
        bob.on_reveal(CALL, reveal).unwrap();
        assert_eq!(bob.check_description(OFFER), Ok(()));
        let other = "a=fingerprint:sha-256 EE:FF";
        assert_eq!(bob.check_description(other), Err(SasError::OtherCertificate));
        assert_eq!(alice.check_description(other), Err(SasError::OtherCertificate));
        assert_eq!(bob.check_connection(&["SHA-256 EE:FF".to_owned()].into()), Err(SasError::OtherCertificate));
    }

    #[test]
    fn there_are_no_emoji_with_an_older_version() {
        let mut bob = Sas::on_offer(OFFER, None);
        assert_eq!(bob.answer(ANSWER, [2; 32]), None);
        let (mut alice, _) = Sas::offer(CALL, OFFER, [1; 32]);
        assert_eq!(alice.on_answer(ANSWER, None), None);
        for sas in [alice, bob] {
            assert!(!sas.is_supported());
            assert_eq!(sas.emoji(CALL), None);
            assert_eq!(sas.check_description("a=fingerprint:sha-256 EE:FF"), Ok(()));
        }
    }
}
