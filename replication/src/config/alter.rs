//! IncrementalAlterConfigs and AlterConfigs: each resource of a request becomes an event or a
//! refusal, as Kafka has it.
//! Nothing changes here. To validate only, drop the events.

use std::collections::BTreeSet;

use crate::config::broker::Configs;
use crate::config::broker_keys::{broker_key, listener_key};
use crate::config::definition::{Definition, Kind, Update, split};
use crate::config::describe::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC, broker_scope};
use crate::config::group::{GROUP_KEYS, GROUP_KEYS_REFUSED, check_paces, group_key};
use crate::config::nearest::nearest;
use crate::config::topic_keys::{TOPIC_KEYS, TOPIC_KEYS_REFUSED, topic_key};
use crate::event::{BrokerScope, ConfigChange, Event};
use crate::image::{Image, config_bytes};
use crate::limits::{
    CONFIG_NAME_BYTES_MAX, CONFIG_VALUE_BYTES_MAX, CONFIGS_BYTES_MAX, CONFIGS_BYTES_TOTAL_MAX,
    CONFIGS_MAX, GROUP_NAME_BYTES_MAX, GROUPS_CONFIGURED_MAX,
};
use crate::refusal::{Reason, Refusal};
use crate::topic_name::TopicName;

/// One resource of an IncrementalAlterConfigs request, as it came.
#[derive(Clone, Debug)]
pub struct Alteration<'a> {
    pub resource_type: i8,
    pub resource_name: &'a str,
    pub changes: Vec<Change<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub key: &'a str,
    /// Kafka's number: 0 set, 1 delete, 2 append, 3 subtract.
    pub operation: i8,
    pub value: Option<&'a str>,
}

/// One resource of an AlterConfigs request: all its configs, the rest goes back to the default.
#[derive(Clone, Debug)]
pub struct Replacement<'a> {
    pub resource_type: i8,
    pub resource_name: &'a str,
    pub configs: Vec<(&'a str, Option<&'a str>)>,
}

/// `None` if there is nothing to change.
pub type Outcome = Result<Option<Event>, Refusal>;

/// One outcome per resource, in the request's order.
#[must_use]
pub fn alter(image: &Image, request: &[Alteration<'_>]) -> Vec<Outcome> {
    let repeated = repeated(request.iter().map(|it| (it.resource_type, it.resource_name)));
    let mut room_bytes = image.config_room_bytes();
    let outcome = |alteration: &Alteration<'_>| {
        if repeated.contains(&(alteration.resource_type, alteration.resource_name)) {
            return refuse(Reason::InvalidRequest, "Each resource must appear at most once.");
        }
        let operations = operations(&alteration.changes)?;
        let target = Target::find(image, alteration.resource_type, alteration.resource_name)?;
        let mut configs = target.present().clone();
        for (key, operation) in operations {
            operation.perform(&target, key, &mut configs)?;
        }
        target.change_to(configs, &mut room_bytes)
    };
    request.iter().map(outcome).collect()
}

/// One outcome per resource, in the request's order.
#[must_use]
pub fn replace(image: &Image, request: &[Replacement<'_>]) -> Vec<Outcome> {
    let repeated = repeated(request.iter().map(|it| (it.resource_type, it.resource_name)));
    let mut room_bytes = image.config_room_bytes();
    let outcome = |replacement: &Replacement<'_>| {
        if repeated.contains(&(replacement.resource_type, replacement.resource_name)) {
            // Kafka never answers this one.
            return refuse(Reason::InvalidRequest, "Each resource must appear at most once.");
        }
        let changes: Vec<Change<'_>> = replacement
            .configs
            .iter()
            .map(|&(key, value)| Change { key, operation: 0, value })
            .collect();
        let operations = operations(&changes)?;
        let target = Target::find(image, replacement.resource_type, replacement.resource_name)?;
        let mut configs = Configs::new();
        for (key, operation) in operations {
            operation.perform(&target, key, &mut configs)?;
        }
        target.change_to(configs, &mut room_bytes)
    };
    request.iter().map(outcome).collect()
}

/// The canonical configs of a topic that is to be created. The last of a repeated key holds.
///
/// # Errors
/// [`Reason::InvalidConfig`], whatever is wrong with them.
pub fn topic_overrides(
    image: &Image,
    configs: &[(&str, Option<&str>)],
) -> Result<Configs, Refusal> {
    let nulls: Vec<&str> = configs.iter().filter(|it| it.1.is_none()).map(|it| it.0).collect();
    if !nulls.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", nulls.join(", "));
        return refuse(Reason::InvalidConfig, message);
    }
    let mut overrides = Configs::new();
    for &(key, value) in configs {
        overrides.insert(key.to_owned(), value.unwrap_or_default().to_owned());
    }
    for (key, value) in &mut overrides {
        *value = topic_value(key, value)?;
    }
    check_topic(image, &overrides)?;
    Ok(overrides)
}

