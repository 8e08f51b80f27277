//! The program as an operator uses it: its exit codes, its signals, and what it does when the system runs short of something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_starling-rendezvous");
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOPBACK: [&str; 4] = ["--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0"];

/// A running server; killed when it is dropped.
struct Server {
    child: Child,
    dir: TempDir,
}

impl Server {
    /// `prepare` changes the command that starts it.
    fn start(prepare: impl FnOnce(&mut Command, &Path)) -> Self {
        Self::listening(LOOPBACK, prepare)
    }

    /// The same at other addresses.
    fn listening(addresses: [&str; 4], prepare: impl FnOnce(&mut Command, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(addresses).stdout(Stdio::piped()).stderr(fs::File::create(dir.path().join("log")).unwrap());
        command.arg("--data-dir").arg(dir.path().join("data"));
        prepare(&mut command, dir.path());
        Self { child: command.spawn().unwrap(), dir }
    }

    /// What it says when it is ready.
    fn ready(&mut self) -> Value {
        let stdout: ChildStdout = self.child.stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {}", self.log()))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended by itself; its exit code.
    fn wait(&mut self) -> Option<i32> {
        let child = &mut self.child;
        eventually("the end of the server", || child.try_wait().unwrap()).code()
    }

    fn admin(&self, args: &[&str]) -> Output {
        Command::new(PROGRAM).arg("admin").args(args).arg("--data-dir").arg(self.data_dir()).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that comes from outside of this process.
fn eventually<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn run(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A pipe that takes not one byte more.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// A server that is about to say that it is ready, and held there.
fn nearly_ready() -> (Server, std::io::PipeReader) {
    let (reader, writer) = full_pipe();
    let server = Server::start(|command, _| {
        command.arg("--json").stdout(writer);
    });
    let socket = server.data_dir().join("admin.sock");
    eventually("the admin socket", || UnixStream::connect(&socket).ok());
    (server, reader)
}

#[test]
fn sigterm_before_the_ready_line_ends_the_server_in_good_order() {
    let (mut server, _reader) = nearly_ready();
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0), "{}", server.log());
}

#[test]
fn sighup_before_the_ready_line_reloads() {
    let (mut server, reader) = nearly_ready();
    server.signal(Signal::HUP);
    let mut lines = BufReader::new(reader).lines();
    let ready = lines.find_map(|line| line.ok().filter(|line| line.contains("ready"))).unwrap();
    assert!(ready.contains("rendezvous.ready"));
    eventually("the reload", || server.log().contains("configuration reloaded").then_some(()));
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0), "{}", server.log());
    assert!(server.log().contains("stopped"));
}

#[test]
fn sigterm_while_the_configuration_is_read_ends_the_server_in_good_order() {
    let mut server = Server::start(|command, dir| {
        let fifo = dir.join("config");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        command.arg("--config").arg(fifo);
    });
    // Opens when the server opens the other end; nothing is written, so it waits.
    let _held = fs::OpenOptions::new().write(true).open(server.dir.path().join("config")).unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0), "{}", server.log());
}

#[test]
fn a_reload_names_the_settings_that_need_a_restart() {
    let mut server = Server::start(|command, dir| {
        fs::write(dir.join("config"), "").unwrap();
        command.arg("--json").arg("--config").arg(dir.join("config"));
    });
    server.ready();
    let changed = "log_level = \"debug\"\ndrain_seconds = 3\n[limits]\nconnections = 5\nkeep_days = 3\n";
    fs::write(server.dir.path().join("config"), changed).unwrap();
    server.signal(Signal::HUP);
    let log = eventually("the reload", || Some(server.log()).filter(|log| log.contains("need a restart")));
    assert!(log.contains("drain_seconds, limits.connections\""), "{log}");
}

