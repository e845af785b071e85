//! DescribeClientQuotas: the entities that a filter lets through. Changes nothing.

use std::sync::Arc;

use crate::quota::{Bounds, Entity, Name, Part, Quotas, address_name};
use crate::refusal::{Reason, Refusal};

/// What a filter asks of one part of an entity, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Component<'a> {
    pub entity_type: &'a str,
    /// Kafka's number: 0 exact, 1 the default, 2 any that is specified.
    pub match_type: i8,
    pub name: Option<&'a str>,
}

/// Whether an entity may have parts that no component names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    Lax,
    Strict,
}

/// The entities with what bounds them, in their order.
///
/// # Errors
/// If the filter contradicts itself.
pub fn describe<'a>(
    quotas: &'a Quotas,
    filter: &[Component<'_>],
    strictness: Strictness,
) -> Result<Vec<(&'a Entity, &'a Bounds)>, Refusal> {
    let wanted = wanted(filter)?;
    let matches = |entity: &Entity| {
        let is_wanted = |(part, test): &(Part, Test<'_>)| {
            entity.part(*part).is_some_and(|name| test.matches(name))
        };
        wanted.iter().all(is_wanted)
            && (strictness == Strictness::Lax || entity.parts().count() == wanted.len())
    };
    Ok(quotas.iter().filter(|(entity, _)| matches(entity)).collect())
}

enum Test<'a> {
    Exact(&'a str),
    /// As an address is called, however it was written.
    Address(Arc<str>),
    Default,
    Any,
}

impl Test<'_> {
    fn matches(&self, name: &Name) -> bool {
        match self {
            Self::Exact(wanted) => name.as_option() == Some(wanted),
            Self::Address(wanted) => name.as_option() == Some(wanted),
            Self::Default => *name == Name::Default,
            Self::Any => true,
        }
    }
}

fn wanted<'a>(filter: &[Component<'a>]) -> Result<Vec<(Part, Test<'a>)>, Refusal> {
    let mut wanted: Vec<(Part, Test<'a>)> = Vec::new();
    for component in filter {
        let key = component.entity_type;
        if key.is_empty() {
            return refuse("Invalid empty entity type.");
        }
        let Some(part) = Part::of_key(key) else {
            let message = format!("Unsupported entity type {key}");
            return Err(Refusal::new(Reason::UnsupportedVersion, message));
        };
        if wanted.iter().any(|(it, _)| *it == part) {
            return refuse(format!(
                "Entity type {key} cannot appear more than once in the filter."
            ));
        }
        let test = match (component.match_type, component.name) {
            (0, Some(name)) => match address_name(name).filter(|_| part == Part::Address) {
                Some(address) => Test::Address(address),
                None => Test::Exact(name),
            },
            (1, None) => Test::Default,
            (2, None) => Test::Any,
            (0, None) => return refuse("An exact match needs a name."),
            (1 | 2, Some(_)) => return refuse("Only an exact match has a name."),
            (other, _) => return refuse(format!("Unknown match type {other}")),
        };
        wanted.push((part, test));
    }
    if 1 < wanted.len() && wanted.iter().any(|(part, _)| *part == Part::Address) {
        return refuse("An ip goes with no user and no client-id.");
    }
    Ok(wanted)
}

fn refuse<T>(message: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Refusal> {
    Err(Refusal::new(Reason::InvalidRequest, message))
}