enum Operation<'a> {
    Set(&'a str),
    Delete,
    Append(&'a str),
    Subtract(&'a str),
}

impl Operation<'_> {
    fn perform(
        &self,
        target: &Target<'_>,
        key: &str,
        configs: &mut Configs,
    ) -> Result<(), Refusal> {
        let value = match *self {
            Self::Delete => {
                configs.remove(key);
                return Ok(());
            }
            Self::Set(value) => value.to_owned(),
            Self::Append(value) => {
                let mut items = target.list(key, "APPEND", configs)?;
                let mut present: BTreeSet<String> = items.iter().cloned().collect();
                let added = split(value).into_iter().map(str::to_owned);
                items.extend(added.filter(|it| present.insert(it.clone())));
                items.join(",")
            }
            Self::Subtract(value) => {
                let mut items = target.list(key, "SUBTRACT", configs)?;
                let removed: BTreeSet<&str> = split(value).into_iter().collect();
                items.retain(|it| !removed.contains(it.as_str()));
                items.join(",")
            }
        };
        configs.insert(key.to_owned(), target.value(key, &value)?);
        Ok(())
    }
}

/// Whose configs are to change.
enum Target<'a> {
    /// A topic that may not exist: that is told last, after all that is wrong with the configs.
    Topic {
        image: &'a Image,
        name: TopicName,
        none: Configs,
    },
    Broker {
        scope: BrokerScope,
        present: Configs,
    },
    /// A group that may come later.
    Group {
        image: &'a Image,
        name: String,
        present: Configs,
    },
}

impl<'a> Target<'a> {
    fn find(image: &'a Image, resource_type: i8, resource_name: &str) -> Result<Self, Refusal> {
        match resource_type {
            TOPIC if resource_name.is_empty() => {
                refuse(Reason::InvalidRequest, "Default topic resources are not allowed.")
            }
            TOPIC => {
                let name = TopicName::checked(resource_name)
                    .map_err(|fault| Refusal::new(Reason::InvalidTopic, fault.message()))?;
                Ok(Self::Topic { image, name, none: Configs::new() })
            }
            BROKER => {
                let scope = broker_scope(image, resource_name)?;
                Ok(Self::Broker {
                    scope,
                    present: image.dynamic(scope).cloned().unwrap_or_default(),
                })
            }
            BROKER_LOGGER => {
                refuse(Reason::InvalidRequest, "Log levels are set where the broker is started.")
            }
            CLIENT_METRICS => refuse(Reason::InvalidRequest, "Clients are not asked for metrics."),
            GROUP => Self::find_group(image, resource_name),
            _ => refuse(Reason::InvalidRequest, format!("Unknown resource type {resource_type}")),
        }
    }

    fn find_group(image: &'a Image, name: &str) -> Result<Self, Refusal> {
        if name.is_empty() {
            return refuse(Reason::InvalidRequest, "Default group resources are not allowed.");
        }
        let present = image.group(name).map(|it| it.overrides().clone());
        if GROUP_NAME_BYTES_MAX < name.len()
            || present.is_none() && GROUPS_CONFIGURED_MAX <= image.groups().count()
        {
            let message = format!(
                "There are at most {GROUPS_CONFIGURED_MAX} groups with configs of their own, with names \
                 of at most {GROUP_NAME_BYTES_MAX} bytes."
            );
            return refuse(Reason::InvalidRequest, message);
        }
        Ok(Self::Group { image, name: name.to_owned(), present: present.unwrap_or_default() })
    }

    fn present(&self) -> &Configs {
        match self {
            Self::Topic { image, name, none } => {
                image.topic(name.as_str()).map_or(none, |topic| topic.overrides())
            }
            Self::Broker { present, .. } | Self::Group { present, .. } => present,
        }
    }

    /// The items that a list has now, or by default.
    fn list(&self, key: &str, operation: &str, configs: &Configs) -> Result<Vec<String>, Refusal> {
        let definition = match self {
            Self::Topic { .. } => topic_key(key),
            Self::Broker { .. } => broker_key(key),
            Self::Group { .. } => group_key(key).map(|it| &it.definition),
        };
        let Some(definition) = definition.filter(|it| it.kind == Kind::List) else {
            let message = format!("Can't {operation} to key {key} because its type is not LIST.");
            return refuse(Reason::InvalidConfig, message);
        };
        let inherited = match self {
            Self::Topic { image, .. } => image.topic_defaults().get(key).map(String::as_str),
            Self::Broker { .. } | Self::Group { .. } => definition.default,
        };
        let value = configs.get(key).map(String::as_str).or(inherited).unwrap_or_default();
        Ok(split(value).into_iter().map(str::to_owned).collect())
    }