/// Each with what both `serve` and `config check` say of it.
#[test]
fn the_check_refuses_what_the_server_refuses_and_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let quic = format!("/ip4/127.0.0.1/udp/{}/quic-v1", taken_udp.local_addr().unwrap().port());
    let http = taken.local_addr().unwrap().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let in_file = file.path().join("data").display().to_string();
    let long = format!("/tmp/{}", "x".repeat(120));
    let absent = "/ip6/fd00:dead:beef::1/tcp/0";
    let good = "/ip4/127.0.0.1/tcp/0";
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    for (args, code, named, hint) in [
        (vec!["--listen", absent, "--listen", good], 1, absent, "no such address"),
        (vec!["--listen", good, "--listen", &tcp], 1, &tcp, "another program uses the port"),
        (vec!["--listen", &quic, "--listen", good], 1, &quic, "another program uses the port"),
        (vec!["--listen", good, "--http", &http], 1, &http, "--http IP:PORT"),
        (vec!["--listen", good, "--listen", "/dns/localhost/tcp/0"], 2, "/dns/localhost/tcp/0", "is a name"),
        (vec!["--listen", good, "--listen", "/ip4/127.0.0.1/udp/1"], 2, "/ip4/127.0.0.1/udp/1", "cannot be listened"),
        (vec!["--listen", "/ip4/127.0.0.1/tcp/9,/ip4/127.0.0.1/tcp/9"], 2, "/ip4/127.0.0.1/tcp/9", "twice"),
        (vec!["--listen", good, "--data-dir", &in_file], 1, &in_file, "--data-dir"),
        (vec!["--listen", good, "--data-dir", &long], 1, &long, "too long"),
    ] {
        let mut args = args;
        if !args.contains(&"--data-dir") {
            args.extend(["--data-dir", &data]);
        }
        let check = run(&[&["config", "check"], &args[..]].concat());
        let serve = run(&[&["serve"], &args[..]].concat());
        assert_eq!((check.status.code(), serve.status.code()), (Some(code), Some(code)), "{args:?} {}", stderr(&serve));
        let said = stderr(&check);
        assert!(said.contains(named) && said.contains(hint), "{args:?}: {said}");
        let errors = |output| stderr(output).lines().filter(|line| !line.contains("WARN")).map(str::to_owned).collect();
        let (of_check, of_serve): (Vec<String>, Vec<String>) = (errors(&check), errors(&serve));
        assert_eq!(of_check, of_serve);
    }
    assert!(
        !dir.path().join("data").exists(),
        "the check creates nothing, and neither does a server that cannot start"
    );
}

#[test]
fn a_check_beside_the_running_server_passes() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = format!("/ip4/127.0.0.1/tcp/{}", free.port());
    let mut server = Server::start(|command, _| {
        command.args(["--json", "--listen", &listen]);
    });
    server.ready();
    let data = server.data_dir().display().to_string();
    let check = |dir: &str| run(&["config", "check", "--listen", &listen, "--http", "127.0.0.1:0", "--data-dir", dir]);
    assert!(check(&data).status.success(), "{}", stderr(&check(&data)));
    let other = tempfile::tempdir().unwrap();
    assert_eq!(check(&other.path().display().to_string()).status.code(), Some(1));
}

#[test]
fn a_check_beside_the_running_server_names_what_that_does_without() {
    // Whoever has this port now, or if this user may have it at all: the server does not get it.
    let _taken = TcpListener::bind("0.0.0.0:443");
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let listen = format!("/ip4/0.0.0.0/tcp/{port}");
    let addresses = ["--listen", &listen, "--http", "127.0.0.1:0"];
    let mut server = Server::listening(addresses, |command, _| {
        command.arg("--json").env("STARLING_RENDEZVOUS_LISTEN_443", "true");
    });
    server.ready();
    let status: Value = serde_json::from_slice(&server.admin(&["status"]).stdout).unwrap();
    assert_eq!(status["sockets"], serde_json::json!([format!("0.0.0.0:{port}/tcp")]), "{status}");
    let check = |listen_443: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["config", "check"]).args(addresses).arg("--data-dir").arg(server.data_dir());
        let output = command.env("STARLING_RENDEZVOUS_LISTEN_443", listen_443).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let said = check("true");
    assert!(said.contains("/ip4/0.0.0.0/tcp/443/tls/ws") && said.contains("no relay for calls"), "{said}");
    assert!(!check("false").contains("443"));
}

