//! The rules of this repository that a machine can check, as tests over the repository itself.
//!
//! Every failure names the file, the line and the rule. An exception is a row in a list here, with
//! its reason; the lists may only shrink.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::source::{Line, Source};

#[path = "tidy/source.rs"]
mod source;

/// Who may know whom. What is not here is not allowed.
const CRATES: [(&str, &[&str]); 6] = [
    ("engine", &[]),
    ("net", &[]),
    ("replication", &["engine"]),
    ("shard", &["engine", "net", "replication"]),
    ("tools", &["engine", "net", "replication", "shard"]),
    ("perf", &["net"]),
];

/// Crates that are state machines: bytes, times and inputs come in, plans and outputs go out.
const PURE: [&str; 3] = ["engine", "net", "replication"];

/// The world, which the pure crates must not know: as crates, and as words of code.
const WORLD_CRATES: [&str; 9] = [
    "glommio",
    "io-uring",
    "libc",
    "socket2",
    "affinity",
    "tokio",
    "hyper",
    "tracing",
    "signal-hook",
];
const WORLD_WORDS: [&str; 6] = ["async", "await", "Instant", "SystemTime", "thread", "TcpStream"];
const WORLD_PATHS: [&str; 4] = ["std::fs", "std::net", "std::env", "std::process"];

/// What only some crates may use, since its users would be in the wrong crate.
const ONLY_IN: [(&str, &[&str]); 6] = [
    ("glommio", &["shard"]),
    ("io-uring", &["shard", "perf"]),
    ("tokio", &["tools", "perf"]),
    ("hyper", &["tools"]),
    ("clap", &["tools", "perf"]),
    ("kafka-protocol", &["net", "shard", "tools", "perf"]),
];

const TOP_LEVEL: [&str; 17] = [
    ".ci",
    ".clippy.toml",
    ".git",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "RELIABILITY.md",
    "ansible",
    "engine",
    "fuzz",
    "net",
    "perf",
    "replication",
    "shard",
    "tools",
];

/// Made by tools, ignored by git, not ours.
const GENERATED: [&str; 5] = ["target", ".git", ".cache", "odradek-data", "__pycache__"];

const FILE_NAMES_FORBIDDEN: [&str; 14] = [
    "base", "common", "core", "error", "errors", "helper", "helpers", "misc", "mod", "prelude",
    "traits", "types", "util", "utils",
];

/// Words that say nothing, as the last word of a type's name.
const TYPE_WORDS_EMPTY: [&str; 12] = [
    "Context",
    "Data",
    "Handler",
    "Helper",
    "Helpers",
    "Impl",
    "Info",
    "Manager",
    "Processor",
    "Util",
    "Utils",
    "Wrapper",
];

/// Types named `New...`, and what the word means there.
const NEW_TYPES: [(&str, &str); 2] = [
    ("NewTopic", "Kafka's word for a topic that is asked for"),
    ("NewTopicEvent", "what makes a NewTopic a topic"),
];

/// Files that give items a second name, and why.
const SECOND_NAMES: [(&str, &str); 2] = [
    ("shard/src/memory.rs", "the atomics are the standard library's or loom's, by cfg"),
    ("shard/tests/loom.rs", "stands in for the crate, whose files it compiles with loom"),
];

/// Test binaries beside `it`, and why.
const TEST_BINARIES: [(&str, &str); 2] = [
    ("tools/tests/tidy.rs", "it is run alone, before anything else is built"),
    ("shard/tests/loom.rs", "loom replaces the atomics of the whole binary"),
];

/// Words that tell a story instead of what holds now.
const HISTORY_WORDS: [&str; 6] =
    ["previously", "no longer", "formerly", "used to", "originally", "in the past"];

const UNSAFE_FILES: [&str; 8] = [
    "perf/src/limits/ring.rs",
    "shard/src/buffer.rs",
    "shard/src/buffer/returns.rs",
    "shard/src/mailbox.rs",
    "shard/src/ring.rs",
    "shard/src/ring/pool.rs",
    "shard/src/ring/system.rs",
    "shard/tests/loom/giving_back.rs",
];

/// Files that read strangers' bytes line by line carry the stricter list.
const STRICT_FILES: [&str; 4] =
    ["engine/src/batch.rs", "net/src/codec.rs", "net/src/fetch.rs", "net/src/produce.rs"];
const STRICT: &str =
    "#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)]";

