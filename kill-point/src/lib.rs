//! Where tests kill a program: a device or a server, before and after each commit of its store. Only in builds with debug assertions; in a release
//! build [`pass`] is empty.

/// Passes a point: the program ends here, as by `kill -9`, if it is the one.
#[inline]
pub fn pass() {
    #[cfg(debug_assertions)]
    armed::pass();
}

#[cfg(debug_assertions)]
mod armed {
    use std::{env, fs, io::Write, path::PathBuf, sync::OnceLock};

    use rustix::process::{Signal, getpid, kill_process};

    /// The environment variable with the path of a file that says how many points are passed before the program is killed. Whoever passes one counts
    /// it down, so that it can be armed at any moment, and holds for programs that follow one another. Without the file nothing happens.
    const VARIABLE: &str = "STARLING_KILL_POINT";

    pub fn pass() {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let Some(file) = FILE.get_or_init(|| env::var_os(VARIABLE).map(PathBuf::from)) else { return };
        let Some(left) = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok()) else { return };
        if left > 0 {
            // A test that disarms it meanwhile has removed the file, which stays removed.
            if let Ok(mut open) = fs::OpenOptions::new().write(true).truncate(true).open(file) {
                let _ = open.write_all((left - 1).to_string().as_bytes());
            }
            return;
        }
        // Who is started next lives; so does this program if a test has disarmed the point meanwhile.
        if fs::remove_file(file).is_err() {
            return;
        }
        let _ = kill_process(getpid(), Signal::KILL);
        // The signal may take a moment to be delivered; nothing is done meanwhile.
        loop {
            std::thread::park();
        }
    }
}
