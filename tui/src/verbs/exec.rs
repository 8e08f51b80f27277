//! The command of `listen --exec`: run for one message at a time, with the message on its standard input; what it prints is the answer.

use std::{process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use starling_control::{EventLine, event::MessageChange, methods::messages::Send};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdout, Command},
    sync::mpsc,
};

use crate::{
    cli::Global,
    error::{CliError, CliResult},
    output::complain_of,
    rpc::Client,
};

/// What a command may answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Messages that may wait for the command; then the listener waits.
const QUEUE: usize = 1024;
/// How long the command may run for one message.
const TIME_LIMIT: Duration = Duration::from_secs(300);
/// Characters of an answer that was not sent, in the error.
const SHOWN: usize = 200;

/// Runs the command beside the listening.
pub struct Answerer {
    /// Messages to answer, each with the line in which it came.
    pub messages: mpsc::Sender<(EventLine, MessageChange)>,
    worker: tokio::task::JoinHandle<()>,
}

impl Answerer {
    /// Starts to answer.
    pub fn start(global: &Global, client: &Arc<Client>, command: &str) -> Self {
        let (messages, inbox) = mpsc::channel(QUEUE);
        let worker = answer_all(global.json, client.clone(), command.to_owned(), inbox);
        Self { messages, worker: tokio::spawn(worker) }
    }

    /// Ends: with what is still to be answered, or at once.
    pub async fn end(self, wait: bool) {
        drop(self.messages);
        if wait {
            let _ = self.worker.await;
        } else {
            self.worker.abort();
        }
    }
}

/// Answers one message after the other. A command that fails is reported, and the next message is answered.
async fn answer_all(
    json: bool,
    client: Arc<Client>,
    command: String,
    mut messages: mpsc::Receiver<(EventLine, MessageChange)>,
) {
    while let Some((line, new)) = messages.recv().await {
        if let Err(error) = answer(&client, &command, &line.json, &new).await {
            complain_of(&error, json);
        }
    }
}

async fn answer(client: &Client, command: &str, line: &Value, new: &MessageChange) -> CliResult {
    let said = match tokio::time::timeout(TIME_LIMIT, run(command, line, new)).await {
        Ok(said) => said?,
        Err(_) => {
            let seconds = TIME_LIMIT.as_secs();
            return Err(CliError::timeout(format!("“{command}” was ended: it ran for more than {seconds} s")));
        }
    };
    let said = String::from_utf8(said)
        .map_err(|_| failed(format!("“{command}” answered what is not UTF-8: nothing was sent")))?;
    let said = said.trim_end();
    if !said.is_empty() {
        let reply_to = Some(new.message.id().clone());
        client.call(Send { reply_to, ..Send::text(new.chat.id.clone(), said) }).await?;
    }
    Ok(())
}

fn failed(message: String) -> CliError {
    CliError::new("command_failed", 1, message)
}

/// A command and all that it has started: ended with it, or with the listener.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs a command for a message; gives what it has printed when it ends, also if something that it has started still holds its output. Nothing of the
/// message becomes part of the command line.
async fn run(command: &str, line: &Value, new: &MessageChange) -> CliResult<Vec<u8>> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .env("STARLING_EVENT_TYPE", "message.new")
        .env("STARLING_CHAT", new.chat.id.as_str())
        .env("STARLING_MESSAGE", new.message.id().as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| failed(format!("cannot run “{command}”: {e}")))?;
    let _group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let (stdin, Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(CliError::internal("the command has no output"));
    };
    let input = format!("{line}\n");
    let give = async {
        if let Some(mut stdin) = stdin {
            // It need not read it.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        std::future::pending().await
    };
    let (said, status) = tokio::select! {
        ended = collect(&mut child, stdout) => ended?,
        () = give => return Err(CliError::internal("the command has no end")),
    };
    if said.len() > MAX_ANSWER {
        return Err(failed(format!("“{command}” answered more than {} KiB: nothing was sent", MAX_ANSWER / 1024)));
    }
    if !status.success() {
        let shown: String = String::from_utf8_lossy(&said).trim_end().chars().take(SHOWN).collect();
        let what = if shown.is_empty() { String::new() } else { format!(": “{shown}”") };
        return Err(failed(format!("“{command}” ended with {status}: nothing was sent{what}")));
    }
    Ok(said)
}

/// What a command prints until it ends itself, and how it ended. Stops at an answer that is too long.
async fn collect(child: &mut Child, mut stdout: ChildStdout) -> CliResult<(Vec<u8>, std::process::ExitStatus)> {
    let mut said = Vec::new();
    let mut open = true;
    let status = loop {
        tokio::select! {
            read = stdout.read_buf(&mut said), if open && said.len() <= MAX_ANSWER => open = read? > 0,
            status = child.wait() => break status?,
            () = std::future::ready(()), if said.len() > MAX_ANSWER => {
                child.start_kill()?;
                break child.wait().await?;
            }
        }
    };
    // What it wrote last is in the pipe, though its end came first.
    let mut rest = [0; 4096];
    while open && said.len() <= MAX_ANSWER {
        match rustix::io::read(&stdout, &mut rest) {
            Ok(0) | Err(_) => break,
            Ok(read) => said.extend_from_slice(&rest[..read]),
        }
    }
    Ok((said, status))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::Instant;

    use serde_json::json;
    use starling_control::objects::{ChatRef, MessageRef};

    use super::*;

    async fn run_for(command: &str) -> CliResult<String> {
        let line = json!({ "message": { "text": "x".repeat(200_000) } });
        let chat = ChatRef { id: "c".into(), ..ChatRef::default() };
        let new = MessageChange { chat, message: MessageRef::Gone { id: "m".into(), gone: true }, via: None };
        run(command, &line, &new).await.map(|said| String::from_utf8(said).unwrap())
    }

    #[tokio::test]
    async fn the_answer_is_there_when_the_command_itself_has_ended() {
        let began = Instant::now();
        assert_eq!(run_for("sleep 100 & echo pong").await.unwrap(), "pong\n");
        assert_eq!(run_for("cat > /dev/null; echo read").await.unwrap(), "read\n");
        assert_eq!(run_for("echo \"$STARLING_CHAT $STARLING_MESSAGE\"").await.unwrap(), "c m\n");
        assert!(began.elapsed() < Duration::from_secs(50));
    }

    #[tokio::test]
    async fn all_of_a_long_answer_is_taken_and_a_longer_one_is_refused() {
        for _ in 0..20 {
            assert_eq!(run_for("head -c 60000 /dev/zero | tr '\\0' x").await.unwrap().len(), 60_000);
        }
        assert!(run_for("yes").await.unwrap_err().message.contains("more than 64 KiB"));
    }

    #[tokio::test]
    async fn the_answer_of_a_command_that_fails_is_reported_and_not_given() {
        let error = run_for("echo half; exit 3").await.unwrap_err();
        assert!(error.message.contains("exit status: 3") && error.message.contains("“half”"), "{}", error.message);
    }

    #[tokio::test]
    async fn what_a_command_has_started_ends_with_it() {
        let pid = run_for("sleep 1000 & echo $!").await.unwrap();
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        // It is gone, or a zombie that nobody waits for yet.
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            stat.map_or(true, |stat| stat.contains(") Z") || stat.contains(") X"))
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !ended() {
            assert!(Instant::now() < deadline, "still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