const CODE_LINES_MAX: usize = 800;
/// Spines that are larger, and why.
const LARGE_FILES: [(&str, &str); 0] = [];

const LIB_LINES_MAX: usize = 60;
const README_LINES_MAX: usize = 300;
/// All prose there is: the first links the others.
const PROSE: [&str; 3] = ["README.md", "RELIABILITY.md", "perf/README.md"];
const PAGE_LINES_MAX: usize = 200;

fn root() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools.parent().expect("tools lies in the repository").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "a test reads its repository")]
fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8(bytes).unwrap_or_else(|_| panic!("{path} is not UTF-8"))
}

/// Every file of the repository, as a path from its root, sorted.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("a folder can be listed") {
            let entry = entry.expect("a folder can be listed");
            let name = entry.file_name().into_string().expect("names are UTF-8");
            if GENERATED.contains(&name.as_str()) {
                continue;
            }
            let path = folder.join(&name);
            if entry.file_type().expect("a file has a type").is_dir() {
                folders.push(path);
            } else {
                found.push(path.to_str().expect("names are UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Read once for all tests of the process.
fn rust_files() -> &'static [(String, Source)] {
    static FILES: OnceLock<Vec<(String, Source)>> = OnceLock::new();
    FILES.get_or_init(parse_all)
}

fn parse_all() -> Vec<(String, Source)> {
    let rust = files().into_iter().filter(|path| path.ends_with(".rs"));
    rust.map(|path| {
        let text = read(&path);
        (path, Source::parse(&text))
    })
    .collect()
}

/// Whether the whole file is tests.
fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("fuzz/")
}

/// Broken rules, gathered so that one run names all.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    /// `line` is counted from 0.
    fn add(&mut self, path: &str, line: usize, rule: &str) {
        self.0.push(format!("{path}:{}: {rule}", line + 1));
    }

    #[track_caller]
    fn none(self) {
        assert!(self.0.is_empty(), "\n{}\n", self.0.join("\n"));
    }
}

/// The lines of each table of a Cargo.toml, by the table's name, with their numbers.
fn tables(text: &str) -> BTreeMap<String, Vec<(usize, String)>> {
    let mut tables: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    let mut name = String::new();
    for (number, line) in text.lines().enumerate() {
        let header = line.strip_prefix('[').and_then(|line| line.split_once(']'));
        match header {
            Some((header, _)) => name = header.trim_matches('[').to_owned(),
            None => tables.entry(name.clone()).or_default().push((number, line.to_owned())),
        }
    }
    tables
}

/// The crates a Cargo.toml's dependency tables name, with the line of each.
fn dependencies(text: &str) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    for (table, lines) in tables(text) {
        let section = table.rsplit('.').next().unwrap_or_default();
        if !["dependencies", "dev-dependencies", "build-dependencies"].contains(&section) {
            continue;
        }
        for (number, line) in lines {
            let name: String = line
                .chars()
                .take_while(|it| it.is_alphanumeric() || *it == '-' || *it == '_')
                .collect();
            if !name.is_empty() {
                found.push((number, name, line));
            }
        }
    }
    found
}

#[test]
fn crates_know_each_other_only_as_the_architecture_says() {
    let mut findings = Findings::default();
    let ours: BTreeSet<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in CRATES {
        let path = format!("{name}/Cargo.toml");
        let text = read(&path);
        for (line, dependency, declaration) in dependencies(&text) {
            let dependency = dependency.as_str();
            if ours.contains(dependency) && !allowed.contains(&dependency) {
                findings.add(&path, line, &format!("{name} must not know {dependency}"));
            }
            if PURE.contains(&name) && WORLD_CRATES.contains(&dependency) {
                findings.add(
                    &path,
                    line,
                    &format!("{name} is pure: it must not know {dependency}"),
                );
            }
            let only = ONLY_IN.iter().find(|(it, _)| *it == dependency);
            if only.is_some_and(|(_, users)| !users.contains(&name)) {
                findings.add(&path, line, &format!("{dependency} has no place in {name}"));
            }
            if !declaration.contains(".workspace = true")
                && !declaration.contains("workspace = true")
            {
                findings.add(
                    &path,
                    line,
                    "versions stand in the root Cargo.toml, with their reasons",
                );
            }
        }
        if !text.contains("[lints]\nworkspace = true") {
            findings.add(&path, 0, "a crate has the workspace's lints");
        }
    }
    findings.none();
}

