//! Colours. Nothing is told by colour alone: every mark has a sign, too.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::Span,
    widgets::{Block, BorderType, Clear, Widget},
};

use crate::cli::Color as When;

/// The names of the themes that come with the program.
pub const THEMES: [&str; 5] = ["dark", "light", "contrast", "terminal", "mono"];

/// The styles of the screen.
#[derive(Clone, Debug)]
pub struct Theme {
    pub name: String,
    pub text: Style,
    pub dim: Style,
    pub border: Style,
    pub accent: Style,
    pub own: Style,
    pub peer: Style,
    pub good: Style,
    pub warn: Style,
    pub bad: Style,
    pub code: Style,
    pub selected: Style,
    /// Which of syntect's themes colours code; none for one colour.
    pub highlight: Option<&'static str>,
}

fn rgb(hex: u32) -> Style {
    Style::new().fg(Color::Rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8))
}

impl Theme {
    /// Draws the box of what lies over everything. Gives what is inside of it.
    pub fn draw_box(&self, title: &str, place: Rect, buffer: &mut Buffer) -> Rect {
        Clear.render(place, buffer);
        let block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(self.accent)
            .style(self.text)
            .title(Span::styled(format!(" {title} "), self.accent));
        let inner = block.inner(place);
        block.render(place, buffer);
        inner
    }

    /// A theme by name; `None` if there is none of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "dark" => Some(Self::dark()),
            "light" => Some(Self::light()),
            "contrast" => Some(Self::contrast()),
            "terminal" => Some(Self::terminal()),
            "mono" => Some(Self::mono()),
            _ => None,
        }
    }

    fn dark() -> Self {
        Self {
            text: rgb(0xd8dee9).bg(Color::Rgb(0x1f, 0x23, 0x2b)),
            dim: rgb(0x7b88a1),
            border: rgb(0x4c566a),
            accent: rgb(0x88c0d0),
            own: rgb(0xa3be8c).add_modifier(Modifier::BOLD),
            peer: rgb(0x81a1c1).add_modifier(Modifier::BOLD),
            good: rgb(0xa3be8c),
            warn: rgb(0xebcb8b),
            bad: rgb(0xe5717c),
            code: rgb(0xd8dee9).bg(Color::Rgb(0x2b, 0x30, 0x3b)),
            selected: Style::new().bg(Color::Rgb(0x3b, 0x42, 0x52)),
            highlight: Some("base16-ocean.dark"),
            name: "dark".into(),
        }
    }

    fn light() -> Self {
        Self {
            text: rgb(0x2e3440).bg(Color::Rgb(0xfb, 0xfb, 0xfa)),
            dim: rgb(0x6a7488),
            border: rgb(0xb8c0cc),
            accent: rgb(0x0b6e8c),
            own: rgb(0x3f7a22).add_modifier(Modifier::BOLD),
            peer: rgb(0x2f5d9e).add_modifier(Modifier::BOLD),
            good: rgb(0x3f7a22),
            warn: rgb(0x8a6100),
            bad: rgb(0xb3202e),
            code: rgb(0x2e3440).bg(Color::Rgb(0xec, 0xee, 0xf2)),
            selected: Style::new().bg(Color::Rgb(0xdd, 0xe5, 0xee)),
            highlight: Some("InspiredGitHub"),
            name: "light".into(),
        }
    }

    fn contrast() -> Self {
        let (plain, bold) = (Style::new(), Style::new().add_modifier(Modifier::BOLD));
        Self {
            text: plain.fg(Color::White).bg(Color::Black),
            dim: plain.fg(Color::Gray),
            border: plain.fg(Color::White),
            accent: bold.fg(Color::Yellow),
            own: bold.fg(Color::LightGreen),
            peer: bold.fg(Color::LightCyan),
            good: bold.fg(Color::LightGreen),
            warn: bold.fg(Color::LightYellow),
            bad: bold.fg(Color::LightRed),
            code: plain.fg(Color::LightYellow),
            selected: plain.add_modifier(Modifier::REVERSED),
            highlight: None,
            name: "contrast".into(),
        }
    }

    fn terminal() -> Self {
        let (plain, bold) = (Style::new(), Style::new().add_modifier(Modifier::BOLD));
        Self {
            text: plain,
            dim: plain.fg(Color::DarkGray),
            border: plain.fg(Color::DarkGray),
            accent: plain.fg(Color::Cyan),
            own: bold.fg(Color::Green),
            peer: bold.fg(Color::Blue),
            good: plain.fg(Color::Green),
            warn: plain.fg(Color::Yellow),
            bad: plain.fg(Color::Red),
            code: plain.fg(Color::Magenta),
            selected: plain.add_modifier(Modifier::REVERSED),
            highlight: None,
            name: "terminal".into(),
        }
    }

    fn mono() -> Self {
        let (plain, bold) = (Style::new(), Style::new().add_modifier(Modifier::BOLD));
        Self {
            text: plain,
            dim: plain.add_modifier(Modifier::DIM),
            border: plain.add_modifier(Modifier::DIM),
            accent: bold,
            own: bold,
            peer: bold.add_modifier(Modifier::UNDERLINED),
            good: plain,
            warn: bold,
            bad: bold,
            code: plain.add_modifier(Modifier::DIM),
            selected: plain.add_modifier(Modifier::REVERSED),
            highlight: None,
            name: "mono".into(),
        }
    }

    /// The theme for this terminal, if the user has not chosen one.
    pub fn fitting(when: When) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let name = if when == When::Never || (when == When::Auto && set("NO_COLOR")) {
            "mono"
        } else if std::env::var("COLORTERM").is_ok_and(|v| v == "truecolor" || v == "24bit") {
            "dark"
        } else {
            "terminal"
        };
        Self::named(name).unwrap_or_else(|| unreachable!("the names above are those of themes"))
    }

    /// Changes single colours, as `theme.toml` says: `accent = "#88c0d0"` or a colour's name.
    ///
    /// # Errors
    /// If something in it is no colour, or there is no such part of the screen: what is wrong.
    pub fn with(mut self, colours: &toml::Table) -> Result<Self, String> {
        for (name, value) in colours {
            let colour = value.as_str().and_then(|v| v.parse::<Color>().ok()).ok_or_else(|| {
                format!("{name}: {value} is no colour; \"#88c0d0\" is one, or a name such as \"blue\"")
            })?;
            let style = match name.as_str() {
                "text" => &mut self.text,
                "dim" => &mut self.dim,
                "border" => &mut self.border,
                "accent" => &mut self.accent,
                "own" => &mut self.own,
                "peer" => &mut self.peer,
                "good" => &mut self.good,
                "warn" => &mut self.warn,
                "bad" => &mut self.bad,
                "code" => &mut self.code,
                "selected" => {
                    self.selected = Style::new().bg(colour);
                    continue;
                }
                _ => {
                    let parts = "text, dim, border, accent, own, peer, good, warn, bad, code or selected";
                    return Err(format!("there is no “{name}” to colour: {parts}"));
                }
            };
            *style = style.fg(colour);
        }
        Ok(self)
    }
}