    fn value(&self, key: &str, value: &str) -> Result<String, Refusal> {
        match self {
            Self::Topic { .. } => topic_value(key, value),
            Self::Broker { .. } => broker_value(key, value),
            Self::Group { image, .. } => group_value(image, key, value),
        }
    }

    /// The event that makes the configs what they are to be. What they grow by is taken from the room
    /// that the cluster has for configs; what becomes smaller gives nothing back before it is so.
    fn change_to(&self, configs: Configs, room_bytes: &mut usize) -> Outcome {
        check_size(&configs)?;
        let grown_bytes = config_bytes(&configs).saturating_sub(config_bytes(self.present()));
        let left_bytes = room_bytes.checked_sub(grown_bytes).ok_or_else(too_many_configs)?;
        let event = self.event(configs)?;
        *room_bytes = left_bytes;
        Ok(event)
    }

    fn event(&self, configs: Configs) -> Outcome {
        let changes = changes(self.present(), configs.clone());
        match self {
            Self::Topic { image, name, .. } => {
                check_topic(image, &configs)?;
                let Some(topic) = image.topic(name.as_str()) else {
                    return refuse(
                        Reason::UnknownTopic,
                        format!("The topic '{name}' does not exist."),
                    );
                };
                let id = topic.id();
                Ok((!changes.is_empty()).then_some(Event::TopicConfigsChanged { id, changes }))
            }
            Self::Broker { scope, .. } => Ok((!changes.is_empty())
                .then_some(Event::BrokerConfigsChanged { scope: *scope, changes })),
            Self::Group { image, name, .. } => {
                check_paces(image.layers(), &configs)
                    .map_err(|message| Refusal::new(Reason::InvalidConfig, message))?;
                let group = name.clone();
                Ok((!changes.is_empty()).then_some(Event::GroupConfigsChanged { group, changes }))
            }
        }
    }
}

/// More bytes of configs than a cluster may have.
pub(crate) fn too_many_configs() -> Refusal {
    let message = format!(
        "The configs of all topics, groups and brokers would have more than \
         {CONFIGS_BYTES_TOTAL_MAX} bytes together."
    );
    Refusal::new(Reason::PolicyViolation, message)
}

fn refuse<T>(
    reason: Reason,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> Result<T, Refusal> {
    Err(Refusal::new(reason, message))
}

fn repeated<T: Ord + Copy>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|it| !seen.insert(*it)).collect()
}

/// Each key with what is to be done, if the request is well formed.
fn operations<'a>(changes: &[Change<'a>]) -> Result<Vec<(&'a str, Operation<'a>)>, Refusal> {
    if !repeated(changes.iter().map(|it| it.key)).is_empty() {
        return refuse(Reason::InvalidRequest, "Error due to duplicate config keys");
    }
    let is_null = |it: &&Change<'_>| it.operation != 1 && it.value.is_none();
    let nulls: Vec<&str> = changes.iter().filter(is_null).map(|it| it.key).collect();
    if !nulls.is_empty() {
        return refuse(
            Reason::InvalidRequest,
            format!("Null value not supported for : {}", nulls.join(", ")),
        );
    }
    let operation = |change: &Change<'a>| {
        let value = change.value.unwrap_or_default();
        let operation = match change.operation {
            0 => Operation::Set(value),
            1 => Operation::Delete,
            2 => Operation::Append(value),
            3 => Operation::Subtract(value),
            // Kafka fails with an unknown server error here.
            other => {
                return refuse(Reason::InvalidRequest, format!("Unknown operations type {other}"));
            }
        };
        Ok((change.key, operation))
    };
    changes.iter().map(operation).collect()
}

fn topic_value(key: &str, value: &str) -> Result<String, Refusal> {
    if let Some(definition) = topic_key(key) {
        return definition
            .canonical(value)
            .map_err(|fault| Refusal::new(Reason::InvalidConfig, fault.0));
    }
    let message = match TOPIC_KEYS_REFUSED.iter().find(|(name, _)| *name == key) {
        Some((name, reason)) => format!("{name} is not accepted: {reason}"),
        None => match nearest(key, TOPIC_KEYS.iter().map(|it| it.name)) {
            Some(name) => format!("Unknown topic config name: {key}; did you mean {name}?"),
            None => format!("Unknown topic config name: {key}"),
        },
    };
    refuse(Reason::InvalidConfig, message)
}

