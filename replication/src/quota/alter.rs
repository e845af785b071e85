//! AlterClientQuotas: each entity of a request becomes an event or a refusal, as Kafka has it.
//! Nothing changes here. To validate only, drop the events.

use std::sync::Arc;

use crate::event::Event;
use crate::limits::{QUOTA_ENTITIES_MAX, QUOTA_NAME_BYTES_MAX};
use crate::quota::{Bound, Change, Entity, Name, Part, Quota, Quotas};
use crate::refusal::{Reason, Refusal};

/// How far from a whole number a bound of bytes may be, as Kafka has it.
const WHOLE_WITHIN: f64 = 1e-6;
/// The largest that a 64-bit number of Kafka's carries.
const WHOLE_MAX: f64 = 9_223_372_036_854_775_807.0;

/// One entry of a request, as it came.
#[derive(Clone, Debug)]
pub struct Alteration<'a> {
    /// Types with their names; a null name is the default's.
    pub entity: Vec<(&'a str, Option<&'a str>)>,
    /// Keys with their values; `None` removes.
    pub changes: Vec<(&'a str, Option<f64>)>,
}

/// `None` if there is nothing to change.
pub type Outcome = Result<Option<Event>, Refusal>;

/// One outcome per entry, in the request's order.
#[must_use]
pub fn alter(quotas: &Quotas, request: &[Alteration<'_>]) -> Vec<Outcome> {
    let mut seen = std::collections::BTreeSet::new();
    let mut room = quotas.clone();
    let outcome = |alteration: &Alteration<'_>| {
        let entity = entity(&alteration.entity)?;
        if !seen.insert(entity.clone()) {
            return refuse("Each entity must appear at most once.");
        }
        let changes = changes(quotas, &entity, &alteration.changes)?;
        if changes.is_empty() {
            return Ok(None);
        }
        let Ok(changed) = room.change(&entity, &changes) else {
            return refuse(format!("There are at most {QUOTA_ENTITIES_MAX} entities with quotas."));
        };
        room = changed;
        Ok(Some(Event::QuotasChanged { entity, changes }))
    };
    request.iter().map(outcome).collect()
}

/// What a type of entity is called that Kafka knows and nothing here bounds.
pub(super) const ADDRESS: &str = "ip";

fn entity(parts: &[(&str, Option<&str>)]) -> Result<Entity, Refusal> {
    let (mut user, mut client) = (None, None);
    for (key, name) in parts {
        let slot = match *key {
            key if key == Part::User.key() => &mut user,
            key if key == Part::Client.key() => &mut client,
            ADDRESS => {
                return refuse(
                    "The rate of connections from an address is not bounded; \
                     max.connections.per.ip bounds their number.",
                );
            }
            _ => return refuse(format!("Unhandled client quota entity type: {key}")),
        };
        let name = match name {
            None => Name::Default,
            Some("") => return refuse(format!("Empty {key} not supported")),
            Some(name) if QUOTA_NAME_BYTES_MAX < name.len() => {
                return refuse(format!("A {key} has at most {QUOTA_NAME_BYTES_MAX} bytes."));
            }
            Some(name) => Name::Exact(Arc::from(*name)),
        };
        if slot.replace(name).is_some() {
            return refuse(format!("Duplicate entity type {key}"));
        }
    }
    Entity::new(user, client)
        .ok_or_else(|| Refusal::new(Reason::InvalidRequest, "Invalid empty client quota entity"))
}

/// Those that make a difference. That a key is not known is told only of one that is set.
fn changes(
    quotas: &Quotas,
    entity: &Entity,
    wanted: &[(&str, Option<f64>)],
) -> Result<Vec<Change>, Refusal> {
    let present = quotas.get(entity).copied().unwrap_or_default();
    let mut changes: Vec<Change> = Vec::new();
    for (index, (key, value)) in wanted.iter().enumerate() {
        if wanted.iter().take(index).any(|(it, _)| it == key) {
            return refuse(format!("Duplicate quota key {key}"));
        }
        let change = match (Quota::of_key(key), value) {
            (None, None) => continue,
            (None, Some(_)) => return unknown(key),
            (Some(quota), None) => (quota, None),
            (Some(quota), Some(value)) => (quota, Some(bound(quota, *value)?)),
        };
        if present.get(change.0) != change.1 {
            changes.push(change);
        }
    }
    Ok(changes)
}

fn bound(quota: Quota, value: f64) -> Result<Bound, Refusal> {
    let key = quota.key();
    let Some(bound) = Bound::checked(value) else {
        return refuse(format!("Quota {key} must be greater than 0"));
    };
    if !quota.is_whole() {
        return Ok(bound);
    }
    if WHOLE_WITHIN < (value - value.round()).abs() {
        return refuse(format!("Quota {key} must be a whole number"));
    }
    if WHOLE_MAX < value {
        return refuse(format!("Quota {key} is too large"));
    }
    Ok(bound)
}

fn unknown<T>(key: &str) -> Result<T, Refusal> {
    match key {
        "connection_creation_rate" => {
            refuse(format!("{key} is not accepted: nothing here would follow from it"))
        }
        _ => refuse(format!("Invalid configuration key {key}")),
    }
}

fn refuse<T>(message: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Refusal> {
    Err(Refusal::new(Reason::InvalidRequest, message))
}
