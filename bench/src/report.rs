//! The report on standard output, which somebody may read a part of only (`| head`).

use std::{
    fmt,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

/// The reader of the report has gone.
struct ReaderGone;

/// Prints a line of the report. If its reader has gone, the bench ends: by unwinding, so that the processes and directories that it has made go, too.
pub fn print(line: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if out.write_fmt(line).and_then(|()| out.write_all(b"\n")).is_err() {
        drop(out);
        resume_unwind(Box::new(ReaderGone));
    }
}

/// Runs a bench to its end, or to the first line that nobody reads, which is no error.
pub fn until_its_reader_has_gone(bench: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    match catch_unwind(AssertUnwindSafe(bench)) {
        Ok(result) => result,
        Err(panic) if panic.is::<ReaderGone>() => Ok(()),
        Err(panic) => resume_unwind(panic),
    }
}
