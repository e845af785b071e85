//! One thing found in a data directory: where, what, and which records it concerns.

use std::ops::Range;

use engine::id::{Offset, PartitionId};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Bytes are not what was stored.
    Damage,
    /// A start cuts it off: nobody can tell a write that was cut short from damage to the last one.
    Torn,
    /// Nothing is wrong with the records.
    Note,
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Torn => "torn",
            Self::Note => "note",
        }
    }
}

/// Whether acknowledged records cannot be read for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    Acknowledged,
    /// It is made again from what is left, or another copy of it is used.
    None,
}

/// Records of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) partition: PartitionId,
    pub(crate) first: Offset,
    /// `None`: it is not known where they end.
    pub(crate) end: Option<Offset>,
}

#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// In the data directory.
    pub(crate) path: String,
    /// Bytes of the file; empty for a file as such.
    pub(crate) bytes: Range<u64>,
    pub(crate) records: Option<Records>,
    pub(crate) loss: Loss,
    pub(crate) what: String,
}

impl Finding {
    /// Damage for which acknowledged records cannot be read.
    pub(crate) fn damage(path: &str, bytes: Range<u64>, what: impl Into<String>) -> Self {
        let (severity, path, what) = (Severity::Damage, path.to_owned(), what.into());
        Self { severity, path, bytes, records: None, loss: Loss::Acknowledged, what }
    }

    /// Damage to what can be made again.
    pub(crate) fn spare(path: &str, bytes: Range<u64>, what: impl Into<String>) -> Self {
        Self { loss: Loss::None, ..Self::damage(path, bytes, what) }
    }

    pub(crate) fn torn(path: &str, bytes: Range<u64>, what: impl Into<String>) -> Self {
        Self { severity: Severity::Torn, ..Self::spare(path, bytes, what) }
    }

    pub(crate) fn note(path: &str, what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::spare(path, 0..0, what) }
    }

    pub(crate) fn of(self, partition: PartitionId, first: Offset, end: Option<Offset>) -> Self {
        Self { records: Some(Records { partition, first, end }), ..self }
    }

    pub(crate) fn is_damage(&self) -> bool {
        self.severity == Severity::Damage
    }

    pub(crate) fn to_json(&self) -> Value {
        let records = self.records.map(|it| {
            json!({
                "topic_id": it.partition.topic.to_string(), "partition": it.partition.index.get(),
                "first_offset": it.first.get(), "end_offset": it.end.map(Offset::get),
            })
        });
        json!({
            "severity": self.severity.name(), "file": self.path,
            "from": self.bytes.start, "end": self.bytes.end, "records": records,
            "acknowledged": self.loss == Loss::Acknowledged, "what": self.what,
        })
    }

    /// Severity, file, from, end, offsets, what.
    pub(crate) fn to_row(&self) -> Vec<String> {
        let offsets = match self.records {
            Some(Records { first, end: Some(end), .. }) => format!("{first}..{end}"),
            Some(Records { first, end: None, .. }) => format!("{first}.."),
            None => String::new(),
        };
        let is_whole = self.bytes.is_empty();
        let position = |pos: u64| if is_whole { String::new() } else { pos.to_string() };
        let (from, end) = (position(self.bytes.start), position(self.bytes.end));
        let severity = self.severity.name().to_owned();
        vec![severity, self.path.clone(), from, end, offsets, self.what.clone()]
    }
}
