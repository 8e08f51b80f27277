//! Networks that have IPv6 alone, with a translator to IPv4 (NAT64).

use std::process::{Command, Stdio};

use super::Lab;
use crate::{Process, log_in, run_to_end, skip, until};

/// Behind it are all IPv4 addresses. Not the well-known prefix, behind which tayga has no addresses of tests (RFC 6052, section 3.1).
const PREFIX: &str = "2001:db8:64::/96";
/// What resolvers in the network know, by which the prefix is found (RFC 7050).
const NAMES: &str = "127.0.0.1 localhost\n2001:db8:64::c000:aa ipv4only.arpa\n";

/// Whether there is a translator; else says what is missing.
pub fn can_translate() -> bool {
    let tayga = Command::new("tayga").arg("--help").stdin(Stdio::null()).output();
    if tayga.is_err() {
        skip("tayga, to translate between IPv6 and IPv4");
    }
    tayga.is_ok()
}

impl Lab {
    /// A translator with an address in the common network, for a network with IPv6 alone.
    pub fn translator(&mut self, gateway: &str, wan: &str) {
        self.wire(gateway, wan);
        self.nat(gateway, false);
        self.must(gateway, "sysctl -qw net.ipv6.conf.all.forwarding=1");
        let config = self.file(&format!("{gateway}.conf"));
        // Each host gets an address of the pool, which the NAT turns into that of the translator.
        let lines = format!(
            "tun-device nat64\nipv4-addr 192.168.255.1\nipv6-addr 2001:db8:65::1\nprefix {PREFIX}\n\
             dynamic-pool 192.168.255.0/24\ndata-dir {}\n",
            self.dir.path().display()
        );
        std::fs::write(&config, lines).unwrap();
        self.must(gateway, &format!("tayga --config {} --mktun", config.display()));
        self.must(gateway, "ip link set nat64 up");
        self.must(gateway, "ip route add 192.168.255.0/24 dev nat64");
        self.must(gateway, &format!("ip -6 route add {PREFIX} dev nat64"));
        let mut command = self.system_command(gateway, "tayga");
        command.arg("--config").arg(config).arg("--nodetach").stderr(log_in(self.dir.path(), gateway));
        self.routers.get_mut().unwrap().push(Process::start(&mut command));
        until("the translator", || {
            let carrier = run_to_end(self.system_command(gateway, "cat").arg("/sys/class/net/nat64/carrier"));
            (carrier.stdout == b"1\n").then_some(())
        });
    }

    /// Tells programs that are started on a host from now on the prefix of the translator.
    pub fn know_translator(&self, host: &str) {
        self.names(host, NAMES, "");
    }

    /// Connects a host with the network behind a translator, by a device `eth0`.
    pub fn join_translator(&self, host: &str, gateway: &str) {
        self.must(gateway, &format!("ip link add lan type veth peer name eth0 netns {}", self.ns(host)));
        for (host, device, number) in [(gateway, "lan", 1), (host, "eth0", 2)] {
            self.must(host, &format!("ip addr add 2001:db8:66::{number}/64 nodad dev {device}"));
            self.must(host, &format!("ip link set {device} up"));
        }
        self.must(host, "ip -6 route add default via 2001:db8:66::1");
    }
}
