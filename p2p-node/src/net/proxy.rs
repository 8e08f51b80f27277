//! The proxy that everything goes through, if the user has set one: SOCKS5 (RFC 1928, as Tor's) or HTTP CONNECT (RFC 9110, 9.3.6).

use std::{fmt, str::FromStr};

use data_encoding::{BASE64, HEXLOWER};
use percent_encoding::percent_decode_str;
use url::Url;

/// Longest text that is read as the address of a proxy, in bytes.
const MAX_WRITTEN: usize = 1024;
/// Longest name of a host, in bytes (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;
/// User name and password together, in bytes. RFC 1929 has room for 255 of each.
const MAX_CREDENTIALS: usize = 160;

/// How a proxy is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// SOCKS version 5.
    Socks5,
    /// CONNECT over HTTP.
    Http,
}

/// A proxy: nothing is sent but through it, and names are looked up by it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: ProxyKind,
    host: String,
    port: u16,
    credentials: Option<(String, String)>,
    /// What tells connections for one purpose from others, where the user has named no credentials.
    isolation: Option<String>,
}

/// How a proxy of SOCKS learns who asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login<'a> {
    /// Not at all.
    None,
    /// By a text that stands for both user name and password, if it wants one. Tor has a circuit for each (`IsolateSOCKSAuth`).
    Offered(&'a str),
    /// By the user name and the password that the user has named.
    Needed(&'a str, &'a str),
}

/// Why the address of a proxy was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProxyAddressError {
    /// Not `SCHEME://HOST:PORT`.
    #[error("no address of a proxy: expected a form like socks5h://127.0.0.1:9050 or http://proxy.example:3128")]
    Syntax,
    /// Another scheme.
    #[error("“{0}” is no kind of proxy that can be used: socks5h, socks5 and http are")]
    Scheme(String),
    /// A user name or password that a proxy cannot take.
    #[error("the user name or password of the proxy is too long, or not written as in a URL")]
    Credentials,
}

impl Proxy {
    /// How it is talked to.
    pub fn kind(&self) -> ProxyKind {
        self.kind
    }

    /// Its name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// User name and password, if it wants them.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// The same proxy for connections that are not to be taken for those of anything else: under a name that is made for them, unless the user has
    /// named one.
    pub(super) fn isolated(&self) -> Self {
        let wants = self.kind == ProxyKind::Socks5 && self.credentials.is_none();
        let isolation = wants.then(|| HEXLOWER.encode(&rand::random::<[u8; 16]>()));
        Self { isolation, ..self.clone() }
    }

    /// How a proxy of SOCKS learns who asks it.
    pub(super) fn login(&self) -> Login<'_> {
        match (self.credentials(), &self.isolation) {
            (Some((user, password)), _) => Login::Needed(user, password),
            (None, Some(isolation)) => Login::Offered(isolation),
            (None, None) => Login::None,
        }
    }

    /// The same as HTTP has them (RFC 7617).
    pub(super) fn basic(&self) -> Option<String> {
        self.credentials()
            .map(|(user, password)| format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes())))
    }
}

impl fmt::Display for Proxy {
    /// Without user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Socks5 => "socks5h",
            ProxyKind::Http => "http",
        };
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl FromStr for Proxy {
    type Err = ProxyAddressError;

    fn from_str(text: &str) -> Result<Self, ProxyAddressError> {
        let text = starling_text::shortened(text, MAX_WRITTEN);
        let url = Url::parse(text).map_err(|_| ProxyAddressError::Syntax)?;
        let (kind, default_port) = match url.scheme() {
            // Names are always looked up by the proxy.
            "socks" | "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            "http" => (ProxyKind::Http, 80),
            other if url.has_host() => {
                return Err(ProxyAddressError::Scheme(other.chars().take(32).collect()));
            }
            _ => return Err(ProxyAddressError::Syntax),
        };
        let host = url.host_str().ok_or(ProxyAddressError::Syntax)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        let port = url.port().unwrap_or(default_port);
        // A name in which the library of URLs has escaped something is none.
        if host.is_empty() || host.contains('%') || host.len() > MAX_HOST || port == 0 {
            return Err(ProxyAddressError::Syntax);
        }
        Ok(Self { kind, host, port, credentials: read_credentials(&url)?, isolation: None })
    }
}

