//! Clients whose use of the broker is bounded: what is set, and how it holds them.

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
};
use kafka_protocol::protocol::StrBytes;
use net::api::ApiKey;

use crate::answers::{Client, play};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Parts of an entity: type and name, or the default's.
type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

fn entry(parts: Parts<'_>, key: &str, value: Option<f64>) -> EntryData {
    let part = |(kind, name): &(&str, Option<&str>)| {
        EntityData::default().with_entity_type(text(kind)).with_entity_name(name.map(text))
    };
    let operation = OpData::default()
        .with_key(text(key))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    EntryData::default().with_entity(parts.iter().map(part).collect()).with_ops(vec![operation])
}

/// The code and whether there is a message, of each entry.
async fn alter(client: &Client, version: i16, entries: Vec<EntryData>) -> Vec<(i16, bool)> {
    alter_if(client, version, entries, false).await
}

async fn alter_if(
    client: &Client,
    version: i16,
    entries: Vec<EntryData>,
    validate_only: bool,
) -> Vec<(i16, bool)> {
    let request =
        AlterClientQuotasRequest::default().with_entries(entries).with_validate_only(validate_only);
    let answer: AlterClientQuotasResponse =
        client.ask(ApiKey::AlterClientQuotas, version, &request).await;
    answer.entries.iter().map(|it| (it.error_code, it.error_message.is_some())).collect()
}

/// Sets one quota.
async fn set(client: &Client, parts: Parts<'_>, key: &str, value: f64) {
    assert_eq!(alter(client, 1, vec![entry(parts, key, Some(value))]).await, [(0, false)]);
}

/// The code, and each entity with its values.
async fn describe(
    client: &Client,
    version: i16,
    filter: &[(&str, i8, Option<&str>)],
    strict: bool,
) -> (i16, Option<Vec<String>>) {
    let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| {
        ComponentData::default()
            .with_entity_type(text(kind))
            .with_match_type(*match_type)
            .with_match(name.map(text))
    };
    let request = DescribeClientQuotasRequest::default()
        .with_components(filter.iter().map(component).collect())
        .with_strict(strict);
    let answer: DescribeClientQuotasResponse =
        client.ask(ApiKey::DescribeClientQuotas, version, &request).await;
    let entries = answer.entries.map(|entries| {
        entries
            .iter()
            .map(|entry| {
                let name = |it: &Option<StrBytes>| {
                    it.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string)
                };
                let parts = entry.entity.iter();
                let parts: Vec<String> = parts
                    .map(|it| format!("{}:{}", &*it.entity_type, name(&it.entity_name)))
                    .collect();
                let values = entry.values.iter();
                let values: Vec<String> =
                    values.map(|it| format!("{}={}", &*it.key, it.value)).collect();
                format!("{} {}", parts.join("/"), values.join(" "))
            })
            .collect()
    });
    (answer.error_code, entries)
}

#[test]
fn what_is_set_is_described_and_what_is_only_validated_is_not() {
    play(&[], async |client: Client| {
        let user: Parts<'_> = &[("user", Some("alice"))];
        let both: Parts<'_> = &[("user", None), ("client-id", Some("app"))];
        let rate = "producer_byte_rate";
        for version in [0, 1] {
            assert_eq!(describe(&client, version, &[], false).await, (0, Some(vec![])));
            let entries = vec![
                entry(user, rate, Some(1_000.0)),
                entry(both, "request_percentage", Some(12.5)),
                entry(user, "consumer_byte_rate", Some(1.0)),
                entry(&[("user", Some("bob"))], rate, Some(-1.0)),
                entry(&[("group", Some("g"))], rate, Some(1.0)),
            ];
            let want = [(0, false), (0, false), (42, true), (42, true), (42, true)];
            assert_eq!(alter_if(&client, version, entries.clone(), true).await, want);
            assert_eq!(describe(&client, version, &[], false).await, (0, Some(vec![])));
            assert_eq!(alter(&client, version, entries).await, want);
            let alice = "user:alice producer_byte_rate=1000".to_owned();
            let app = "user:*/client-id:app request_percentage=12.5".to_owned();
            let all = (0, Some(vec![alice.clone(), app.clone()]));
            assert_eq!(describe(&client, version, &[], false).await, all);
            let of_users = [("user", 2, None)];
            assert_eq!(describe(&client, version, &of_users, true).await, (0, Some(vec![alice])));
            let of_default = [("user", 1, None)];
            assert_eq!(describe(&client, version, &of_default, false).await, (0, Some(vec![app])));
            // Kafka's codes for a filter that makes no sense: no list at all.
            assert_eq!(describe(&client, version, &[("user", 0, None)], false).await, (42, None));
            assert_eq!(describe(&client, version, &[("group", 2, None)], false).await, (35, None));
            let entries = vec![entry(user, rate, None), entry(both, "request_percentage", None)];
            assert_eq!(alter(&client, version, entries).await, [(0, false), (0, false)]);
        }
        set(&client, user, rate, 5.0).await;
    });
}
