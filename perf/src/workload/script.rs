//! From a step of a workload to the plan of a scene: names become indices, shares become rates, and
//! the scale is applied.
//!
//! The scale multiplies rates, connections, backlogs, and the partitions of topics that say so. It
//! leaves record sizes, shares and the profile's times.

use std::net::SocketAddr;
use std::time::Duration;

use crate::failure::Failure;
use crate::frame;
use crate::process::Process;
use crate::protocol::Protocol;
use crate::report::{float, float_of, whole};
use crate::scene::plan::{self, Pace, Plan, Until};
use crate::workload::form::{self, Form, Kind, Lasts, Profile};
use crate::workload::rate::Rate;
use crate::workload::step::Step;

/// Of the batch's header, and at most so much of each record.
const BATCH_BYTES: usize = 61;
const RECORD_BYTES: usize = 12;
/// Readers are done when they are less than this behind.
const LAG_MAX: Duration = Duration::from_secs(1);
/// What a phase that ends with an amount is taken to do in a second, for the time that remains.
const GUESSED_BYTES_PER_SECOND: f64 = 150_000_000.0;
const MEGA: f64 = 1_000_000.0;

/// What a step needs to know besides its file.
pub(crate) struct Circumstances<'a> {
    pub(crate) profile: &'a Profile,
    /// Whether no step of this turn came before.
    pub(crate) is_first: bool,
    pub(crate) scale: f64,
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) broker: Option<Process>,
    /// Megabytes a second that this target reached in a workload; nothing if it was not run.
    pub(crate) reached: &'a dyn Fn(&str) -> Option<f64>,
    /// Whether the generator has a core of its own.
    pub(crate) spins: bool,
}

/// Names that lead nowhere are found before anything runs.
pub(crate) fn check(form: &Form) -> Result<(), Failure> {
    let has_topic = |name: &String| form.topics.iter().any(|topic| topic.name == *name);
    let named = form.producers.iter().map(|it| &it.topic);
    let named = named.chain(form.consumers.iter().map(|it| &it.topic));
    for name in named.chain(form.groups.iter().map(|it| &it.topic)) {
        if !has_topic(name) {
            return Err(Failure::new(format!("there is no topic `{name}`")));
        }
    }
    let phases: Vec<&str> = form.phases.iter().map(|phase| phase.name.as_str()).collect();
    for begins_in in form.consumers.iter().filter_map(|it| it.begins_in.as_deref()) {
        if !phases.contains(&begins_in) {
            return Err(Failure::new(format!("there is no phase `{begins_in}`")));
        }
    }
    for name in form.phases.iter().flat_map(|phase| phase.rates.keys()) {
        if !form.producers.iter().any(|producers| producers.name == *name) {
            return Err(Failure::new(format!("there are no producers `{name}`")));
        }
    }
    let all = [&form.profiles.smoke, &form.profiles.full, &form.profiles.lab];
    let has_backlog = all.iter().all(|profile| profile.backlog.is_some());
    if form.phases.iter().any(|phase| phase.lasts == Lasts::Backlog) && !has_backlog {
        return Err(Failure::new("a phase lasts `backlog`: each profile needs one"));
    }
    if form.groups.len() != usize::from(form.kind == Kind::Groups) {
        return Err(Failure::new("the kind `groups` has one group, and no other kind has any"));
    }
    if !form.phases.iter().any(|phase| phase.counts) {
        return Err(Failure::new("no phase counts"));
    }
    Ok(())
}

/// All that a form has.
pub(crate) fn rates(form: &Form) -> impl Iterator<Item = &Rate> {
    let of_phases = form.phases.iter().flat_map(|phase| phase.rates.values());
    form.producers.iter().map(|producers| &producers.rate).chain(of_phases)
}

