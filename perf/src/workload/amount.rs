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
    fn a_scale_leaves_a_byte_at_least() {
        let amount = Amount::parse("1 GiB").expect("an amount");
        assert_eq!(amount.scaled(0.5), 512 << 20);
        assert_eq!(amount.scaled(1e-12), 1);
    }
}
