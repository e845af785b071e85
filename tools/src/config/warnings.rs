//! What configs do not do, though a broker takes them.
//!
//! It knows this version's own definitions, so it speaks of our brokers only.

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::protocol::StrBytes;
use replication::config::broker_keys::broker_key;
use replication::config::definition::Treatment;
use replication::config::group::group_key;
use replication::config::topic_keys::topic_key;

use crate::cluster::Cluster;
use crate::command::remark;
use crate::config::resource::Kind;
use crate::failure::Failure;
use crate::report::Report;
use crate::table::printable;

/// A broker that has this config is ours.
const OWN_CONFIG: &str = "odradek.cores";

/// Says what configs do not do, if some change was made and the broker is one that we can speak for.
pub(crate) fn warn(
    cluster: &mut Cluster,
    report: &Report,
    kind: Kind,
    configs: &[(String, String)],
) -> Result<(), Failure> {
    let warnings = warnings(kind, configs);
    let is_done = report.rows.iter().any(|(_, result)| result.is_ok());
    if is_done && !warnings.is_empty() && is_ours(cluster)? {
        for warning in &warnings {
            remark(&printable(warning));
        }
    }
    Ok(())
}

fn is_ours(cluster: &mut Cluster) -> Result<bool, Failure> {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(Kind::Broker.id())
        .with_resource_name(text(&cluster.controller().to_string()))
        .with_configuration_keys(Some(vec![text(OWN_CONFIG)]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let response = cluster.call_controller(&request, 4)?;
    let mut configs = response.results.iter().flat_map(|result| &result.configs);
    Ok(configs.any(|config| config.name.as_str() == OWN_CONFIG))
}

/// A sentence for each config that somebody may expect too much of.
pub(crate) fn warnings(kind: Kind, configs: &[(String, String)]) -> Vec<String> {
    configs.iter().filter_map(|(key, value)| warning(kind, key, value)).collect()
}

fn warning(kind: Kind, key: &str, value: &str) -> Option<String> {
    let definition = match kind {
        Kind::Topic => topic_key(key),
        Kind::Group => group_key(key).map(|it| &it.definition),
        Kind::Broker => broker_key(key),
    };
    if definition.is_none() && kind == Kind::Broker {
        return Some(format!("{key} is no config that is known: it is stored but has no effect"));
    }
    let definition = definition?;
    // A refused value is the broker's to explain.
    let value = definition.canonical(value).ok()?;
    let what = match (definition.treatment, key) {
        (Treatment::NoEffect(reason), _) => format!("is stored but has no effect: {reason}"),
        (_, "write.caching") if value == "true" => {
            "acknowledges records from memory: a crash or a power cut can lose them".to_owned()
        }
        _ => return None,
    };
    Some(format!("{key}={value} {what}"))
}

#[cfg(test)]
mod tests {
    use super::{Kind, warnings};

    #[track_caller]
    fn check_of(kind: Kind, key: &str, value: &str, want: &[&str]) {
        assert_eq!(warnings(kind, &[(key.to_owned(), value.to_owned())]), want);
    }

    #[track_caller]
    fn check(key: &str, value: &str, want: &[&str]) {
        check_of(Kind::Topic, key, value, want);
    }

    #[test]
    fn brokers_and_groups_have_configs_without_effect_too() {
        let streams = "streams.num.standby.replicas=1 is stored but has no effect: \
                       groups of the streams protocol are not served yet";
        check_of(Kind::Group, "streams.num.standby.replicas", "1", &[streams]);
        check_of(Kind::Group, "consumer.session.timeout.ms", "50000", &[]);
        check_of(Kind::Broker, "log.retention.ms", "1", &[]);
        let threads = "background.threads=3 is stored but has no effect: \
                       each core runs one thread that does everything";
        check_of(Kind::Broker, "background.threads", "3", &[threads]);
        let unknown =
            "log.retention.msec is no config that is known: it is stored but has no effect";
        check_of(Kind::Broker, "log.retention.msec", "1", &[unknown]);
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let space = "preallocate=true is stored but has no effect: they always do";
        check("preallocate", " TRUE", &[space]);
        check("cleanup.policy", "delete, compact", &[]);
        check("segment.bytes", "1048576", &[]);
        check("retention.ms", " 1", &[]);
    }

    #[test]
    fn caching_is_said_aloud() {
        let cached = "write.caching=true acknowledges records from memory: a crash or a power cut can lose them";
        check("write.caching", "TRUE", &[cached]);
        check("write.caching", "false", &[]);
    }

    #[test]
    fn what_the_broker_refuses_is_not_ours_to_warn_of() {
        check("retention.ms", "soon", &[]);
        check("retention.milliseconds", "1", &[]);
    }
}
