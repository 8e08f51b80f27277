//! The rows that a message of the timeline is laid out in.

use std::ops::Range;

use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};
use starling_control::objects::DeliveryState;
use unicode_width::UnicodeWidthStr;

use super::super::{card::wrap, clock, markup, model::Message, theme::Theme};
use crate::terminal::{safe, safe_line};

/// Rows of a long message that are shown until it is unfolded.
const FOLD: usize = 30;
/// Rows of what has happened in a group between two messages.
const MAX_NOTE_ROWS: usize = 3;
/// Columns left of the text, for the number.
pub(super) const GUTTER: u16 = 7;

/// The rows of a message, and for what they were made.
#[derive(Clone, Debug)]
pub(super) struct Laid {
    pub width: u16,
    pub head: Head,
    pub rows: Vec<Line<'static>>,
    /// The row that has the number in its gutter: it is given when the message is first seen, from the top down.
    pub body: usize,
    /// The rows that are the message, without what has happened before and after it.
    pub own: Range<usize>,
    /// What that is.
    pub notes: Beside,
}

/// What has happened in a group before the oldest message, and after a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    pub before: Range<usize>,
    pub after: Range<usize>,
}

impl Laid {
    /// Puts what has happened in the group, in words, before and after the message.
    pub(super) fn put_notes(&mut self, notes: Beside, [before, after]: &[String; 2], theme: &Theme) {
        let mut rows = note_rows(before, self.width, theme);
        let first = rows.len();
        rows.append(&mut self.rows);
        self.own = first..rows.len();
        rows.extend(note_rows(after, self.width, theme));
        self.body += first;
        (self.rows, self.notes) = (rows, notes);
    }
}

/// What has happened in a group, in a few rows; none for nothing.
pub(super) fn note_rows(words: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    if words.is_empty() {
        return Vec::new();
    }
    let text_width = width.saturating_sub(GUTTER + 1);
    let mut rows = wrap(&[words.to_owned()], text_width);
    if rows.len() > MAX_NOTE_ROWS {
        rows.truncate(MAX_NOTE_ROWS);
        if let Some(last) = rows.last_mut() {
            *last = cut_off(last, text_width);
        }
    }
    let gutter = usize::from(GUTTER);
    let row = |(n, row): (usize, String)| {
        let mark = if n == 0 { "· " } else { "" };
        Line::styled(format!("{mark:>gutter$}{}", row.trim_end()), theme.dim)
    };
    rows.into_iter().enumerate().map(row).collect()
}

/// What stands above a message, as it depends on the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub day: Option<String>,
    pub unread: bool,
    /// What a member has handed on begins here, or ends: in words, as others may have written them.
    pub part: Option<String>,
    pub name: bool,
}

/// What a message answers.
pub(super) enum Quoted<'a> {
    Nothing,
    Message(&'a Message),
    /// It is not in the window.
    Older,
}

/// Lays a message out.
pub(super) fn lay_out(
    message: &Message,
    head: Head,
    quoted: Quoted<'_>,
    unfolded: bool,
    width: u16,
    theme: &Theme,
) -> Laid {
    let (_, time) = clock::local(message.at_ms);
    let mut rows = head_rows(message, &head, &time, width, theme);
    let text_width = width.saturating_sub(GUTTER + 1);
    let mut body: Vec<Line<'static>> = Vec::new();
    body.extend(quotation(quoted, text_width, theme));
    body.extend(text_rows(message, unfolded, text_width, theme));
    let time = (!head.name).then_some(time.as_str());
    add_tail(&mut body, tail(message, time, theme), text_width);
    if !message.reason.is_empty() {
        body.push(Line::styled(format!("⚠ {}", safe(&message.reason)), theme.bad));
    }
    body.extend(reactions(message, theme));
    let first = rows.len();
    for line in body {
        let mut spans = vec![Span::raw(" ".repeat(usize::from(GUTTER)))];
        spans.extend(line.spans.into_iter().map(|s| Span::styled(s.content, line.style.patch(s.style))));
        rows.push(Line::from(spans));
    }
    let own = 0..rows.len();
    Laid { width, head, rows, body: first, own, notes: Beside::default() }
}

/// The day, the line above new messages, and who writes when.
fn head_rows(message: &Message, head: &Head, time: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let centred = |text: String, style: Style, fill: &str| {
        let side = usize::from(width).saturating_sub(text.width() + 2) / 2;
        Line::from(vec![
            Span::styled(fill.repeat(side), theme.border),
            Span::styled(format!(" {text} "), style),
            Span::styled(fill.repeat(side), theme.border),
        ])
    };
    let mut rows = Vec::new();
    if let Some(day) = &head.day {
        rows.push(centred(format!("── {day} ──"), theme.dim, " "));
    }
    if let Some(part) = &head.part {
        let text = cut(&safe_line(part), width.saturating_sub(8));
        rows.push(centred(format!("── {text} ──"), theme.dim, " "));
    }
    if head.unread {
        rows.push(centred("new".into(), theme.warn, "─"));
    }
    if head.name {
        let (name, style) =
            if message.is_own() { ("you".to_owned(), theme.own) } else { (safe_line(message.name()), theme.peer) };
        rows.push(Line::from(vec![Span::styled(format!(" {time} "), theme.dim), Span::styled(name, style)]));
    }
    rows
}

