//! What a topic's configs do not do, though a broker takes them.
//!
//! Pure. It knows this version's own definitions, so it speaks of our brokers only.

use replication::config::definition::Treatment;
use replication::config::topic_keys::topic_key;

/// A sentence for each config that somebody may expect too much of.
pub(crate) fn warnings(configs: &[(String, String)]) -> Vec<String> {
    configs.iter().filter_map(|(key, value)| warning(key, value)).collect()
}

fn warning(key: &str, value: &str) -> Option<String> {
    let definition = topic_key(key)?;
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
    use super::warnings;

    #[track_caller]
    fn check(key: &str, value: &str, want: &[&str]) {
        assert_eq!(warnings(&[(key.to_owned(), value.to_owned())]), want);
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
