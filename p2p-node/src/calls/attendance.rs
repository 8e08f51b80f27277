//! Who attends a call. A screen or a command that dies leaves its call to the node: with an open microphone, and to nobody's ears.
//!
//! A front end attends the calls that it makes, answers or shows, until it says that it is gone; its connection to the node says so for one that was killed.
//! A call that nobody attends any more is silent at once, and is hung up after a while unless somebody comes back. A microphone that is open only while
//! somebody holds a key is on a lease: it is closed when the lease is not renewed, whatever became of the front end.

use std::collections::{BTreeMap, BTreeSet};

use starling_wire::CallId;

use super::limits::{CALL_ATTENDANTS, CALL_UNATTENDED_MS, MAX_TALK_MS};

/// A front end, by a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttendantId(pub u64);

#[derive(Debug, Default)]
struct Attended {
    attendants: BTreeSet<AttendantId>,
    /// Since when the last one is gone, and whether the call was silenced for it.
    unattended: Option<(u64, bool)>,
    /// When the microphone is closed if the key is no longer held.
    talk_until: Option<u64>,
}

/// Something to do about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttendanceDue {
    /// Nobody attends it: nothing of us is heard, seen or shared any more.
    Silence(CallId),
    /// Nobody has come back.
    HangUp(CallId),
    /// The key is no longer held.
    EndTalk(CallId),
}

/// The attendants of all calls. Times are milliseconds that the node has run.
#[derive(Debug, Default)]
pub struct Attendance(BTreeMap<CallId, Attended>);

impl Attendance {
    /// From now on a front end attends a call. Returns false if there are too many.
    pub fn attend(&mut self, call: CallId, attendant: AttendantId) -> bool {
        let attended = self.0.entry(call).or_default();
        if attended.attendants.len() >= CALL_ATTENDANTS && !attended.attendants.contains(&attendant) {
            return false;
        }
        attended.attendants.insert(attendant);
        attended.unattended = None;
        true
    }

    /// A front end is gone.
    pub fn left(&mut self, attendant: AttendantId, now: u64) {
        for attended in self.0.values_mut() {
            if attended.attendants.remove(&attendant) && attended.attendants.is_empty() {
                attended.unattended = Some((now, false));
            }
        }
    }

    /// The microphone is open for this time, unless it is said again. Returns when it will be closed.
    pub fn talk(&mut self, call: CallId, for_ms: u64, now: u64) -> u64 {
        let until = now + for_ms.min(MAX_TALK_MS);
        self.0.entry(call).or_default().talk_until = Some(until);
        until
    }

    /// The microphone was switched by hand, or the key was let go.
    pub fn end_talk(&mut self, call: CallId) {
        if let Some(attended) = self.0.get_mut(&call) {
            attended.talk_until = None;
        }
    }

    /// A call is over; if another goes on in its place, it is attended by the same. Its media are other ones, which are not silent yet.
    pub fn ended(&mut self, call: CallId, replaced_by: Option<CallId>) {
        if let Some(mut attended) = self.0.remove(&call)
            && let Some(next) = replaced_by
        {
            attended.unattended = attended.unattended.map(|(since, _)| (since, false));
            attended.talk_until = None;
            self.0.insert(next, attended);
        }
    }

    /// When something is due. What has no media yet cannot be silenced: `has_media` tells which have.
    pub fn next_due(&self, has_media: impl Fn(CallId) -> bool) -> Option<u64> {
        let due = |(call, attended): (&CallId, &Attended)| {
            let unattended = attended
                .unattended
                .map(|(since, silent)| if silent || !has_media(*call) { since + CALL_UNATTENDED_MS } else { since });
            unattended.into_iter().chain(attended.talk_until).min()
        };
        self.0.iter().filter_map(due).min()
    }