fn quotation(quoted: Quoted<'_>, width: u16, theme: &Theme) -> Option<Line<'static>> {
    let text = match quoted {
        Quoted::Nothing => return None,
        Quoted::Message(quoted) => {
            let who = if quoted.is_own() { "you".to_owned() } else { safe_line(quoted.name()) };
            let text = if quoted.wire.deleted { "deleted".to_owned() } else { safe_line(&quoted.words()) };
            format!("{who}: {text}")
        }
        Quoted::Older => "an older message".to_owned(),
    };
    Some(Line::from(vec![
        Span::styled("┌ ", theme.accent),
        Span::styled(cut(&text, width.saturating_sub(3)), theme.dim),
    ]))
}

fn text_rows(message: &Message, unfolded: bool, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    if message.wire.deleted {
        return vec![Line::styled("deleted", theme.dim.add_modifier(Modifier::ITALIC))];
    }
    let mut text = markup::rows(&message.words(), width, theme);
    if text.len() > FOLD + 5 && !unfolded {
        let more = text.len() - FOLD;
        text.truncate(FOLD);
        text.push(Line::styled(format!("… {more} more rows · x shows them"), theme.accent));
    }
    text
}

/// How far it came; with the time where no head shows it.
fn tail(message: &Message, time: Option<&str>, theme: &Theme) -> Vec<Span<'static>> {
    let mut tail = Vec::new();
    if message.wire.edited && !message.wire.deleted {
        tail.push(Span::styled("edited ", theme.dim));
    }
    if message.is_own() {
        let (mark, style) = match message.state() {
            DeliveryState::Queued => ("⏳", theme.dim),
            DeliveryState::Sent => ("✓", theme.dim),
            DeliveryState::Delivered => ("✓✓", theme.dim),
            DeliveryState::Read => ("✓✓ read", theme.good),
            DeliveryState::Failed => ("⚠ failed", theme.bad),
        };
        tail.push(Span::styled(mark, style));
        tail.extend(time.map(|time| Span::styled(format!(" {time}"), theme.dim)));
    } else if message.state() == DeliveryState::Failed {
        // A member has passed it on, and the group's log has no place for it.
        tail.push(Span::styled("⚠ does not count", theme.bad));
    }
    tail
}

/// At the end of the last row, or on one of its own.
fn add_tail(body: &mut Vec<Line<'static>>, tail: Vec<Span<'static>>, width: u16) {
    let tail_width: usize = tail.iter().map(|s| s.content.width()).sum();
    if tail_width == 0 {
        return;
    }
    if body.last().map_or(0, Line::width) + tail_width + 1 > usize::from(width) {
        body.push(Line::default());
    }
    if let Some(last) = body.last_mut() {
        let pad = usize::from(width).saturating_sub(last.width() + tail_width);
        last.spans.push(Span::raw(" ".repeat(pad)));
        last.spans.extend(tail);
    }
}

/// Each emoji with how many chose it.
fn reactions(message: &Message, theme: &Theme) -> Option<Line<'static>> {
    if message.wire.reactions.is_empty() || message.wire.deleted {
        return None;
    }
    let mut seen: Vec<(&str, usize, bool)> = Vec::new();
    for reaction in &message.wire.reactions {
        match seen.iter_mut().find(|(emoji, ..)| *emoji == reaction.emoji) {
            Some((_, n, own)) => {
                *n += 1;
                *own |= reaction.own;
            }
            None => seen.push((&reaction.emoji, 1, reaction.own)),
        }
    }
    let span = |(emoji, n, own): (&str, usize, bool)| {
        let emoji = safe_line(emoji);
        Span::styled(format!("{emoji} {n}  "), if own { theme.accent } else { theme.text })
    };
    Some(Line::from(seen.into_iter().map(span).collect::<Vec<_>>()))
}

/// Cuts a text to a width, with an ellipsis.
pub fn cut(text: &str, width: u16) -> String {
    use unicode_segmentation::UnicodeSegmentation;
    let width = usize::from(width);
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for cluster in text.graphemes(true) {
        if used + cluster.width() + 1 > width {
            break;
        }
        used += cluster.width();
        out.push_str(cluster);
    }
    out.push('…');
    out
}

/// A text that goes on where there is no room for more: with a mark at its end.
pub fn cut_off(text: &str, width: u16) -> String {
    let shown = cut(text.trim_end(), width.saturating_sub(1));
    if shown.ends_with('…') { shown } else { shown + "…" }
}
