//! Where the panes are, for a size of the window and for what is to be shown.

use ratatui::layout::{Margin, Rect};

use super::super::call::Tile;

/// Columns from which details slide in by themselves.
const WIDE: u16 = 120;
/// Below this, one place at a time.
const NARROW: u16 = 60;
/// Columns of the details.
const DETAILS: u16 = 34;
/// Columns that details need at least.
pub const DETAILS_FROM: u16 = 90;
/// Below this nothing can be shown.
const SMALLEST: (u16, u16) = (20, 6);

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct LayoutPreferences {
    /// The list has the focus: in a narrow window it is all that is seen.
    pub on_list: bool,
    /// Columns that the user gave the list.
    pub list_width: u16,
    /// Whether details were asked for; `None` leaves it to the width.
    pub details: Option<bool>,
    /// There is something that has details.
    pub has_details: bool,
    /// A message is being answered or edited.
    pub has_mode: bool,
    /// There is a call.
    pub in_call: bool,
}

/// Where things are.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub area: Rect,
    /// Columns of the whole screen.
    pub width: u16,
    /// Whether the list, and the timeline with the composer, are seen.
    pub shows_list: bool,
    pub shows_main: bool,
    pub list: Rect,
    /// The first row of the list that is seen.
    pub list_first: usize,
    pub timeline: Rect,
    /// The call, above the messages.
    pub bar: Option<Rect>,
    /// Where one writes, with what stands above it, and the text alone.
    pub composer: Rect,
    pub text: Rect,
    pub details: Option<Rect>,
    /// The members of a group in the details.
    pub members: Option<Rect>,
    /// The column between list and timeline.
    pub border: Option<u16>,
    /// The row between timeline and composer.
    pub rule: u16,
    /// Pictures of the call.
    pub tiles: Vec<Tile>,
}

impl Layout {
    /// Whether the window is so small that nothing can be shown.
    pub fn is_too_small(area: Rect) -> bool {
        area.width < SMALLEST.0 || area.height < SMALLEST.1
    }

    /// For a window that is large enough. `rows` gives the rows of the text that is being written, for a width.
    pub fn new(area: Rect, wishes: LayoutPreferences, rows: impl Fn(u16) -> u16) -> Self {
        let narrow = area.width < NARROW;
        let (shows_list, shows_main) = (!narrow || wishes.on_list, !narrow || !wishes.on_list);
        let list_width = match (shows_list, narrow) {
            (false, _) => 0,
            (true, true) => area.width - 2,
            (true, false) => wishes.list_width.min(area.width / 2 - 2),
        };
        let details = wishes.details.unwrap_or(area.width >= WIDE) && area.width >= DETAILS_FROM && wishes.has_details;
        let inner = area.inner(Margin::new(1, 1));
        let x = inner.x + if shows_list && shows_main { list_width + 1 } else { 0 };
        let beside = if details { DETAILS + 1 } else { 0 };
        let width = if shows_main { (inner.x + inner.width).saturating_sub(x + beside) } else { 0 };
        let text_rows = if shows_main { rows(width.saturating_sub(3)).min(inner.height / 3) } else { 1 };
        let mode_rows = u16::from(wishes.has_mode);
        let rule = inner.y + inner.height.saturating_sub(text_rows + mode_rows + 1);

        // A call is never out of sight: above the messages, or above the list where that is all there is.
        let bar_rows = u16::from(wishes.in_call && rule > inner.y + 2);
        let (over_main, over_list) = if shows_main { (bar_rows, 0) } else { (0, bar_rows) };
        let bar = if shows_main { Rect { x, width, ..inner } } else { Rect { width: list_width, ..inner } };
        let top = inner.y + over_list;
        let list = Rect { y: top, width: list_width, height: rule.saturating_sub(top), ..inner };
        let top = inner.y + over_main;
        Self {
            area,
            width: area.width,
            shows_list,
            shows_main,
            list,
            list_first: 0,
            timeline: Rect { x, y: top, width, height: rule.saturating_sub(top + 1) },
            bar: (bar_rows > 0).then_some(Rect { height: 1, ..bar }),
            composer: Rect { x, y: rule + 1, width, height: text_rows + mode_rows },
            text: Rect { x: x + 2, y: rule + 1 + mode_rows, width: width.saturating_sub(2), height: text_rows },
            details: details.then(|| Rect { x: x + width + 1, width: DETAILS, ..list }),
            members: None,
            border: (shows_list && shows_main).then(|| x - 1),
            rule,
            tiles: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_lie_within_the_window_and_beside_each_other_at_every_size() {
        for (width, height) in
            [(20, 6), (40, 12), (59, 20), (60, 20), (80, 24), (90, 30), (120, 40), (200, 50), (500, 200)]
        {
            for bits in 0..32_u8 {
                let on = |bit: u8| bits & (1 << bit) != 0;
                let (details, in_call) = (on(1).then_some(true), on(4));
                let wishes = LayoutPreferences {
                    on_list: on(0),
                    list_width: 60,
                    details,
                    has_details: on(2),
                    has_mode: on(3),
                    in_call,
                };
                let area = Rect::new(0, 0, width, height);
                let layout = Layout::new(area, wishes, |_| 8);
                let panes =
                    [Some(layout.list), Some(layout.timeline), Some(layout.composer), layout.details, layout.bar];
                let panes: Vec<Rect> = panes.into_iter().flatten().filter(|pane| !pane.is_empty()).collect();
                for (n, pane) in panes.iter().enumerate() {
                    assert_eq!(pane.intersection(area), *pane, "{wishes:?} {layout:?}");
                    assert!(panes[n + 1..].iter().all(|other| !pane.intersects(*other)), "{wishes:?} {layout:?}");
                }
            }
        }
    }

    #[test]
    fn a_narrow_window_shows_one_place_and_a_wide_one_details() {
        let wishes = LayoutPreferences {
            on_list: false,
            list_width: 24,
            details: None,
            has_details: true,
            has_mode: false,
            in_call: false,
        };
        let at = |width, wishes| Layout::new(Rect::new(0, 0, width, 24), wishes, |_| 1);
        let shown = |layout: Layout| (layout.shows_list, layout.shows_main, layout.details.is_some());
        assert_eq!(shown(at(59, wishes)), (false, true, false));
        assert_eq!(shown(at(59, LayoutPreferences { on_list: true, ..wishes })), (true, false, false));
        assert_eq!(shown(at(80, wishes)), (true, true, false));
        assert_eq!(shown(at(120, wishes)), (true, true, true));
        assert_eq!(shown(at(100, LayoutPreferences { details: Some(true), ..wishes })), (true, true, true));
    }
}