    /// What is due now. Each is returned once; a call that was hung up is to be reported by [`Attendance::ended`].
    pub fn take_due(&mut self, now: u64, has_media: impl Fn(CallId) -> bool) -> Vec<AttendanceDue> {
        let mut due = Vec::new();
        for (call, attended) in &mut self.0 {
            if attended.talk_until.is_some_and(|until| until <= now) {
                attended.talk_until = None;
                due.push(AttendanceDue::EndTalk(*call));
            }
            let Some((since, silent)) = &mut attended.unattended else { continue };
            if !*silent && has_media(*call) {
                *silent = true;
                due.push(AttendanceDue::Silence(*call));
            }
            if *since + CALL_UNATTENDED_MS <= now {
                attended.unattended = None;
                due.push(AttendanceDue::HangUp(*call));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::{AttendanceDue::*, *};

    const CALL: CallId = CallId([1; 16]);
    const OTHER: CallId = CallId([2; 16]);
    const ONE: AttendantId = AttendantId(1);
    const TWO: AttendantId = AttendantId(2);

    fn yes(_: CallId) -> bool {
        true
    }

    #[test]
    fn a_call_is_silenced_when_its_last_attendant_has_left_and_hung_up_when_nobody_comes_back() {
        let mut attendance = Attendance::default();
        assert!(attendance.attend(CALL, ONE) && attendance.attend(CALL, TWO));
        attendance.left(ONE, 100);
        assert_eq!((attendance.take_due(100, yes), attendance.next_due(yes)), (vec![], None));
        attendance.left(TWO, 200);
        assert_eq!(attendance.next_due(yes), Some(200));
        assert_eq!(attendance.take_due(200, yes), [Silence(CALL)]);
        assert_eq!(attendance.next_due(yes), Some(200 + CALL_UNATTENDED_MS));
        assert_eq!(attendance.take_due(199 + CALL_UNATTENDED_MS, yes), []);
        assert_eq!(attendance.take_due(200 + CALL_UNATTENDED_MS, yes), [HangUp(CALL)]);
    }

    #[test]
    fn a_call_that_somebody_attends_again_goes_on() {
        let mut attendance = Attendance::default();
        attendance.attend(CALL, ONE);
        attendance.left(ONE, 0);
        attendance.take_due(0, yes);
        attendance.attend(CALL, TWO);
        assert_eq!((attendance.take_due(10 * CALL_UNATTENDED_MS, yes), attendance.next_due(yes)), (vec![], None));
        attendance.left(ONE, 1);
        assert_eq!(attendance.next_due(yes), None, "it is gone already");
    }

    #[test]
    fn a_call_without_media_is_silenced_as_soon_as_it_has_them() {
        let mut attendance = Attendance::default();
        attendance.attend(CALL, ONE);
        attendance.left(ONE, 0);
        let no = |_| false;
        assert_eq!((attendance.take_due(5, no), attendance.next_due(no)), (vec![], Some(CALL_UNATTENDED_MS)));
        assert_eq!(attendance.take_due(6, yes), [Silence(CALL)]);
    }

    #[test]
    fn a_call_that_takes_the_place_of_another_keeps_its_attendants_and_is_silenced_itself() {
        let mut attendance = Attendance::default();
        attendance.attend(CALL, ONE);
        attendance.left(ONE, 0);
        attendance.take_due(0, yes);
        attendance.ended(CALL, Some(OTHER));
        assert_eq!(attendance.take_due(1, yes), [Silence(OTHER)]);
        attendance.ended(OTHER, None);
        assert_eq!(attendance.next_due(yes), None);
    }

    #[test]
    fn a_microphone_on_a_lease_is_closed_unless_the_lease_is_renewed() {
        let mut attendance = Attendance::default();
        attendance.attend(CALL, ONE);
        attendance.talk(CALL, 500, 1_000);
        attendance.talk(CALL, 500, 1_400);
        assert_eq!((attendance.take_due(1_500, yes), attendance.next_due(yes)), (vec![], Some(1_900)));
        assert_eq!(attendance.take_due(1_900, yes), [EndTalk(CALL)]);
        assert_eq!(attendance.talk(CALL, u64::MAX, 2_000), 2_000 + MAX_TALK_MS);
        attendance.end_talk(CALL);
        assert_eq!((attendance.take_due(u64::MAX, yes), attendance.next_due(yes)), (vec![], None));
    }
}
