//! `odradek log verify` against damage made on purpose to the files of real brokers.
//!
//! `FLIPS=10000 cargo test --release -p tools --test it damage` makes as many; `FLIPS_SEED` chooses them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::broker::{Broker, End, Place};
use crate::run::{Ended, odradek};

const BLOCK: usize = 4096;
const FRAME_MAGIC: &[u8] = b"ODRJ";
const FRAME_HEADER_BYTES: usize = 48;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).expect("small");
        usize::try_from(self.next() % end).expect("small")
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |it| it.parse().expect("a number"))
}

/// Lines that do not compress well.
fn lines(chance: &mut Chance, count: usize) -> String {
    let mut text = String::new();
    for _ in 0..count {
        for _ in 0..=chance.below(20) {
            text.push_str(&format!("{:x}", chance.next()));
        }
        text.push('\n');
    }
    text
}

fn fill(broker: &Broker<'_>, chance: &mut Chance, rounds: usize) {
    for round in 0..rounds {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let count = if round % 2 == 0 { 200 } else { 3 };
            let input = lines(chance, count);
            broker.answer(&["produce", "mixed", "-z", codec], &input);
            broker.answer(&["produce", "whole", "-z", codec], &lines(chance, 2));
        }
    }
}

/// The files of a data directory, by their paths in it.
type Files = BTreeMap<String, Vec<u8>>;

#[expect(clippy::disallowed_methods, reason = "a test; there is no shard here")]
fn load(root: &Path) -> Files {
    let (mut files, mut left) = (Files::new(), vec![root.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).expect("it is there") {
            let path = entry.expect("it is there").path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(root).expect("below").to_str().expect("ours").to_owned();
            files.insert(name, std::fs::read(&path).expect("it is there"));
        }
    }
    files
}

/// A data directory as a broker left it.
struct Scene {
    root: PathBuf,
    /// As they were, but those that a start does not look at.
    files: Files,
    baseline: Value,
}

impl Scene {
    fn new(root: PathBuf, mut files: Files) -> Self {
        let (ended, baseline) = verify(&root);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for note in baseline["findings"].as_array().expect("a list") {
            assert_eq!(note["severity"], "note", "{baseline:#}");
            files.remove(note["file"].as_str().expect("a path"));
        }
        Self { root, files, baseline }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        std::fs::write(self.root.join(path), bytes).expect("it can be written");
    }

    fn is_sealed(&self, path: &str) -> bool {
        path.strip_suffix(".log").is_some_and(|it| self.files.contains_key(&format!("{it}.idx")))
    }

    /// The bytes of the last journal frame, which nobody can tell from a torn one.
    fn last_frame(&self, path: &str) -> Option<Range<usize>> {
        let newest = self
            .files
            .iter()
            .filter(|(name, _)| name.starts_with("journal/"))
            .flat_map(|(name, bytes)| frames(bytes).map(move |it| (it.0, name, it.1)))
            .max_by_key(|it| it.0)?;
        (newest.1 == path).then_some(newest.2)
    }
}

/// Generation and sequence of each frame, and its bytes.
fn frames(file: &[u8]) -> impl Iterator<Item = ((u64, u64), Range<usize>)> {
    let u64_at = |at: usize| u64::from_be_bytes(file[at..at + 8].try_into().expect("eight"));
    let blocks = (0..file.len()).step_by(BLOCK).filter(|at| file[*at..].starts_with(FRAME_MAGIC));
    blocks.map(move |at| {
        let payload = u32::from_be_bytes(file[at + 32..at + 36].try_into().expect("four"));
        let bytes = FRAME_HEADER_BYTES + usize::try_from(payload).expect("small");
        ((u64_at(at + 8), u64_at(at + 24)), at..at + bytes.next_multiple_of(BLOCK))
    })
}

fn verify(root: &Path) -> (Ended, Value) {
    let ended = odradek(&["log", "verify", root.to_str().expect("ours"), "--json"]);
    let value = serde_json::from_str(&ended.out).unwrap_or_else(|it| panic!("{it}: {ended:?}"));
    (ended, value)
}