pub(crate) fn plan(step: &Step, at: &Circumstances<'_>) -> Result<Plan, Failure> {
    let form = &step.form;
    let topics = form.topics.iter().map(|topic| topic_of(topic, step, at));
    let phases = form.phases.iter().map(|phase| phase_of(phase, form, at));
    Ok(Plan {
        address: at.address,
        protocol: at.protocol,
        broker: at.broker,
        topics: topics.collect::<Result<_, _>>()?,
        producers: form.producers.iter().map(|it| producers_of(it, form, at)).collect(),
        consumers: form.consumers.iter().map(|it| consumers_of(it, form, at)).collect(),
        phases: phases.collect::<Result<_, _>>()?,
        spins: at.spins,
    })
}

/// What all producers together are to send a second in the phases that count, if the file alone says it.
pub(crate) fn offered(form: &Form, scale: f64) -> Option<f64> {
    let rates = form.producers.iter().map(|producers| match producers.rate {
        Rate::Records(records) => Some(float(records) * scale),
        Rate::Bytes(bytes) => Some(float(bytes) * scale / float_of(producers.record_bytes)),
        Rate::Share { .. } | Rate::Max | Rate::Rest => None,
    });
    rates.sum()
}

/// What goes into one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) record_count: i32,
    /// About: what is not records is left out.
    pub(crate) byte_count: usize,
}

pub(crate) fn request(producers: &form::Producers) -> Request {
    let record_count = request_records(producers);
    let records = usize::try_from(record_count).expect("one record at least");
    let byte_count = BATCH_BYTES + records * (producers.record_bytes + RECORD_BYTES);
    Request { record_count, byte_count }
}

/// About how long its phases take.
pub(crate) fn guessed_length(
    form: &Form,
    profile: &Profile,
    is_first: bool,
    scale: f64,
) -> Duration {
    let backlog = profile.backlog.map_or(0, |amount| amount.scaled(scale));
    let backlog = Duration::from_secs_f64(float(backlog) / GUESSED_BYTES_PER_SECOND);
    let lengths = form.phases.iter().map(|phase| match phase.lasts {
        Lasts::WarmUp => profile.warm_up(is_first),
        Lasts::Seconds => Duration::from_secs(profile.seconds),
        Lasts::Half => Duration::from_secs(profile.seconds) / 2,
        Lasts::Double => Duration::from_secs(profile.seconds) * 2,
        Lasts::Backlog => backlog,
        Lasts::Drained => backlog.min(Duration::from_secs(profile.drain_seconds_max)),
    });
    lengths.sum()
}

fn topic_of(
    topic: &form::Topic,
    step: &Step,
    at: &Circumstances<'_>,
) -> Result<plan::Topic, Failure> {
    let mut configs = Vec::new();
    for config in &topic.configs {
        let wrong = || Failure::new(format!("topic {}: `{config}` is no KEY=VALUE", topic.name));
        let (key, value) = config.split_once('=').ok_or_else(wrong)?;
        configs.push((key.to_owned(), value.to_owned()));
    }
    let scale = if topic.is_scaled { at.scale } else { 1.0 };
    let partitions = whole(f64::from(topic.partitions) * scale).max(1);
    let partition_count = i32::try_from(partitions)
        .map_err(|_large| Failure::new(format!("{partitions} partitions are too many")))?;
    let legal = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name = format!("{}-{}-{}", form_key(step), topic.name, step.key);
    Ok(plan::Topic { name: name.chars().map(legal).collect(), partition_count, configs })
}

fn form_key(step: &Step) -> String {
    step.form.key.to_ascii_lowercase()
}

fn producers_of(it: &form::Producers, form: &Form, at: &Circumstances<'_>) -> plan::Producers {
    plan::Producers {
        name: it.name.clone(),
        topic: topic_index(form, &it.topic),
        count: scaled_count(it.connections, at.scale),
        in_flight_max: it.in_flight,
        record_count: request_records(it),
        value_bytes: it.record_bytes,
        acks: match it.acks {
            form::Acks::All => frame::Acks::All,
            form::Acks::Leader => frame::Acks::Leader,
        },
        is_idempotent: it.is_idempotent,
        partitioning: it.partitioning,
    }
}

