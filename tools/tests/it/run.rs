//! Starts the command and keeps what it says.

use std::io::Write;
use std::process::{Command, Stdio};

/// How one run of the command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

/// `odradek` with these arguments, and nothing of this process's environment that it heeds.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odradek"));
    command.args(arguments).env_remove("ODRADEK_BROKER").env_remove("ODRADEK_LOG");
    command
}

/// Runs to its end, with `input` on its standard input.
pub(crate) fn run(command: &mut Command, input: &str) -> Ended {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the command starts");
    // All inputs are smaller than a pipe. A command that asks for none may be gone already.
    let mut stdin = child.stdin.take().expect("it is piped");
    match stdin.write_all(input.as_bytes()) {
        Ok(()) | Err(_) => drop(stdin),
    }
    let output = child.wait_with_output().expect("the command ends");
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("it says text"),
        error: String::from_utf8(output.stderr).expect("it says text"),
    }
}

/// Runs `odradek` with these arguments, and nothing on its standard input.
pub(crate) fn odradek(arguments: &[&str]) -> Ended {
    run(&mut command(arguments), "")
}

/// The command refuses with `code`, and says `part`.
#[track_caller]
pub(crate) fn refuses(arguments: &[&str], code: i32, part: &str) {
    let ended = odradek(arguments);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.error.contains(part), "{part:?} in {ended:?}");
    assert_eq!(ended.out, "");
}