#[test]
fn both_internet_protocols_are_served_at_one_port_and_given_by_addresses_that_can_be_dialled() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return starling_tests::skip("IPv6");
    }
    let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let mut server = Server::start(|command, _| {
        for family in ["ip4/0.0.0.0", "ip6/::"] {
            for transport in [format!("udp/{port}/quic-v1"), format!("tcp/{port}")] {
                command.args(["--listen", &format!("/{family}/{transport}")]);
            }
        }
        command.arg("--json").env("STARLING_RENDEZVOUS_TURN_ENABLED", "false");
    });
    let ready = server.ready();
    let addresses = ready["addresses"].as_array().unwrap().iter().map(|address| address.as_str().unwrap());
    for address in addresses {
        assert!(!address.contains("/ip6/::/") && !address.contains("/0.0.0.0/"), "{address}");
    }
    for host in ["127.0.0.1", "::1"] {
        TcpStream::connect((host, port)).unwrap();
    }
}

#[test]
fn service_variables_of_a_container_runtime_do_not_keep_it_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, value: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["config", "check"]).args(LOOPBACK).arg("--data-dir").arg(dir.path());
        command.env(format!("STARLING_RENDEZVOUS_{name}"), value).output().unwrap()
    };
    assert!(check("PORT", "tcp://10.0.0.7:4001").status.success());
    assert!(check("SERVICE_HOST", "10.0.0.7").status.success());
    assert_eq!(check("LIMITS_LOGENTRIES", "5").status.code(), Some(2));
}

#[test]
fn nobody_who_reads_standard_output_is_no_error() {
    let mut server = Server::start(|command, _| {
        command.arg("--json");
    });
    server.ready();
    let data = server.data_dir().display().to_string();
    let good = ["config", "check", "--listen", "/ip4/127.0.0.1/tcp/0", "--http", "127.0.0.1:0", "--data-dir", &data];
    for args in [&["config", "print-default"][..], &good, &["admin", "status", "--data-dir", &data], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(PROGRAM).args(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panic"), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn nobody_who_reads_standard_error_is_no_reason_to_stop() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut server = Server::start(|command, _| {
        command.arg("--json").stderr(writer);
    });
    server.ready();
    server.signal(Signal::HUP);
    assert!(server.admin(&["status"]).status.success());
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(PROGRAM).args(["config", "check", "--listen", "/ip4/1.2.3.4"]).stderr(writer).status();
    assert_eq!(status.unwrap().code(), Some(2));
}

