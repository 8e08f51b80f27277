//! SOCKS version 5 (RFC 1928), with user name and password (RFC 1929): a proxy is asked for one connection.

use std::{io, net::IpAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::net::proxy::Login;

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
/// The version of the exchange of user name and password.
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Why a proxy makes no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocksError {
    /// The connection with the proxy has ended, or what it says is not SOCKS.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// It wants a user name and password, or others.
    #[error("the user name and password are not taken")]
    Credentials,
    /// It cannot reach what it was asked for, or may not.
    #[error("{0}")]
    Refused(&'static str),
}

fn not_socks() -> SocksError {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not SOCKS5").into()
}

/// A text of at most 255 bytes, after its length.
fn with_length(text: &str) -> Result<Vec<u8>, SocksError> {
    let length = u8::try_from(text.len()).map_err(|_| SocksError::Refused("a name is too long"))?;
    Ok([&[length], text.as_bytes()].concat())
}

/// Has a proxy connect to a host, which is an IP address or a name that the proxy looks up. The stream then leads there.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    login: Login<'_>,
    host: &str,
    port: u16,
) -> Result<(), SocksError> {
    greet(stream, login).await?;
    let address = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => [&[IPV4], ip.octets().as_slice()].concat(),
        Ok(IpAddr::V6(ip)) => [&[IPV6], ip.octets().as_slice()].concat(),
        Err(_) => [vec![NAME], with_length(host)?].concat(),
    };
    let request = [&[VERSION, CONNECT, 0], address.as_slice(), &port.to_be_bytes()].concat();
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    let [VERSION, outcome, _, kind] = answer else { return Err(not_socks()) };
    if outcome != 0 {
        return Err(SocksError::Refused(refusal(outcome)));
    }
    // The address that the proxy connects from, and its port: of no interest, but to be read.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return Err(not_socks()),
    };
    let mut bound = vec![0; length + 2];
    stream.read_exact(&mut bound).await?;
    Ok(())
}

/// Agrees on how to log in, and does.
async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), login: Login<'_>) -> Result<(), SocksError> {
    let methods: &[u8] = match login {
        Login::None => &[NO_LOGIN],
        // Who takes both chooses: Tor takes a user name and password, and most others none.
        Login::Offered(_) => &[NO_LOGIN, USER_AND_PASSWORD],
        Login::Needed(..) => &[USER_AND_PASSWORD],
    };
    let count = methods.len() as u8;
    stream.write_all(&[&[VERSION, count], methods].concat()).await?;
    stream.flush().await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    let (user, password) = match (chosen, login) {
        ([VERSION, NO_LOGIN], Login::None | Login::Offered(_)) => return Ok(()),
        ([VERSION, USER_AND_PASSWORD], Login::Offered(token)) => (token, token),
        ([VERSION, USER_AND_PASSWORD], Login::Needed(user, password)) => (user, password),
        ([VERSION, _], _) => return Err(SocksError::Credentials),
        _ => return Err(not_socks()),
    };
    let credentials = [vec![LOGIN_VERSION], with_length(user)?, with_length(password)?].concat();
    stream.write_all(&credentials).await?;
    stream.flush().await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    if answer[1] == 0 { Ok(()) } else { Err(SocksError::Credentials) }
}

/// What the numbers of RFC 1928, section 6, say.
fn refusal(outcome: u8) -> &'static str {
    match outcome {
        2 => "its rules do not allow it",
        3 => "it does not reach the network",
        4 => "it does not reach the host",
        5 => "the connection was refused",
        6 => "the connection took too long",
        7 | 8 => "it does not know how",
        _ => "it has failed",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// Asks a proxy that answers so, whatever it is asked. What it was told.
    async fn asked(login: Login<'_>, host: &str, answers: &[u8]) -> (Result<(), SocksError>, Vec<u8>) {
        let (mut ours, mut theirs) = duplex(1024);
        theirs.write_all(answers).await.unwrap();
        theirs.shutdown().await.unwrap();
        let outcome = connect(&mut ours, login, host, 443).await;
        drop(ours);
        let mut told = Vec::new();
        theirs.read_to_end(&mut told).await.unwrap();
        (outcome, told)
    }

    const CONNECTED: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

    #[tokio::test]
    async fn who_takes_user_names_is_given_what_keeps_visits_apart_and_others_are_not() {
        let (outcome, told) = asked(Login::Offered("ab"), "a.test", &[&[5, 2, 1, 0], &CONNECTED[..]].concat()).await;
        assert!(outcome.is_ok());
        assert_eq!(told, b"\x05\x02\x00\x02\x01\x02ab\x02ab\x05\x01\x00\x03\x06a.test\x01\xbb");
        let (outcome, told) = asked(Login::Offered("ab"), "192.0.2.1", &[&[5, 0], &CONNECTED[..]].concat()).await;
        assert!(outcome.is_ok());
        assert_eq!(told, b"\x05\x02\x00\x02\x05\x01\x00\x01\xc0\x00\x02\x01\x01\xbb");
    }

    #[tokio::test]
    async fn credentials_that_the_user_has_named_are_used_and_nothing_else() {
        let (outcome, told) = asked(Login::Needed("me", ""), "::1", &[&[5, 2, 1, 0], &CONNECTED[..]].concat()).await;
        assert!(outcome.is_ok() && told.starts_with(b"\x05\x01\x02\x01\x02me\x00\x05\x01\x00\x04"), "{told:?}");
        for answers in [&[5, 0][..], &[5, 255], &[5, 2, 1, 1]] {
            let (outcome, _) = asked(Login::Needed("me", ""), "a.test", answers).await;
            assert!(matches!(outcome, Err(SocksError::Credentials)), "{outcome:?}");
        }
        let (outcome, _) = asked(Login::None, "a.test", &[5, 2]).await;
        assert!(matches!(outcome, Err(SocksError::Credentials)), "{outcome:?}");
    }

    #[tokio::test]
    async fn what_is_no_answer_ends_it() {
        let name = [5, 0, 5, 0, 0, 3, 2, b'h', b'i', 0, 1];
        assert!(asked(Login::None, "a.test", &name).await.0.is_ok());
        for length in 0..name.len() {
            assert!(asked(Login::None, "a.test", &name[..length]).await.0.is_err(), "{length}");
        }
        for answers in [&b"HTTP/1.1 302 Found\r\n"[..], &[5, 0, 4, 0, 0, 1], &[5, 0, 5, 0, 0, 9, 0, 0, 0, 0]] {
            let (outcome, _) = asked(Login::None, "a.test", answers).await;
            assert!(matches!(outcome, Err(SocksError::Broken(_))), "{outcome:?}");
        }
        let (outcome, _) = asked(Login::None, "a.test", &[5, 0, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
        assert!(matches!(outcome, Err(SocksError::Refused("the connection was refused"))), "{outcome:?}");
        let (outcome, _) = asked(Login::None, &"x".repeat(256), &[5, 0]).await;
        assert!(matches!(outcome, Err(SocksError::Refused(_))), "{outcome:?}");
    }
}