/// Where a damaged file differs from the one that was stored.
struct Case {
    what: &'static str,
    path: String,
    bytes: Vec<u8>,
    changed: Range<usize>,
}

impl Case {
    /// `None`: nothing differs.
    fn new(what: &'static str, path: &str, stored: &[u8], bytes: Vec<u8>) -> Option<Self> {
        let common = stored.len().min(bytes.len());
        let first = (0..common).find(|at| stored[*at] != bytes[*at]);
        let last = (0..common).rfind(|at| stored[*at] != bytes[*at]);
        let is_cut = stored.len() != bytes.len();
        let start = first.or_else(|| is_cut.then_some(common))?;
        let end = if is_cut { stored.len().max(bytes.len()) } else { last? + 1 };
        Some(Self { what, path: path.to_owned(), bytes, changed: start..end })
    }
}

/// A file and a place in it: half of them near its beginning, where the small ones of many are.
fn place<'a>(scene: &'a Scene, chance: &mut Chance) -> (&'a String, &'a Vec<u8>, usize) {
    let names: Vec<&String> = scene
        .files
        .iter()
        // Of the lock and of the reserve no byte is ever read.
        .filter(|it| !it.1.is_empty() && !["lock", "reserve"].contains(&it.0.as_str()))
        .map(|it| it.0)
        .collect();
    let name = names[chance.below(names.len())];
    let file = &scene.files[name];
    let end = if chance.below(2) == 0 { file.len() } else { file.len().min(32 * BLOCK) };
    (name, file, chance.below(end))
}

fn case(scene: &Scene, earlier: &Files, chance: &mut Chance) -> Option<Case> {
    let (name, file, at) = place(scene, chance);
    let mut bytes = file.clone();
    let block = at / BLOCK * BLOCK;
    let end = file.len().min(block + BLOCK);
    match chance.below(8) {
        0..=3 => {
            bytes[at] ^= 1 << chance.below(8);
            Case::new("a flipped bit", name, file, bytes)
        }
        4 => {
            bytes.truncate(at);
            Case::new("a truncation", name, file, bytes)
        }
        5 => {
            let other = chance.below(file.len()) / BLOCK * BLOCK;
            let count = (end - block).min(file.len() - other);
            let (one, two) = (file[block..block + count].to_vec(), &file[other..other + count]);
            bytes[block..block + count].copy_from_slice(two);
            bytes[other..other + count].copy_from_slice(&one);
            Case::new("swapped blocks", name, file, bytes)
        }
        6 => {
            let (_, source, from) = place(scene, chance);
            let from = from / BLOCK * BLOCK;
            let count = (end - block).min(source.len() - from);
            bytes[block..block + count].copy_from_slice(&source[from..from + count]);
            if name == "superblock" && bytes[block..block + count].iter().all(|it| *it == 0) {
                bytes[block] = 1; // A slot of zeros is one that was never written.
            }
            Case::new("a misdirected block", name, file, bytes)
        }
        _ => {
            let old = earlier.get(name).and_then(|it| it.get(block..end)).map(<[u8]>::to_vec);
            bytes[block..end].copy_from_slice(&old.unwrap_or_else(|| vec![0; end - block]));
            Case::new("a stale block", name, file, bytes)
        }
    }
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Named as damage, with file and position.
    Found,
    /// What a start cuts off as torn.
    Torn,
    /// Nothing uses these bytes: every log is the same to the byte.
    Free,
}

