//! A group whose members come and go.

use std::time::Duration;

use crate::benchmark::turn::Started;
use crate::broker::Topic;
use crate::failure::Failure;
use crate::groups;
use crate::report::{float, whole};
use crate::results::Run;
use crate::workload::form::Profile;
use crate::workload::step::Step;

/// A group forms, and a storm that began just before the end is waited for: that takes some heartbeats.
const HEARTBEATS: u32 = 4;
const HEARTBEAT_USUAL: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(2);

pub(super) fn guessed_length(profile: &Profile) -> Duration {
    let heartbeat = profile.heartbeat_ms.map_or(HEARTBEAT_USUAL, Duration::from_millis);
    Duration::from_secs(profile.seconds) + SLACK + heartbeat * HEARTBEATS
}

pub(super) fn measure(started: &Started<'_>, step: &Step, run: &mut Run) -> Result<(), Failure> {
    let group = step.form.groups.first().expect("the file was found sound");
    let topic = step.form.topics.iter().find(|it| it.name == group.topic);
    let topic = topic.expect("the file was found sound");
    let scale = started.plan().scale;
    let scaled = |count: u64| whole(float(count) * scale);
    let members = |count: u32| u32::try_from(scaled(count.into()).max(1)).unwrap_or(u32::MAX);
    let instance = started.instance.as_ref().expect("only a restart takes the instance");
    let report = groups::run(&groups::Plan {
        address: instance.address,
        topic: Topic {
            name: &format!("{}-{}", topic.name, step.key),
            partition_count: topic.partitions,
            configs: &[],
        },
        protocol: group.protocol,
        member_count: members(group.members),
        storm_count: members(group.storm),
        heartbeat: started.profile().heartbeat_ms.map(Duration::from_millis),
        commits_per_second: scaled(group.commits_per_second),
        measured: Duration::from_secs(started.profile().seconds),
        broker: instance.process()?,
        stop: started.stop(),
    })?;
    run.numbers.extend(report.rows().iter().cloned());
    run.void.extend(report.void().iter().cloned());
    Ok(())
}
