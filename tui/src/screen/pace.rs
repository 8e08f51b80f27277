//! How often the screen is drawn. What the user does is drawn at once; what others do, at most so often that eyes still follow: a group in which a
//! thousand messages come in a minute, each with its states and lists, would be drawn a hundred times a second otherwise.

use std::time::{Duration, Instant};

/// Between two drawings of what others do: 25 a second.
const FRAME: Duration = Duration::from_millis(40);

/// When the screen is to be drawn.
#[derive(Debug, Default)]
pub struct Pace {
    drawn: Option<Instant>,
    is_urgent: bool,
}

impl Pace {
    /// The user has done something, or a picture has come that is to be seen now.
    pub fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// Until when drawing waits; `None` for now.
    pub fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.drawn.map(|drawn| drawn + FRAME).filter(|next| !self.is_urgent && *next > now)
    }

    /// The screen was drawn.
    pub fn drawn(&mut self, now: Instant) {
        (self.drawn, self.is_urgent) = (Some(now), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_messages_a_minute_are_drawn_calmly_and_a_key_at_once() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let mut drawings = 0;
        // One second in which something comes every 2 ms.
        for n in 0..500 {
            let now = begin + Duration::from_millis(2 * n);
            if pace.waits_until(now).is_none() {
                pace.drawn(now);
                drawings += 1;
            }
        }
        assert_eq!(drawings, 25);
        let now = begin + Duration::from_millis(1_000);
        pace.drawn(now);
        assert_eq!(pace.waits_until(now), Some(now + FRAME));
        pace.hurry();
        assert_eq!(pace.waits_until(now), None);
        pace.drawn(now);
        assert!(pace.waits_until(now).is_some());
    }
}
