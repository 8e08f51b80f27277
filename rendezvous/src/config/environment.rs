//! Settings from environment variables: `STARLING_RENDEZVOUS_` and the path of the setting in capitals, with `_` for the dots.

use std::{ffi::OsString, net::IpAddr};

use super::{Config, ConfigError, check};

const PREFIX: &str = "STARLING_RENDEZVOUS_";

impl Config {
    /// Overrides every setting that has a variable, such as `STARLING_RENDEZVOUS_LIMITS_LOG_ENTRIES`. Several addresses are separated by commas.
    pub fn with_environment(self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let wrong = |e: String| ConfigError::Value(format!("environment: {e}"));
        let mut table = toml::Table::try_from(&self).map_err(|e| wrong(e.to_string()))?;
        override_table(&mut table, "", &variable)?;
        check::numbers(&table)?;
        table.try_into().map_err(|e: toml::de::Error| wrong(e.message().to_owned()))
    }

    /// Refuses a variable with our prefix that is no setting: one that is misspelt would silently not count. Variables with which
    /// Kubernetes and Docker describe a service or container of our name pass.
    pub fn check_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), ConfigError> {
        let mut settings = Vec::new();
        if let Ok(table) = toml::Table::try_from(Self::default()) {
            leaves(&table, "", &mut settings);
        }
        let known: Vec<String> = settings.iter().map(|(setting, _)| variable_name(setting)).collect();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(suffix) = name.strip_prefix(PREFIX) else { continue };
            // One that cannot be read must not be taken for one that is not there.
            let Some(value) = value.to_str() else {
                return Err(ConfigError::Value(format!("the value of the variable {name} is not UTF-8")));
            };
            let is_setting = ["CONFIG", "PUBLIC_ADDRESS"].contains(&suffix) || known.iter().any(|known| known == name);
            if !is_setting && !describes_a_service(suffix, value) {
                return Err(ConfigError::Value(format!("there is no setting for the variable {name}")));
            }
        }
        Ok(())
    }
}

fn variable_name(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "_").to_uppercase())
}

/// Whether a container runtime sets such a variable, for a service that is named `starling-rendezvous` or begins so. The value has to look
/// like the runtime's: a setting that is misspelt may end in `_PORT`, too.
///
/// Kubernetes: <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>; Docker's links have the same, and
/// `_NAME` and `_ENV_…`.
fn describes_a_service(suffix: &str, value: &str) -> bool {
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_url = || {
        let rest = ["tcp://", "udp://", "sctp://"].iter().find_map(|scheme| value.strip_prefix(scheme));
        rest.and_then(|rest| rest.rsplit_once(':')).is_some_and(|(host, port)| !host.is_empty() && is_port(port))
    };
    if suffix == "NAME" || suffix.ends_with("_NAME") {
        // The path of a linked container, such as `/web/rendezvous`.
        return value.starts_with('/');
    }
    if suffix.starts_with("ENV_") {
        return true;
    }
    let at = |part: &str| suffix == part || suffix.ends_with(&format!("_{part}"));
    if at("SERVICE_HOST") {
        return value.parse::<IpAddr>().is_ok();
    }
    if at("SERVICE_PORT") || suffix.starts_with("SERVICE_PORT_") || suffix.contains("_SERVICE_PORT_") {
        return is_port(value);
    }
    // What follows the last `PORT` that is a part of its own: nothing, or `4001_TCP` and perhaps one of three details.
    let Some((_, of_port)) = format!("_{suffix}_").split_once("_PORT_").map(|(a, b)| (a.to_owned(), b.to_owned()))
    else {
        return false;
    };
    let parts: Vec<&str> = of_port.split('_').filter(|part| !part.is_empty()).collect();
    let is_protocol = |text: &str| ["TCP", "UDP", "SCTP"].contains(&text);
    match parts.as_slice() {
        [] => is_url(),
        [port, protocol] if is_port(port) && is_protocol(protocol) => is_url(),
        [port, protocol, "PROTO"] if is_port(port) && is_protocol(protocol) => value.eq_ignore_ascii_case(protocol),
        [port, protocol, "PORT"] if is_port(port) && is_protocol(protocol) => is_port(value),
        // Docker, of several ports in a row.
        [port, protocol, "START" | "END"] if is_port(port) && is_protocol(protocol) => is_url(),
        [port, protocol, "PORT", "START" | "END"] if is_port(port) && is_protocol(protocol) => is_port(value),
        [port, protocol, "ADDR"] if is_port(port) && is_protocol(protocol) => value.parse::<IpAddr>().is_ok(),
        _ => false,
    }
}

/// All settings below a table: their paths, as in `limits.log_bytes`, and their values.
pub(super) fn leaves(table: &toml::Table, path: &str, found: &mut Vec<(String, toml::Value)>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => leaves(inner, &format!("{path}{key}."), found),
            value => found.push((format!("{path}{key}"), value.clone())),
        }
    }
}

type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

fn override_table(table: &mut toml::Table, path: &str, variable: Variable<'_>) -> Result<(), ConfigError> {
    for (key, value) in table.iter_mut() {
        let setting = format!("{path}{key}");
        if let toml::Value::Table(inner) = value {
            override_table(inner, &format!("{setting}."), variable)?;
        } else if let Some(text) = variable(&variable_name(&setting)) {
            *value = parse(&setting, value, text)?;
        }
    }
    Ok(())
}

/// A variable's text as the type that its setting has.
fn parse(setting: &str, like: &toml::Value, text: String) -> Result<toml::Value, ConfigError> {
    let name = variable_name(setting);
    let parsed = match like {
        toml::Value::Integer(_) => {
            let digits = text.trim();
            let number = digits.parse().ok().map(toml::Value::Integer);
            // A number, but none that fits.
            if number.is_none()
                && digits.strip_prefix('-').unwrap_or(digits).bytes().all(|b| b.is_ascii_digit())
                && !digits.is_empty()
                && let Some((min, max)) = check::range(setting)
            {
                return Err(ConfigError::OutOfRange { setting: name, value: digits.to_owned(), min, max });
            }
            number
        }
        toml::Value::Boolean(_) => text.trim().parse().ok().map(toml::Value::Boolean),
        toml::Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|t| !t.is_empty());
            Some(toml::Value::Array(items.map(|t| toml::Value::String(t.to_owned())).collect()))
        }
        _ => Some(toml::Value::String(text.clone())),
    };
    parsed.ok_or_else(|| ConfigError::Value(format!("{name}: “{}” is not valid there", text.escape_debug())))
}
