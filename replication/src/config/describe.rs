//! DescribeConfigs: every config of a resource, with where its value comes from. Reads an image,
//! changes nothing.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::config::broker::{Configs, Setting, Source};
use crate::config::broker_keys::{broker_key, broker_keys, synonyms};
use crate::config::definition::{Definition, Kind, Update};
use crate::config::group::{GROUP_KEYS, GroupKey};
use crate::config::other_keys::CLIENT_METRICS_KEYS;
use crate::config::topic::inherited;
use crate::config::topic_keys::TOPIC_KEYS;
use crate::event::BrokerScope;
use crate::image::Image;
use crate::node::NodeId;
use crate::refusal::{Reason, Refusal};
use crate::topic_name::TopicName;

/// Kafka's numbers of the kinds of resources.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

/// One config as it is shown.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: Cow<'static, str>,
    /// `None` is null, or hidden.
    pub value: Option<String>,
    pub source: Source,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    /// The values that it could have had as well, the one that holds first.
    pub synonyms: Vec<Synonym>,
    /// `None` for a config that nobody knows.
    pub definition: Option<&'static Definition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: Cow<'static, str>,
    pub value: Option<String>,
    pub source: Source,
}

impl Entry {
    #[must_use]
    pub fn documentation(&self) -> Cow<'static, str> {
        self.definition.map_or(
            Cow::Borrowed("Not a known config: accepted, no effect."),
            Definition::documentation,
        )
    }

    /// Kafka's number of the config's type; 0 is unknown.
    #[must_use]
    pub fn kind_id(&self) -> i8 {
        match self.definition.map(|it| it.kind) {
            None => 0,
            Some(Kind::Boolean) => 1,
            Some(Kind::Text) => 2,
            Some(Kind::Int) => 3,
            Some(Kind::Short) => 4,
            Some(Kind::Long) => 5,
            Some(Kind::Double) => 6,
            Some(Kind::List) => 7,
            Some(Kind::Class) => 8,
            Some(Kind::Password) => 9,
        }
    }
}

/// The configs of one resource, in the order of their names: all, or those of `keys` that exist.
///
/// # Errors
/// If there is no such resource, or it is not this node's to describe.
pub fn describe(
    image: &Image,
    resource_type: i8,
    resource_name: &str,
    keys: &[&str],
) -> Result<Vec<Entry>, Refusal> {
    let mut entries = match resource_type {
        TOPIC => {
            TopicName::checked(resource_name)
                .map_err(|fault| Refusal::new(Reason::InvalidTopic, fault.message()))?;
            let topic =
                image.topic(resource_name).ok_or_else(|| Refusal::new(Reason::UnknownTopic, ""))?;
            topic_entries(image, topic.overrides())
        }
        BROKER => match broker_scope(image, resource_name)? {
            BrokerScope::EveryBroker => every_broker_entries(image),
            BrokerScope::Broker(_) => broker_entries(image),
        },
        BROKER_LOGGER => match broker_scope(image, resource_name)? {
            BrokerScope::EveryBroker => {
                return Err(Refusal::new(Reason::InvalidRequest, "Broker id must not be empty"));
            }
            BrokerScope::Broker(_) => vec![], // Log levels are set where the node is started.
        },
        CLIENT_METRICS => client_metrics_entries(resource_name)?,
        GROUP => group_entries(image, resource_name)?,
        _ => {
            let message = format!("Unsupported resource type: {resource_type}");
            return Err(Refusal::new(Reason::InvalidRequest, message));
        }
    };
    let wanted: BTreeSet<&str> = keys.iter().copied().collect();
    entries.retain(|it| wanted.is_empty() || wanted.contains(&*it.name));
    Ok(entries)
}

/// Every config of a topic with these `overrides`: also of one that was created just now.
#[must_use]
pub fn topic_entries(image: &Image, overrides: &Configs) -> Vec<Entry> {
    let entry = |key: &'static Definition| {
        let own = overrides.get(key.name).map(|value| Synonym {
            name: Cow::Borrowed(key.name),
            value: Some(value.clone()),
            source: Source::Topic,
        });
        let inherited = inherited(image.layers(), key).into_iter().map(|it| synonym(it, key));
        let synonyms: Vec<Synonym> = own.into_iter().chain(inherited).collect();
        let value = overrides.get(key.name).or_else(|| image.topic_defaults().get(key.name));
        Entry {
            name: Cow::Borrowed(key.name),
            value: value.cloned(),
            source: synonyms.first().map_or(Source::Default, |it| it.source),
            is_read_only: false,
            is_sensitive: key.is_sensitive(),
            synonyms,
            definition: Some(key),
        }
    };
    TOPIC_KEYS.iter().map(entry).collect()
}

/// Whose configs a broker resource's name means.
///
/// # Errors
/// If it means another broker: each describes and changes only its own.
pub fn broker_scope(image: &Image, resource_name: &str) -> Result<BrokerScope, Refusal> {
    if resource_name.is_empty() {
        return Ok(BrokerScope::EveryBroker);
    }
    let refuse = |message| Err(Refusal::new(Reason::InvalidRequest, message));
    let Ok(id) = resource_name.parse::<i32>() else {
        return refuse(format!("Node id must be an integer, but it is: {resource_name}"));
    };
    match NodeId::checked(id).filter(|&it| it == image.node()) {
        Some(node) => Ok(BrokerScope::Broker(node)),
        None => refuse(format!(
            "Unexpected broker id, expected {}, but received {resource_name}",
            image.node()
        )),
    }
}