/// # Panics
/// If the damage was missed.
fn judge(scene: &Scene, case: &Case, ended: &Ended, found: &Value) -> Outcome {
    let Case { what, path, changed, .. } = case;
    let findings = found["findings"].as_array().expect("a list");
    let is_named = |severity: &str| {
        findings.iter().any(|it| {
            let position = |key: &str| usize::try_from(it[key].as_u64().expect("a number"));
            let (from, end) = (position("from").expect("small"), position("end").expect("small"));
            // Of what was cut off only the beginning is there to be named. Sound batches of another log
            // that happen to fit are named where they stop to. An empty range is a file.
            let meets = from <= changed.end && changed.start <= end || from == end;
            it["severity"] == severity && it["file"] == path.as_str() && meets
        })
    };
    if ended.code == Some(1) {
        assert!(is_named("damage"), "{what} in {path} at {changed:?} is misnamed: {found:#}");
        return Outcome::Found;
    }
    assert_eq!(ended.code, Some(0), "{what} in {path} at {changed:?}: {ended:?}");
    let is_journal = path.starts_with("journal/");
    let is_growing = path.ends_with(".log") && !scene.is_sealed(path);
    assert!(is_journal || is_growing, "{what} in {path} at {changed:?} is missed: {found:#}");
    if found["partitions"] == scene.baseline["partitions"] {
        return Outcome::Free;
    }
    let is_torn = if is_journal {
        let last = scene.last_frame(path);
        last.is_some_and(|last| last.start < changed.end && changed.start < last.end)
    } else {
        // A cut leaves nothing behind that could be named.
        is_named("torn") || *what == "a truncation"
    };
    assert!(is_torn, "{what} in {path} at {changed:?} is missed: {found:#}");
    Outcome::Torn
}

/// The directories of a broker that was stopped, and of the next one in it, which was killed.
fn scenes(folder: &Path, chance: &mut Chance) -> (Scene, Scene) {
    let place = Place::new("damage");
    let broker = place.serve();
    let segment_ms = ["-c", "segment.ms=50"];
    broker.answer(&[&["topic", "create", "mixed", "-p", "3"], &segment_ms[..]].concat(), "");
    broker.answer(&["topic", "create", "whole", "-p", "2"], "");
    fill(&broker, chance, 4);
    assert_eq!(broker.end("TERM"), End::Code(0));
    let stopped = load(&place.data_dir());
    let broker = place.serve();
    fill(&broker, chance, 2);
    assert_eq!(broker.end("KILL"), End::Signal(9));
    let killed = load(&place.data_dir());
    let scene = |name: &str, files: Files| {
        let root = folder.join(name);
        for (path, bytes) in &files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("below")).expect("it can be made");
            std::fs::write(path, bytes).expect("it can be written");
        }
        Scene::new(root, files)
    };
    (scene("stopped", stopped), scene("killed", killed))
}

#[test]
fn every_damage_to_bytes_that_are_used_is_found_and_named() {
    let (count, seed) = (variable("FLIPS", 300), variable("FLIPS_SEED", 1));
    println!("FLIPS={count} FLIPS_SEED={seed}");
    let mut chance = Chance(seed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("damage");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("an earlier run's folder can go");
    }
    let (stopped, killed) = scenes(&folder, &mut chance);
    let mut outcomes: BTreeMap<(&str, Outcome), u64> = BTreeMap::new();
    let mut made = 0;
    while made < count {
        let (scene, earlier) =
            if chance.below(3) == 0 { (&stopped, &killed) } else { (&killed, &stopped) };
        let Some(case) = case(scene, &earlier.files, &mut chance) else { continue };
        scene.put(&case.path, &case.bytes);
        let (ended, found) = verify(&scene.root);
        let outcome = judge(scene, &case, &ended, &found);
        scene.put(&case.path, &scene.files[&case.path]);
        *outcomes.entry((case.what, outcome)).or_default() += 1;
        made += 1;
    }
    for ((what, outcome), count) in &outcomes {
        println!("{what}: {count} {outcome:?}");
    }
    let of = |outcome| outcomes.iter().filter(|it| it.0.1 == outcome).map(|it| it.1).sum::<u64>();
    assert!(of(Outcome::Found) > count / 2, "{outcomes:?}");
    std::fs::remove_dir_all(&folder).expect("it is there until now");
}
