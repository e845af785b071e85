//! One key of the configuration: its type, default, bounds, documentation, and how seriously we
//! take it.
//!
//! Invariant: a value that passed [`Definition::canonical`] is in one spelling, and parses as the
//! key's type.

use core::net::IpAddr;
use std::borrow::Cow;

use crate::limits::CONFIG_VALUE_BYTES_MAX;

/// Kafka's types of configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Text,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    /// Its value is never shown.
    Password,
}

/// Which values of a kind are legal.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// -1, or within 1 to 9.
    GzipLevel,
    /// From 0 to 1.
    Ratio,
    /// One of these, in exactly this case; of a list, each of them at most once.
    In(&'static [&'static str]),
    /// Likewise, of a list in which the second must be.
    InWith(&'static [&'static str], &'static str),
    /// `*`, `none`, or pairs of partition and broker.
    ThrottledReplicas,
    /// Pairs of an address and a number.
    AddressCounts,
}

/// What a value does here.
#[derive(Clone, Copy, Debug)]
pub enum Treatment {
    Honoured,
    /// Accepted, stored and shown, but nothing follows from it, for this reason.
    NoEffect(&'static str),
    /// Only these values (in canonical form) are accepted, as anything else would promise what is
    /// not kept.
    Only(&'static [&'static str], &'static str),
    /// Not accepted at all, for this reason: to ignore it would be dangerous.
    Refused(&'static str),
}

/// Whether a broker's config can change while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    ReadOnly,
    /// For one broker, or for all of them.
    ClusterWide,
}

/// A broker's config that gives a topic's config its default.
#[derive(Clone, Copy, Debug)]
pub struct BrokerSynonym {
    pub key: &'static str,
    /// Of the broker's unit in the topic's: milliseconds in an hour, or 1.
    pub factor: i64,
}

#[derive(Debug)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    /// In canonical form. `None` is Kafka's null.
    pub default: Option<&'static str>,
    pub check: Check,
    pub treatment: Treatment,
    pub update: Update,
    /// Of a topic's key: the broker's keys for the same, the strongest first.
    pub synonyms: &'static [BrokerSynonym],
    pub text: &'static str,
}

/// Why a value is not accepted. A sentence for people, with the key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFault(pub String);

impl Definition {
    pub(crate) const fn checked(self, check: Check) -> Self {
        Self { check, ..self }
    }

    pub(crate) const fn without_effect(self, reason: &'static str) -> Self {
        Self { treatment: Treatment::NoEffect(reason), ..self }
    }

