//! Client quotas as they are set: how much of a node each client may use, and which of several rules
//! holds for it (KIP-13, KIP-55, KIP-124, KIP-599, KIP-612).
//!
//! Knows nothing of what is used: that is counted where clients are served.
//! Invariant: no entity is without a bound, and each has only bounds of its kind.

pub mod alter;
pub mod describe;

use core::net::IpAddr;
use std::fmt;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::limits::QUOTA_ENTITIES_MAX;

/// Who everybody is: there is no authentication. Kafka's name for it.
pub const ANONYMOUS: &str = "ANONYMOUS";

/// What is bounded, of each node where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quota {
    /// Bytes of produce requests, per second.
    ProducerByteRate,
    /// Bytes of fetched records, per second.
    ConsumerByteRate,
    /// Time of one core that requests take, in percent: 200 is two cores.
    RequestPercentage,
    /// Partitions made and deleted, per second, of the whole cluster.
    ControllerMutationRate,
    /// Connections from one address, per second.
    ConnectionCreationRate,
}

impl Quota {
    pub const ALL: [Self; 5] = [
        Self::ProducerByteRate,
        Self::ConsumerByteRate,
        Self::RequestPercentage,
        Self::ControllerMutationRate,
        Self::ConnectionCreationRate,
    ];

    /// Kafka's name of it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::ProducerByteRate => "producer_byte_rate",
            Self::ConsumerByteRate => "consumer_byte_rate",
            Self::RequestPercentage => "request_percentage",
            Self::ControllerMutationRate => "controller_mutation_rate",
            Self::ConnectionCreationRate => "connection_creation_rate",
        }
    }

    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.key() == key)
    }

    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::ProducerByteRate => 0,
            Self::ConsumerByteRate => 1,
            Self::RequestPercentage => 2,
            Self::ControllerMutationRate => 3,
            Self::ConnectionCreationRate => 4,
        }
    }

    /// Whether such a bound makes sense for `entity`: connections have an address before anybody knows
    /// whose they are.
    #[must_use]
    pub const fn is_of(self, entity: &Entity) -> bool {
        matches!(self, Self::ConnectionCreationRate) == matches!(entity, Entity::Address(_))
    }

    /// The largest bound, of those that are whole numbers: what Kafka's type of it carries.
    const fn whole_max(self) -> Option<f64> {
        match self {
            Self::ProducerByteRate | Self::ConsumerByteRate => Some(9_223_372_036_854_775_807.0),
            Self::ConnectionCreationRate => Some(2_147_483_647.0),
            Self::RequestPercentage | Self::ControllerMutationRate => None,
        }
    }
}

/// How much is allowed. Finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Bound(f64);

impl Bound {
    #[must_use]
    pub fn checked(value: f64) -> Option<Self> {
        (value.is_finite() && 0.0 < value).then_some(Self(value))
    }

    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// It is a number, so it is equal to itself.
impl Eq for Bound {}

/// One name, or every name that has no rule of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Default,
    Exact(Arc<str>),
}

impl Name {
    /// As Kafka's wire has it: the default is null.
    #[must_use]
    pub fn as_option(&self) -> Option<&str> {
        match self {
            Self::Default => None,
            Self::Exact(name) => Some(name),
        }
    }
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entity {
    User(Name),
    Client(Name),
    UserClient(Name, Name),
    /// Whoever connects from there. The name of one is its canonical text.
    Address(Name),
}

/// The kinds of names that entities are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    User,
    Client,
    Address,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::User, Self::Client, Self::Address];

    /// Kafka's name of it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Client => "client-id",
            Self::Address => "ip",
        }
    }

    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.key() == key)
    }
}

/// What an address is called, however it is written; `None` if `text` is none. Host names are not looked
/// up.
#[must_use]
pub fn address_name(text: &str) -> Option<Arc<str>> {
    text.parse().ok().map(name_of_address)
}

fn name_of_address(address: IpAddr) -> Arc<str> {
    Arc::from(address.to_canonical().to_string())
}

impl Entity {
    /// `None` if it has neither.
    #[must_use]
    pub fn new(user: Option<Name>, client: Option<Name>) -> Option<Self> {
        match (user, client) {
            (Some(user), Some(client)) => Some(Self::UserClient(user, client)),
            (Some(user), None) => Some(Self::User(user)),
            (None, Some(client)) => Some(Self::Client(client)),
            (None, None) => None,
        }
    }

    #[must_use]
    pub fn part(&self, part: Part) -> Option<&Name> {
        match (self, part) {
            (Self::User(name) | Self::UserClient(name, _), Part::User)
            | (Self::Client(name) | Self::UserClient(_, name), Part::Client)
            | (Self::Address(name), Part::Address) => Some(name),
            (Self::User(_) | Self::UserClient(..) | Self::Client(_) | Self::Address(_), _) => None,
        }
    }

