//! What each way of showing pictures costs: the program measures it itself.

use std::process::Command;

use anyhow::{Context, bail};

use super::Report;

pub fn run(report: &mut Report) -> anyhow::Result<()> {
    let program = std::env::current_exe()?.with_file_name("starling");
    if !program.exists() {
        bail!("{} is missing: cargo build --release --workspace makes it", program.display());
    }
    let output = Command::new(program).args(["call", "test", "--renderers", "--json"]).output()?;
    println!("\n  a frame of the pattern     cells        time      bytes");
    let mut rows = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let row: serde_json::Value = serde_json::from_str(line).context("a line of starling call test")?;
        let size = format!("{}×{}", row["columns"], row["rows"]);
        println!(
            "  {:<24} {size:>8} {:>8} ms {:>10}",
            row["way"].as_str().unwrap_or_default(),
            row["ms"],
            row["bytes"]
        );
        rows.push(row);
    }
    report.insert("renderers".into(), rows.into());
    Ok(())
}
