//! `config.toml`, `keys.toml` and `theme.toml`.

use serde::Deserialize;

use super::{actions::Keys, notify, theme::Theme};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    profile::config_dir,
};

/// How the screen behaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `dark`, `light`, `contrast`, `terminal` (its own 16 colours) or `mono`; empty for what fits.
    pub theme: String,
    /// `default`, `vim`, `emacs` or `minimal`.
    pub keys: String,
    /// Whether the mouse is used; off, the terminal's own selection works.
    pub mouse: bool,
    /// `auto`, `desktop`, `osc`, `bell` or `off`.
    pub notify: String,
    /// What a notification shows: `sender`, `full` or `none`.
    pub notify_shows: String,
    /// No notifications between these times, such as `22:00-07:00` (local time).
    pub quiet_hours: String,
    /// Only messages that mention you.
    pub notify_mentions_only: bool,
    /// Width of the list.
    pub list_width: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            theme: String::new(),
            keys: "default".into(),
            mouse: true,
            notify: "auto".into(),
            notify_shows: "sender".into(),
            quiet_hours: String::new(),
            notify_mentions_only: false,
            list_width: 24,
        }
    }
}

fn read(name: &str) -> CliResult<Option<toml::Table>> {
    let Some(path) = config_dir().map(|d| d.join(name)) else {
        return Ok(None);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => text
            .parse::<toml::Table>()
            .map(Some)
            .map_err(|e| CliError::usage(format!("{} is not valid: {e}", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(CliError::usage(format!("cannot read {}: {e}", path.display()))),
    }
}

/// Where what was chosen on the screen is kept: the user's own file is never rewritten.
fn chosen_path() -> Option<std::path::PathBuf> {
    crate::profile::state_dir().map(|d| d.join("theme"))
}

/// Keeps a theme that was chosen on the screen.
pub fn remember_theme(name: &str) -> std::io::Result<()> {
    let Some(path) = chosen_path() else {
        return Ok(());
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, name)
}

impl Config {
    /// Reads the configuration; what is not set is the default.
    pub fn load() -> CliResult<Self> {
        let table = read("config.toml")?.unwrap_or_default();
        let config: Self = table
            .try_into()
            .map_err(|e| CliError::usage(format!("config.toml is not valid: {}", e.to_string().trim())))?;
        if !config.quiet_hours.is_empty() && notify::span(&config.quiet_hours).is_none() {
            return Err(CliError::usage(format!("config.toml: quiet_hours = \"{}\" is no span", config.quiet_hours))
                .hint("write it as \"22:00-07:00\""));
        }
        Ok(config)
    }

    /// The key map.
    pub fn key_map(&self) -> CliResult<Keys> {
        let mut keys = Keys::profile(&self.keys).ok_or_else(|| {
            CliError::usage(format!("config.toml: there is no key profile “{}”", self.keys))
                .hint("use default, vim, emacs or minimal")
        })?;
        if let Some(table) = read("keys.toml")? {
            keys.rebind(&table).map_err(|e| CliError::usage(format!("keys.toml: {e}")))?;
        }
        Ok(keys)
    }

    /// The theme.
    pub fn theme(&self, global: &Global) -> CliResult<Theme> {
        let mut theme = Theme::fitting(global.color);
        if !self.theme.is_empty() && theme.name != "mono" {
            theme = Theme::named(&self.theme).ok_or_else(|| {
                CliError::usage(format!("config.toml: there is no theme “{}”", self.theme))
                    .hint("use dark, light, contrast, terminal or mono")
            })?;
        }
        let chosen = chosen_path().and_then(|path| std::fs::read_to_string(path).ok());
        if let Some(chosen) = chosen.and_then(|name| Theme::named(name.trim())).filter(|_| theme.name != "mono") {
            theme = chosen;
        }
        match read("theme.toml")? {
            Some(table) => theme.with(&table).map_err(|e| CliError::usage(format!("theme.toml: {e}"))),
            None => Ok(theme),
        }
    }
}
