//! A text in the user's editor, which has the terminal and its keys for as long as it runs.

use std::{io::Write, path::Path, process::Command};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use super::{Session, Signals, signals::stop_process};

/// The exit codes with which a shell says that a command is not there, or cannot be run.
const NOT_STARTED: [i32; 2] = [126, 127];

/// What the editor has made of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Edited {
    /// It ended well; this is the text.
    Text(String),
    /// It could not be started, failed, or was killed; the words say which. The text is as it was.
    Failed(String),
}

/// Lets the user edit a text with `$VISUAL` or `$EDITOR`, else `vi`. The session is suspended meanwhile. When the future is dropped, the
/// editor is hung up on.
pub async fn edit(text: &str, session: &mut Session, signals: &mut Signals) -> std::io::Result<Edited> {
    let name = |variable| std::env::var(variable).ok().filter(|value| !value.trim().is_empty());
    let editor = name("VISUAL").or_else(|| name("EDITOR")).unwrap_or_else(|| "vi".into());
    let mut file = tempfile::Builder::new().prefix("starling-").suffix(".md").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    session.suspend();
    let outcome = {
        let _lent = signals.lend();
        run(&editor, file.path()).await
    };
    session.resume()?;
    Ok(match outcome {
        Err(error) => Edited::Failed(format!("The editor “{editor}” cannot be started: {error}.")),
        Ok(status) if status.exit_status() == Some(0) => match std::fs::read_to_string(file.path()) {
            Ok(text) => Edited::Text(text.trim_end_matches('\n').to_owned()),
            Err(error) => Edited::Failed(format!("The editor “{editor}” has left no text: {error}.")),
        },
        Ok(status) if status.exit_status().is_some_and(|code| NOT_STARTED.contains(&code)) => {
            Edited::Failed(format!("The editor “{editor}” cannot be started."))
        }
        Ok(_) => Edited::Failed(format!("The editor “{editor}” did not end well; the draft is as it was.")),
    })
}

/// An editor that runs; one that is no longer waited for is hung up on.
struct Running(Option<Pid>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process(pid, Signal::HUP);
        }
    }
}

async fn run(editor: &str, path: &Path) -> std::io::Result<WaitStatus> {
    // As git does: the variable is the user's own, and may hold arguments, quotes and variables. The shell becomes the
    // editor, so that keys that interrupt reach no other process.
    let command = format!("exec {editor} \"$@\"");
    let child = Command::new("sh").arg("-c").arg(command).arg(editor).arg(path).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::NotFound)?;
    let mut running = Running(Some(pid));
    let status = tokio::task::spawn_blocking(move || wait(pid)).await.map_err(std::io::Error::other)?;
    running.0 = None;
    Ok(status?)
}

/// Waits until it has ended. When it is stopped we stop, too, so that the shell has the terminal, and both go on together.
fn wait(pid: Pid) -> rustix::io::Result<WaitStatus> {
    loop {
        match waitpid(Some(pid), WaitOptions::UNTRACED) {
            Ok(Some((_, status))) if status.stopped() => {
                stop_process();
                kill_process(pid, Signal::CONT)?;
            }
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
