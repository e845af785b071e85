//! A broker of a test's own: `odradek serve` on free ports of 127.0.0.1, in a folder of its own.
//!
//! Nothing here sleeps: the broker's first words say that it serves, and the end of its output that
//! it has ended. Whoever waits for either waits a minute at most.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::run::{Ended, command, run};

const FIRST_PORT: u16 = 20_000;
const PAIRS: u16 = 5_000;
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The banner has this line whatever the configuration, after those of the listeners.
const LAST_LINE: &str = "http ";

/// A data directory and the ports that go with it, over several lives of a broker.
pub(crate) struct Place {
    folder: PathBuf,
    port: u16,
    http_port: u16,
}

/// The first of two ports beside each other, for nobody else of this process. They are below those
/// that the kernel gives to those who connect, so that nobody has them while the broker is down.
fn free_pair() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        // ORDERING: Relaxed; nobody needs more of it than another number each time.
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(taken < PAIRS, "no two ports of 127.0.0.1 from {FIRST_PORT} on are free");
        let port = FIRST_PORT + 2 * taken;
        if is_free(port) && is_free(port + 1) {
            return port;
        }
    }
}

/// A running broker; killed when dropped.
pub(crate) struct Broker<'a> {
    place: &'a Place,
    child: Child,
    lines: Receiver<String>,
    banner: Vec<String>,
}

/// How a broker ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

impl Place {
    /// `name` is the test's.
    pub(crate) fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("serve-{name}"));
        if folder.exists() {
            std::fs::remove_dir_all(&folder).expect("an earlier run's folder can go");
        }
        std::fs::create_dir_all(&folder).expect("the folder for tests is writable");
        let port = free_pair();
        Self { folder, port, http_port: port + 1 }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts a broker, and waits until it serves.
    pub(crate) fn serve(&self) -> Broker<'_> {
        let mut broker = self.spawn();
        while !broker.banner.iter().any(|line| line.starts_with(LAST_LINE)) {
            match broker.lines.recv_timeout(WAIT_MAX) {
                Ok(line) => broker.banner.push(line),
                Err(error) => panic!("{error}; it said {:?}\n{}", broker.banner, self.log()),
            }
        }
        broker
    }

    /// Starts a broker, and does not wait.
    pub(crate) fn spawn(&self) -> Broker<'_> {
        let settings = [
            format!("listeners=PLAINTEXT://127.0.0.1:{}", self.port),
            format!("log.dirs={}", self.data_dir().display()),
            format!("odradek.http.listener=127.0.0.1:{}", self.http_port),
            "odradek.cores=1".to_owned(),
            "odradek.memory=96MiB".to_owned(),
        ];
        let mut arguments = vec!["serve"];
        for setting in &settings {
            arguments.extend(["--set", setting]);
        }
        let log = File::options().create(true).append(true).open(self.log_path());
        let mut child = command(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("the folder for tests is writable"))
            .spawn()
            .expect("the broker starts");
        let lines = read_lines(child.stdout.take().expect("it is piped"));
        Broker { place: self, child, lines, banner: Vec::new() }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Status line, headers and body of a page; `None` if nobody listens.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http_port)).ok()?;
        stream.set_read_timeout(Some(WAIT_MAX)).expect("it is a duration");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the request is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is text");
        Some(answer)
    }
}

/// On a thread of its own, so that whoever waits can give up; ends where the output ends.
#[expect(clippy::disallowed_methods, reason = "the test's own thread; there is no shard here")]
fn read_lines(out: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    drop(std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            if sender.send(line.expect("it says text")).is_err() {
                return; // The test is over.
            }
        }
    }));
    lines
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // What is left explains the failure.
        }
        std::fs::remove_dir_all(&self.folder).expect("it is there until now");
    }
}

impl Broker<'_> {
    /// What follows the label of a line of its first words.
    #[track_caller]
    pub(crate) fn said(&self, label: &str) -> &str {
        let line = self.banner.iter().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label} in {:?}", self.banner)).trim()
    }

    /// Runs a client command.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Ended {
        run(command(arguments).env("ODRADEK_BROKER", self.place.address()), input)
    }

    /// What a client command that works says.
    #[track_caller]
    pub(crate) fn answer(&self, arguments: &[&str], input: &str) -> String {
        let ended = self.run(arguments, input);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}\n{}", self.place.log());
        ended.out
    }

    /// The page's body, after 200.
    #[track_caller]
    pub(crate) fn page(&self, path: &str) -> String {
        let answer = self.place.get(path).expect("it listens");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        answer.split_once("\r\n\r\n").expect("a head ends").1.to_owned()
    }

    /// Sends a signal, as `TERM`, and waits for the end.
    pub(crate) fn end(mut self, signal: &str) -> End {
        let kill = format!("kill -{signal} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        assert!(sent.success());
        loop {
            match self.lines.recv_timeout(WAIT_MAX) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end\n{}", self.place.log()),
            }
        }
        let status = self.child.wait().expect("it is our child");
        match status.code() {
            Some(code) => End::Code(code),
            None => End::Signal(status.signal().expect("it ended by one or the other")),
        }
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        if self.child.try_wait().expect("it is our child").is_none() {
            self.child.kill().expect("it runs");
            self.child.wait().expect("it is our child");
        }
    }
}
