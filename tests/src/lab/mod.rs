//! A laboratory of hosts in network namespaces, with NATs between them. Needs root, `ip` and `nft`; tests are skipped with a word where they are missing.

mod call;
mod control;
mod relay;
mod rest;
mod talk;
mod translator;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    net::TcpListener,
    os::fd::AsFd,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

pub use self::{
    call::{CallMedia, CallOutcome},
    control::Control,
    relay::can_delay,
    rest::AtRest,
    talk::{ENDS, Restored, Talk},
    translator::can_translate,
};
use crate::{Process, kept_dir, log_in, program, run_to_end, skip, until, watchdog::test_name};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Hosts in namespaces of their own; gone when dropped.
pub struct Lab {
    prefix: String,
    names: Vec<String>,
    dir: tempfile::TempDir,
    /// Control sockets of the daemons, by host.
    sockets: Mutex<BTreeMap<String, PathBuf>>,
    /// Relays and translators, which are part of the network.
    routers: Mutex<Vec<Process>>,
}

/// Where `ip netns exec` finds the files of a namespace that stand in place of those in `/etc`.
fn names_dir(ns: &str) -> PathBuf {
    PathBuf::from("/etc/netns").join(ns)
}

fn run(args: &[&str]) -> bool {
    let status = Command::new(args[0]).args(&args[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

impl Lab {
    /// `None` where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        let prefix = format!("st{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut lab =
            Self { prefix, names: Vec::new(), dir: kept_dir(), sockets: Mutex::default(), routers: Mutex::default() };
        let probe = lab.dir.path().join("probe.nft");
        let rule = "table ip probe {\nchain c {\ntype nat hook postrouting priority 100\nmasquerade\n}\n}\ndelete table ip probe\n";
        std::fs::write(&probe, rule).unwrap();
        let probe = probe.display().to_string();
        let works = lab.host("ix") && {
            let ix = lab.ns("ix");
            run(&["ip", "netns", "exec", &ix, "nft", "-f", &probe])
                && run(&["ip", "-n", &ix, "link", "add", "pv", "type", "veth", "peer", "name", "pw"])
                && run(&["ip", "-n", &ix, "link", "add", "pb", "type", "bridge"])
        };
        if !works {
            skip("root, iproute2 and nftables, for network namespaces");
            return None;
        }
        lab.must("ix", "ip link add br0 type bridge");
        lab.must("ix", "ip link set br0 up");
        Some(lab)
    }

    /// A file that is gone with the laboratory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn ns(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    pub fn host(&mut self, host: &str) -> bool {
        let ns = self.ns(host);
        let made = run(&["ip", "netns", "add", &ns]) && run(&["ip", "-n", &ns, "link", "set", "lo", "up"]);
        self.names.push(ns);
        made
    }

    pub fn must(&self, host: &str, command: &str) {
        let ns = self.ns(host);
        let args: Vec<&str> = ["ip", "netns", "exec", &ns].into_iter().chain(command.split(' ')).collect();
        assert!(run(&args), "failed on {host}: {command}");
    }

    /// A host in the common network.
    pub fn wire(&mut self, host: &str, address: &str) {
        assert!(self.host(host));
        self.connect(host, address);
    }

    /// What a host knows of names: programs that are started there later see these files, also when they are written again.
    pub fn names(&self, host: &str, hosts: &str, resolv: &str) {
        let dir = names_dir(&self.ns(host));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("hosts"), hosts).unwrap();
        std::fs::write(dir.join("resolv.conf"), resolv).unwrap();
    }

    /// Connects a host to the common network.
    pub fn connect(&self, host: &str, address: &str) {
        let (ix, ns) = (self.ns("ix"), self.ns(host));
        let port = format!("p_{host}");
        assert!(run(&["ip", "-n", &ix, "link", "add", &port, "type", "veth", "peer", "name", "wan", "netns", &ns]));
        self.plug_in(host, &port, address);
    }

    /// Gives a host an address on its device for the common network, whose other end is a port there.
    fn plug_in(&self, host: &str, port: &str, address: &str) {
        self.must("ix", &format!("ip link set {port} master br0"));
        self.must("ix", &format!("ip link set {port} up"));
        // Without the second in which an IPv6 address is looked for on the network before it is used.
        let address = if address.contains(':') { format!("{address}/64 nodad") } else { format!("{address}/24") };
        self.must(host, &format!("ip addr add {address} dev wan"));
        self.must(host, "ip link set wan up");
    }

    /// A host behind a NAT of its own. `random` maps each connection to a port of its own, as symmetric NATs do.
    pub fn behind_nat(&mut self, host: &str, gateway: &str, wan: &str, lan: &str, random: bool) {
        self.wire(gateway, wan);
        self.nat(gateway, random);
        assert!(self.host(host));
        self.link(gateway, "lan", host, "eth0", lan);
        self.must(host, &format!("ip route add default via {lan}.1"));
    }

    /// A network of two hosts: the first has the address `net`.1 on its device, the second `net`.2.
    pub fn link(&self, host: &str, device: &str, other: &str, other_device: &str, net: &str) {
        let (ns, peer) = (self.ns(host), self.ns(other));
        let command = format!("ip -n {ns} link add {device} type veth peer name {other_device} netns {peer}");
        assert!(run(&command.split(' ').collect::<Vec<_>>()));
        for (host, device, number) in [(host, device, 1), (other, other_device, 2)] {
            self.must(host, &format!("ip addr add {net}.{number}/24 dev {device}"));
            self.must(host, &format!("ip link set {device} up"));
        }
    }

    /// Makes a host a NAT between its device `wan` and all others.
    pub fn nat(&self, gateway: &str, random: bool) {
        self.must(gateway, "sysctl -qw net.ipv4.ip_forward=1");
        let rules = [
            "table ip nat {",
            "chain post {",
            "type nat hook postrouting priority 100",
            if random { "oifname \"wan\" masquerade fully-random" } else { "oifname \"wan\" masquerade" },
            "}",
            "}",
            "table ip filter {",
            "chain forwarded {",
            "type filter hook forward priority 0",
            "policy drop",
            "iifname != \"wan\" oifname \"wan\" accept",
            "ct state established,related accept",
            "}",
            "chain incoming {",
            "type filter hook input priority 0",
            "iifname \"wan\" ct state new drop",
            "}",
            "}",
            "",
        ]
        .join("\n");
        let file = self.dir.path().join(format!("{gateway}.nft"));
        std::fs::write(&file, rules).unwrap();
        self.must(gateway, &format!("nft -f {}", file.display()));
    }

    /// Makes a NAT let in whatever comes to it by UDP for the only host behind it, as those do that are called full cone.
    pub fn open_nat(&self, gateway: &str, inside: &str) {
        self.must(gateway, "nft add chain ip nat pre { type nat hook prerouting priority -100 ; }");
        self.must(gateway, &format!("nft add rule ip nat pre iifname wan meta l4proto udp dnat to {inside}"));
        self.must(gateway, "nft add rule ip filter forwarded ct status dnat accept");
    }

    /// A host behind a NAT of its own behind that of its carrier, who has other customers, too.
    pub fn behind_carrier(&mut self, host: &str, gateway: &str, carrier: &str, (outer, lan): (&str, &str)) {
        assert!(self.host(gateway) && self.host(host));
        self.link(carrier, &format!("to_{gateway}"), gateway, "wan", outer);
        self.must(gateway, &format!("ip route add default via {outer}.1"));
        self.nat(gateway, false);
        self.link(gateway, "lan", host, "eth0", lan);
        self.must(host, &format!("ip route add default via {lan}.1"));
    }

    /// Adds a rule of nftables for what comes in at a host from the common network.
    pub fn filter(&self, host: &str, rule: &str) {
        self.must(host, "nft add table ip filtered");
        self.must(host, "nft add chain ip filtered in { type filter hook input priority 0 ; }");
        self.must(host, &format!("nft add rule ip filtered in iifname wan {rule}"));
    }

    /// Bytes that have come in at a host from the common network.
    pub fn received_bytes(&self, host: &str) -> u64 {
        let output = run_to_end(self.system_command(host, "cat").arg("/proc/net/dev"));
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("wan:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Does something in the network of a host: in a thread that ends there, and in those that it starts.
    pub fn within<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(PathBuf::from("/run/netns").join(self.ns(host))).unwrap();
        let enter = move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| {
            // It is the same test.
            let thread = std::thread::Builder::new().name(test_name()).spawn_scoped(scope, enter).unwrap();
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A listener of this process in the network of a host.
    pub fn listener(&self, host: &str, address: &str) -> TcpListener {
        self.within(host, || TcpListener::bind(address).unwrap())
    }

    /// A program of the system, on a host.
    pub fn system_command(&self, host: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ns(host)]).arg(program);
        command
    }

    pub fn command(&self, host: &str, name: &str) -> Command {
        let mut command = self.system_command(host, program(name));
        command.env("XDG_RUNTIME_DIR", self.dir.path().join(host)).env_remove("SSLKEYLOGFILE");
        command.stderr(log_in(self.dir.path(), host));
        command
    }

    pub fn rendezvous(&self, host: &str, address: &str) -> (Process, String) {
        let (process, mut homes) = self.rendezvous_on(host, &[address]);
        (process, homes.remove(0))
    }

    /// A server, by the address that stands for all ways to it.
    pub fn rendezvous_by_its_short_address(&self, host: &str, address: &str) -> (Process, String) {
        let (process, ready) = self.start_rendezvous(host, &[address]);
        (process, ready["address"].as_str().expect("a short address").to_owned())
    }

    /// A server on several addresses, by which it is given; on those of its defaults, if none is named.
    pub fn rendezvous_on(&self, host: &str, addresses: &[&str]) -> (Process, Vec<String>) {
        let (process, ready) = self.start_rendezvous(host, addresses);
        let all = ready["addresses"].as_array().unwrap().iter().filter_map(Value::as_str);
        let homes = all.filter(|address| address.contains("/quic-v1/")).map(str::to_owned).collect();
        (process, homes)
    }

    fn start_rendezvous(&self, host: &str, addresses: &[&str]) -> (Process, Value) {
        let dir: PathBuf = self.dir.path().join(format!("{host}-rendezvous"));
        let mut command = self.command(host, "starling-rendezvous");
        for address in addresses {
            let protocol = if address.contains(':') { "ip6" } else { "ip4" };
            for port in ["udp/4001/quic-v1", "tcp/4001"] {
                command.args(["--listen", &format!("/{protocol}/{address}/{port}")]);
            }
        }
        command.env("STARLING_RENDEZVOUS_LISTEN_443", "true");
        let process = Process::start(command.args(["--http", "127.0.0.1:0", "--json", "--data-dir"]).arg(dir));
        let ready = process.json();
        (process, ready)
    }

    pub fn starling(&self, host: &str) -> Command {
        let mut command = self.command(host, "starling");
        command.args(["--data-dir"]).arg(self.dir.path().join(format!("{host}-data")));
        command
    }

    pub fn json(&self, host: &str, args: &[&str]) -> Value {
        let output = run_to_end(self.starling(host).args(args).arg("--json").stdin(Stdio::null()));
        assert!(output.status.success(), "{host}: {args:?} failed");
        serde_json::from_slice(output.stdout.split(|b| *b == b'\n').next().unwrap()).unwrap_or_default()
    }

    pub fn daemon(&self, host: &str) -> Process {
        self.daemon_with(host, &[])
    }

    /// The same with settings, as variables of its environment.
    pub fn daemon_with(&self, host: &str, settings: &[(&str, &str)]) -> Process {
        let mut command = self.starling(host);
        let process = Process::start(command.args(["daemon", "--json"]).envs(settings.iter().copied()));
        let ready = process.json();
        assert_eq!(ready["type"], "daemon.ready");
        let socket = PathBuf::from(ready["socket"].as_str().expect("a control socket"));
        self.sockets.lock().unwrap().insert(host.to_owned(), socket);
        process
    }

    /// A connection with the daemon of a host.
    pub fn control(&self, host: &str) -> Control {
        Control::open(&self.sockets.lock().unwrap()[host])
    }

    /// Two profiles that are contacts, with their daemons running.
    pub fn contacts(&self, homes: &[&str]) -> (Process, Process) {
        let tcp: Vec<String> = homes.iter().map(|home| home.replace("/udp/4001/quic-v1", "/tcp/4001")).collect();
        let tcp = tcp.iter().map(String::as_str).filter(|home| !homes.contains(home));
        let all = homes.iter().copied().chain(tcp);
        let given: Vec<&str> = all.flat_map(|home| ["--rendezvous", home]).collect();
        for (host, name) in [("ha", "alice"), ("hb", "bob")] {
            self.json(host, &[&["init", "--name", name], given.as_slice()].concat());
        }
        let daemons = (self.daemon("ha"), self.daemon("hb"));
        let invite = self.json("ha", &["invite"]);
        self.json("hb", &["contacts", "add", invite["link"].as_str().unwrap()]);
        // Her name comes with her answer.
        until("her name", || (self.json("hb", &["contacts", "list"])["name"] == "alice").then_some(()));
        self.json("hb", &["send", "@alice", "over there", "--wait", "delivered"]);
        daemons
    }

    /// Two hosts in one network, which are connected directly after they were prepared, and a server.
    pub fn on_a_lan(prepare: impl Fn(&Self)) -> Option<(Self, Process, (Process, Process))> {
        Self::on_a_lan_with(Self::wire, |lab| prepare(lab))
    }

    /// The same, with more hosts than these.
    pub fn on_a_prepared_lan(prepare: impl Fn(&mut Self)) -> Option<(Self, Process, (Process, Process))> {
        Self::on_a_lan_with(Self::wire, prepare)
    }

    /// The same where the two are put into the network in another way.
    fn on_a_lan_with(
        wire: impl Fn(&mut Self, &str, &str),
        prepare: impl Fn(&mut Self),
    ) -> Option<(Self, Process, (Process, Process))> {
        let mut lab = Self::new()?;
        lab.wire("rel", "198.18.0.1");
        wire(&mut lab, "ha", "198.18.0.2");
        wire(&mut lab, "hb", "198.18.0.3");
        for host in ["ha", "hb"] {
            lab.must(host, "ip route add default dev wan");
        }
        prepare(&mut lab);
        let (server, home) = lab.rendezvous("rel", "198.18.0.1");
        let daemons = lab.contacts(&[&home]);
        lab.wait_for_path("direct");
        Some((lab, server, daemons))
    }

    /// Two hosts, each behind a NAT of its own, and a server.
    pub fn behind_nats(random: bool) -> Option<(Self, Process, (Process, Process))> {
        Self::behind_nats_that(random, |_| {})
    }

    /// The same with NATs that were prepared.
    pub fn behind_nats_that(random: bool, prepare: impl Fn(&Self)) -> Option<(Self, Process, (Process, Process))> {
        let mut lab = Self::new()?;
        lab.wire("rel", "198.18.0.1");
        lab.behind_nat("ha", "na", "198.18.0.11", "192.168.11", random);
        lab.behind_nat("hb", "nb", "198.18.0.12", "192.168.12", random);
        prepare(&lab);
        let (server, home) = lab.rendezvous("rel", "198.18.0.1");
        let daemons = lab.contacts(&[&home]);
        Some((lab, server, daemons))
    }

    /// Nothing of a protocol comes in at a host any more, and all else does.
    pub fn block(&self, host: &str, protocol: &str) {
        self.must(host, "nft add table ip block");
        self.must(host, "nft add chain ip block in { type filter hook input priority 0 ; }");
        self.must(host, "nft flush chain ip block in");
        self.must(host, &format!("nft add rule ip block in meta l4proto {protocol} drop"));
    }

    /// Nothing comes in at a host any more but what servers of the web answer.
    pub fn let_the_web_alone_in(&self, host: &str) {
        self.block(host, "udp");
        self.must(host, "nft add rule ip block in tcp sport != 443 drop");
    }

    /// What was blocked comes in again.
    pub fn unblock(&self, host: &str) {
        self.must(host, "nft flush chain ip block in");
    }

    /// A change of the address of a host. Routes are those of IPv4.
    pub fn readdress(&self, host: &str, device: &str, from: &str, to: &str, gateway: Option<&str>) {
        if from.contains(':') {
            self.must(host, &format!("ip addr del {from}/64 dev {device}"));
            return self.must(host, &format!("ip addr add {to}/64 nodad dev {device}"));
        }
        self.must(host, &format!("ip addr del {from}/24 dev {device}"));
        self.must(host, &format!("ip addr add {to}/24 dev {device}"));
        match gateway {
            Some(gateway) => self.must(host, &format!("ip route add default via {gateway}")),
            None => self.must(host, &format!("ip route add default dev {device}")),
        }
    }

    pub fn path(&self) -> String {
        self.json("hb", &["contacts", "list"])["path"].as_str().unwrap_or_default().to_owned()
    }

    pub fn wait_for_path(&self, path: &str) {
        until(path, || (self.path() == path).then_some(()));
    }
}

/// Sends a message at once, and gives how long it takes until it is delivered.
pub fn deliver(lab: &Lab, from: &str, to: &str, text: &str) -> Duration {
    let began = Instant::now();
    lab.json(from, &["send", to, text, "--wait", "delivered", "--timeout", "60s"]);
    let took = began.elapsed();
    println!("{text:.40}: delivered after {took:.1?}");
    took
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Before the namespaces, which their devices would keep.
        self.routers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        for ns in &self.names {
            let _ = run(&["ip", "netns", "delete", ns]);
            let _ = std::fs::remove_dir_all(names_dir(ns));
        }
    }
}