#[test]
fn pure_crates_do_not_touch_the_world() {
    let mut findings = Findings::default();
    for (path, source) in rust_files() {
        let is_pure = PURE.iter().any(|name| path.starts_with(&format!("{name}/src/")));
        if !is_pure {
            continue;
        }
        for (number, line) in source.before_tests().iter().enumerate() {
            for word in WORLD_WORDS {
                if line.words().any(|it| it == word) {
                    findings.add(path, number, &format!("a pure crate has no `{word}`"));
                }
            }
            for path_word in WORLD_PATHS {
                if line.code.contains(path_word) {
                    findings.add(path, number, &format!("a pure crate has no `{path_word}`"));
                }
            }
        }
    }
    findings.none();
}

#[test]
fn the_top_level_is_fixed() {
    let mut findings = Findings::default();
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().expect("names are UTF-8");
        if !TOP_LEVEL.contains(&name.as_str()) && !GENERATED.contains(&name.as_str()) {
            findings.add(&name, 0, "the top level is fixed: put it into a folder that is there");
        }
    }
    assert!(root().join("Cargo.lock").is_file(), "Cargo.lock is committed");
    findings.none();
}

#[test]
fn every_file_opens_with_its_contract() {
    let mut findings = Findings::default();
    for (path, _) in rust_files() {
        if !read(path).starts_with("//! ") {
            findings.add(path, 0, "a file opens with its contract: a line `//! ...`");
        }
    }
    findings.none();
}

#[test]
fn no_file_has_an_empty_name() {
    let mut findings = Findings::default();
    for path in files() {
        let stem = Path::new(&path).file_stem().and_then(|it| it.to_str()).unwrap_or_default();
        let is_code = [".rs", ".go", ".py", ".java", ".sh"].iter().any(|it| path.ends_with(it));
        if is_code && FILE_NAMES_FORBIDDEN.contains(&stem) {
            findings.add(&path, 0, "the name says nothing of what is in the file");
        }
    }
    findings.none();
}

/// The name a line of code gives to a type, if it does.
fn type_name(line: &Line) -> Option<&str> {
    let words: Vec<&str> = line.words().collect();
    let keyword =
        words.iter().position(|it| ["struct", "enum", "trait", "union", "type"].contains(it))?;
    let is_declaration = words[..keyword]
        .iter()
        .all(|it| ["pub", "crate", "super", "in", "unsafe", "auto"].contains(it));
    if is_declaration { words.get(keyword + 1).copied() } else { None }
}

/// The last word of a name in camel case.
fn last_word(name: &str) -> &str {
    name.rfind(char::is_uppercase).map_or(name, |at| &name[at..])
}

fn first_word(name: &str) -> &str {
    let second = name.char_indices().skip(1).find(|(_, it)| it.is_uppercase());
    second.map_or(name, |(at, _)| &name[..at])
}

#[test]
fn no_type_has_an_empty_name() {
    let mut findings = Findings::default();
    for (path, source) in rust_files() {
        for (number, line) in source.lines.iter().enumerate() {
            let Some(name) = type_name(line) else { continue };
            let word = last_word(name);
            let is_new = first_word(name) == "New" && !NEW_TYPES.iter().any(|(it, _)| *it == name);
            if TYPE_WORDS_EMPTY.contains(&word) || name.ends_with('2') || is_new {
                findings.add(path, number, &format!("`{name}` says nothing: it may be two things"));
            }
        }
    }
    findings.none();
}

#[test]
fn an_item_has_one_path_and_imports_name_it() {
    let mut findings = Findings::default();
    for (path, source) in rust_files() {
        for (number, line) in source.lines.iter().enumerate() {
            let code = line.code.trim();
            let is_public_use = code.starts_with("pub use ")
                || (code.starts_with("pub(") && code.contains(") use "));
            if is_public_use && !SECOND_NAMES.iter().any(|(it, _)| it == path) {
                findings.add(path, number, "no `pub use`: it gives an item a second name");
            }
            let is_unit_test = number >= source.before_tests().len();
            let is_glob = code.ends_with("::*;") || code.ends_with("::*,");
            if is_glob && !(is_unit_test && code == "use super::*;") {
                findings.add(path, number, "no globs: name what you import");
            }
            if code.contains("#[allow") || code.contains("#![allow") {
                findings.add(path, number, "`#[expect(..., reason)]` instead of `#[allow]`");
            }
        }
    }
    findings.none();
}

