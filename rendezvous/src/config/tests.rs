#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn with(name: &str, value: &str) -> Result<Config, ConfigError> {
    let config = Config::default().with_environment(|n| (n == name).then(|| value.to_owned()))?;
    config.check().map(|()| config)
}

#[test]
fn every_setting_has_a_variable() {
    let config = with("STARLING_RENDEZVOUS_REGISTRATION_MODE", "closed").unwrap();
    assert_eq!(config.registration.mode, RegistrationMode::Closed);
    let config = with("STARLING_RENDEZVOUS_LIMITS_LOG_ENTRIES", "7").unwrap();
    assert_eq!(config.limits.log_entries, 7);
    let two = "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/udp/2/quic-v1";
    assert_eq!(with("STARLING_RENDEZVOUS_LISTEN", two).unwrap().listen.len(), 2);
    assert_eq!(Config::default().with_environment(|_| None).unwrap(), Config::default());
}

fn variable(name: &str, value: &str) -> Result<(), ConfigError> {
    Config::check_variables([(name.into(), value.into())].into_iter())
}

#[test]
fn a_variable_that_cannot_be_read_does_not_pass_for_one_that_is_not_set() {
    use std::os::unix::ffi::OsStringExt;
    let value = std::ffi::OsString::from_vec(b"invite\xff".to_vec());
    let setting = ("STARLING_RENDEZVOUS_REGISTRATION_MODE".into(), value.clone());
    let error = Config::check_variables([setting].into_iter()).unwrap_err().to_string();
    assert!(error.contains("REGISTRATION_MODE is not UTF-8"), "{error}");
    assert!(Config::check_variables([("HOME".into(), value)].into_iter()).is_ok());
}

#[test]
fn a_link_local_address_is_refused_before_it_is_bound() {
    let config = Config { listen: vec!["/ip6/fe80::1/tcp/0".parse().unwrap()], ..Config::default() };
    assert!(config.check().unwrap_err().to_string().contains("link-local"));
}

#[test]
fn misspelt_variables_are_refused() {
    for name in ["HOME", "STARLING_RENDEZVOUS_LISTEN", "STARLING_RENDEZVOUS_CONFIG"] {
        assert!(variable(name, "").is_ok());
    }
    assert!(variable("STARLING_RENDEZVOUS_LIMITS_LOG_ENTRIES", "1").is_ok());
    for (name, value) in [
        ("STARLING_RENDEZVOUS_LIMITS_LOGENTRIES", "1"),
        ("STARLING_RENDEZVOUS_TURN_FRIST_PORT", "50000"),
        ("STARLING_RENDEZVOUS_PORT", "4001"),
        ("STARLING_RENDEZVOUS_PORT_4001", "1"),
        ("STARLING_RENDEZVOUS_HTTP_PORT", "9464"),
        ("STARLING_RENDEZVOUS_SERVICE", "yes"),
        ("STARLING_RENDEZVOUS_SERVICE_HOST", "example"),
        ("STARLING_RENDEZVOUS_NAME", "home"),
        ("STARLING_RENDEZVOUS_", ""),
    ] {
        assert!(variable(name, value).is_err(), "{name}={value}");
    }
}

