//! The one source of this crate's random numbers: the system's. In simulations (feature `seeded`) a thread may be given a seed instead, so that
//! the same story can be told again; programs are never built with that feature.

use rand::distr::{Distribution, StandardUniform};
use zeroize::Zeroizing;

#[cfg(feature = "seeded")]
pub use seeded::{is_seeded, seed};

/// A random value.
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    #[cfg(feature = "seeded")]
    if let Some(value) = seeded::random() {
        return value;
    }
    rand::random()
}

/// A secret that is kept nowhere else.
pub(crate) fn random_secret() -> Zeroizing<[u8; 32]> {
    let secret = Zeroizing::new(random());
    #[cfg(feature = "seeded")]
    if is_seeded() {
        return secret;
    }
    // The thread's generator still has the block of 64 words that the secret was taken from, until it makes the next one.
    let _: [u64; 32] = rand::random();
    secret
}

#[cfg(feature = "seeded")]
mod seeded {
    use std::cell::RefCell;

    use rand::{
        RngExt, SeedableRng,
        distr::{Distribution, StandardUniform},
        rngs::StdRng,
    };

    thread_local! {
        static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    }

    /// From now on this thread's random numbers follow from `seed` alone. Nothing that it makes is secret any more.
    pub fn seed(seed: u64) {
        SEEDED.set(Some(StdRng::seed_from_u64(seed)));
    }

    /// Whether this thread has a seed.
    pub fn is_seeded() -> bool {
        SEEDED.with_borrow(Option::is_some)
    }

    pub fn random<T>() -> Option<T>
    where
        StandardUniform: Distribution<T>,
    {
        SEEDED.with_borrow_mut(|rng| rng.as_mut().map(RngExt::random))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_seeded_thread_draws_the_same_numbers_again_and_others_do_not() {
            let draw = || [crate::random::random::<u64>(), crate::random::random::<u64>()];
            seed(1);
            let first = draw();
            seed(1);
            assert_eq!(draw(), first);
            seed(2);
            assert_ne!(draw(), first);
            assert_ne!(std::thread::spawn(draw).join().unwrap(), std::thread::spawn(draw).join().unwrap());
        }
    }
}