fn read_credentials(url: &Url) -> Result<Option<(String, String)>, ProxyAddressError> {
    let (user, password) = (url.username(), url.password());
    if user.is_empty() && password.is_none() {
        return Ok(None);
    }
    let read = |part: &str| {
        let text = percent_decode_str(part).decode_utf8().map_err(|_| ProxyAddressError::Credentials)?;
        if text.contains(char::is_control) { Err(ProxyAddressError::Credentials) } else { Ok(text.into_owned()) }
    };
    let (user, password) = (read(user)?, read(password.unwrap_or_default())?);
    if user.len() + password.len() > MAX_CREDENTIALS {
        return Err(ProxyAddressError::Credentials);
    }
    Ok(Some((user, password)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_what_is_secret() {
        for (written, shown, credentials) in [
            ("socks5://127.0.0.1:9050", "socks5h://127.0.0.1:9050", None),
            ("SOCKS5H://localhost", "socks5h://localhost:1080", None),
            ("http://proxy.example:3128/", "http://proxy.example:3128", None),
            ("http://me:a%40b%3A@[2001:db8::1]:1", "http://[2001:db8::1]:1", Some(("me", "a@b:"))),
            ("socks://h:5/", "socks5h://h:5", None),
            ("socks5://only@h:5", "socks5h://h:5", Some(("only", ""))),
            (" http://[::1]\n", "http://[::1]:80", None),
        ] {
            let proxy: Proxy = written.parse().unwrap();
            assert_eq!(proxy.to_string(), shown);
            assert_eq!(format!("{proxy:?}"), format!("Proxy({shown})"));
            assert_eq!(proxy.credentials(), credentials, "{written}");
        }
        let basic = "http://Aladdin:open%20sesame@h".parse::<Proxy>().unwrap().basic();
        assert_eq!(basic.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "the example of RFC 7617");
    }

    #[test]
    fn what_is_isolated_has_a_name_of_its_own_unless_the_user_has_named_one() {
        let read = |text: &str| text.parse::<Proxy>().unwrap();
        let (plain, named) = (read("socks5h://h:1"), read("socks5h://me:secret@h:1"));
        assert_eq!(plain.login(), Login::None);
        let (one, other) = (plain.isolated(), plain.isolated());
        let (Login::Offered(of_one), Login::Offered(of_other)) = (one.login(), other.login()) else { unreachable!() };
        assert!(of_one != of_other && of_one.len() == 32);
        assert_ne!(one.isolated().login(), one.login(), "another purpose");
        assert_eq!(named.isolated().login(), Login::Needed("me", "secret"));
        assert_eq!(read("http://h:1").isolated().login(), Login::None);
        assert_eq!(format!("{one} {one:?}"), "socks5h://h:1 Proxy(socks5h://h:1)");
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        let read = |text: &str| text.parse::<Proxy>().unwrap_err();
        for text in [
            "",
            "127.0.0.1:9050",
            "http://",
            "http://:80",
            "http://h:0",
            "http://h:99999",
            "http://a b",
            "http://::1:80",
            "http://[::1",
            "http://[::1]x",
            "socks5://é.example",
            "socks5h://tor%2eexample:9050",
        ] {
            assert_eq!(read(text), ProxyAddressError::Syntax, "{text}");
        }
        assert_eq!(read("socks4://h:1"), ProxyAddressError::Scheme("socks4".into()));
        for text in ["http://a%ff@h", "http://a%0d@h", &format!("socks5://{}@h", "x".repeat(256))] {
            assert_eq!(read(text), ProxyAddressError::Credentials, "{text}");
        }
    }
}
