//! Everything through a proxy: SOCKS5 and HTTP CONNECT, over real sockets, with names that nobody but the proxy can look up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use serde_json::Value;
use starling_tests::{
    Process, Starter, World, can_look_into,
    lab::{Lab, Talk},
    run_to_end, skip, until,
};

/// What the proxy alone knows: this machine.
const NAME: &str = "server.invalid";

/// How a proxy is spoken to, and whether it asks who does.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Socks,
    SocksWithPassword,
    Http,
    HttpWithPassword,
    /// Connects to port 443 alone, as proxies of companies do; the server of the test has another one, as that takes a privilege.
    Web(u16),
    /// Takes connections, and says nothing.
    Silent,
    /// A captive portal.
    Portal,
}

/// A proxy in this process, which notes what it was asked for.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn new(kind: Kind) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default(), open: Arc::default() };
        let (asked, open) = (proxy.asked.clone(), proxy.open.clone());
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                let asked = asked.clone();
                open.lock().unwrap().push(client.try_clone().unwrap());
                thread::spawn(move || serve(kind, client, &asked));
            }
        });
        proxy
    }

    fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().unwrap().iter().cloned().collect()
    }

    /// As a proxy does that allows no connection for longer.
    fn cut(&self) {
        for client in self.open.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn serve(kind: Kind, client: TcpStream, asked: &Mutex<Vec<String>>) -> Option<()> {
    let mut input = BufReader::new(client.try_clone().unwrap());
    let mut output = client;
    let target = match kind {
        Kind::Socks | Kind::SocksWithPassword => {
            socks_target(&mut input, &mut output, kind == Kind::SocksWithPassword)?
        }
        Kind::Http | Kind::HttpWithPassword | Kind::Web(_) => {
            http_target(&mut input, &mut output, kind == Kind::HttpWithPassword)?
        }
        Kind::Silent => {
            // Until the client has had enough.
            let _ = std::io::copy(&mut input, &mut std::io::sink());
            return None;
        }
        Kind::Portal => {
            let _ = input.read(&mut [0; 64]);
            let _ = output.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n");
            return None;
        }
    };
    asked.lock().unwrap().push(target.clone());
    let server = match kind {
        Kind::Web(port) if target.ends_with(":443") => TcpStream::connect((Ipv4Addr::LOCALHOST, port)),
        Kind::Web(_) => Err(ErrorKind::PermissionDenied.into()),
        _ => TcpStream::connect(target.replace(NAME, "127.0.0.1")),
    };
    let socks = matches!(kind, Kind::Socks | Kind::SocksWithPassword);
    let answer: &[u8] = match (&server, socks) {
        (Ok(_), true) => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        (Err(_), true) => &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0],
        (Ok(_), false) => b"HTTP/1.1 200 Connection established\r\n\r\n",
        (Err(_), false) => b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    };
    output.write_all(answer).ok()?;
    let server = server.ok()?;
    let (mut from_server, mut to_server) = (server.try_clone().unwrap(), server);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut output);
        let _ = output.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut input, &mut to_server);
    let _ = to_server.shutdown(Shutdown::Both);
    Some(())
}

/// RFC 1928 and 1929.
fn socks_target(input: &mut impl Read, output: &mut impl Write, wants_password: bool) -> Option<String> {
    fn bytes<const N: usize>(input: &mut impl Read) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        input.read_exact(&mut bytes).ok().map(|()| bytes)
    }
    fn text(input: &mut impl Read) -> Option<String> {
        let [length] = bytes(input)?;
        let mut text = vec![0; length.into()];
        input.read_exact(&mut text).ok()?;
        String::from_utf8(text).ok()
    }
    let [5, methods] = bytes(input)? else { panic!("not SOCKS5") };
    let mut offered = vec![0; methods.into()];
    input.read_exact(&mut offered).ok()?;
    let method = if wants_password { 2 } else { 0 };
    if !offered.contains(&method) {
        let _ = output.write_all(&[5, 0xff]);
        return None;
    }
    output.write_all(&[5, method]).ok()?;
    if wants_password {
        let [1] = bytes(input)? else { panic!("not RFC 1929") };
        let right = (text(input)?, text(input)?) == ("me".into(), "a word".into());
        output.write_all(&[1, u8::from(!right)]).ok()?;
        right.then_some(())?;
    }
    let [5, 1, 0, kind] = bytes(input)? else { panic!("no connection is asked for") };
    let host = match kind {
        1 => Ipv4Addr::from(bytes::<4>(input)?).to_string(),
        3 => text(input)?,
        _ => panic!("address of kind {kind}"),
    };
    Some(format!("{host}:{}", u16::from_be_bytes(bytes(input)?)))
}

