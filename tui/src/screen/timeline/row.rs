//! A message of the timeline, and the rows that it is laid out in.

use ratatui::{
    style::{Modifier, Style},
    text::{Line, Span},
};
use serde_json::Value;
use starling_node::MessageId;
use unicode_width::UnicodeWidthStr;

use super::super::{clock, markup, theme::Theme};
use crate::{
    terminal::{safe, safe_line},
    verbs::{field, words_of},
};

/// Rows of a long message that are shown until it is unfolded.
const FOLD: usize = 30;
/// Left of the text: time or handle.
pub(super) const GUTTER: u16 = 7;

/// A message as the screen needs it.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub id: MessageId,
    pub mine: bool,
    pub name: String,
    pub text: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub state: String,
    pub reason: String,
    pub via: String,
    pub reply_to: Option<MessageId>,
    pub edited: bool,
    pub deleted: bool,
    pub reactions: Vec<(String, bool)>,
    pub mentions: Vec<String>,
    pub(super) laid: Option<Laid>,
}

#[derive(Clone, Debug)]
pub(super) struct Laid {
    pub width: u16,
    pub head: Head,
    pub rows: Vec<Line<'static>>,
    /// The row that has the handle in its gutter: it is given when the message is first seen, from the top down.
    pub body: usize,
}

/// What stands above a message, as it depends on the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub day: Option<String>,
    pub unread: bool,
    pub name: bool,
}

impl Message {
    /// From the `message` object of the interface; `None` for one that was deleted here, of which only the id is left.
    pub fn from_json(m: &Value) -> Option<Self> {
        if m["gone"] == true {
            return None;
        }
        Some(Self {
            id: m["id"].as_str()?.parse().ok()?,
            mine: m["from"]["self"] == true,
            name: field(&m["from"], "name").to_owned(),
            text: words_of(m),
            at_ms: clock::parse(field(m, "sent_at")),
            state: field(m, "state").to_owned(),
            reason: String::new(),
            via: field(m, "via").to_owned(),
            reply_to: m["reply_to"].as_str().and_then(|id| id.parse().ok()),
            edited: m["edited"] == true,
            deleted: m["deleted"] == true,
            reactions: m["reactions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|r| (safe_line(field(r, "emoji")), r["self"] == true))
                .collect(),
            mentions: m["mentions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(Into::into))
                .collect(),
            laid: None,
        })
    }
}

/// The rows of a message, and which of them is the first of its body.
pub(super) fn lay_out(
    message: &Message,
    head: &Head,
    quoted: Option<Option<Message>>,
    unfolded: bool,
    width: u16,
    theme: &Theme,
) -> (Vec<Line<'static>>, usize) {
    let mut rows: Vec<Line<'static>> = Vec::new();
    let (_, time) = clock::local(message.at_ms);
    let centred = |text: String, style: Style, fill: &str| {
        let side = usize::from(width).saturating_sub(text.width() + 2) / 2;
        Line::from(vec![
            Span::styled(fill.repeat(side), theme.border),
            Span::styled(format!(" {text} "), style),
            Span::styled(fill.repeat(side), theme.border),
        ])
    };
    if let Some(day) = &head.day {
        if !rows.is_empty() {
            rows.push(Line::default());
        }
        rows.push(centred(format!("── {day} ──"), theme.dim, " "));
    }
    if head.unread {
        rows.push(centred("new".into(), theme.warn, "─"));
    }
    if head.name {
        let (name, style) =
            if message.mine { ("you".to_owned(), theme.own) } else { (safe_line(&message.name), theme.peer) };
        rows.push(Line::from(vec![Span::styled(format!(" {time} "), theme.dim), Span::styled(name, style)]));
    }
    let gutter = usize::from(GUTTER);
    let text_width = width.saturating_sub(GUTTER + 1);
    let mut body: Vec<Line<'static>> = Vec::new();
    if let Some(quoted) = quoted {
        let text = match quoted {
            Some(q) => {
                let who = if q.mine { "you".to_owned() } else { safe_line(&q.name) };
                let text = if q.deleted { "deleted".to_owned() } else { safe_line(&q.text) };
                format!("{who}: {text}")
            }
            None => "an older message".to_owned(),
        };
        body.push(Line::from(vec![
            Span::styled("┌ ", theme.accent),
            Span::styled(cut(&text, text_width.saturating_sub(3)), theme.dim),
        ]));
    }
    if message.deleted {
        body.push(Line::styled("deleted", theme.dim.add_modifier(Modifier::ITALIC)));
    } else {
        let mut text = markup::rows(&message.text, text_width, theme);
        if text.len() > FOLD + 5 && !unfolded {
            let more = text.len() - FOLD;
            text.truncate(FOLD);
            text.push(Line::styled(format!("… {more} more rows · x shows them"), theme.accent));
        }
        body.extend(text);
    }
    // How far it came, at the end of its last row or on one of its own.
    let mut tail: Vec<Span<'static>> = Vec::new();
    if message.edited && !message.deleted {
        tail.push(Span::styled("edited ", theme.dim));
    }
    if message.mine {
        let (mark, style) = match message.state.as_str() {
            "sent" => ("✓", theme.dim),
            "delivered" => ("✓✓", theme.dim),
            "read" => ("✓✓ read", theme.good),
            "failed" => ("⚠ failed", theme.bad),
            _ => ("⏳", theme.dim),
        };
        tail.push(Span::styled(mark, style));
        if !head.name {
            tail.push(Span::styled(format!(" {time}"), theme.dim));
        }
    }
    let tail_width: usize = tail.iter().map(|s| s.content.width()).sum();
    if tail_width > 0 {
        let used = body.last().map_or(0, Line::width);
        if used + tail_width + 1 > usize::from(text_width) {
            body.push(Line::default());
        }
        if let Some(last) = body.last_mut() {
            let pad = usize::from(text_width).saturating_sub(last.width() + tail_width);
            last.spans.push(Span::raw(" ".repeat(pad)));
            last.spans.extend(tail);
        }
    }
    if !message.reason.is_empty() {
        body.push(Line::styled(format!("⚠ {}", safe(&message.reason)), theme.bad));
    }
    if !message.reactions.is_empty() && !message.deleted {
        let mut spans = Vec::new();
        let mut seen: Vec<(&str, usize, bool)> = Vec::new();
        for (emoji, mine) in &message.reactions {
            match seen.iter_mut().find(|(e, ..)| e == emoji) {
                Some((_, n, own)) => {
                    *n += 1;
                    *own |= mine;
                }
                None => seen.push((emoji, 1, *mine)),
            }
        }
        for (emoji, n, own) in seen {
            let style = if own { theme.accent } else { theme.text };
            spans.push(Span::styled(format!("{emoji} {n}  "), style));
        }
        body.push(Line::from(spans));
    }
    let first = rows.len();
    for line in body {
        let mut spans = vec![Span::raw(" ".repeat(gutter))];
        spans.extend(line.spans.into_iter().map(|s| Span::styled(s.content, line.style.patch(s.style))));
        rows.push(Line::from(spans));
    }
    (rows, first)
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
