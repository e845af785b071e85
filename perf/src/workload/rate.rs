//! How fast producers send, as a file says it: `5000` records a second, `"20 MB/s"`, `"75 % of W4"`,
//! `"max"` or `"rest"`.
//!
//! A percentage is of what the same target reached in an earlier workload of the same benchmark.

use serde::{Deserialize, Deserializer, de};

use crate::workload::amount::{Amount, Written};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Rate {
    Records(u64),
    /// Bytes of values a second.
    Bytes(u64),
    Share {
        percent: f64,
        /// `W4`.
        of: String,
    },
    /// As fast as answers come: a closed loop.
    Max,
    Rest,
}

impl Rate {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((percent, of)) = text.split_once('%') {
            let percent: f64 = percent.trim().parse().ok()?;
            let of = of.trim().strip_prefix("of ")?.trim();
            let is_sound = percent.is_finite() && 0.0 < percent && !of.is_empty();
            return is_sound.then(|| Self::Share { percent, of: of.to_owned() });
        }
        let rate = match text {
            "max" => Self::Max,
            "rest" => Self::Rest,
            _ => match text.strip_suffix("/s") {
                Some(amount) => Self::Bytes(Amount::parse(amount)?.bytes()),
                None => Self::Records(text.parse().ok()?),
            },
        };
        let is_nothing = matches!(rate, Self::Bytes(0) | Self::Records(0));
        (!is_nothing).then_some(rate)
    }

    /// What it is a share of.
    pub(crate) fn needs(&self) -> Option<&str> {
        match self {
            Self::Share { of, .. } => Some(of),
            Self::Records(_) | Self::Bytes(_) | Self::Max | Self::Rest => None,
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Written::deserialize(deserializer)?.text();
        Self::parse(&text).ok_or_else(|| {
            let wanted = "write records a second, `20 MB/s`, `75 % of W4`, `max` or `rest`";
            de::Error::custom(format!("`{text}` is no rate: {wanted}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_bytes_shares_or_words() {
        let share = Rate::Share { percent: 75.0, of: "W4".to_owned() };
        assert_eq!(Rate::parse("75 % of W4"), Some(share.clone()));
        assert_eq!(Rate::parse("75% of W4"), Some(share));
        assert_eq!(Rate::parse("5000"), Some(Rate::Records(5_000)));
        assert_eq!(Rate::parse("20 MB/s"), Some(Rate::Bytes(20_000_000)));
        assert_eq!(Rate::parse("max"), Some(Rate::Max));
        assert_eq!(Rate::parse("rest"), Some(Rate::Rest));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for wrong in ["", "0", "-1", "0 MB/s", "% of W4", "0 % of W4", "75 %", "75 % of", "fast"] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
    }
}
