//! Bytes as a person writes them: `8 GiB`, `128 KiB`, `500 MB`, or a plain number.

use serde::{Deserialize, Deserializer, de};

use crate::report::{float, whole};

const UNITS: [(&str, u64); 6] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Amount(u64);

impl Amount {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let of_unit = UNITS.iter().find_map(|(unit, bytes)| {
            Some((text.strip_suffix(unit)?.trim().parse::<u64>().ok()?, *bytes))
        });
        match of_unit {
            Some((count, bytes)) => count.checked_mul(bytes).map(Self),
            None => text.parse().ok().map(Self),
        }
    }

    /// As `parse`, whatever the case of its unit.
    pub(crate) fn parse_any_case(text: &str) -> Option<Self> {
        let text = text.trim();
        let unit_at = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(unit_at);
        let unit = unit.trim();
        if unit.is_empty() {
            return Self::parse(count);
        }
        let (known, _) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        Self::parse(&format!("{count}{known}"))
    }

    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }

    /// At least a byte.
    pub(crate) fn scaled(self, scale: f64) -> u64 {
        whole(float(self.0) * scale).max(1)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(deserializer)?.text();
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is no amount of bytes: write `8 GiB`"))
        })
    }
}

/// A number or words, as a file may have either.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Written {
    Number(u64),
    Words(String),
}

impl Written {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Words(words) => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units_of_both_kinds() {
        let bytes = |text| Amount::parse(text).map(Amount::bytes);
        assert_eq!(bytes("8 GiB"), Some(8 << 30));
        assert_eq!(bytes("500MB"), Some(500_000_000));
        assert_eq!(bytes("100"), Some(100));
        for wrong in ["", "GiB", "8 Gib", "-1", "1.5 GiB", "99999999999 GiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_case_of_a_unit_may_be_ignored() {
        let bytes = |text| Amount::parse_any_case(text).map(Amount::bytes);
        for text in ["8 GiB", "8gib", " 8  GIB ", "8589934592"] {
            assert_eq!(bytes(text), Some(8 << 30), "{text}");
        }
        for wrong in ["", "gib", "8 gi", "-1", "1.5 gib", "8 gib s"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_scale_leaves_a_byte_at_least() {
        let amount = Amount::parse("1 GiB").expect("an amount");
        assert_eq!(amount.scaled(0.5), 512 << 20);
        assert_eq!(amount.scaled(1e-12), 1);
    }
}