/// As `kubectl exec POD -- env` and `docker run --link` show them, for services `starling-rendezvous` and `starling-rendezvous-http`.
#[test]
fn variables_that_describe_a_service_of_our_name_pass() {
    for (suffix, value) in [
        ("SERVICE_HOST", "10.0.0.7"),
        ("SERVICE_PORT", "4001"),
        ("SERVICE_PORT_QUIC", "4001"),
        ("PORT", "tcp://10.0.0.7:4001"),
        ("PORT_4001_TCP", "tcp://10.0.0.7:4001"),
        ("PORT_4001_TCP_PROTO", "tcp"),
        ("PORT_4001_TCP_START", "tcp://10.0.0.7:4001"),
        ("PORT_4001_TCP_END", "tcp://10.0.0.7:4003"),
        ("PORT_4001_TCP_PORT_START", "4001"),
        ("PORT_4001_TCP_PORT_END", "4003"),
        ("PORT_4001_TCP_PORT", "4001"),
        ("PORT_4001_TCP_ADDR", "10.0.0.7"),
        ("PORT_4001_UDP", "udp://[fd00::7]:4001"),
        ("PORT_4001_UDP_PROTO", "udp"),
        ("PORT_4001_UDP_ADDR", "fd00::7"),
        ("HTTP_SERVICE_HOST", "fd00::8"),
        ("HTTP_SERVICE_PORT", "9464"),
        ("HTTP_SERVICE_PORT_METRICS", "9464"),
        ("HTTP_PORT", "tcp://10.0.0.8:9464"),
        ("HTTP_PORT_9464_TCP", "tcp://10.0.0.8:9464"),
        ("HTTP_PORT_9464_TCP_ADDR", "10.0.0.8"),
        ("NAME", "/web/starling_rendezvous"),
        ("ENV_PATH", "/usr/bin"),
    ] {
        let name = format!("STARLING_RENDEZVOUS_{suffix}");
        assert!(variable(&name, value).is_ok(), "{name}={value}");
    }
}

