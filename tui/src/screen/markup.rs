//! Message text to styled rows: a subset of Markdown, links, emoji shortcodes, highlighted code, wrapped to a width. Text is made safe first.

use std::sync::OnceLock;

use linkify::{LinkFinder, LinkKind};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};
use syntect::{easy::HighlightLines, highlighting::ThemeSet, parsing::SyntaxSet};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::theme::Theme;
use crate::terminal::safe;

/// Code longer than this is shown in one colour: highlighting costs time.
const MAX_HIGHLIGHT: usize = 16 * 1024;

/// A row before it is wrapped.
#[derive(Default)]
struct Row {
    spans: Vec<(String, Style)>,
    /// What continues on wrapped rows: quote bars and list indents.
    indent: Vec<(String, Style)>,
    /// Code keeps its spaces.
    verbatim: bool,
}

/// Lays a text out.
pub fn rows(text: &str, width: u16, theme: &Theme) -> Vec<Line<'static>> {
    let text = safe(text);
    let mut out = Vec::new();
    let mut parsed = parse(&keep_definitions(&text), theme);
    // A lone `*`, `#` or `>` is Markdown for nothing, and was meant as it stands.
    let is_blank = |row: &Row| row.spans.iter().skip(row.indent.len()).all(|(t, _)| t.trim().is_empty());
    if !text.trim().is_empty() && parsed.iter().all(is_blank) {
        let raw = |line: &str| Row { spans: vec![(line.to_owned(), theme.text)], verbatim: true, ..Row::default() };
        parsed = text.lines().map(raw).collect();
    }
    for row in parsed {
        wrap(&row, usize::from(width.max(4)), &mut out);
    }
    if out.is_empty() {
        out.push(Line::default());
    }
    out
}

/// Lines such as `[x]: address` would define a link and vanish: they are escaped, outside of code.
fn keep_definitions(text: &str) -> String {
    let mut fenced = false;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let start = line.trim_start();
        fenced ^= start.starts_with("```") || start.starts_with("~~~");
        if !fenced && start.starts_with('[') && start.contains("]:") {
            out.push('\\');
            out.push_str(start);
        } else {
            out.push_str(line);
        }
    }
    out
}

/// The links in a text.
pub fn links(text: &str) -> Vec<String> {
    let mut finder = LinkFinder::new();
    finder.kinds(&[LinkKind::Url]);
    finder.links(text).map(|l| l.as_str().to_owned()).filter(|l| is_web(l)).collect()
}

fn is_web(link: &str) -> bool {
    link.starts_with("https://") || link.starts_with("http://")
}

