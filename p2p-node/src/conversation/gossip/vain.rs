//! What comes by gossip and brings nothing. Any member can make envelopes, and who has made one is known once it is decrypted: so a member that makes
//! many in vain costs a conversation what is passed on there, for a time, and not the device its processor.

/// So many of a conversation in vain are decrypted …
const AT_ONCE: u64 = 200;
/// … and so many more in a second. Then the rest is read in the log.
const PER_SECOND: u64 = 10;

/// How many there were.
#[derive(Default)]
pub(super) struct Vain {
    count: u64,
    /// Up to when that has been reduced, in steady time.
    at: u64,
}

impl Vain {
    /// Whether there were so many that nothing is decrypted now.
    pub(super) fn are_too_many(&mut self, now: u64) -> bool {
        let fewer = now.saturating_sub(self.at) * PER_SECOND / 1000;
        if fewer > 0 {
            (self.count, self.at) = (self.count.saturating_sub(fewer), now);
        }
        self.count >= AT_ONCE
    }

    /// There is one more.
    pub(super) fn note(&mut self) {
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_comes_in_vain_little_is_decrypted() {
        let (mut vain, mut decrypted) = (Vain::default(), 0);
        for now in 0..10_000 {
            if !vain.are_too_many(now) {
                vain.note();
                decrypted += 1;
            }
        }
        assert!((AT_ONCE..=AT_ONCE + 11 * PER_SECOND).contains(&decrypted), "{decrypted}");
        assert!(!vain.are_too_many(20_000));
    }
}
