//! DescribeConfigs, ListConfigResources, AlterConfigs and IncrementalAlterConfigs on the wire; the rules
//! are `replication`'s.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::error_code::ErrorCode;
use net::items::Items;
use replication::config::alter::{self, Alteration, Change, Replacement};
use replication::config::describe::{
    self, BROKER, BROKER_LOGGER, CLIENT_METRICS, Entry, GROUP, TOPIC,
};
use replication::event::Event;
use replication::image::Image;
use replication::refusal::Refusal;

use crate::cause::Cause;
use crate::connection::{Connection, Frame, Request};
use crate::controller::{Command, Outcome};
use crate::handler::{Close, charge_time, reason_code, text, throttle_ms};
use crate::io::Io;
use crate::lane::Sliced;
use crate::limits::ANSWER_SLICE_BYTES;
use crate::shard::Shard;

/// A resource at a time, into the chunks that are sent: of all topics it is many megabytes. One that is named
/// twice is described once: an answer is no larger than all there is. Past what answers may hold the rest is
/// refused.
pub async fn describe<I: Io>(
    shard: &Rc<Shard<I>>,
    connection: &Connection<I>,
    request: &mut Request,
    mut body: DescribeConfigsRequest,
) -> Result<Frame<I>, Close> {
    let image = shard.image();
    let mut named = BTreeSet::new();
    let bytes_max = shard.answers.long_bytes_max();
    let mut items = Items::new(request.header.reply());
    let mut sliced = Sliced::new(&shard.io, &shard.lane);
    for resource in std::mem::take(&mut body.resources) {
        if !named.insert((resource.resource_type, resource.resource_name.clone())) {
            continue;
        }
        // A resource has so many configs that each is a slice of its own.
        let write = || -> Result<(), Close> {
            let result = if u64::try_from(items.byte_count()).is_ok_and(|it| it < bytes_max) {
                described(&image, resource, &body)
            } else {
                too_many(resource)
            };
            shard.recorder.borrow_mut().on_error(result.error_code);
            items.push(&result).map_err(|_error| Close(Cause::Answer))?;
            if items.chunks().open_bytes() >= ANSWER_SLICE_BYTES {
                items.chunks().end_chunk();
            }
            Ok(())
        };
        sliced.next(write).await?;
    }
    charge_time(shard, connection, request);
    items.answer(throttle_ms(request)).map_err(|_error| Close(Cause::Answer))
}

fn too_many(resource: DescribeConfigsResource) -> DescribeConfigsResult {
    let message =
        "The answer is too long. Ask for fewer resources, or fewer of their configs, at a time.";
    DescribeConfigsResult::default()
        .with_error_code(ErrorCode::POLICY_VIOLATION.get())
        .with_error_message(Some(text(message)))
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name)
}

/// What `body` asks of one resource.
fn described(
    image: &Image,
    resource: DescribeConfigsResource,
    body: &DescribeConfigsRequest,
) -> DescribeConfigsResult {
    let keys = resource.configuration_keys.unwrap_or_default();
    let keys: Vec<&str> = keys.iter().map(StrBytes::as_str).collect();
    let kind = resource.resource_type;
    let described = describe::describe(image, kind, &resource.resource_name, &keys);
    let result = DescribeConfigsResult::default()
        .with_resource_type(kind)
        .with_resource_name(resource.resource_name);
    match described {
        Ok(entries) => {
            let configs = entries.iter().map(|entry| {
                let mut shown = shown(entry);
                if !body.include_synonyms {
                    shown.synonyms.clear();
                }
                if !body.include_documentation {
                    shown.documentation = None;
                }
                shown
            });
            result.with_error_message(Some(text(""))).with_configs(configs.collect())
        }
        Err(refusal) => result
            .with_error_code(reason_code(refusal.reason).get())
            .with_error_message(Some(text(refusal.message))),
    }
}

fn shown(entry: &Entry) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.iter().map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(synonym.name.clone()))
            .with_value(synonym.value.clone().map(text))
            .with_source(synonym.source.id())
    });
    DescribeConfigsResourceResult::default()
        .with_name(text(entry.name.clone()))
        .with_value(entry.value.clone().map(text))
        .with_read_only(entry.is_read_only)
        .with_config_source(entry.source.id())
        .with_is_sensitive(entry.is_sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(entry.kind_id())
        .with_documentation(Some(text(entry.documentation())))
}