#[test]
fn comments_say_what_holds_now() {
    let mut findings = Findings::default();
    for (path, source) in rust_files() {
        if path.starts_with("tools/tests/tidy") {
            continue; // The words stand here as words.
        }
        for (number, line) in source.lines.iter().enumerate() {
            let comment = line.comment.to_lowercase();
            for word in HISTORY_WORDS {
                if tells_history(&comment, word) {
                    findings.add(
                        path,
                        number,
                        &format!("\"{word}\" is history: that is for the commit"),
                    );
                }
            }
            if ["fixme", "xxx:", "hack:"].iter().any(|it| comment.contains(it)) {
                findings.add(path, number, "FIXME never lands");
            }
            let has_condition = ["when ", "once ", "until "].iter().any(|it| comment.contains(it));
            if line.comment.contains("TODO") && !has_condition {
                findings.add(path, number, "a TODO needs a condition: when ...");
            }
        }
    }
    findings.none();
}

/// "is used to find" is no history; "it used to find" is.
fn tells_history(comment: &str, word: &str) -> bool {
    comment.match_indices(word).any(|(at, _)| {
        let before = comment[..at].trim_end();
        let after = &comment[at + word.len()..];
        let is_whole =
            !before_ends_in_word(&comment[..at]) && !after.starts_with(char::is_alphanumeric);
        let is_passive = word == "used to"
            && ["is", "are", "be", "was", "were", "been", "not", "one", "only"]
                .iter()
                .any(|verb| before.rsplit(' ').next() == Some(*verb));
        is_whole && !is_passive
    })
}

fn before_ends_in_word(before: &str) -> bool {
    before.ends_with(char::is_alphanumeric)
}

#[test]
fn files_are_of_a_size_that_a_reader_can_hold() {
    let mut findings = Findings::default();
    for (path, source) in rust_files() {
        let count = source.before_tests().iter().filter(|line| line.is_code()).count();
        let is_known = LARGE_FILES.iter().any(|(it, _)| *it == path);
        if count > CODE_LINES_MAX && !is_known {
            findings.add(path, 0, &format!("{count} lines of code: split along a noun"));
        }
        if count <= CODE_LINES_MAX && is_known {
            findings.add(path, 0, "it is small enough now: take it off the list");
        }
    }
    findings.none();
}

#[test]
fn a_lib_is_a_contract_and_modules() {
    let mut findings = Findings::default();
    for (path, source) in rust_files() {
        if !path.ends_with("/src/lib.rs") {
            continue;
        }
        if source.lines.len() > LIB_LINES_MAX {
            findings.add(path, 0, "a lib.rs is at most 60 lines");
        }
        for (number, line) in source.lines.iter().enumerate() {
            let code = line.code.trim();
            let is_module = ["pub mod ", "mod ", "#!["].iter().any(|it| code.starts_with(it));
            if line.is_code() && !is_module {
                findings.add(path, number, "a lib.rs has no code but `mod`");
            }
        }
    }
    findings.none();
}

#[test]
fn unsafe_is_where_the_map_says() {
    let mut findings = Findings::default();
    for (path, source) in rust_files() {
        let is_named = UNSAFE_FILES.contains(&path.as_str());
        for (number, line) in source.lines.iter().enumerate() {
            if !is_named && line.words().any(|word| word == "unsafe") {
                findings.add(path, number, "one more file with unsafe is an architecture change");
            }
        }
        let has_any = source.lines.iter().any(|line| line.words().any(|word| word == "unsafe"));
        if is_named && !has_any {
            findings.add(path, 0, "it has no unsafe code: take it off the list");
        }
    }
    findings.none();
}

#[test]
fn readers_of_strangers_bytes_carry_the_strict_list() {
    for path in STRICT_FILES {
        assert!(read(path).contains(STRICT), "{path} must open with\n{STRICT}");
    }
}

#[test]
fn prose_is_the_readme_and_the_pages_that_it_links() {
    let mut findings = Findings::default();
    for path in files() {
        let is_prose =
            [".md", ".rst", ".adoc", ".org", ".tex", ".pdf"].iter().any(|it| path.ends_with(it));
        if is_prose && !PROSE.contains(&path.as_str()) {
            findings.add(
                &path,
                0,
                "prose belongs into README.md, a page that it links, or beside the code",
            );
        }
    }
    findings.none();
    let readme = read("README.md");
    assert!(readme.lines().count() <= README_LINES_MAX, "README.md has at most 300 lines");
    for page in PROSE.iter().skip(1) {
        assert!(readme.contains(&format!("({page})")), "README.md must link {page}");
        let count = read(page).lines().count();
        assert!(count <= PAGE_LINES_MAX, "{page} has at most {PAGE_LINES_MAX} lines");
    }
}

