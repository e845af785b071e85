//! Starts the command and keeps what it says.

use std::process::{Command, Stdio};

/// How one run of the command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

/// Runs `odradek` with these arguments, and nothing on its standard input.
pub(crate) fn odradek(arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_odradek"))
        .args(arguments)
        .env_remove("ODRADEK_BROKER")
        .env_remove("ODRADEK_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("the command starts");
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("it says text"),
        error: String::from_utf8(output.stderr).expect("it says text"),
    }
}

/// The command refuses with `code`, and says `part`.
#[track_caller]
pub(crate) fn refuses(arguments: &[&str], code: i32, part: &str) {
    let ended = odradek(arguments);
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.error.contains(part), "{part:?} in {ended:?}");
    assert_eq!(ended.out, "");
}