fn http_target(input: &mut impl BufRead, output: &mut impl Write, wants_password: bool) -> Option<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    // “me:a word”
    if wants_password && !lines.iter().any(|line| line.eq_ignore_ascii_case("proxy-authorization: Basic bWU6YSB3b3Jk"))
    {
        let _ = output.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        return None;
    }
    let mut parts = lines[0].split(' ');
    assert_eq!((parts.next(), lines[0].ends_with(" HTTP/1.1")), (Some("CONNECT"), true), "{lines:?}");
    parts.next().map(str::to_owned)
}

/// A world whose server takes TCP (and is called by a name that does not exist), with its port.
fn world() -> (World, String, u16) {
    let world = World::listening("/ip4/127.0.0.1/tcp/0");
    let port: u16 = world.address.split('/').nth(4).unwrap().parse().unwrap();
    let named = world.address.replace("/ip4/127.0.0.1", &format!("/dns/{NAME}"));
    (world, named, port)
}

/// The internet sockets that a process has: protocol, and the port at the other end (0 where it listens).
fn sockets(pid: u32) -> BTreeSet<(String, u16)> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = links.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    let inodes: BTreeSet<String> =
        links.filter_map(|l| Some(l.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())).collect();
    let mut found = BTreeSet::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/{protocol}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if inodes.contains(fields[9]) {
                let port = fields[2].rsplit(':').next().unwrap();
                found.insert((protocol.to_owned(), u16::from_str_radix(port, 16).unwrap()));
            }
        }
    }
    found
}

fn daemon(starter: &Starter, profile: &str, proxy: &str) -> Process {
    let mut command = starter.starling(profile);
    let process = Process::start(command.args(["--proxy", proxy, "daemon", "--json"]));
    assert_eq!(process.json()["type"], "daemon.ready");
    process
}

