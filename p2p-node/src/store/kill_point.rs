//! Where tests kill a program: before and after each commit, and where a profile's file gets its name. Only in builds with debug assertions; a release
//! build has none of this.

use std::{env, fs, path::PathBuf, sync::OnceLock};

use rustix::process::{Signal, getpid, kill_process};

/// The environment variable with the path of a file that says how many points are passed before the program is killed. Whoever passes one counts it
/// down, so that it can be armed at any moment, and holds for programs that follow one another. Without the file nothing happens.
const VARIABLE: &str = "STARLING_KILL_POINT";

/// Passes a point: the program ends here, as by `kill -9`, if it is the one.
pub fn pass() {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(file) = FILE.get_or_init(|| env::var_os(VARIABLE).map(PathBuf::from)) else { return };
    let Some(left) = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok()) else { return };
    if left > 0 {
        let _ = fs::write(file, (left - 1).to_string());
        return;
    }
    // Who is started next lives.
    let _ = fs::remove_file(file);
    let _ = kill_process(getpid(), Signal::KILL);
    // The signal may take a moment to be delivered; nothing is done meanwhile.
    loop {
        std::thread::park();
    }
}
