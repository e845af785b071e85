//! DescribeClientQuotas and AlterClientQuotas on the wire; the rules are `replication`'s.

use std::rc::Rc;

use kafka_protocol::messages::alter_client_quotas_request::EntryData as Entry;
use kafka_protocol::messages::alter_client_quotas_response::{
    EntityData as AlteredEntity, EntryData as Altered,
};
use kafka_protocol::messages::describe_client_quotas_response::{
    EntityData as DescribedEntity, EntryData as Described, ValueData,
};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
};
use kafka_protocol::protocol::StrBytes;
use replication::quota::alter::{self, Alteration};
use replication::quota::describe::{self, Component, Strictness};
use replication::quota::{Bounds, Entity};

use crate::controller::{Command, Outcome};
use crate::handler::configs::carry_out;
use crate::handler::{Pauses, reason_code, text};
use crate::io::Io;
use crate::shard::Shard;

pub async fn describe<I: Io>(
    shard: &Shard<I>,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let image = shard.image();
    let filter: Vec<Component<'_>> = request
        .components
        .iter()
        .map(|component| Component {
            entity_type: &component.entity_type,
            match_type: component.match_type,
            name: component._match.as_ref().map(StrBytes::as_str),
        })
        .collect();
    let strictness = if request.strict { Strictness::Strict } else { Strictness::Lax };
    let response = DescribeClientQuotasResponse::default();
    let found = match describe::describe(image.quotas(), &filter, strictness) {
        Ok(found) => found,
        Err(refusal) => {
            return response
                .with_error_code(reason_code(refusal.reason).get())
                .with_error_message(Some(text(refusal.message)))
                .with_entries(None);
        }
    };
    let mut entries = Vec::with_capacity(found.len());
    let mut pauses = Pauses::new(&shard.io);
    for (entity, bounds) in found {
        entries.push(described(entity, bounds));
        pauses.next().await;
    }
    response.with_entries(Some(entries))
}

fn described(entity: &Entity, bounds: &Bounds) -> Described {
    let parts = entity.parts().map(|(part, name)| {
        DescribedEntity::default()
            .with_entity_type(StrBytes::from_static_str(part.key()))
            .with_entity_name(name.as_option().map(text))
    });
    let values = bounds.iter().map(|(quota, bound)| {
        ValueData::default()
            .with_key(StrBytes::from_static_str(quota.key()))
            .with_value(bound.get())
    });
    Described::default().with_entity(parts.collect()).with_values(values.collect())
}

pub async fn alter<I: Io>(
    shard: &Rc<Shard<I>>,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    match shard.command(Command::AlterClientQuotas(request)).await {
        Outcome::AlterClientQuotas(response) => response,
        _ => unreachable!("an outcome is of the command that was sent"),
    }
}

/// On the controller.
pub async fn execute_alter<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let alterations: Vec<_> = request.entries.iter().map(alteration).collect();
    let outcomes = alter::alter(shard.controller.image().quotas(), &alterations);
    let results = carry_out(shard, outcomes, request.validate_only).await;
    let entries = request.entries.iter().zip(results).map(|(entry, (code, message))| {
        let parts = entry.entity.iter().map(|part| {
            AlteredEntity::default()
                .with_entity_type(part.entity_type.clone())
                .with_entity_name(part.entity_name.clone())
        });
        Altered::default()
            .with_error_code(code.get())
            .with_error_message(message)
            .with_entity(parts.collect())
    });
    AlterClientQuotasResponse::default().with_entries(entries.collect())
}

fn alteration(entry: &Entry) -> Alteration<'_> {
    let parts = entry.entity.iter();
    Alteration {
        entity: parts
            .map(|it| (&*it.entity_type, it.entity_name.as_ref().map(StrBytes::as_str)))
            .collect(),
        changes: entry.ops.iter().map(|it| (&*it.key, (!it.remove).then_some(it.value))).collect(),
    }
}