fn init(world: &World, name: &str, proxy: &str, home: &str) {
    let args = ["--proxy", proxy, "init", "--name", name, "--rendezvous", home, "--no-input", "--json"];
    let output = run_to_end(world.starling(name).args(args).stdin(Stdio::null()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Alice behind a proxy and bob without one become contacts, write both ways, and go on when the proxy cuts them off.
fn they_talk(kind: Kind, url: &str) {
    let (world, named, port) = world();
    let proxy = Proxy::new(kind);
    let url = url.replace("PORT", &proxy.port.to_string());
    init(&world, "alice", &url, &named);
    init(&world, "bob", "none", &world.address);
    let alice = daemon(&world.starter(), "alice", &url);
    let _bob = daemon(&world.starter(), "bob", "none");
    if !can_look_into(alice.id()) {
        return;
    }
    world.befriend("bob", "alice");
    world.json("alice", &["send", "@bob", "through the proxy", "--wait", "delivered"]);
    world.json("bob", &["send", "@alice", "and back", "--wait", "delivered"]);

    let status = world.json("alice", &["whoami"]);
    assert_eq!(status["addresses"], Value::Array(vec![]), "nothing is listened on");
    let shown = status["proxy"].as_str().unwrap();
    assert!(shown.ends_with(&format!("127.0.0.1:{}", proxy.port)) && !shown.contains("word"), "{shown}");
    // To the proxy alone, and only for TCP.
    assert_eq!(sockets(alice.id()), [("tcp".to_owned(), proxy.port)].into());
    let asked = proxy.asked();
    assert!(asked.contains(&format!("{NAME}:{port}")), "{asked:?}");
    assert!(asked.iter().all(|target| target.ends_with(&format!(":{port}"))), "only the server: {asked:?}");

    proxy.cut();
    world.json("bob", &["send", "@alice", "after it was cut", "--wait", "delivered"]);
    world.json("alice", &["send", "@bob", "and again", "--wait", "delivered"]);
    they_call(&world, &alice, proxy.port);
    let doctor = world.run("alice", &["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("contacts and calls go through the relay"), "{said}");
    // Who names another proxy, or none, is not sent past it, nor through it.
    for other in ["none", "socks5h://127.0.0.1:1"] {
        let (exit, why) = world.error("alice", &["--proxy", other, "send", "@bob", "not so"]);
        assert!(exit == 6 && why.contains("proxy"), "{exit}: {why}");
    }
    world.json("alice", &["--proxy", &url, "send", "@bob", "as it runs"]);
    let (exit, why) = world.error("bob", &["--proxy", &url, "send", "@alice", "not so"]);
    assert!(exit == 6 && why.contains("no proxy"), "{exit}: {why}");
}

/// Alice calls bob, and both hear something; she has no other socket than those to the proxy.
fn they_call(world: &World, alice: &Process, proxy: u16) {
    let through_proxy = || assert_eq!(sockets(alice.id()), [("tcp".to_owned(), proxy)].into());
    let sound = ["--audio-in", "tone", "--audio-out", "none", "--json"];
    let mut answering = world.starling("bob");
    let mut bob = Process::start(answering.args(["call", "answer", "--auto", "--count", "1"]).args(sound));
    bob.wait_for("readiness", |e| e["type"] == "call.ready");
    let stats = world.dir.path().join("stats.jsonl");
    let mut calling = world.starling("alice");
    calling.args(["call", "start", "@bob", "--stats"]).arg(&stats).args(sound);
    let mut call = Process::start(&mut calling);
    call.wait_for("the answer", |e| e["call"]["state"] == "connecting");
    through_proxy();
    call.wait_for("the connection", |e| e["call"]["state"] == "connected");
    // All the time, for a second of sound and a bit.
    until("sound", || {
        through_proxy();
        let text = std::fs::read_to_string(&stats).ok()?;
        let last: Value = serde_json::from_str(text.lines().last()?).ok()?;
        (last["routes"][0]["audio"]["packets"].as_u64() > Some(60)).then_some(())
    });
    assert_eq!((call.terminate(), bob.wait()), (0, 0));
    let last = std::fs::read_to_string(&stats).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    let route = &last["routes"][0];
    assert_eq!(route["path"], "relay", "{last:#}");
    assert!(route["audio"]["packets"].as_u64() > Some(60), "{last:#}");
    let test = world.json("alice", &["rpc", "call.test"]);
    assert_eq!(test["ok"], true, "{test}");
    through_proxy();
}

#[test]
fn people_talk_through_socks() {
    they_talk(Kind::Socks, "socks5h://127.0.0.1:PORT");
}

#[test]
fn people_talk_through_socks_with_a_password() {
    they_talk(Kind::SocksWithPassword, "socks5://me:a%20word@127.0.0.1:PORT");
}

#[test]
fn people_talk_through_an_http_proxy() {
    they_talk(Kind::Http, "http://127.0.0.1:PORT");
}

#[test]
fn people_talk_through_an_http_proxy_with_a_password() {
    they_talk(Kind::HttpWithPassword, "http://me:a%20word@127.0.0.1:PORT");
}

#[test]
fn people_talk_through_a_proxy_that_connects_to_port_443_alone() {
    let world = World::listening("/ip4/127.0.0.1/tcp/0/tls/ws");
    let port: u16 = world.address.split('/').nth(4).unwrap().parse().unwrap();
    let peer = world.address.rsplit('/').next().unwrap();
    let proxy = Proxy::new(Kind::Web(port));
    let url = format!("http://127.0.0.1:{}", proxy.port);
    init(&world, "alice", &url, &format!("starling-server:{NAME}/{peer}"));
    init(&world, "bob", "none", &world.address);
    let _alice = daemon(&world.starter(), "alice", &url);
    let _bob = daemon(&world.starter(), "bob", "none");
    world.befriend("bob", "alice");
    world.json("alice", &["send", "@bob", "by the port of the web", "--wait", "delivered"]);
    world.json("bob", &["send", "@alice", "and back", "--wait", "delivered"]);
    // Who does not know its key asks for it in the same way.
    let args =
        ["--proxy", &url, "init", "--name", "carol", "--rendezvous", NAME, "--no-input", "--accept-unvouched-key"];
    let output = run_to_end(world.starling("carol").args(args).stdin(Stdio::null()));
    assert!(output.status.success() && String::from_utf8_lossy(&output.stderr).contains(peer), "{output:?}");
    let asked = proxy.asked();
    assert!(asked.contains(&format!("{NAME}:443")), "{asked:?}");
    // It may take what it has learned of her server from bob, too, which is where it is.
    assert!(asked.iter().all(|target| target.starts_with(NAME) || target.ends_with(&format!(":{port}"))), "{asked:?}");
}

/// Whether there is a SOCKS proxy that others have made.
fn has_microsocks() -> bool {
    // It has no option that does nothing else.
    let is_there = Command::new("microsocks").arg("-h").stdin(Stdio::null()).output().is_ok();
    if !is_there {
        skip("microsocks");
    }
    is_there
}

#[test]
fn people_talk_through_the_socks_proxy_of_a_distribution() {
    if !has_microsocks() {
        return;
    }
    let (world, _, _) = world();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut command = Command::new("microsocks");
    command.args(["-i", "127.0.0.1", "-p", &port.to_string()]).stderr(Stdio::null());
    let mut proxy = Process::start(&mut command);
    until("the proxy", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    let url = format!("socks5h://127.0.0.1:{port}");
    init(&world, "alice", &url, &world.address);
    init(&world, "bob", "none", &world.address);
    let alice = daemon(&world.starter(), "alice", &url);
    let _bob = daemon(&world.starter(), "bob", "none");
    if !can_look_into(alice.id()) {
        return;
    }
    world.befriend("bob", "alice");
    world.json("alice", &["send", "@bob", "through the proxy", "--wait", "delivered"]);
    world.json("bob", &["send", "@alice", "and back", "--wait", "delivered"]);
    assert_eq!(sockets(alice.id()), [("tcp".to_owned(), port)].into());
    // It is restarted.
    proxy.kill();
    let _proxy = Process::start(&mut command);
    world.json("alice", &["send", "@bob", "through another", "--wait", "delivered"]);
}

#[test]
fn the_socks_proxy_of_a_distribution_looks_up_a_name_that_nobody_else_knows() {
    if !has_microsocks() {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    for (host, address) in [("rel", "198.18.0.1"), ("px", "198.18.0.2"), ("ha", "198.18.0.3"), ("hb", "198.18.0.4")] {
        lab.wire(host, address);
        lab.names(host, "127.0.0.1 localhost\n", "");
    }
    lab.names("px", "127.0.0.1 localhost\n198.18.0.1 server.test\n", "");
    let (_server, home) = lab.rendezvous("rel", "198.18.0.1");
    let home = home.replace("/udp/4001/quic-v1/", "/tcp/4001/");
    let named = home.replace("/ip4/198.18.0.1/", "/dns/server.test/");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.ns("px"), "microsocks", "-i", "198.18.0.2", "-p", "1080"]);
    let _proxy = Process::start(command.stderr(Stdio::null()));
    let url = "socks5h://198.18.0.2:1080";
    let init = ["--proxy", url, "init", "--name", "alice", "--rendezvous", named.as_str(), "--no-input"];
    lab.json("ha", &init);
    lab.json("hb", &["init", "--name", "bob", "--rendezvous", &home]);
    let alice = Process::start(lab.starling("ha").args(["--proxy", url, "daemon", "--json"]));
    assert_eq!(alice.json()["type"], "daemon.ready");
    let _bob = lab.daemon("hb");
    let invite = lab.json("ha", &["invite"]);
    lab.json("hb", &["contacts", "add", invite["link"].as_str().unwrap()]);
    until("her name", || (lab.json("hb", &["contacts", "list"])["name"] == "alice").then_some(()));
    lab.json("hb", &["send", "@alice", "to you", "--wait", "delivered"]);
    lab.json("ha", &["send", "@bob", "and to you", "--wait", "delivered"]);
}

/// Alice on a host that reaches nothing but a proxy of a distribution, and bob; her process, and the proxy with what starts it again.
fn behind_a_proxy(lab: &mut Lab) -> (u32, Vec<Process>, (Process, Command)) {
    for (host, address) in [("rel", "198.18.0.1"), ("px", "198.18.0.2"), ("hb", "198.18.0.3")] {
        lab.wire(host, address);
    }
    assert!(lab.host("ha"));
    lab.link("px", "lan", "ha", "eth0", "192.168.11");
    let (server, home) = lab.rendezvous_by_its_short_address("rel", "198.18.0.1");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.ns("px"), "microsocks", "-i", "192.168.11.1", "-p", "1080"]);
    let proxy = Process::start(command.stderr(Stdio::null()));
    let url = "socks5h://192.168.11.1:1080";
    lab.json("ha", &["--proxy", url, "init", "--name", "alice", "--rendezvous", &home, "--no-input"]);
    lab.json("hb", &["init", "--name", "bob", "--rendezvous", &home]);
    let alice = lab.daemon_with("ha", &[("STARLING_PROXY", url)]);
    let bob = lab.daemon("hb");
    let invite = lab.json("ha", &["invite"]);
    lab.json("hb", &["contacts", "add", invite["link"].as_str().unwrap()]);
    until("her name", || (lab.json("hb", &["contacts", "list"])["name"] == "alice").then_some(()));
    (alice.id(), vec![server, alice, bob], (proxy, command))
}

#[test]
fn people_call_each_other_where_the_proxy_alone_gets_out() {
    if !has_microsocks() {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    let (alice, kept, _proxy) = behind_a_proxy(&mut lab);
    let mut talk = Talk::of(lab, true, kept);
    until("the path", || (talk.paths() == ["relay", "relay"]).then_some(()));
    if can_look_into(alice) {
        assert_eq!(sockets(alice), [("tcp".to_owned(), 1080)].into());
        // Not one datagram has left her host, whoever has sent it.
        for table in ["snmp", "snmp6"] {
            let table = std::fs::read_to_string(format!("/proc/{alice}/net/{table}")).unwrap();
            assert_eq!(sent_datagrams(&table), 0, "{table}");
        }
    }
    talk.end();
}

#[test]
fn a_call_goes_on_when_the_proxy_is_restarted() {
    if !has_microsocks() {
        return;
    }
    let Some(mut lab) = Lab::new() else { return };
    let (_, kept, (mut proxy, mut command)) = behind_a_proxy(&mut lab);
    let mut talk = Talk::of(lab, false, kept);
    let silent = talk.restore(|_| {
        proxy.kill();
        proxy = Process::start(&mut command);
    });
    println!("sound is back after {:.1?}", silent.sound);
    talk.end();
}

/// What a host has sent over UDP, by the counters of IPv4 or of IPv6.
fn sent_datagrams(table: &str) -> u64 {
    let mut of_v4 = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let sent = if let (Some(names), Some(values)) = (of_v4.next(), of_v4.next()) {
        names.split(' ').zip(values.split(' ')).find_map(|(name, value)| (name == "OutDatagrams").then_some(value))
    } else {
        table.lines().find_map(|line| line.strip_prefix("Udp6OutDatagrams")).map(str::trim)
    };
    sent.unwrap().parse().unwrap()
}

#[test]
fn a_call_through_a_proxy_says_that_it_needs_a_relay() {
    let (mut world, _, port) = world();
    world.restart_rendezvous_with(&[("STARLING_RENDEZVOUS_TURN_ENABLED", "false")]);
    let named = world.address.replace("/ip4/127.0.0.1", &format!("/dns/{NAME}"));
    assert!(named.contains(&format!("/tcp/{port}/")), "where it was");
    let proxy = Proxy::new(Kind::Socks);
    let url = format!("socks5h://127.0.0.1:{}", proxy.port);
    init(&world, "alice", &url, &named);
    init(&world, "bob", "none", &world.address);
    let _alice = daemon(&world.starter(), "alice", &url);
    let _bob = daemon(&world.starter(), "bob", "none");
    world.befriend("bob", "alice");
    let output = world.run("alice", &["call", "start", "@bob", "--audio-in", "tone", "--audio-out", "none", "--json"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("\"no_relay\""), "{output:?}");
}

/// The problem that a profile has with its server.
fn problem(starter: &Starter, profile: &str) -> String {
    until("a problem", || {
        let output = run_to_end(starter.starling(profile).args(["whoami", "--json"]).stdin(Stdio::null()));
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let server = &status["rendezvous"][0];
        server["problem_code"].as_str().filter(|_| server["connecting"] == false).map(str::to_owned)
    })
}

#[test]
fn what_is_wrong_with_a_proxy_is_said_in_its_words() {
    let (world, named, _) = world();
    let quic = named.replace("/tcp/", "/udp/").replace("/p2p/", "/quic-v1/p2p/");
    let away = named.replace(NAME, "other.invalid");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = free.local_addr().unwrap().port();
    drop(free);
    let (socks, password) = (Proxy::new(Kind::Socks), Proxy::new(Kind::SocksWithPassword));
    let (http, portal, silent) =
        (Proxy::new(Kind::HttpWithPassword), Proxy::new(Kind::Portal), Proxy::new(Kind::Silent));
    let cases = [
        ("nobody", format!("socks5h://127.0.0.1:{nobody}"), &named, "proxy_unreachable"),
        ("silent", format!("socks5h://127.0.0.1:{}", silent.port), &named, "proxy_unreachable"),
        ("wrong", format!("socks5h://me:guess@127.0.0.1:{}", password.port), &named, "proxy_credentials"),
        ("none", format!("socks5h://127.0.0.1:{}", password.port), &named, "proxy_credentials"),
        ("basic", format!("http://me:guess@127.0.0.1:{}", http.port), &named, "proxy_credentials"),
        ("portal", format!("http://127.0.0.1:{}", portal.port), &named, "proxy_refused"),
        ("other", format!("socks5h://127.0.0.1:{}", portal.port), &named, "proxy_refused"),
        ("away", format!("socks5h://127.0.0.1:{}", socks.port), &away, "proxy_refused"),
        ("udp", format!("socks5h://127.0.0.1:{}", socks.port), &quic, "not_by_proxy"),
    ];
    let (done, all) = mpsc::channel();
    thread::scope(|scope| {
        for (profile, proxy, home, expected) in &cases {
            let (starter, done) = (world.starter(), done.clone());
            scope.spawn(move || {
                let args = [
                    "--proxy",
                    proxy,
                    "init",
                    "--name",
                    profile,
                    "--rendezvous",
                    home.as_str(),
                    "--no-input",
                    "--json",
                ];
                // It is made, and not registered.
                run_to_end(starter.starling(profile).args(args).stdin(Stdio::null()));
                let _daemon = daemon(&starter, profile, proxy);
                done.send((*profile, problem(&starter, profile), *expected)).unwrap();
            });
        }
    });
    drop(done);
    for (profile, problem, expected) in all {
        assert_eq!(problem, expected, "{profile}");
    }
}

#[test]
fn a_proxy_that_cannot_be_read_is_refused_and_its_password_is_not_repeated() {
    let world = World::new();
    world.person("alice");
    for (url, word) in
        [("socks4://me:secret@h:1", "socks4"), ("me:secret@h", "socks5h://"), ("http://me:secret%ff@h", "password")]
    {
        for (variable, args) in [(None, vec!["--proxy", url]), (Some("ALL_PROXY"), vec![])] {
            let mut command = world.starling("alice");
            command.args(args).args(["daemon", "--json"]).stdin(Stdio::null());
            command.envs(variable.map(|name| (name, url)));
            let output = run_to_end(&mut command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{url}: {said}");
            assert!(said.contains(word) && !said.contains("secret"), "{url}: {said}");
        }
    }
}