/// Kafka calls any wrong value of a broker an invalid request, and lets unknown keys pass.
fn broker_value(key: &str, value: &str) -> Result<String, Refusal> {
    if let Some(reason) = listener_key(key) {
        return refuse(Reason::InvalidRequest, format!("{key} is not accepted: {reason}"));
    }
    let Some(definition) = broker_key(key) else {
        if CONFIG_NAME_BYTES_MAX < key.len() || CONFIG_VALUE_BYTES_MAX < value.len() {
            return refuse(Reason::InvalidRequest, "The config's name or value is too long.");
        }
        return Ok(value.to_owned());
    };
    match definition {
        Definition { update: Update::ReadOnly, .. } => refuse(
            Reason::InvalidRequest,
            format!("Cannot update these configs dynamically: {key}"),
        ),
        _ => definition
            .canonical(value)
            .map_err(|fault| Refusal::new(Reason::InvalidRequest, fault.0)),
    }
}

fn group_value(image: &Image, key: &str, value: &str) -> Result<String, Refusal> {
    let Some(known) = group_key(key) else {
        let message = match GROUP_KEYS_REFUSED.iter().find(|(name, _)| *name == key) {
            Some((name, reason)) => format!("{name} is not accepted: {reason}"),
            None => match nearest(key, GROUP_KEYS.iter().map(|it| it.definition.name)) {
                Some(name) => format!("Unknown group config name: {key}; did you mean {name}?"),
                None => format!("Unknown group config name: {key}"),
            },
        };
        return refuse(Reason::InvalidConfig, message);
    };
    let value = known.definition.canonical(value);
    let value = value.map_err(|fault| Refusal::new(Reason::InvalidConfig, fault.0))?;
    let bounds = known.check(image.layers(), &value);
    bounds.map_err(|message| Refusal::new(Reason::InvalidConfig, message))?;
    Ok(value)
}

/// What no single config shows.
fn check_topic(image: &Image, overrides: &Configs) -> Result<(), Refusal> {
    let lag = |key: &str| {
        let value = overrides.get(key).or_else(|| image.topic_defaults().get(key));
        value.and_then(|it| it.parse::<i64>().ok())
    };
    let (least, most) = (lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"));
    if let (Some(least), Some(most)) = (least, most)
        && most < least
    {
        let message = format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > \
             max.compaction.lag.ms ({most})"
        );
        return refuse(Reason::InvalidConfig, message);
    }
    Ok(())
}

fn check_size(configs: &Configs) -> Result<(), Refusal> {
    let bytes: usize = configs.iter().map(|(key, value)| key.len() + value.len()).sum();
    if CONFIGS_MAX < configs.len() || CONFIGS_BYTES_MAX < bytes {
        return refuse(
            Reason::InvalidRequest,
            format!(
                "A resource has at most {CONFIGS_MAX} configs of {CONFIGS_BYTES_MAX} bytes \
                 together."
            ),
        );
    }
    Ok(())
}

fn changes(present: &Configs, wanted: Configs) -> Vec<ConfigChange> {
    let removed: Vec<ConfigChange> = present
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .map(|key| ConfigChange { key: key.clone(), value: None })
        .collect();
    wanted
        .into_iter()
        .filter(|(key, value)| present.get(key) != Some(value))
        .map(|(key, value)| ConfigChange { key, value: Some(value) })
        .chain(removed)
        .collect()
}

#[cfg(test)]
mod tests {
    use engine::id::TopicId;

    use super::{Alteration, Change, alter};
    use crate::cluster::tests::{one_node, with_config_room};
    use crate::config::describe::GROUP;
    use crate::refusal::Reason;
    use crate::topics::{NewTopic, create_topics};

    #[test]
    fn configs_that_together_are_too_many_are_a_violation_of_policy() {
        // Room for one of "share.session.timeout.ms" and "50000", and what they take besides.
        let cluster = with_config_room(one_node(), 2 * 125 - 1);
        let change = Change { key: "share.session.timeout.ms", operation: 0, value: Some("50000") };
        let of = |resource_name| Alteration {
            resource_type: GROUP,
            resource_name,
            changes: vec![change],
        };
        let outcomes = alter(cluster.image(), &[of("a"), of("b")]);
        let reasons: Vec<_> =
            outcomes.iter().map(|it| it.as_ref().map_err(|it| it.reason)).collect();
        assert!(matches!(reasons[..], [Ok(Some(_)), Err(Reason::PolicyViolation)]), "{reasons:?}");
    }

    #[test]
    fn topics_whose_configs_together_are_too_many_are_not_created() {
        // Of "retention.ms" and "1": 109 bytes.
        let cluster = with_config_room(one_node(), 2 * 109 - 1);
        let topic = |name, id| NewTopic {
            name,
            partition_count: 1,
            replication_factor: 1,
            assignments: vec![],
            configs: vec![("retention.ms", Some("1"))],
            id: TopicId::new([id; 16]),
        };
        let created = create_topics(cluster.image(), &[topic("a", 7), topic("b", 8)]);
        assert!(created[0].result.is_ok());
        assert_eq!(
            created[1].result.as_ref().map_err(|it| it.reason).err(),
            Some(Reason::PolicyViolation)
        );
    }
}