/// `:wave:` becomes 👋; what is no shortcode stays.
pub fn emoji(text: &str) -> String {
    if !text.contains(':') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(':') {
        out.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-')));
        match end {
            Some(end) if end > 0 && after[end..].starts_with(':') => match emojis::get_by_shortcode(&after[..end]) {
                Some(emoji) => {
                    out.push_str(emoji.as_str());
                    rest = &after[end + 1..];
                }
                None => {
                    out.push(':');
                    out.push_str(&after[..end]);
                    rest = &after[end..];
                }
            },
            _ => {
                out.push(':');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn parse(text: &str, theme: &Theme) -> Vec<Row> {
    let mut builder = Builder::new(theme);
    // Strikethrough beside the core; tables, footnotes and HTML are shown as they were typed.
    for event in Parser::new_ext(text, Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Start(tag) => builder.start(tag),
            Event::End(tag) => builder.end(tag),
            Event::Text(text) => builder.text(&text),
            Event::Code(text) => builder.push(text.into_string(), theme.code),
            Event::SoftBreak | Event::HardBreak => builder.end_row(),
            Event::Html(text) | Event::InlineHtml(text) => builder.verbatim(&text),
            Event::Rule => {
                builder.end_row();
                builder.push("───".to_owned(), theme.dim);
                builder.end_row();
            }
            _ => {}
        }
    }
    builder.end_row();
    builder.rows
}

/// Quotations in quotations that are shown as such.
const MAX_QUOTES: usize = 4;

/// Makes rows of what the parser finds.
struct Builder<'a> {
    theme: &'a Theme,
    rows: Vec<Row>,
    /// The row that is being made.
    row: Row,
    /// The innermost is the last; never empty.
    styles: Vec<Style>,
    quotes: usize,
    /// Open lists, and the number of the next item of those that count.
    lists: Vec<Option<u64>>,
    /// The mark of an item that has no text yet.
    item: Option<String>,
    /// Language and text of a code block.
    code: Option<(String, String)>,
    /// An empty row comes before the next text.
    blank: bool,
    /// Open links: address, and the words that stand for it.
    links: Vec<(String, String)>,
}

impl<'a> Builder<'a> {
    fn new(theme: &'a Theme) -> Self {
        Self {
            theme,
            rows: Vec::new(),
            row: Row::default(),
            styles: vec![theme.text],
            quotes: 0,
            lists: Vec::new(),
            item: None,
            code: None,
            blank: false,
            links: Vec::new(),
        }
    }

    fn style(&self) -> Style {
        self.styles.last().copied().unwrap_or(self.theme.text)
    }

    /// What stands before the text of a row, in so many lists.
    fn indent(&self, lists: usize) -> Vec<(String, Style)> {
        let mut indent = vec![("▎ ".to_owned(), self.theme.dim); self.quotes];
        if lists > 0 {
            indent.push(("  ".repeat(lists), self.theme.text));
        }
        indent
    }

    fn end_row(&mut self) {
        if !self.row.spans.is_empty() {
            self.rows.push(std::mem::take(&mut self.row));
        }
    }

    fn blank_row(&mut self) {
        if std::mem::take(&mut self.blank) && !self.rows.is_empty() {
            self.rows.push(Row::default());
        }
    }

    fn push(&mut self, text: String, style: Style) {
        if self.row.spans.is_empty() {
            self.blank_row();
            self.row.indent = self.indent(self.lists.len());
            self.row.spans = match self.item.take() {
                Some(mark) => {
                    let mut first = self.indent(self.lists.len().saturating_sub(1));
                    first.push((mark, self.theme.dim));
                    first
                }
                None => self.row.indent.clone(),
            };
        }
        self.row.spans.push((text, style));
    }

    fn start(&mut self, tag: Tag<'_>) {
        let now = self.style();
        match tag {
            Tag::Strong => self.styles.push(now.add_modifier(Modifier::BOLD)),
            Tag::Emphasis => self.styles.push(now.add_modifier(Modifier::ITALIC)),
            Tag::Strikethrough => self.styles.push(now.add_modifier(Modifier::CROSSED_OUT)),
            Tag::Heading { .. } => {
                self.end_row();
                self.styles.push(self.theme.accent.add_modifier(Modifier::BOLD));
            }
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.links.push((dest_url.into_string(), String::new()));
                self.styles.push(self.theme.accent.add_modifier(Modifier::UNDERLINED));
            }
            Tag::BlockQuote(_) => {
                self.end_row();
                self.quotes = (self.quotes + 1).min(MAX_QUOTES);
            }
            Tag::List(start) => {
                self.end_row();
                self.lists.push(start);
            }
            Tag::Item => {
                self.end_row();
                self.item = Some(match self.lists.last_mut() {
                    Some(Some(n)) => {
                        *n = n.saturating_add(1);
                        format!("{}. ", *n - 1)
                    }
                    _ => "• ".into(),
                });
            }
            Tag::CodeBlock(kind) => {
                self.end_row();
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.split_whitespace().next().unwrap_or("").to_owned(),
                    CodeBlockKind::Indented => String::new(),
                };
                self.code = Some((language, String::new()));
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Link | TagEnd::Image => self.end_link(),
            TagEnd::Strong | TagEnd::Emphasis | TagEnd::Strikethrough => drop(self.styles.pop()),
            TagEnd::Heading(_) => {
                self.end_row();
                self.styles.pop();
                self.blank = true;
            }
            TagEnd::Paragraph => {
                self.end_row();
                self.blank = self.lists.is_empty();
            }
            TagEnd::BlockQuote(_) => {
                self.end_row();
                self.quotes = self.quotes.saturating_sub(1);
                self.blank = true;
            }
            TagEnd::List(_) => {
                self.end_row();
                self.lists.pop();
                self.blank = self.lists.is_empty();
            }
            TagEnd::Item => self.end_row(),
            TagEnd::CodeBlock => self.end_code(),
            _ => {}
        }
    }

    /// Where a link leads is never hidden behind other words.
    fn end_link(&mut self) {
        self.styles.pop();
        if let Some((target, shown)) = self.links.pop()
            && shown.trim() != target
            && format!("mailto:{}", shown.trim()) != target
        {
            self.push(format!(" ({target})"), self.theme.dim);
        }
    }

    fn end_code(&mut self) {
        let Some((language, text)) = self.code.take() else { return };
        self.blank_row();
        for spans in highlight(&language, &text, self.theme) {
            let mut all = self.indent(0);
            all.push(("│ ".into(), self.theme.dim));
            let indent = all.clone();
            all.extend(spans);
            self.rows.push(Row { spans: all, indent, verbatim: true });
        }
        self.blank = true;
    }

    fn text(&mut self, text: &str) {
        if let Some((_, code)) = &mut self.code {
            return code.push_str(text);
        }
        if let Some((_, shown)) = self.links.last_mut() {
            shown.push_str(text);
        }
        for (part, link) in split_links(&emoji(text)) {
            let style = if link { self.theme.accent.add_modifier(Modifier::UNDERLINED) } else { self.style() };
            self.push(part, style);
        }
    }

    fn verbatim(&mut self, text: &str) {
        for (i, part) in text.split('\n').enumerate() {
            if i > 0 {
                self.end_row();
            }
            if !part.is_empty() {
                self.push(part.to_owned(), self.style());
            }
        }
    }
}

fn split_links(text: &str) -> Vec<(String, bool)> {
    let mut finder = LinkFinder::new();
    finder.kinds(&[LinkKind::Url]);
    finder.spans(text).map(|s| (s.as_str().to_owned(), s.kind().is_some() && is_web(s.as_str()))).collect()
}

struct Highlighting {
    syntaxes: SyntaxSet,
    themes: ThemeSet,
}

fn highlight(language: &str, text: &str, theme: &Theme) -> Vec<Vec<(String, Style)>> {
    static SETS: OnceLock<Highlighting> = OnceLock::new();
    let plain = || text.trim_end_matches('\n').split('\n').map(|l| vec![(l.to_owned(), theme.code)]).collect();
    let Some(name) = theme.highlight.filter(|_| !language.is_empty() && text.len() <= MAX_HIGHLIGHT) else {
        return plain();
    };
    let sets = SETS.get_or_init(|| Highlighting {
        syntaxes: SyntaxSet::load_defaults_newlines(),
        themes: ThemeSet::load_defaults(),
    });
    let (Some(syntax), Some(colours)) = (sets.syntaxes.find_syntax_by_token(language), sets.themes.themes.get(name))
    else {
        return plain();
    };
    let mut lines = HighlightLines::new(syntax, colours);
    let mut out = Vec::new();
    for line in text.trim_end_matches('\n').split_inclusive('\n') {
        let Ok(parts) = lines.highlight_line(line, &sets.syntaxes) else {
            return plain();
        };
        let spans = parts.into_iter().map(|(style, part)| {
            let c = style.foreground;
            (part.trim_end_matches('\n').to_owned(), Style::new().fg(Color::Rgb(c.r, c.g, c.b)))
        });
        out.push(spans.filter(|(part, _)| !part.is_empty()).collect());
    }
    out
}

/// The width of a grapheme cluster as terminals draw it.
fn width_of(cluster: &str) -> usize {
    cluster.width()
}

fn wrap(row: &Row, width: usize, out: &mut Vec<Line<'static>>) {
    let indent_width: usize = row.indent.iter().map(|(t, _)| t.width()).sum();
    let indent_width = if indent_width + 4 > width { 0 } else { indent_width };
    let mut line: Vec<(String, Style)> = Vec::new();
    let mut used = 0;
    // A word that may have to move to the next line: it can have several styles.
    let mut word: Vec<(String, Style)> = Vec::new();
    let mut word_width = 0;
    let push = |into: &mut Vec<(String, Style)>, text: &str, style: Style| match into.last_mut() {
        Some((last, s)) if *s == style => last.push_str(text),
        _ => into.push((text.to_owned(), style)),
    };
    let flush = |line: &mut Vec<(String, Style)>, out: &mut Vec<Line<'static>>| {
        let spans: Vec<Span<'static>> = std::mem::take(line).into_iter().map(|(t, s)| Span::styled(t, s)).collect();
        out.push(Line::from(spans));
        if indent_width > 0 {
            line.extend(row.indent.iter().cloned());
        }
        indent_width
    };
    for (text, style) in &row.spans {
        for cluster in text.graphemes(true) {
            let w = width_of(cluster);
            if cluster == " " && !row.verbatim {
                if used + word_width > width && used > indent_width {
                    used = flush(&mut line, out);
                }
                line.append(&mut word);
                used += std::mem::take(&mut word_width);
                if used < width {
                    push(&mut line, " ", *style);
                    used += 1;
                }
                continue;
            }
            if indent_width + word_width + w > width || (row.verbatim && used + word_width + w > width) {
                // Longer than a line: broken where it is.
                if !row.verbatim && used > indent_width {
                    used = flush(&mut line, out);
                }
                line.append(&mut word);
                used += std::mem::take(&mut word_width);
                if used + w > width {
                    used = flush(&mut line, out);
                }
            }
            push(&mut word, cluster, *style);
            word_width += w;
        }
    }
    if used + word_width > width && used > indent_width {
        flush(&mut line, out);
    }
    line.append(&mut word);
    out.push(Line::from(line.into_iter().map(|(t, s)| Span::styled(t, s)).collect::<Vec<_>>()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str, width: u16) -> Vec<String> {
        let theme = Theme::named("mono").unwrap();
        rows(text, width, &theme).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn text_is_wrapped_at_words_and_long_words_are_broken() {
        assert_eq!(plain("one two three", 8), ["one two ", "three"]);
        assert_eq!(plain("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(plain("日本語日本語", 6), ["日本語", "日本語"]);
    }

    #[test]
    fn markdown_lists_quotes_and_code() {
        assert_eq!(plain("- a\n- b", 20), ["• a", "• b"]);
        assert_eq!(plain("3. a\n4. b", 20), ["3. a", "4. b"]);
        assert_eq!(plain("> wise words here", 10), ["▎ wise ", "▎ words ", "▎ here"]);
        assert_eq!(plain("```rs\nfn  a() {}\n```\nafter", 40), ["│ fn  a() {}", "", "after"]);
        assert_eq!(plain("a\nb\n\nc", 40), ["a", "b", "", "c"]);
        assert_eq!(plain("hi :wave: 10:30 :nope:", 40), ["hi 👋 10:30 :nope:"]);
    }

    #[test]
    fn hostile_text_stays_text() {
        for text in ["\u{1b}]0;x\u{7}", "<script>\n</script>", "\u{202e}abc", &"> ".repeat(1000), &"a".repeat(70_000)] {
            for line in plain(text, 20) {
                assert!(!line.contains('\u{1b}') && !line.contains('\u{202e}') && line.width() <= 20, "{line:?}");
            }
        }
        assert_eq!(plain("", 10), [""]);
        for text in ["+", "*", "#", ">", "1.", "[1]: https://evil.example/a", "&nbsp;", "```"] {
            assert!(plain(text, 40).concat().trim().len() >= text.len().min(1), "{text}");
        }
        assert_eq!(plain("[1]: https://a.example", 40), ["[1]: https://a.example"]);
        assert_eq!(plain("[bank](https://evil.example)", 40), ["bank (https://evil.example)"]);
        assert_eq!(plain("<https://a.example>", 40), ["https://a.example"]);
        assert_eq!(links("see https://a.example/x. or javascript:alert(1)"), ["https://a.example/x"]);
    }
}
