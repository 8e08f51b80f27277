//! Chromium with our page, and the messages between the page and a test. They go by HTTP on the loopback interface, which keeps its address.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use starling_tests::{Process, skip};
use tempfile::TempDir;
use tokio::sync::mpsc;

const PAGE: &str = include_str!("page.html");

const OPTIONS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
];

/// Who makes the first offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    We,
    Chromium,
}

/// A Chromium that shows our page; gone when dropped.
pub struct Browser {
    mailbox: Arc<Mutex<Mailbox>>,
    messages: mpsc::UnboundedReceiver<Value>,
    // It ends before its profile is removed.
    _process: Process,
    _profile: TempDir,
}

#[derive(Default)]
struct Mailbox {
    /// All messages for the page so far.
    for_page: Vec<Value>,
    /// How many messages of the page have come.
    taken: usize,
    /// What the page told last of what it sees and hears, and how often it has told.
    report: Value,
    reports: u64,
}

impl Mailbox {
    /// The page sends again what it does not know to have come, and gets what it does not have.
    fn exchange(&mut self, body: &Value, messages: &mpsc::UnboundedSender<Value>) -> Value {
        let number = |name: &str| body[name].as_u64().unwrap_or(0) as usize;
        let known = self.taken.saturating_sub(number("from"));
        for message in body["sent"].as_array().into_iter().flatten().skip(known) {
            // Nobody takes it when the test is over.
            let _ = messages.send(message.clone());
            self.taken += 1;
        }
        self.report = body["report"].clone();
        self.reports += 1;
        json!({ "acknowledged": self.taken, "messages": self.for_page.get(number("taken")..).unwrap_or_default() })
    }
}

fn lock(mailbox: &Mutex<Mailbox>) -> MutexGuard<'_, Mailbox> {
    mailbox.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("chromium").is_file())
}

impl Browser {
    /// Starts Chromium by this command, which names the program, with the page that the listener serves. `None` where there is no Chromium.
    pub fn start(mut command: Command, listener: TcpListener, caller: Caller) -> Option<Self> {
        if !is_installed() {
            skip("chromium");
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        let role = if caller == Caller::Chromium { "#calls" } else { "" };
        let page = format!("http://{}/{role}", listener.local_addr().unwrap());
        let mailbox: Arc<Mutex<Mailbox>> = Arc::default();
        let (sender, messages) = mpsc::unbounded_channel();
        serve(listener, mailbox.clone(), sender);
        command.args(OPTIONS).arg(format!("--user-data-dir={}", profile.path().display())).arg(page);
        let process = Process::start(command.stderr(Stdio::null()));
        Some(Self { mailbox, messages, _process: process, _profile: profile })
    }

    pub fn send(&self, message: Value) {
        lock(&self.mailbox).for_page.push(message);
    }

    /// The next message of the page.
    pub async fn message(&mut self) -> Value {
        self.messages.recv().await.expect("the page is served")
    }

    /// What the page sees and hears of us.
    pub fn report(&self) -> Value {
        lock(&self.mailbox).report.clone()
    }

    /// How often it has told that.
    pub fn reports(&self) -> u64 {
        lock(&self.mailbox).reports
    }
}

/// Ends with the process of the test.
fn serve(listener: TcpListener, mailbox: Arc<Mutex<Mailbox>>, messages: mpsc::UnboundedSender<Value>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mailbox, messages) = (mailbox.clone(), messages.clone());
            std::thread::spawn(move || {
                let Some(request) = Request::read(stream) else { return };
                match request.path.as_str() {
                    "/" => request.answer("text/html", PAGE),
                    "/exchange" => {
                        let reply = lock(&mailbox).exchange(&request.body, &messages);
                        request.answer("application/json", &reply.to_string());
                    }
                    _ => request.answer("text/plain", ""),
                }
            });
        }
    });
}

struct Request {
    path: String,
    body: Value,
    stream: TcpStream,
}

impl Request {
    fn read(stream: TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Self { path, body: serde_json::from_slice(&body).unwrap_or_default(), stream })
    }

    fn answer(mut self, kind: &str, body: &str) {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = self.stream.write_all(head.as_bytes()).and_then(|()| self.stream.write_all(body.as_bytes()));
    }
}