    /// Its names, the user's first.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &Name)> {
        Part::ALL.into_iter().filter_map(|part| Some((part, self.part(part)?)))
    }
}

/// The bounds of one entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds([Option<Bound>; Quota::ALL.len()]);

impl Bounds {
    #[must_use]
    pub fn get(&self, quota: Quota) -> Option<Bound> {
        self.0[quota.index()]
    }

    /// Those that are set.
    pub fn iter(&self) -> impl Iterator<Item = (Quota, Bound)> {
        Quota::ALL.into_iter().zip(self.0).filter_map(|(quota, bound)| Some((quota, bound?)))
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// One bound of an entity, set or (`None`) taken away.
pub type Change = (Quota, Option<Bound>);

/// Whose use is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Payer {
    pub quota: Quota,
    pub user: Option<Arc<str>>,
    pub client: Option<Arc<str>>,
}

impl fmt::Display for Payer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |it: &Option<Arc<str>>| it.as_deref().unwrap_or("*").to_owned();
        write!(f, "{} of {}/{}", self.quota.key(), name(&self.user), name(&self.client))
    }
}

/// All quotas of the cluster. A clone costs a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    by_entity: RedBlackTreeMapSync<Entity, Bounds>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { by_entity: RedBlackTreeMapSync::new_sync() }
    }
}

