//! Arguments: what is refused, and with which words.

use crate::run::{odradek, refuses};

#[test]
fn every_command_explains_itself_with_examples() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["topic", "create", "--help"],
        &["topic", "list", "--help"],
        &["topic", "describe", "--help"],
        &["topic", "delete", "--help"],
        &["topic", "alter", "--help"],
        &["produce", "--help"],
        &["consume", "--help"],
        &["group", "list", "--help"],
        &["group", "describe", "--help"],
        &["group", "lag", "--help"],
        &["group", "reset", "--help"],
        &["group", "delete", "--help"],
        &["cluster", "describe", "--help"],
        &["config", "check", "--help"],
        &["config", "get", "--help"],
        &["config", "set", "--help"],
        &["config", "unset", "--help"],
        &["completion", "--help"],
    ] {
        let ended = odradek(command);
        assert_eq!(ended.code, Some(0), "{command:?}");
        assert!(ended.out.contains("Examples:"), "{command:?}: {}", ended.out);
    }
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors() {
    refuses(&[], 2, "Usage: odradek");
    refuses(&["prodce", "t"], 2, "produce");
    refuses(&["topic", "create"], 2, "<TOPIC>");
    refuses(&["topic", "create", "t", "-p", "0"], 2, "0 is not in 1..");
    refuses(&["topic", "create", "t", "--config", "a"], 2, "expected key=value");
    refuses(&["topic", "alter", "t"], 2, "nothing to change");
    refuses(&["produce", "t", "-z", "brotli"], 2, "zstd");
    refuses(&["produce", "t", "-a", "2"], 2, "[possible values: all, 1, 0]");
    refuses(&["produce", "t", "-K", ""], 2, "an empty separator separates nothing");
    refuses(&["consume", "t", "-o", "middle"], 2, "expected beginning, end, an offset, or -N");
    refuses(&["consume", "t", "--from-time", "noon"], 2, "RFC 3339");
    refuses(&["consume", "t", "-f", "%q"], 2, "unknown token %q");
    refuses(&["consume", "t", "-f", "%s", "--json"], 2, "cannot be used with");
    refuses(&["consume", "t", "-o", "end", "--from-time", "0"], 2, "cannot be used with");
    refuses(&["group", "describe"], 2, "<GROUP>");
    refuses(&["group", "lag", "g", "--watch=0"], 2, "expected seconds");
    refuses(&["group", "reset", "g", "--all-topics"], 2, "--to-earliest");
    refuses(&["group", "reset", "g", "--to-latest"], 2, "--all-topics");
    refuses(
        &["group", "reset", "g", "--all-topics", "--to-latest", "--shift", "1"],
        2,
        "cannot be used with",
    );
    refuses(&["group", "reset", "g", "--topic", "t:x", "--to-latest"], 2, "events:0,3-5");
    refuses(&["config", "get", "table", "t"], 2, "table");
    refuses(&["config", "set", "topic", "t", "a"], 2, "expected key=value");
}

#[test]
fn a_broker_that_is_not_there_is_named_with_advice() {
    // A port that was free a moment ago may be another test's.
    let address = "127.0.0.2:1";
    refuses(&["topic", "list", "-b", address], 1, "odradek serve --dev");
    refuses(&["produce", "t", "-b", address], 1, &format!("connection refused by {address}"));
    refuses(&["consume", "t", "-b", &format!("{address},{address}")], 1, "connection refused");
    refuses(&["topic", "list", "-b", ","], 2, "names no broker");
}

#[test]
fn nothing_asked_for_is_done_at_once() {
    assert_eq!(odradek(&["consume", "t", "-n", "0", "-b", "127.0.0.1:1"]).code, Some(0));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = odradek(&["completion", shell]);
        assert_eq!(ended.code, Some(0));
        for word in ["serve", "produce", "consume", "describe", "from-time", "by-duration"] {
            assert!(ended.out.contains(word), "{word} for {shell}");
        }
    }
    refuses(&["completion", "tcsh"], 2, "possible values: bash, zsh, fish");
}