    pub(crate) const fn only(self, values: &'static [&'static str], reason: &'static str) -> Self {
        Self { treatment: Treatment::Only(values, reason), ..self }
    }

    pub(crate) const fn updated(self, update: Update) -> Self {
        Self { update, ..self }
    }

    /// The one spelling of `value`: trimmed, lists without blanks, booleans in lower case.
    ///
    /// # Errors
    /// If the value is not of the key's kind, out of its bounds, or refused.
    pub fn canonical(&self, value: &str) -> Result<String, ValueFault> {
        if CONFIG_VALUE_BYTES_MAX < value.len() {
            return Err(self.fault(&value.chars().take(40).collect::<String>(), "it is too long"));
        }
        let canonical = self.parse(trim(value)).map_err(|wrong| self.fault(trim(value), &wrong))?;
        match self.treatment {
            Treatment::Honoured | Treatment::NoEffect(_) => Ok(canonical),
            Treatment::Only(values, _) if values.contains(&canonical.as_str()) => Ok(canonical),
            Treatment::Only(_, reason) | Treatment::Refused(reason) => {
                Err(self.fault(trim(value), reason))
            }
        }
    }

    /// What the key means, and what it does not do here.
    #[must_use]
    pub fn documentation(&self) -> Cow<'static, str> {
        match self.treatment {
            Treatment::Honoured => Cow::Borrowed(self.text),
            Treatment::NoEffect(reason) => {
                Cow::Owned(format!("{} Accepted, no effect: {reason}.", self.text))
            }
            Treatment::Only(values, reason) => Cow::Owned(format!(
                "{} Only {} is accepted: {reason}.",
                self.text,
                values.join(" or ")
            )),
            Treatment::Refused(reason) => {
                Cow::Owned(format!("{} Not accepted: {reason}.", self.text))
            }
        }
    }

    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    fn fault(&self, value: &str, wrong: &str) -> ValueFault {
        let shown = if self.is_sensitive() { "[hidden]" } else { value };
        ValueFault(format!("Invalid value {shown} for configuration {}: {wrong}", self.name))
    }

    fn parse(&self, text: &str) -> Result<String, String> {
        match self.kind {
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                found @ ("true" | "false") => Ok(found.to_owned()),
                _ => Err("Expected value to be either true or false".to_owned()),
            },
            Kind::Short => self.integer(text, i64::from(i16::MIN), i64::from(i16::MAX), "SHORT"),
            Kind::Int => self.integer(text, i64::from(i32::MIN), i64::from(i32::MAX), "INT"),
            Kind::Long => self.integer(text, i64::MIN, i64::MAX, "LONG"),
            Kind::Double => self.double(text),
            Kind::List => self.list(text),
            Kind::Text | Kind::Class | Kind::Password => match self.check {
                Check::In(values) if !values.contains(&text) => {
                    Err(format!("String must be one of: {}", values.join(", ")))
                }
                Check::AddressCounts if address_counts(text).is_none() => {
                    Err("must be address:count, ..., and a name is no address".to_owned())
                }
                _ => Ok(text.to_owned()),
            },
        }
    }

    fn integer(&self, text: &str, low: i64, high: i64, kind: &str) -> Result<String, String> {
        let number = text
            .parse::<i64>()
            .ok()
            .filter(|it| (low..=high).contains(it))
            .ok_or_else(|| format!("Not a number of type {kind}"))?;
        match self.check {
            Check::AtLeast(least) if number < least => {
                Err(format!("Value must be at least {least}"))
            }
            Check::Between(least, most) if !(least..=most).contains(&number) => {
                Err(format!("Value must be within {least} to {most}"))
            }
            Check::GzipLevel if number != -1 && !(1..=9).contains(&number) => {
                Err("Value must be within 1 to 9, or -1".to_owned())
            }
            _ => Ok(number.to_string()),
        }
    }

    fn double(&self, text: &str) -> Result<String, String> {
        let number = text
            .parse::<f64>()
            .ok()
            .filter(|it| it.is_finite())
            .ok_or_else(|| "Not a number of type DOUBLE".to_owned())?;
        match self.check {
            Check::Ratio if !(0.0..=1.0).contains(&number) => {
                Err("Value must be within 0 to 1".to_owned())
            }
            _ => Ok(format!("{number:?}")), // With a decimal point, as Java writes it.
        }
    }

    fn list(&self, text: &str) -> Result<String, String> {
        let items = split(text);
        match self.check {
            Check::In(values) | Check::InWith(values, _) => {
                if let Some(stranger) = items.iter().find(|it| !values.contains(it)) {
                    return Err(format!(
                        "\"{stranger}\" is not one of the permitted values: {}",
                        values.join(", ")
                    ));
                }
                let repeated = |(index, item): (usize, &&str)| {
                    items.iter().skip(index + 1).any(|it| it == item)
                };
                if items.iter().enumerate().any(repeated) {
                    return Err("values must not be duplicated".to_owned());
                }
                if let Check::InWith(_, needed) = self.check
                    && !items.contains(&needed)
                {
                    return Err(format!("\"{needed}\" must be one of them"));
                }
            }
            Check::ThrottledReplicas if !throttles(&items) => {
                return Err(
                    "must be the literal '*' or a list of replicas in the following format: \
                            [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                        .to_owned(),
                );
            }
            _ => {}
        }
        Ok(items.join(","))
    }
}

/// The items of a list in Kafka's syntax. Blanks around commas do not count; an empty text is an
/// empty list.
#[must_use]
pub fn split(text: &str) -> Vec<&str> {
    if trim(text).is_empty() { vec![] } else { text.split(',').map(trim).collect() }
}

/// `address:count, ...`; the last colon counts, as an IPv6 address has its own. `None` if it is not
/// so.
#[must_use]
pub fn address_counts(text: &str) -> Option<Vec<(IpAddr, u32)>> {
    let pair = |item: &str| {
        let (address, count) = item.rsplit_once(':')?;
        let address = address.trim().trim_matches(['[', ']']).parse::<IpAddr>().ok()?;
        Some((address.to_canonical(), count.trim().parse().ok()?))
    };
    split(text).into_iter().map(pair).collect()
}

/// What Java's `trim` leaves.
fn trim(text: &str) -> &str {
    text.trim_matches(|it: char| it <= ' ')
}

fn throttles(items: &[&str]) -> bool {
    let number = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    let pair = |it: &&str| it.split_once(':').is_some_and(|(a, b)| number(a) && number(b));
    matches!(items, ["*" | "none"]) || items.iter().all(pair)
}

#[cfg(test)]
mod tests {
    use super::{Check, Definition, Kind, Treatment, Update, address_counts};

    fn key(kind: Kind, check: Check, treatment: Treatment) -> Definition {
        let (name, text, default, synonyms) = ("k", "Text.", None, &[]);
        Definition {
            name,
            kind,
            default,
            check,
            treatment,
            update: Update::ReadOnly,
            synonyms,
            text,
        }
    }

