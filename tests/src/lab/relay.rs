//! Distance: a relay holds every packet for a while, as not every kernel has `netem`.

use std::{fs::OpenOptions, path::Path, time::Duration};

use super::{Lab, run};
use crate::{Process, log_in, skip};

/// Whether networks can be slow here; else says what is missing.
pub fn can_delay() -> bool {
    let has_tap = OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_ok();
    let can = has_tap && run(&["python3", "--version"]);
    if !can {
        skip("/dev/net/tun and Python, for networks with delay");
    }
    can
}

impl Lab {
    /// A host in the common network, to which each packet takes so long, and as long from it.
    pub fn wire_afar(&mut self, host: &str, address: &str, delay: Duration) {
        assert!(self.host(host));
        let port = format!("p_{host}");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lab/relay.py");
        let mut command = self.system_command(host, "python3");
        command.arg(script).args(["wan", &port]).arg((delay.as_secs_f64() * 1e3).to_string());
        let relay = Process::start(command.stderr(log_in(self.dir.path(), &format!("{host}-relay"))));
        assert_eq!(relay.line(), "ready");
        self.routers.get_mut().unwrap().push(relay);
        // The relay goes on holding it.
        self.must(host, &format!("ip link set {port} netns {}", self.ns("ix")));
        self.plug_in(host, &port, address);
    }

    /// Two hosts in one network, which are connected directly, and a server. Each packet between the two takes so long, and half of that between
    /// them and the server.
    pub fn on_a_slow_lan(delay: Duration) -> Option<(Self, Process, (Process, Process))> {
        Self::on_a_lan_with(|lab, host, address| lab.wire_afar(host, address, delay / 2), |_| {})
    }
}