#[test]
fn numbers_that_make_no_sense_are_refused_with_their_range() {
    let mut server = Server::start(|command, _| {
        command.arg("--json");
    });
    server.ready();
    for (flag, value, range) in [
        ("--days", "18446744073709551615", "from 1 to 3650"),
        ("--days", "99999999999999999999", "from 1 to 3650"),
        ("--days", "0", "from 1 to 3650"),
        ("--days", "-1", "from 1 to 3650"),
        ("--uses", "0", "from 1 to 1000000"),
        ("--uses", "4294967296", "from 1 to 1000000"),
    ] {
        let output = server.admin(&["invite", "new", &format!("{flag}={value}")]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(range), "{flag} {value}: {}", stderr(&output));
    }
    // Whoever writes to the socket gets the same.
    let mut socket = UnixStream::connect(server.data_dir().join("admin.sock")).unwrap();
    for days in ["18446744073709551615", "0"] {
        writeln!(socket, "{{\"command\":\"invite_new\",\"uses\":1,\"days\":{days}}}").unwrap();
    }
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let lines: Vec<String> = BufReader::new(socket).lines().map(Result::unwrap).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("1 to 3650")), "{lines:?}");

    let made = server.admin(&["invite", "new", "--days", "3650", "--uses", "1000000"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let expires_at = made["expires_at"].as_str().unwrap();
    assert!(expires_at.ends_with('Z') && expires_at.contains('T'), "RFC 3339: {expires_at}");
}

#[test]
fn an_account_that_is_mistyped_is_neither_banned_nor_let_in_again() {
    let mut server = Server::start(|command, _| {
        command.arg("--json");
    });
    server.ready();
    let unknown = "a".repeat(52);
    for (args, code) in [
        (&["ban", "x"][..], 2),
        (&["unban", "x"], 2),
        (&["ban", &unknown], 1),
        (&["unban", &unknown], 1),
        (&["ban", "--force", &unknown], 0),
        (&["unban", &unknown], 0),
        (&["unban", &unknown], 1),
    ] {
        let output = server.admin(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn the_servers_files_are_private_in_an_open_directory() {
    let mut server = Server::start(|command, dir| {
        let data = dir.join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
        // Left behind by a version that minded less.
        fs::write(data.join("rendezvous.redb"), "").unwrap();
        fs::set_permissions(data.join("rendezvous.redb"), fs::Permissions::from_mode(0o666)).unwrap();
        command.arg("--json");
    });
    server.ready();
    for name in ["rendezvous.redb", "identity", "admin.sock"] {
        let mode = fs::metadata(server.data_dir().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// Processor time that a process has used.
fn cpu(child: &Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn port_of(ready: &Value) -> u16 {
    let address = ready["addresses"][0].as_str().unwrap();
    address.split('/').nth(4).unwrap().parse().unwrap()
}

fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The first words of every libp2p connection.
fn greet(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"\x13/multistream/1.0.0\n")?;
    stream.read_exact(&mut [0; 20])
}

/// Shells and services begin with few descriptors, and may take more.
#[test]
fn a_server_takes_the_descriptors_that_it_may_have() {
    let mut server = Server::start(|command, _| {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -Sn 64; exec \"$0\" \"$@\"", PROGRAM, "--json"]);
        limited.args(command.get_args()).stdout(Stdio::piped()).stderr(Stdio::null());
        *command = limited;
    });
    server.ready();
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{files}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_server_that_ran_out_of_descriptors_accepts_again_and_does_not_spin() {
    const DESCRIPTORS: usize = 64;
    let mut server = Server::start(|command, dir| {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\""), PROGRAM, "--json"]);
        limited.args(command.get_args()).stdout(Stdio::piped());
        limited.stderr(fs::File::create(dir.join("log")).unwrap());
        *command = limited;
    });
    let ready = server.ready();
    let (port, http) = (port_of(&ready), ready["http"].as_str().unwrap().to_owned());
    let turn = ready["turn"].as_str().unwrap().to_owned();
    let admin = server.data_dir().join("admin.sock");

    let mut crowd: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    crowd.extend((0..40).map(|_| TcpStream::connect(&http).unwrap()));
    let operators: Vec<UnixStream> = (0..40).map(|_| UnixStream::connect(&admin).unwrap()).collect();
    let fds = format!("/proc/{}/fd", server.child.id());
    // Only root can look: the server closes its memory and files to others. The connections are there in any case.
    let is_last = || fs::read_dir(&fds).map_or(true, |open| open.count() >= DESCRIPTORS);
    eventually("the last descriptor", || is_last().then_some(()));

    // How busy it is with what it cannot accept has to be measured over some time: at most a fifth of a processor.
    let (before, start) = (cpu(&server.child), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let ticks = (cpu(&server.child) - before) as f64 / 100.0;
    assert!(ticks < start.elapsed().as_secs_f64() / 5.0, "{ticks} s of processor time");

    drop((crowd, operators));
    eventually("the operators' port", || get(&http, "/readyz").ok().filter(|answer| answer.contains("ready")));
    eventually("the admin socket", || server.admin(&["status"]).status.success().then_some(()));
    eventually("the peers' port", || greet(port).ok());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    eventually("STUN", || {
        socket.send_to(&binding, &turn).unwrap();
        socket.recv(&mut [0; 128]).ok()
    });
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
}