    #[track_caller]
    fn check(kind: Kind, check: Check, value: &str, want: Option<&str>) {
        let found = key(kind, check, Treatment::Honoured).canonical(value);
        assert_eq!(found.as_deref().ok(), want, "{found:?}");
        if let Some(want) = want {
            let again = key(kind, check, Treatment::Honoured).canonical(want);
            assert_eq!(again.as_deref(), Ok(want), "canonical is a fixed point");
        }
    }

    #[test]
    fn booleans_ignore_case_and_nothing_else() {
        check(Kind::Boolean, Check::Any, "TRUE", Some("true"));
        check(Kind::Boolean, Check::Any, " False\t", Some("false"));
        check(Kind::Boolean, Check::Any, "yes", None);
        check(Kind::Boolean, Check::Any, "1", None);
        check(Kind::Boolean, Check::Any, "", None);
    }

    #[test]
    fn integers_are_trimmed_and_bounded() {
        check(Kind::Int, Check::Any, " 77 ", Some("77"));
        check(Kind::Int, Check::Any, "+5", Some("5"));
        check(Kind::Int, Check::Any, "2147483647", Some("2147483647"));
        check(Kind::Int, Check::Any, "2147483648", None);
        check(Kind::Long, Check::Any, "9223372036854775807", Some("9223372036854775807"));
        check(Kind::Long, Check::Any, "9223372036854775808", None);
        check(Kind::Long, Check::AtLeast(-1), "-1", Some("-1"));
        check(Kind::Long, Check::AtLeast(-1), "-2", None);
        check(Kind::Int, Check::Between(1, 17), "18", None);
        check(Kind::Int, Check::GzipLevel, "-1", Some("-1"));
        check(Kind::Int, Check::GzipLevel, "0", None);
        check(Kind::Int, Check::Any, "", None);
        check(Kind::Int, Check::Any, "1.5", None);
        check(Kind::Short, Check::Any, "32768", None);
    }

    #[test]
    fn doubles_keep_their_point() {
        check(Kind::Double, Check::Ratio, "0.50", Some("0.5"));
        check(Kind::Double, Check::Ratio, "1", Some("1.0"));
        check(Kind::Double, Check::Ratio, "1.1", None);
        check(Kind::Double, Check::Any, "NaN", None);
    }

    #[test]
    fn lists_lose_blanks_and_may_be_empty() {
        let policies = Check::In(&["compact", "delete"]);
        check(Kind::List, policies, "delete, compact", Some("delete,compact"));
        check(Kind::List, policies, "", Some(""));
        check(Kind::List, policies, "delete,", None);
        check(Kind::List, policies, "delete,delete", None);
        check(Kind::List, policies, "Delete", None);
        let protocols = Check::InWith(&["classic", "consumer"], "classic");
        check(Kind::List, protocols, "consumer, classic", Some("consumer,classic"));
        check(Kind::List, protocols, "classic", Some("classic"));
        check(Kind::List, protocols, "consumer", None);
        check(Kind::List, protocols, "classic,other", None);
        check(Kind::List, Check::ThrottledReplicas, "*", Some("*"));
        check(Kind::List, Check::ThrottledReplicas, "0:1, 1:2", Some("0:1,1:2"));
        check(Kind::List, Check::ThrottledReplicas, "0:", None);
        check(Kind::List, Check::ThrottledReplicas, "", Some(""));
    }

    #[test]
    fn text_is_matched_in_its_case() {
        let times = Check::In(&["CreateTime", "LogAppendTime"]);
        check(Kind::Text, times, "LogAppendTime", Some("LogAppendTime"));
        check(Kind::Text, times, "logappendtime", None);
        check(Kind::Text, times, "", None);
    }

    #[test]
    fn a_refused_value_says_why_and_a_password_is_never_shown() {
        let only = key(Kind::Boolean, Check::Any, Treatment::Only(&["false"], "no tiers here"));
        assert_eq!(only.canonical("false").as_deref(), Ok("false"));
        assert!(only.canonical("true").is_err_and(|it| it.0.ends_with("no tiers here")));
        let password = key(Kind::Password, Check::Any, Treatment::Refused("no TLS here"));
        assert!(password.canonical("hunter2").is_err_and(|it| !it.0.contains("hunter2")));
    }

    #[test]
    fn overrides_of_addresses() {
        let want = |pairs: &[(&str, u32)]| {
            Some(pairs.iter().map(|(a, n)| (a.parse().unwrap(), *n)).collect())
        };
        let pairs = [("127.0.0.1", 200), ("::1", 3), ("::2", 4), ("10.0.0.1", 5)];
        assert_eq!(address_counts("127.0.0.1:200, ::1:3,[::2]:4,::ffff:10.0.0.1:5"), want(&pairs));
        assert_eq!(address_counts("localhost:1"), None);
        assert_eq!(address_counts(""), want(&[]));
        assert_eq!(address_counts("127.0.0.1"), None);
        assert_eq!(address_counts("a:-1"), None);
    }
}
