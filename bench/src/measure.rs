//! Numbers: percentiles, CPU time and memory of processes, bytes on the loopback interface.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970: the one clock that two processes share.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// Percentiles of a sample, in its unit.
pub struct Percentiles(Vec<f64>);

impl Percentiles {
    pub fn of(mut sample: Vec<f64>) -> Self {
        sample.sort_by(f64::total_cmp);
        Self(sample)
    }

    pub fn at(&self, percent: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = (percent / 100.0 * last as f64).round() as usize;
        self.0.get(at.min(last)).copied().unwrap_or(0.0)
    }
}

/// User and system time of a process, seconds.
pub fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold spaces.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    // Linux gives these in hundredths, whatever the kernel's own tick is.
    ticks as f64 / 100.0
}

/// Resident memory of a process, KiB.
pub fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// Bytes that have passed the loopback interface, with all headers but the link's.
pub fn loopback_bytes() -> u64 {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = table.lines().find_map(|l| l.trim().strip_prefix("lo:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Bytes that this process has had written to disks, or has left to be written.
pub fn disk_bytes() -> u64 {
    let table = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}