/// First version that asks for more than the subscriptions of client metrics, of which there are none.
const EVERY_RESOURCE_FROM: i16 = 1;

/// The resources that have configs, of the types asked for; no type means all.
pub fn list_resources<I: Io>(
    shard: &Shard<I>,
    request: &ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    let response = ListConfigResourcesResponse::default();
    if version < EVERY_RESOURCE_FROM {
        return response;
    }
    let asked: BTreeSet<i8> = request.resource_types.iter().copied().collect();
    let known = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    if asked.iter().any(|it| !known.contains(it)) {
        return response.with_error_code(ErrorCode::UNSUPPORTED_VERSION.get());
    }
    let image = shard.image();
    let mut resources = Vec::new();
    let mut list = |kind: i8, names: &mut dyn Iterator<Item = StrBytes>| {
        if asked.is_empty() || asked.contains(&kind) {
            let resource = ConfigResource::default().with_resource_type(kind);
            resources.extend(names.map(|name| resource.clone().with_resource_name(name)));
        }
    };
    for kind in [BROKER_LOGGER, BROKER] {
        list(kind, &mut image.brokers().map(|it| text(it.id.to_string())));
    }
    list(TOPIC, &mut image.topics().map(|it| text(it.name().as_str())));
    list(GROUP, &mut image.groups().map(|(name, _)| text(&**name)));
    response.with_config_resources(resources)
}

pub async fn alter<I: Io>(
    shard: &Rc<Shard<I>>,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    match shard.command(Command::AlterConfigs(request)).await {
        Outcome::AlterConfigs(response) => response,
        _ => unreachable!("an outcome is of the command that was sent"),
    }
}

pub async fn alter_incrementally<I: Io>(
    shard: &Rc<Shard<I>>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    match shard.command(Command::IncrementalAlterConfigs(request)).await {
        Outcome::IncrementalAlterConfigs(response) => response,
        _ => unreachable!("an outcome is of the command that was sent"),
    }
}

/// On the controller.
pub async fn execute_alter<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let alterations: Vec<_> = request
        .resources
        .iter()
        .map(|resource| Alteration {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            changes: resource
                .configs
                .iter()
                .map(|config| Change {
                    key: &config.name,
                    operation: config.config_operation,
                    value: config.value.as_ref().map(StrBytes::as_str),
                })
                .collect(),
        })
        .collect();
    let outcomes = alter::alter(&shard.controller.image(), &alterations);
    let results = carry_out(shard, outcomes, request.validate_only).await;
    let responses = request.resources.iter().zip(results).map(|(resource, (code, message))| {
        IncrementalResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_code(code.get())
            .with_error_message(message)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

/// On the controller.
pub async fn execute_replace<I: Io>(
    shard: &Rc<Shard<I>>,
    request: &AlterConfigsRequest,
) -> AlterConfigsResponse {
    let replacements: Vec<_> = request
        .resources
        .iter()
        .map(|resource| Replacement {
            resource_type: resource.resource_type,
            resource_name: &resource.resource_name,
            configs: resource
                .configs
                .iter()
                .map(|config| (config.name.as_str(), config.value.as_ref().map(StrBytes::as_str)))
                .collect(),
        })
        .collect();
    let outcomes = alter::replace(&shard.controller.image(), &replacements);
    let results = carry_out(shard, outcomes, request.validate_only).await;
    let responses = request.resources.iter().zip(results).map(|(resource, (code, message))| {
        AlterConfigsResourceResponse::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_code(code.get())
            .with_error_message(message)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// Commits what is to change. A code and a message for each outcome.
pub(super) async fn carry_out<I: Io>(
    shard: &Rc<Shard<I>>,
    outcomes: Vec<Result<Option<Event>, Refusal>>,
    validate_only: bool,
) -> Vec<(ErrorCode, Option<StrBytes>)> {
    let events: Vec<Event> = outcomes.iter().flatten().flatten().cloned().collect();
    let committed = if validate_only { Ok(()) } else { shard.commit_events(&events).await };
    outcomes
        .into_iter()
        .map(|outcome| match (outcome, committed) {
            (Err(refusal), _) => (reason_code(refusal.reason), Some(text(refusal.message))),
            (Ok(None), _) | (Ok(Some(_)), Ok(())) => (ErrorCode::NONE, None),
            (Ok(Some(_)), Err(code)) => (code, None),
        })
        .collect()
}