#[test]
fn the_readme_maps_every_crate() {
    let readme = read("README.md");
    for (name, _) in CRATES {
        assert!(readme.contains(&format!("`{name}`")), "README.md must say what {name} is");
    }
    for path in UNSAFE_FILES {
        assert!(readme.contains(path), "README.md must name {path} as a place of unsafe code");
    }
}

#[test]
fn every_dependency_has_a_reason_and_no_default_features() {
    let mut findings = Findings::default();
    for path in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let text = read(path);
        let lines: Vec<&str> = text.lines().collect();
        for (number, _, declaration) in dependencies(&text) {
            if declaration.contains("path = ") {
                continue;
            }
            // Neighbours may share a reason: it stands above the first of them.
            let mut above = number;
            while above > 0 && !lines[above].starts_with('#') && !lines[above].trim().is_empty() {
                above -= 1;
            }
            if !lines[above].starts_with("# ") {
                findings.add(path, number, "a dependency has its reason in a comment above it");
            }
            if !declaration.contains("default-features = false") {
                findings.add(path, number, "default-features = false, and what is needed named");
            }
        }
    }
    findings.none();
}

#[test]
fn every_workspace_dependency_is_used() {
    let mut findings = Findings::default();
    let mut used = BTreeSet::new();
    for (name, _) in CRATES {
        let text = read(&format!("{name}/Cargo.toml"));
        used.extend(dependencies(&text).into_iter().map(|(_, dependency, _)| dependency));
    }
    for (number, dependency, _) in dependencies(&read("Cargo.toml")) {
        if !used.contains(&dependency) {
            findings.add("Cargo.toml", number, &format!("no crate uses {dependency}"));
        }
    }
    findings.none();
}

#[test]
fn tests_are_all_run_and_wait_for_nothing() {
    let mut findings = Findings::default();
    for (path, source) in rust_files() {
        for (number, line) in source.lines.iter().enumerate() {
            if line.code.contains("#[ignore") {
                findings.add(path, number, "a test that is ignored is no test");
            }
            if line.code.contains("should_panic") {
                findings.add(path, number, "say what panics, or make it an error");
            }
        }
        let is_whole = is_test_file(path);
        let first = if is_whole { 0 } else { source.before_tests().len() };
        let tests = if is_whole { &source.lines[..] } else { source.tests() };
        for (number, line) in tests.iter().enumerate() {
            if ["thread::sleep", "time::sleep"].iter().any(|it| line.code.contains(it)) {
                findings.add(path, first + number, "a test waits for a fact, not for a time");
            }
        }
    }
    findings.none();
}

#[test]
fn integration_tests_are_linked_once_a_crate() {
    let mut findings = Findings::default();
    for path in files() {
        let parts: Vec<&str> = path.split('/').collect();
        if let [name, "tests", file] = parts.as_slice()
            && file.ends_with(".rs")
            && !TEST_BINARIES.iter().any(|(it, _)| *it == path)
        {
            findings.add(&path, 0, &format!("{name} has one test binary: tests/it/main.rs"));
        }
    }
    findings.none();
}

#[test]
fn the_rules_know_good_from_bad() {
    assert!(tells_history("it used to be slow", "used to"));
    assert!(!tells_history("it is used to find", "used to"));
    assert!(!tells_history("focused to", "used to"));
    assert_eq!(last_word("ShardManager"), "Manager");
    assert_eq!(last_word("Route"), "Route");
    assert_eq!(first_word("NewTopic"), "New");
    assert_eq!(first_word("News"), "News");
    let name = |code: &str| type_name(&Source::parse(code).lines[0]).map(str::to_owned);
    assert_eq!(name("pub(crate) struct A<T>(T);").as_deref(), Some("A"));
    assert_eq!(name("let type_name = struct_of(x);"), None);
    assert_eq!(name("fn a(b: &struct_c)"), None);
    let text =
        "[dependencies]\na.workspace = true\n\n[target.'cfg(x)'.dev-dependencies]\nb = \"1\"\n";
    let found: Vec<String> = dependencies(text).into_iter().map(|it| it.1).collect();
    assert_eq!(found, ["a", "b"]);
}