/// There would be more than `QUOTA_ENTITIES_MAX` entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Quotas {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_entity.is_empty()
    }

    #[must_use]
    pub fn get(&self, entity: &Entity) -> Option<&Bounds> {
        self.by_entity.get(entity)
    }

    /// In the order of their entities.
    pub fn iter(&self) -> impl Iterator<Item = (&Entity, &Bounds)> {
        self.by_entity.iter()
    }

    pub(crate) fn change(&self, entity: &Entity, changes: &[Change]) -> Result<Self, TooMany> {
        let mut bounds = self.get(entity).copied().unwrap_or_default();
        for (quota, bound) in changes {
            bounds.0[quota.index()] = *bound;
        }
        if bounds.is_empty() {
            return Ok(Self { by_entity: self.by_entity.remove(entity) });
        }
        let by_entity = self.by_entity.insert(entity.clone(), bounds);
        if QUOTA_ENTITIES_MAX < by_entity.size() { Err(TooMany) } else { Ok(Self { by_entity }) }
    }

    /// The bound that holds for this client, and with whom it shares it. Of eight rules the first that
    /// is set holds, in Kafka's order. No rule for clients is for one that does not say its name (an
    /// empty `client`).
    #[must_use]
    pub fn find(&self, quota: Quota, user: &str, client: &str) -> Option<(Payer, Bound)> {
        let exact = |name: &str| Name::Exact(Arc::from(name));
        let users = [Some(exact(user)), Some(Name::Default), None];
        let clients = [Some(exact(client)), Some(Name::Default), None];
        let is_named = !client.is_empty();
        let rules = users.iter().flat_map(|user| clients.iter().map(move |it| (user, it)));
        rules.filter(|(_, client)| is_named || client.is_none()).find_map(|(by_user, by_client)| {
            let entity = Entity::new(by_user.clone(), by_client.clone())?;
            let bound = self.get(&entity)?.get(quota)?;
            let user = by_user.is_some().then(|| Arc::from(user));
            let client = by_client.is_some().then(|| Arc::from(client));
            Some((Payer { quota, user, client }, bound))
        })
    }

    /// How many connections a second may come from this address; each has its own rate, also those that
    /// share a rule.
    #[must_use]
    pub fn find_address(&self, address: IpAddr) -> Option<Bound> {
        let names = [Name::Exact(name_of_address(address)), Name::Default];
        names
            .into_iter()
            .find_map(|name| self.get(&Entity::Address(name))?.get(Quota::ConnectionCreationRate))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Bound, Entity, Name, Quota, Quotas, TooMany, address_name};
    use crate::limits::QUOTA_ENTITIES_MAX;

    fn name(text: &str) -> Name {
        if text == "*" { Name::Default } else { Name::Exact(Arc::from(text)) }
    }

    /// `-` stands for a part that is not there, `*` for the default.
    fn entity(user: &str, client: &str) -> Entity {
        let part = |text: &str| (text != "-").then(|| name(text));
        Entity::new(part(user), part(client)).expect("has a part")
    }

    fn bound(value: f64) -> Option<Bound> {
        Some(Bound::checked(value).expect("legal"))
    }

    /// In the order in which they hold: the first is the strongest.
    const RULES: [(&str, &str); 8] = [
        ("u", "c"),
        ("u", "*"),
        ("u", "-"),
        ("*", "c"),
        ("*", "*"),
        ("*", "-"),
        ("-", "c"),
        ("-", "*"),
    ];

    #[track_caller]
    fn check(quotas: &Quotas, client: &str, want: Option<(f64, &str)>) {
        let found = quotas.find(Quota::ProducerByteRate, "u", client);
        let found = found.map(|(payer, bound)| (bound.get(), payer.to_string()));
        let want = want.map(|(value, who)| (value, format!("producer_byte_rate of {who}")));
        assert_eq!(found, want);
    }

    #[test]
    fn of_the_rules_that_are_set_the_most_particular_holds() {
        let mut quotas = Quotas::default();
        check(&quotas, "c", None);
        let whose = ["u/c", "u/c", "u/*", "u/c", "u/c", "u/*", "*/c", "*/c"];
        for (index, ((user, client), whose)) in RULES.into_iter().zip(whose).enumerate().rev() {
            let value = f64::from(u8::try_from(index + 1).expect("few"));
            let change = [(Quota::ProducerByteRate, bound(value))];
            quotas = quotas.change(&entity(user, client), &change).expect("few");
            check(&quotas, "c", Some((value, whose)));
            assert_eq!(quotas.find(Quota::ConsumerByteRate, "u", "c"), None, "each has its own");
        }
    }

    #[test]
    fn who_has_no_name_is_bound_by_rules_for_users_only() {
        let change = |value| [(Quota::ProducerByteRate, bound(value))];
        let quotas = Quotas::default().change(&entity("-", "*"), &change(1.0)).expect("few");
        check(&quotas, "", None);
        let quotas = quotas.change(&entity("*", "*"), &change(2.0)).expect("few");
        check(&quotas, "", None);
        let quotas = quotas.change(&entity("*", "-"), &change(3.0)).expect("few");
        check(&quotas, "", Some((3.0, "u/*")));
    }

    #[test]
    fn an_address_has_a_rule_of_its_own_or_the_default() {
        let rate = |value| [(Quota::ConnectionCreationRate, bound(value))];
        let find = |quotas: &Quotas, text: &str| {
            quotas.find_address(text.parse().expect("an address")).map(Bound::get)
        };
        let own = Entity::Address(Name::Exact(address_name("10.0.0.1").expect("one")));
        let default = Entity::Address(Name::Default);
        let quotas = Quotas::default().change(&own, &rate(7.0)).expect("few");
        assert_eq!(find(&quotas, "10.0.0.1"), Some(7.0));
        assert_eq!(find(&quotas, "::ffff:10.0.0.1"), Some(7.0), "the same one");
        assert_eq!(find(&quotas, "10.0.0.2"), None);
        let quotas = quotas.change(&default, &rate(3.0)).expect("few");
        assert_eq!(find(&quotas, "10.0.0.1"), Some(7.0));
        assert_eq!(find(&quotas, "::1"), Some(3.0));
        let quotas = quotas.change(&own, &[(Quota::ConnectionCreationRate, None)]).expect("few");
        assert_eq!(find(&quotas, "10.0.0.1"), Some(3.0));
        assert_eq!(quotas.find(Quota::ConnectionCreationRate, "u", "c"), None, "nobody's");
    }

    #[test]
    fn an_address_has_one_name_however_it_is_written() {
        for (text, want) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("0:0:0:0:0:0:0:1", Some("::1")),
            ("2001:DB8::0", Some("2001:db8::")),
            ("localhost", None),
            ("10.0.0.1:9092", None),
            ("10.0.0", None),
            ("", None),
        ] {
            assert_eq!(address_name(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn an_entity_goes_with_its_last_bound() {
        let (produce, fetch) = (Quota::ProducerByteRate, Quota::ConsumerByteRate);
        let entity = entity("u", "-");
        let both = [(produce, bound(1.0)), (fetch, bound(2.0))];
        let quotas = Quotas::default().change(&entity, &both).expect("few");
        let quotas = quotas.change(&entity, &[(produce, None)]).expect("few");
        assert_eq!(quotas.get(&entity).and_then(|it| it.get(fetch)), bound(2.0));
        let quotas = quotas.change(&entity, &[(fetch, None), (produce, None)]).expect("few");
        assert!(quotas.is_empty() && quotas.get(&entity).is_none());
    }

    #[test]
    fn entities_have_a_limit_and_those_that_are_there_still_change() {
        let change = [(Quota::ProducerByteRate, bound(1.0))];
        let mut quotas = Quotas::default();
        for index in 0..QUOTA_ENTITIES_MAX {
            quotas = quotas.change(&entity("-", &index.to_string()), &change).expect("below");
        }
        assert_eq!(quotas.change(&entity("-", "one more"), &change), Err(TooMany));
        assert!(quotas.change(&entity("-", "7"), &change).is_ok());
    }

    #[test]
    fn a_bound_is_finite_and_above_zero() {
        for value in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Bound::checked(value), None, "{value}");
        }
        assert_eq!(Bound::checked(0.5).map(Bound::get), Some(0.5));
    }
}