#[test]
fn every_number_has_a_range_and_what_is_outside_is_refused_with_it() {
    let mut settings = Vec::new();
    environment::leaves(&toml::Table::try_from(Config::default()).unwrap(), "", &mut settings);
    let numbers = settings.into_iter().filter(|(_, value)| value.is_integer());
    for (setting, _) in numbers {
        let (min, max) = check::range(&setting).unwrap();
        let variable = format!("STARLING_RENDEZVOUS_{}", setting.replace('.', "_").to_uppercase());
        let outside = [max.to_string() + "0", u64::MAX.to_string(), i64::MAX.to_string(), "-1".into()];
        for value in outside.into_iter().chain((min > 0).then(|| (min - 1).to_string())) {
            let error = with(&variable, &value).unwrap_err();
            assert!(error.to_string().ends_with(&format!("{min} to {max}")), "{error}");
        }
        // In a file, too.
        let (table, key) = setting.split_once('.').map_or((String::new(), &*setting), |(t, k)| (format!("[{t}]"), k));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{table}\n{key} = {}\n", i64::MAX)).unwrap();
        assert!(matches!(Config::read(file.path()), Err(ConfigError::OutOfRange { .. })), "{setting}");
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_refused_by_name() {
    for (listen, reason) in [
        ("/dns/localhost/tcp/0", "is a name"),
        ("/dns4/example.com/udp/4001/quic-v1", "is a name"),
        ("/ip4/1.2.3.4", "cannot be listened on"),
        ("/ip4/1.2.3.4/udp/4001", "cannot be listened on"),
        ("/ip4/1.2.3.4/tcp/443/tls", "cannot be listened on"),
        ("/ip4/127.0.0.1/tcp/443/wss,/ip4/127.0.0.1/tcp/443/tls/ws", "is there twice"),
        ("/ip4/1.2.3.4/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", "cannot be listened on"),
        ("/ip4/127.0.0.1/tcp/4001,/ip4/127.0.0.1/tcp/4001", "is there twice"),
        ("/ip4/127.0.0.1/tcp/4001,/ip4/127.0.0.1/tcp/4001/ws", "is there twice"),
    ] {
        let good = "/ip4/127.0.0.1/udp/4001/quic-v1";
        let error = with("STARLING_RENDEZVOUS_LISTEN", &format!("{good},{listen}")).unwrap_err().to_string();
        let bad = listen.split(',').next_back().unwrap();
        assert!(error.contains(reason) && error.contains(bad), "{error}");
    }
    let free = "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws";
    assert!(with("STARLING_RENDEZVOUS_LISTEN", free).is_ok());
}

#[test]
fn a_server_as_it_comes_serves_both_internet_protocols_at_the_same_ports() {
    let config = Config::default();
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    for transport in ["udp/4001/quic-v1", "tcp/4001"] {
        assert!(
            listen.contains(&format!("/ip4/0.0.0.0/{transport}")) && listen.contains(&format!("/ip6/::/{transport}"))
        );
    }
    assert!(config.check().is_ok());
    assert_eq!(config.turn_listen(), ("0.0.0.0:3478".parse().unwrap(), "[::]:3478".parse().ok()));
}

#[test]
fn a_host_without_ipv6_does_without_the_address_that_stands_for_all() {
    let mut config = Config::default();
    assert_eq!(config.on_host(true), config);
    let without = config.on_host(false);
    assert_eq!(without.listen, config.listen[..2]);
    assert_eq!(without.turn_listen(), ("0.0.0.0:3478".parse().unwrap(), None));
    // What was named is an error if it cannot be had, and so is a server that listens on nothing.
    for named in ["/ip6/fd00::1/tcp/4001", "/ip6/::/tcp/4001"] {
        config.listen = vec![named.parse().unwrap()];
        assert_eq!(config.on_host(false), config);
    }
}

#[test]
fn the_port_of_the_web_is_listened_on_beside_the_others_where_that_makes_sense() {
    let web = |listen: &str| {
        let listen = with("STARLING_RENDEZVOUS_LISTEN", listen).unwrap();
        let config = Config { listen_443: true, ..listen };
        config.listen_web().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let both = "/ip4/0.0.0.0/udp/4001/quic-v1,/ip4/0.0.0.0/tcp/4001,/ip6/::/tcp/4001";
    assert_eq!(web(both), ["/ip4/0.0.0.0/tcp/443/tls/ws", "/ip6/::/tcp/443/tls/ws"]);
    for other in [
        "/ip4/127.0.0.1/tcp/4001",
        "/ip4/192.0.2.1/tcp/0",
        "/ip4/192.0.2.1/tcp/443",
        "/ip4/192.0.2.1/udp/4001/quic-v1,/ip4/192.0.2.2/tcp/8443/tls/ws",
        "/ip4/192.0.2.1/udp/4001/quic-v1,/ip4/192.0.2.2/tcp/443/wss",
    ] {
        assert_eq!(web(other), [""; 0], "{other}");
    }
    let wanted = with("STARLING_RENDEZVOUS_LISTEN_443", "true").unwrap();
    for socket in ["0.0.0.0:443/tcp", "[::]:443/tcp"] {
        let is_bound = |web: &[Multiaddr]| wanted.sockets(web, &[]).contains(&socket.to_owned());
        assert!(is_bound(&wanted.listen_web()) && !is_bound(&[]), "{socket}");
    }
    assert_eq!(wanted.on_host(false).listen_web().len(), 1);
    // A web server may want that port, and be started later.
    assert!(Config::default().listen_web().is_empty());
}

#[test]
fn changes_that_need_a_restart_are_named() {
    let old = Config::default();
    let mut new = old.clone();
    new.http.set_port(1);
    new.turn.enabled = false;
    new.limits.connections = 7;
    new.limits.keep_days = 7;
    new.log_level = "debug".into();
    assert_eq!(old.needs_restart(&new), ["http", "limits.connections", "turn.enabled"]);
    assert_eq!(old.needs_restart(&old), [""; 0]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (name, value) in [
        ("STARLING_RENDEZVOUS_REGISTRATION_MODE", "maybe"),
        ("STARLING_RENDEZVOUS_LOG_LEVEL", "loud"),
        ("STARLING_RENDEZVOUS_LISTEN", "/ip4/1.2.3.4"),
        ("STARLING_RENDEZVOUS_LISTEN", ""),
        ("STARLING_RENDEZVOUS_LIMITS_CONNECTIONS", "0"),
        ("STARLING_RENDEZVOUS_LIMITS_LOG_BYTES", "many"),
        ("STARLING_RENDEZVOUS_HTTP", "nowhere"),
    ] {
        assert!(with(name, value).is_err(), "{name}={value}");
    }
}