fn consumers_of(it: &form::Consumers, form: &Form, at: &Circumstances<'_>) -> plan::Consumers {
    let begins_in = it.begins_in.as_ref().map_or(0, |name| {
        let index = form.phases.iter().position(|phase| phase.name == *name);
        index.expect("the file was checked: the phase is there")
    });
    plan::Consumers {
        name: it.name.clone(),
        topic: topic_index(form, &it.topic),
        count: scaled_count(it.count, at.scale),
        share: match it.share {
            form::Share::All => plan::Share::All,
            form::Share::Split => plan::Share::Split,
        },
        from: match it.from {
            form::From::Start => plan::From::Start,
            form::From::End => plan::From::End,
        },
        begins_in,
        partition_bytes_max: it.partition_bytes_max,
        wait_max: Duration::from_millis(it.wait_ms_max),
    }
}

fn phase_of(
    phase: &form::Phase,
    form: &Form,
    at: &Circumstances<'_>,
) -> Result<plan::Phase, Failure> {
    let paces = form.producers.iter().map(|producers| {
        let rate = phase.rates.get(&producers.name).unwrap_or(&producers.rate);
        pace(rate, producers.record_bytes, at)
    });
    let until = match phase.lasts {
        Lasts::WarmUp => Until::Passed(at.profile.warm_up(at.is_first)),
        Lasts::Seconds => Until::Passed(Duration::from_secs(at.profile.seconds)),
        Lasts::Half => Until::Passed(Duration::from_secs(at.profile.seconds) / 2),
        Lasts::Double => Until::Passed(Duration::from_secs(at.profile.seconds) * 2),
        Lasts::Backlog => {
            let backlog = at.profile.backlog.expect("the file was checked: it has a backlog");
            Until::Sent(backlog.scaled(at.scale))
        }
        Lasts::Drained => Until::Drained {
            lag: LAG_MAX,
            at_most: Duration::from_secs(at.profile.drain_seconds_max),
        },
    };
    let (name, counts) = (phase.name.clone(), phase.counts);
    Ok(plan::Phase { name, until, counts, paces: paces.collect::<Result<_, _>>()? })
}

fn pace(rate: &Rate, record_bytes: usize, at: &Circumstances<'_>) -> Result<Pace, Failure> {
    let records_per_second = match rate {
        Rate::Max => return Ok(Pace::Saturated),
        Rate::Rest => return Ok(Pace::Rests),
        Rate::Records(records) => float(*records) * at.scale,
        Rate::Bytes(bytes) => float(*bytes) * at.scale / float_of(record_bytes),
        Rate::Share { percent, of } => {
            let missing =
                || Failure::new(format!("{of} has no result yet: its rates follow from it"));
            let mb_per_second = (at.reached)(of).ok_or_else(missing)?;
            percent / 100.0 * mb_per_second * MEGA / float_of(record_bytes)
        }
    };
    Ok(Pace::Open { records_per_second: whole(records_per_second).max(1) })
}

fn topic_index(form: &Form, name: &str) -> usize {
    let index = form.topics.iter().position(|topic| topic.name == name);
    index.expect("the file was checked: the topic is there")
}

/// At least one.
fn scaled_count(count: usize, scale: f64) -> usize {
    let scaled = whole(float_of(count) * scale).max(1);
    usize::try_from(scaled).expect("sizes have 64 bits")
}

/// As many as a batch has room for.
fn request_records(producers: &form::Producers) -> i32 {
    let room = producers.batch_bytes.saturating_sub(BATCH_BYTES);
    let count = (room / (producers.record_bytes + RECORD_BYTES)).max(1);
    i32::try_from(count).unwrap_or(i32::MAX)
}
