//! The numbers by which messages are named in commands: `/reply 4`.

use std::collections::{BTreeMap, HashMap};

use starling_node::MessageId;

/// Numbers that are remembered. More messages than fit on any screen, and than the timeline holds.
const MAX_NUMBERS: usize = 5_000;
/// Numbers that are kept from one run to the next.
const KEPT: usize = 200;

/// The numbers of a chat's messages. A message keeps its number, and no number is given twice, whatever is loaded, scrolled or inserted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    by_id: HashMap<MessageId, u64>,
    by_number: BTreeMap<u64, MessageId>,
    last: u64,
}

impl Numbers {
    /// The number of a message that is seen; the next one if it has none.
    pub fn of(&mut self, id: MessageId) -> u64 {
        if let Some(number) = self.by_id.get(&id) {
            return *number;
        }
        self.last += 1;
        self.set(id, self.last);
        while self.by_number.len() > MAX_NUMBERS {
            // That of the message which was first seen longest ago.
            if let Some((_, id)) = self.by_number.pop_first() {
                self.by_id.remove(&id);
            }
        }
        self.last
    }

    fn set(&mut self, id: MessageId, number: u64) {
        self.by_id.insert(id, number);
        self.by_number.insert(number, id);
    }

    /// The number of a message that was seen before.
    pub fn get(&self, id: MessageId) -> Option<u64> {
        self.by_id.get(&id).copied()
    }

    /// The message that has a number.
    pub fn message(&self, number: u64) -> Option<MessageId> {
        self.by_number.get(&number).copied()
    }

    /// The latest, to be kept.
    pub fn latest(&self) -> Vec<(MessageId, u64)> {
        self.by_number.iter().rev().take(KEPT).map(|(number, id)| (*id, *number)).collect()
    }

    /// From those that were kept; what contradicts an earlier one is left out.
    pub fn restore(kept: impl IntoIterator<Item = (MessageId, u64)>) -> Self {
        let mut numbers = Self::default();
        for (id, number) in kept.into_iter().take(KEPT) {
            if numbers.get(id).is_none() && numbers.message(number).is_none() && number < u64::MAX / 2 {
                numbers.set(id, number);
                numbers.last = numbers.last.max(number);
            }
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use starling_node::{Clock, EventId};

    use super::*;

    fn id(n: u64) -> MessageId {
        MessageId(EventId { clock: Clock(n), ..EventId::default() })
    }

    #[test]
    fn a_message_keeps_its_number_and_no_number_is_given_twice() {
        let mut numbers = Numbers::default();
        let given: Vec<u64> = [50, 51, 52, 10, 11, 51, 50].map(|n| numbers.of(id(n))).to_vec();
        assert_eq!(given, [1, 2, 3, 4, 5, 2, 1]);
        assert_eq!((numbers.message(4), numbers.get(id(99)), numbers.message(6)), (Some(id(10)), None, None));
        // Also in the next run, and after more than is remembered.
        let mut next = Numbers::restore(numbers.latest());
        assert_eq!((next.of(id(51)), next.of(id(60))), (2, 6));
        for n in 1000..1000 + 2 * MAX_NUMBERS as u64 {
            next.of(id(n));
        }
        assert_eq!((next.by_id.len(), next.by_number.len()), (MAX_NUMBERS, MAX_NUMBERS));
        assert_eq!(next.of(id(51)), 7 + 2 * MAX_NUMBERS as u64);
    }

    #[test]
    fn kept_numbers_that_contradict_each_other_do_no_harm() {
        let numbers = Numbers::restore([(id(1), 3), (id(1), 4), (id(2), 3), (id(3), u64::MAX)]);
        assert_eq!((numbers.get(id(1)), numbers.get(id(2)), numbers.get(id(3))), (Some(3), None, None));
    }
}
