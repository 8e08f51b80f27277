//! The numbers of a device's events: which were taken, which are missing, and which contradict what it has sent before.

use std::cmp::Ordering;

use starling_keys::Certificate;
use starling_wire::{Clock, EventId};

use super::limits::MAX_EARLY;
use crate::{api::types::ChatKind, conversation::ChatState, ranges, store::DeviceRow};

/// Takes note of a sequence number; `false` if it was there before. What came early is kept as ranges (first, last).
pub(super) fn take_number(row: &mut DeviceRow, sequence: u64) -> bool {
    if sequence <= row.received || ranges::contain(&row.early, sequence) {
        return take_skipped(row, sequence);
    }
    if Some(sequence) == row.received.checked_add(1) {
        row.received = sequence;
    } else if let Some(range) = row.early.chunks_exact_mut(2).find(|r| r[1].checked_add(1) == Some(sequence)) {
        range[1] = sequence;
    } else if row.early.len() < 2 * MAX_EARLY {
        row.early.extend([sequence, sequence]);
    }
    while let Some(at) = row.early.chunks_exact(2).position(|r| r[0] <= row.received.saturating_add(1)) {
        row.received = row.received.max(row.early[2 * at + 1]);
        row.early.drain(2 * at..2 * at + 2);
    }
    true
}

/// Takes note of a sequence number that was passed over; `false` if it was not.
fn take_skipped(row: &mut DeviceRow, sequence: u64) -> bool {
    let is_skipped = ranges::contain(&row.skipped, sequence);
    if is_skipped {
        let rest = ranges::pairs(&row.skipped).flat_map(|range| ranges::outside(&[sequence, sequence], range));
        row.skipped = ranges::merged(rest, MAX_EARLY);
    }
    is_skipped
}

/// Numbers up to the last one that was received, after this one, were passed over, as nobody waits for them. While logs of epochs that are over are
/// still read that is noted: they come after those of later epochs if a log is long, and what is found there counts.
fn note_skipped(row: &mut DeviceRow, before: u64, reads_late: bool) {
    if !reads_late {
        row.skipped.clear();
    } else if row.received > before {
        let passed = ranges::outside(&row.early, [before + 1, row.received]);
        row.skipped = ranges::merged(ranges::pairs(&row.skipped).chain(passed), MAX_EARLY);
    }
}

/// How a numbered event stands to what a device has sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It was not there, and is noted.
    New,
    /// It was there before.
    Again,
    /// The device has sent another one with its number, or with the number before it; or has stamped a later one earlier, which no clock does.
    Contradicts,
}

/// The place of a numbered event of a device, after what nobody sends any more: all before `floor`, unless it comes from logs of epochs that are over
/// which are still read.
pub(super) fn next_place(
    state: &mut ChatState,
    sender: &Certificate,
    id: &EventId,
    (floor, reads_late): (u64, bool),
    before: Clock,
) -> Place {
    let is_group = state.kind() == ChatKind::Group;
    let row = state.roster.device_mut(sender.account(), &sender.device());
    let received = row.received;
    let begins_again = row.begins && id.sequence > row.last;
    if is_group && (begins_again || (row.received, row.last) == (0, 0) && row.early.is_empty()) {
        // What it has written before is in epochs that this device has not seen: the log has the rest in its order.
        (row.received, row.received_clock, row.begins) = (id.sequence - 1, 0, false);
    }
    if row.received.saturating_add(1) < floor {
        (row.received, row.received_clock) = (floor - 1, 0);
    }
    note_skipped(row, received, reads_late);
    place_of(row, id, before)
}

/// Where an event of a device stands; it is noted if it is new. `before` is the clock that the event before it has for its sender, if not zero.
pub(super) fn place_of(row: &mut DeviceRow, id: &EventId, before: Clock) -> Place {
    let (sequence, clock) = (id.sequence, id.clock.0);
    // Numbers and clocks of a device grow together.
    let in_order = match sequence.cmp(&row.last) {
        Ordering::Less => clock < row.last_clock,
        Ordering::Equal => clock == row.last_clock || row.last_clock == 0,
        Ordering::Greater => clock > row.last_clock,
    };
    let follows = Some(sequence) == row.last.checked_add(1) && row.last_clock != 0 && before.0 != 0;
    if !in_order || (follows && before.0 != row.last_clock) {
        return Place::Contradicts;
    }
    let received = row.received;
    if !take_number(row, sequence) {
        return Place::Again;
    }
    if sequence > row.last {
        (row.last, row.last_clock) = (sequence, clock);
    }
    if row.received == row.last {
        row.received_clock = row.last_clock;
    } else if row.received != received {
        row.received_clock = if row.received == sequence { clock } else { 0 };
    }
    Place::New
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_come_early_twice_or_late_are_each_taken_once() {
        let mut row = DeviceRow::default();
        let order = [3, 1, 3, 5, 6, 2, 2, 4, 7, 1];
        let taken: Vec<bool> = order.iter().map(|n| take_number(&mut row, *n)).collect();
        assert_eq!(taken, [true, true, false, true, true, true, false, true, true, false]);
        assert_eq!((row.received, row.early.len()), (7, 0));
    }

    #[test]
    fn numbers_that_were_passed_over_are_taken_once_while_older_logs_are_read() {
        let mut row = DeviceRow { received: 8, early: vec![5, 6], ..DeviceRow::default() };
        note_skipped(&mut row, 2, true);
        let taken: Vec<bool> = [3, 5, 8, 8, 2, 7, 3].iter().map(|n| take_number(&mut row, *n)).collect();
        assert_eq!(taken, [true, false, true, false, false, true, false]);
        assert_eq!((row.received, &row.skipped[..]), (8, &[4, 4][..]));
        // They were read: what is passed over then is not waited for.
        note_skipped(&mut row, 8, false);
        assert!(!take_number(&mut row, 4));
        row.received = 20;
        note_skipped(&mut row, 8, false);
        assert!(!take_number(&mut row, 15));
    }
}
