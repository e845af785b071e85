//! AlterClientQuotas: each entity of a request becomes an event or a refusal, as Kafka has it.
//! Nothing changes here. To validate only, drop the events.

use std::sync::Arc;

use crate::event::Event;
use crate::limits::{QUOTA_ENTITIES_MAX, QUOTA_NAME_BYTES_MAX};
use crate::quota::{Bound, Change, Entity, Name, Part, Quota, Quotas, address_name};
use crate::refusal::{Reason, Refusal};

/// How far from a whole number a bound of bytes may be, as Kafka has it.
const WHOLE_WITHIN: f64 = 1e-6;

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

fn entity(parts: &[(&str, Option<&str>)]) -> Result<Entity, Refusal> {
    let (mut user, mut client, mut address) = (None, None, None);
    for (key, name) in parts {
        let Some(part) = Part::of_key(key) else {
            return refuse(format!("Unhandled client quota entity type: {key}"));
        };
        let slot = match part {
            Part::User => &mut user,
            Part::Client => &mut client,
            Part::Address => &mut address,
        };
        if slot.replace(entity_name(part, *name)?).is_some() {
            return refuse(format!("Duplicate entity type {key}"));
        }
    }
    match (user, client, address) {
        (None, None, Some(address)) => Ok(Entity::Address(address)),
        (_, _, Some(_)) => refuse("An ip goes with no user and no client-id."),
        (user, client, None) => Entity::new(user, client)
            .map_or_else(|| refuse("Invalid empty client quota entity"), Ok),
    }
}

fn entity_name(part: Part, name: Option<&str>) -> Result<Name, Refusal> {
    let Some(name) = name else { return Ok(Name::Default) };
    let key = part.key();
    if name.is_empty() {
        return refuse(format!("Empty {key} not supported"));
    }
    if QUOTA_NAME_BYTES_MAX < name.len() {
        return refuse(format!("A {key} has at most {QUOTA_NAME_BYTES_MAX} bytes."));
    }
    match part {
        Part::User | Part::Client => Ok(Name::Exact(Arc::from(name))),
        Part::Address => match address_name(name) {
            Some(name) => Ok(Name::Exact(name)),
            None => refuse(format!("{name} is not a valid IP; host names are not looked up.")),
        },
    }
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
        let quota = Quota::of_key(key).filter(|it| it.is_of(entity));
        let change = match (quota, value) {
            (None, None) => continue,
            (None, Some(_)) => return refuse(format!("Invalid configuration key {key}")),
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
    let Some(whole_max) = quota.whole_max() else {
        return Ok(bound);
    };
    if WHOLE_WITHIN < (value - value.round()).abs() {
        return refuse(format!("Quota {key} must be a whole number"));
    }
    if whole_max < value {
        return refuse(format!("Quota {key} is too large"));
    }
    Ok(bound)
}

fn refuse<T>(message: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Refusal> {
    Err(Refusal::new(Reason::InvalidRequest, message))
}