fn broker_entries(image: &Image) -> Vec<Entry> {
    let layers = image.layers();
    let known = broker_keys().into_iter().map(|key| {
        // A stronger name of the same setting stands in its own entry.
        let settings = layers.settings(&synonyms(key.name));
        let synonyms: Vec<Synonym> = settings
            .into_iter()
            .skip_while(|it| it.name != key.name)
            .map(|it| synonym(it, key))
            .collect();
        Entry {
            name: Cow::Borrowed(key.name),
            value: synonyms.first().and_then(|it| it.value.clone()),
            source: synonyms.first().map_or(Source::Default, |it| it.source),
            is_read_only: key.update == Update::ReadOnly,
            is_sensitive: key.is_sensitive(),
            synonyms,
            definition: Some(key),
        }
    });
    let strangers = [(&layers.node, Source::Broker), (&layers.every_node, Source::EveryBroker)]
        .into_iter()
        .flat_map(|(layer, source)| layer.keys().map(move |key| (key, source)))
        .filter(|(key, _)| broker_key(key).is_none())
        .map(|(key, source)| stranger(key, source));
    let mut entries: Vec<Entry> = known.chain(strangers).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.dedup_by(|later, earlier| later.name == earlier.name);
    entries
}

/// What Kafka sets for every broker when it formats the first one's directory.
const SET_BY_FORMAT: &str = "min.insync.replicas";

fn every_broker_entries(image: &Image) -> Vec<Entry> {
    let mut configs = image.dynamic(BrokerScope::EveryBroker).cloned().unwrap_or_else(Configs::new);
    let settings = image.layers().settings(&[SET_BY_FORMAT]);
    let formatted = settings.iter().find(|it| matches!(it.source, Source::File | Source::Default));
    if let Some(setting) = formatted {
        configs.entry(SET_BY_FORMAT.to_owned()).or_insert_with(|| setting.value.to_owned());
    }
    let entry = |(name, value): (&String, &String)| {
        let Some(key) = broker_key(name) else { return stranger(name, Source::EveryBroker) };
        let shown = (!key.is_sensitive()).then(|| value.clone());
        let name = Cow::Borrowed(key.name);
        Entry {
            name: name.clone(),
            value: shown.clone(),
            source: Source::EveryBroker,
            is_read_only: key.update == Update::ReadOnly,
            is_sensitive: key.is_sensitive(),
            synonyms: vec![Synonym { name, value: shown, source: Source::EveryBroker }],
            definition: Some(key),
        }
    };
    configs.iter().map(entry).collect()
}

fn check_name(resource_name: &str, what: &str) -> Result<(), Refusal> {
    if resource_name.is_empty() {
        return Err(Refusal::new(Reason::InvalidRequest, format!("{what} name must not be empty")));
    }
    Ok(())
}

fn client_metrics_entries(resource_name: &str) -> Result<Vec<Entry>, Refusal> {
    check_name(resource_name, "Client metrics subscription")?;
    let entry = |key: &'static Definition| Entry {
        name: Cow::Borrowed(key.name),
        value: key.default.map(str::to_owned),
        source: Source::Default,
        is_read_only: false,
        is_sensitive: false,
        synonyms: vec![],
        definition: Some(key),
    };
    Ok(CLIENT_METRICS_KEYS.iter().map(entry).collect())
}

/// Also of a group that nobody has seen: it may come.
fn group_entries(image: &Image, group: &str) -> Result<Vec<Entry>, Refusal> {
    check_name(group, "Group")?;
    let overrides = image.group(group).map(|it| it.overrides());
    let entry = |key: &'static GroupKey| {
        let definition = &key.definition;
        let name = definition.name;
        let own = overrides.and_then(|it| it.get(name)).map(|value| Synonym {
            name: Cow::Borrowed(name),
            value: Some(value.clone()),
            source: Source::Group,
        });
        let default = definition.synonyms.is_empty().then(|| Synonym {
            name: Cow::Borrowed(name),
            value: definition.default.map(str::to_owned),
            source: Source::Default,
        });
        let inherited = key.inherited(image.layers());
        let inherited = inherited.into_iter().map(|it| synonym(it, definition));
        let synonyms: Vec<Synonym> = own.into_iter().chain(inherited).chain(default).collect();
        Entry {
            name: Cow::Borrowed(name),
            value: synonyms.first().and_then(|it| it.value.clone()),
            source: synonyms.first().map_or(Source::Default, |it| it.source),
            is_read_only: false,
            is_sensitive: false,
            synonyms,
            definition: Some(definition),
        }
    };
    Ok(GROUP_KEYS.iter().map(entry).collect())
}

/// A config that nobody knows may hold a secret: only its name is shown.
fn stranger(name: &str, source: Source) -> Entry {
    let name: Cow<'static, str> = Cow::Owned(name.to_owned());
    Entry {
        name: name.clone(),
        value: None,
        source,
        is_read_only: false,
        is_sensitive: true,
        synonyms: vec![Synonym { name, value: None, source }],
        definition: None,
    }
}

fn synonym(setting: Setting<'_>, key: &Definition) -> Synonym {
    Synonym {
        name: Cow::Borrowed(setting.name),
        value: (!key.is_sensitive()).then(|| setting.value.to_owned()),
        source: setting.source,
    }
}
