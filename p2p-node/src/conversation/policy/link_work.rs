//! What is under way at a group's home for the links into it: the card that is being written, and the boxes that are read.

use std::collections::{BTreeMap, BTreeSet};

use super::cards::LinkKey;

/// What is under way for the links into a group, since its home is up.
#[derive(Default)]
pub struct LinkWork {
    /// The link whose card is being written.
    card: Option<LinkKey>,
    /// A part of that card was refused.
    card_refused: bool,
    /// The boxes that are followed, and whether a page of each is under way.
    boxes: BTreeMap<LinkKey, bool>,
    /// The boxes in which something has come while a page was under way: it may not be on that page.
    boxes_again: BTreeSet<LinkKey>,
}

impl LinkWork {
    /// The home is up: nothing is under way there, and no box is followed.
    pub(in crate::conversation) fn begin_session(&mut self) {
        self.end_card();
        self.boxes.clear();
    }

    /// Whether a card is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.card.is_some()
    }

    /// A link's card is being written.
    pub(super) fn begin_card(&mut self, key: LinkKey) {
        (self.card, self.card_refused) = (Some(key), false);
    }

    /// A part of the card was refused.
    pub(super) fn refuse_part(&mut self) {
        self.card_refused = true;
    }

    /// The card is not being written any more. Gives whether a part of it was refused.
    pub(super) fn end_card(&mut self) -> bool {
        self.card = None;
        std::mem::take(&mut self.card_refused)
    }

    /// Whether boxes are followed.
    pub(super) fn follows_boxes(&self) -> bool {
        !self.boxes.is_empty()
    }

    /// Whether a link's box is followed.
    pub(super) fn follows(&self, key: &LinkKey) -> bool {
        self.boxes.contains_key(key)
    }

    /// A page of a box was asked for.
    pub(super) fn begin_page(&mut self, key: LinkKey) {
        self.boxes.insert(key, true);
    }

    /// Something was pushed of a box. Gives whether a page of it is under way, after which it is read again.
    pub(super) fn note_pushed(&mut self, key: LinkKey) -> bool {
        let is_under_way = self.boxes.get(&key) == Some(&true);
        if is_under_way {
            self.boxes_again.insert(key);
        }
        is_under_way
    }

    /// A page of a box is here. Gives whether the box is to be read again.
    pub(super) fn end_page(&mut self, key: &LinkKey) -> bool {
        self.boxes.insert(*key, false);
        self.boxes_again.remove(key)
    }

    /// A box could not be read: it `stays` followed, or is asked for again.
    pub(super) fn fail_page(&mut self, key: LinkKey, stays: bool) {
        match stays {
            true => _ = self.boxes.insert(key, false),
            false => _ = self.boxes.remove(&key),
        }
    }

    /// The boxes of which no page is under way are asked for again.
    pub(super) fn look_again(&mut self) {
        self.boxes.retain(|_, is_under_way| *is_under_way);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_read_again_if_something_has_come_while_a_page_was_under_way() {
        let (mut work, key) = (LinkWork::default(), [1; 32]);
        assert!(!work.note_pushed(key), "it is not read");
        work.begin_page(key);
        assert!(work.note_pushed(key));
        assert!(work.end_page(&key));
        assert!(!work.note_pushed(key));
        assert!(!work.end_page(&key), "once");
    }

    #[test]
    fn boxes_are_followed_until_they_are_looked_at_again_or_the_home_is_up_again() {
        let (mut work, [read, under_way]) = (LinkWork::default(), [[1; 32], [2; 32]]);
        work.begin_page(read);
        work.end_page(&read);
        work.begin_page(under_way);
        work.look_again();
        assert!(!work.follows(&read) && work.follows(&under_way));
        work.fail_page(under_way, true);
        assert!(work.follows(&under_way));
        work.fail_page(under_way, false);
        assert!(!work.follows_boxes());
        work.begin_page(read);
        work.begin_card(read);
        work.begin_session();
        assert!(!work.follows_boxes() && !work.is_writing());
    }

    #[test]
    fn a_card_of_which_a_part_was_refused_has_to_be_written_again() {
        let mut work = LinkWork::default();
        work.begin_card([1; 32]);
        work.refuse_part();
        assert!(work.is_writing());
        assert!(work.end_card());
        work.begin_card([1; 32]);
        assert!(!work.end_card());
    }
}
