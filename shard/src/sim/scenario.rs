//! A run of one node with its clients, by a plan, and the judgement at the end.
//!
//! How a broker is started is given by `broker.rs`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use engine::id::{Offset, PartitionId};

use crate::io::{Class, Io};
use crate::metrics::Metric;
use crate::sim::admin::Admin;
use crate::sim::broker::{self, Started};
use crate::sim::chance::Chance;
use crate::sim::checker::Tally;
use crate::sim::clock::Clock;
use crate::sim::consumer::{Consumer, Manners};
use crate::sim::damage::{Damage, Due, Moment, Unreadable};
use crate::sim::disk::{Crash, Disk, Faults};
use crate::sim::failure::{Check, Failure};
use crate::sim::history::{Event, KEY_COUNT};
use crate::sim::member::Who;
use crate::sim::net::Weather;
use crate::sim::pick::{habits, wish};
use crate::sim::plan::{Ending, Phase, Plan, Until};
use crate::sim::producer::{Habits, Producer, TOPIC_IDS_FROM};
use crate::sim::recorder::{Recorder, Target};
use crate::sim::roll::Roll;
use crate::sim::session::SESSIONS_FROM;
use crate::sim::story::Listener;
use crate::sim::{Ended, SimIo, Steps, World};

const ARENA_BYTES: usize = 64 << 20;
/// From the last fault to the last answer.
const LIVENESS: Duration = Duration::from_secs(300);

/// Longest time from a record's last permitted moment to its end: some looks at its log.
const EXPIRY_MAX: Duration = Duration::from_secs(10);

/// Longest time from the last write to a log to the end of its compaction.
const COMPACTION_MAX: Duration = Duration::from_secs(60);

const SPINS: &str = "the broker's tasks spin: they are ready all the time, and do nothing";

/// Longest clean stop, disks that stall included.
const STOP_MAX: Duration = Duration::from_secs(120);

/// What came of a run that kept its promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub tally: Tally,
    /// What the damage of the plan did.
    pub harm: Harm,
    /// Places for a crash.
    pub step_count: u64,
    pub simulated: Duration,
    /// Of it, time in which only timers and answers under way were waited for.
    pub idle: Duration,
    pub story_hash: u64,
}

/// What came of a plan's damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Harm {
    /// It was not done.
    #[default]
    None,
    /// A start was refused, and the files were restored.
    Refused,
    /// So many stretches of records could not be read. None: what was damaged is not needed.
    Unreadable(usize),
}

impl Plan {
    /// Runs it. The error says which promise was broken.
    pub fn run(&self, listener: Option<Listener>) -> Result<Report, Failure> {
        Run::new(self, listener).run()
    }
}

/// The topics that are to be there at the end.
type Topics = Rc<RefCell<Vec<Vec<Target>>>>;

/// The records of groups are compacted while a run lasts.
const HASTE: [(&str, &str); 2] =
    [("log.roll.ms", "2000"), ("log.cleaner.min.cleanable.ratio", "0.2")];

fn start(world: &World, node: usize, shard_count: usize, plan: &Plan) -> Started {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let mut settings = Vec::from(HASTE.map(owned));
    if let Some(count) = plan.group_log_count {
        settings.push(owned(("offsets.topic.num.partitions", &count.to_string())));
    }
    broker::start_with(world, node, shard_count, broker::config(&settings))
}

struct Run<'plan> {
    plan: &'plan Plan,
    world: World,
    node: usize,
    started: Started,
    recorder: Recorder,
    topics: Topics,
    /// Still to be done.
    damage: Option<Damage>,
    harm: Harm,
    /// Some broker of the run came so far: its directory has a reserve.
    has_served: bool,
    /// Once there is a topic to read.
    roll: Rc<RefCell<Option<Roll>>>,
}

impl<'plan> Run<'plan> {
    fn new(plan: &'plan Plan, listener: Option<Listener>) -> Self {
        let mut world = World::new(plan.seed);
        if let Some(listener) = listener {
            world.tell_to(listener);
        }
        let node = world.node(plan.shard_count, ARENA_BYTES);
        world.set_disk_bytes(node, plan.disk_bytes);
        let run = u32::try_from(plan.seed & u64::from(u32::MAX)).expect("masked");
        let recorder = Recorder::new(world.outside(), run);
        let started = start(&world, node, plan.shard_count, plan);
        let (topics, roll) = (Topics::default(), Rc::default());
        let (damage, harm) = (plan.damage, Harm::None);
        let has_served = false;
        Self { plan, world, node, started, recorder, topics, damage, harm, has_served, roll }
    }

    fn run(mut self) -> Result<Report, Failure> {
        self.begin_clients();
        for phase in &self.plan.phases {
            self.endure(phase)?;
        }
        self.heal()?;
        let recorder = self.recorder.clone();
        self.wait(LIVENESS, || !recorder.is_busy(), "clients still wait for answers")?;
        self.recorder.close();
        self.read_all()?;
        self.inflict(Moment::Running);
        self.crash(Crash::Power, self.plan.shard_count)?;
        self.read_all()?;
        self.expire()?;
        self.recorder.finish().map_err(|it| Check::History.failed(format!("{it} at the end")))?;
        Ok(Report {
            tally: self.recorder.tally(),
            harm: self.harm,
            step_count: self.world.step_count(self.node),
            simulated: self.world.now().since(crate::io::Nanos::new(1_000_000_000)),
            idle: self.world.idle(),
            story_hash: self.world.story_hash(),
        })
    }

    /// Spawns everything that clients do.
    fn begin_clients(&self) {
        let (io, node) = (self.world.outside(), self.node);
        let (recorder, topics, plan) =
            (self.recorder.clone(), Rc::clone(&self.topics), self.plan.clone());
        let rolls = Rc::clone(&self.roll);
        recorder.begin_work();
        io.clone().spawn(Class::Foreground, async move {
            let mut chance = Chance::new(io.random());
            let mut admin = Admin::new(&io, node, &recorder);
            for wish in &plan.topics {
                let targets = admin.create(wish).await;
                topics.borrow_mut().push(targets);
            }
            let targets: Vec<Target> = topics.borrow().concat();
            for habits in plan.producers {
                let count = 1 + chance.index(targets.len().min(4));
                let targets = some_of(&mut chance, &targets, count);
                let producer = Producer::new(&io, node, &recorder, habits, targets);
                work(&io, &recorder, producer.run());
            }
            for manners in plan.consumers {
                let count = 1 + chance.index(targets.len());
                let targets = some_of(&mut chance, &targets, count);
                let is_in_session = manners.version >= SESSIONS_FROM && chance.clone().one_in(2);
                let consumer = Consumer::new(&io, node, &recorder, manners, targets);
                let consumer = if is_in_session { consumer.in_session() } else { consumer };
                io.spawn(Class::Foreground, consumer.follow());
            }
            if !plan.members.is_empty() {
                let read = &topics.borrow()[0];
                let roll = Roll::new(&recorder, "sim".to_owned(), read);
                for ways in plan.members {
                    work(&io, &recorder, Who::new(&io, node, &roll, ways).live());
                }
                rolls.borrow_mut().replace(roll);
            }
            for index in 0..plan.churn_count {
                let name = format!("churn{index}");
                work(
                    &io,
                    &recorder,
                    churn(io.clone(), node, recorder.clone(), name, Rc::clone(&topics)),
                );
            }
            for _ in 0..plan.cut_count {
                io.sleep(Duration::from_nanos(chance.below(400_000_000))).await;
                let target = &targets[chance.index(targets.len())];
                let end = recorder.known_end(target.log).get();
                let before = chance.below(u64::try_from(end + 1).expect("offsets are positive"));
                let before = Offset::new(i64::try_from(before).expect("below an offset"));
                admin.cut(target, before).await;
            }
            recorder.end_work();
        });
    }

    /// Runs a phase and its crash. A broker that its disk stopped is started again.
    fn endure(&mut self, phase: &Phase) -> Result<(), Failure> {
        // A first start may find no room, and every other one has had some.
        let is_first_without_room = !self.has_served && self.plan.seed.is_multiple_of(2);
        if phase.faults.room_bytes != 0 && !is_first_without_room {
            self.world.set_faults(self.node, Faults::none());
            let (recorder, started) = (self.recorder.clone(), self.started.clone());
            let has_begun = || started.ready().is_some() || started.stopped().is_some();
            self.world.run(LIVENESS, || recorder.has_failed() || has_begun());
        }
        self.world.set_faults(self.node, phase.faults);
        self.world.set_weather(phase.weather);
        self.world.set_clock(self.node, phase.clock);
        if self.damage.is_some_and(|it| it.moment == Moment::Running) {
            self.live(phase.until.halved())?;
            self.inflict(Moment::Running);
            self.live(phase.until.halved())?;
        } else {
            self.live(phase.until)?;
        }
        self.has_served |= self.started.ready().is_some();
        let may_stop = phase.faults.may_stop_a_broker()
            || phase.faults.room_bytes != 0 && is_first_without_room;
        if let Some(reason) = self.started.stopped()
            && !may_stop
        {
            return Err(Check::Start.failed(reason));
        }
        if phase.faults.only_fill() {
            self.check_open()?;
        }
        match phase.ending {
            Ending::Crash(crash) => self.crash(crash, phase.shard_count),
            Ending::Stop => self.stop(phase),
        }
    }

    /// Until a phase, or a part of it, is over.
    fn live(&mut self, until: Until) -> Result<(), Failure> {
        let limit = match until {
            Until::Steps(_) => Duration::from_secs(20),
            Until::Passed(limit) => limit,
            Until::Checkpoint { .. } => Duration::from_secs(2),
        };
        let (recorder, started) = (self.recorder.clone(), self.started.clone());
        let is_over = is_over(until, self.world.steps(self.node));
        let ended = self
            .world
            .run(limit, || recorder.has_failed() || started.stopped().is_some() || is_over());
        if ended == Ended::Spinning {
            return Err(Check::Liveness.failed(SPINS));
        }
        self.recorder.failure().map_or(Ok(()), Err)
    }

    /// Does the damage of the plan, if this is its moment.
    fn inflict(&mut self, moment: Moment) {
        let Some(damage) = self.damage.as_mut().filter(|it| it.moment == moment) else { return };
        if damage.skips > 0 {
            damage.skips -= 1;
            return;
        }
        let (damage, partitions) = (*damage, self.partitions());
        let is_done = self.world.with_disk(self.node, |disk| damage.inflict(disk, &partitions));
        if !is_done {
            return;
        }
        self.damage = None;
        self.harm = Harm::Unreadable(0);
        self.world.outside().tell([8, 0, 0], || format!("{damage:?}"));
        if moment == Moment::Running {
            // A crash comes before the last reads, and may undo what nobody could tell.
            let due = self.world.with_disk(self.node, |disk| Due::of(disk, &partitions));
            self.note(&due.passing());
        }
    }

    /// Tells the checker which reads may be refused.
    fn note(&mut self, due: &Due) {
        let targets = self.recorder.targets();
        for unreadable in &due.unreadable {
            let Some(target) = targets.iter().find(|it| it.id() == unreadable.partition) else {
                continue;
            };
            let Unreadable { first, end, is_lasting, .. } = *unreadable;
            let log = target.log;
            self.recorder.record(&Event::Damaged { log, first, end, is_lasting });
        }
        if let Harm::Unreadable(count) = &mut self.harm {
            *count = due.unreadable.len().max(*count);
        }
    }

    /// Every partition that was ever made, but that of the metadata.
    fn partitions(&self) -> Vec<PartitionId> {
        self.recorder.targets().iter().map(Target::id).collect()
    }

    /// A disk that is full closes no partition.
    fn check_open(&mut self) -> Result<(), Failure> {
        if self.started.ready().is_none() {
            return Ok(());
        }
        let metrics = self.started.order_metrics();
        let fenced_count = Rc::new(Cell::new(None));
        let (recorder, found) = (self.recorder.clone(), Rc::clone(&fenced_count));
        self.world.run(STOP_MAX, || {
            if let Ok(snapshots) = metrics.try_recv() {
                let fenced = snapshots.iter().map(|it| it.metric(Metric::PartitionsFenced));
                found.set(Some(fenced.sum::<u64>()));
            }
            recorder.has_failed() || found.get().is_some()
        });
        match (self.recorder.failure(), fenced_count.get()) {
            (Some(failure), _) => Err(failure),
            (None, Some(0)) => Ok(()),
            (None, Some(count)) => {
                Err(Check::Room.failed(format!("a full disk has closed {count} partitions")))
            }
            (None, None) => {
                Err(Check::Liveness.failed("a broker on a full disk does not tell its metrics"))
            }
        }
    }

    /// Stops the broker cleanly, cuts the power, and starts it again.
    fn stop(&mut self, phase: &Phase) -> Result<(), Failure> {
        // The disk is good again; what it closed stays closed.
        self.world.set_faults(self.node, Faults::none());
        let was_ready = self.started.ready().is_some();
        let (recorder, started) = (self.recorder.clone(), self.started.clone());
        started.order_stop();
        let ended = self.world.run(STOP_MAX, || recorder.has_failed() || started.has_ended());
        if let Some(failure) = self.recorder.failure() {
            return Err(failure);
        }
        if ended != Ended::Done {
            return Err(
                Check::Stop.failed(format!("it does not end within {STOP_MAX:?}: {ended:?}"))
            );
        }
        self.crash(Crash::Power, phase.shard_count)?;
        if !was_ready || phase.faults.may_stop_a_broker() {
            return Ok(());
        }
        let (recorder, started) = (self.recorder.clone(), self.started.clone());
        self.world.run(STOP_MAX, || recorder.has_failed() || started.ready().is_some());
        match self.started.ready() {
            Some(report) if report.journal_frames == 0 => Ok(()),
            Some(report) => Err(Check::Stop.failed(format!("replay after it: {report:?}"))),
            None => {
                Err(Check::Stop.failed(format!("no start after it: {:?}", self.started.stopped())))
            }
        }
    }

    /// No more faults, and a broker that has seen none.
    fn heal(&mut self) -> Result<(), Failure> {
        self.world.set_weather(Weather::fair());
        self.world.set_clock(self.node, Clock::default());
        if !self.plan.phases.is_empty() {
            self.world.set_faults(self.node, Faults::none());
            self.crash(Crash::Process, self.plan.shard_count)?;
        }
        Ok(())
    }

    fn crash(&mut self, crash: Crash, shard_count: usize) -> Result<(), Failure> {
        self.begin_crash(crash, shard_count);
        self.inflict(Moment::Down);
        if self.harm != Harm::None {
            let partitions = self.partitions();
            let due = self.world.with_disk(self.node, |it| Due::after_crash(it, &partitions));
            if !due.refused_for.is_empty() {
                self.refuse_start(&due, crash, shard_count)?;
            } else {
                self.note(&due);
            }
        }
        self.started = start(&self.world, self.node, shard_count, self.plan);
        Ok(())
    }

    fn begin_crash(&mut self, crash: Crash, shard_count: usize) {
        self.world.crash(self.node, crash);
        self.recorder.record(&Event::Crashed);
        self.world.resize(self.node, shard_count);
    }

    /// A start on damaged files: it must be refused, and name one of them. Then they are restored.
    fn refuse_start(&mut self, due: &Due, crash: Crash, shard_count: usize) -> Result<(), Failure> {
        self.world.set_faults(self.node, Faults::none());
        self.world.with_disk(self.node, Disk::copy_liars);
        let started = start(&self.world, self.node, shard_count, self.plan);
        self.world.run(LIVENESS, || started.ready().is_some() || started.stopped().is_some());
        let Due { refused_for, .. } = due;
        let Some(reason) = started.stopped() else {
            return Err(Check::Damage.failed(format!("a start on damaged files: {refused_for:?}")));
        };
        if !refused_for.iter().any(|path| reason.contains(path)) {
            let what = format!("a start does not name what is damaged, {refused_for:?}: {reason}");
            return Err(Check::Damage.failed(what));
        }
        self.begin_crash(crash, shard_count);
        self.world.with_disk(self.node, Disk::restore_copies);
        self.harm = Harm::Refused;
        Ok(())
    }

    /// A compacted log that is not written to any more has one record of each key after a while.
    fn shrink(&mut self) -> Result<(), Failure> {
        let (recorder, io) = (self.recorder.clone(), self.world.outside());
        recorder.begin_work();
        let sleeper = recorder.clone();
        io.clone().spawn(Class::Foreground, async move {
            io.sleep(COMPACTION_MAX).await;
            sleeper.end_work();
        });
        self.wait(LIVENESS, || !recorder.is_busy(), "a pause has no end")?;
        self.read_all()?;
        for target in self.topics.borrow().concat() {
            let count = self.recorder.count_left(target.log).unwrap_or(0);
            if u64::try_from(count).is_ok_and(|it| it > KEY_COUNT) {
                let what = format!("log {} has {count} records of {KEY_COUNT} keys", target.log.0);
                return Err(Check::Compaction.failed(what));
            }
        }
        Ok(())
    }

    /// What is kept by age only, and is not written to any more, is empty after a while.
    fn expire(&mut self) -> Result<(), Failure> {
        let policies = || self.plan.topics.iter().map(|wish| wish.policy);
        if policies().any(|it| it.tombstone_ms.is_some()) {
            return self.shrink();
        }
        let ages = policies().filter_map(|it| it.retention_ms);
        let Some(longest) = ages.max().and_then(|it| u64::try_from(it).ok()) else {
            return Ok(());
        };
        let (io, node, recorder) = (self.world.outside(), self.node, self.recorder.clone());
        let topics = Rc::clone(&self.topics);
        recorder.begin_work();
        io.clone().spawn(Class::Foreground, async move {
            io.sleep(Duration::from_millis(longest) + EXPIRY_MAX).await;
            let targets = topics.borrow().concat();
            let is_aged = |target: &Target| target.policy.retention_ms.is_some();
            let targets: Vec<Target> = targets.into_iter().filter(is_aged).collect();
            let consumer = Consumer::new(&io, node, &recorder, whole_reader(), targets);
            for (target, start, end) in consumer.bounds().await {
                if start != end {
                    let log = target.log.0;
                    let what = format!("log {log} still has old records, from {start} to {end}");
                    recorder.fail(Check::Retention, what);
                }
            }
            recorder.end_work();
        });
        let recorder = self.recorder.clone();
        self.wait(LIVENESS, || !recorder.is_busy(), "the logs' bounds cannot be asked for")
    }

    /// Reads every log whole, and compares the topics with what they should be.
    fn read_all(&mut self) -> Result<(), Failure> {
        let (io, node, recorder) = (self.world.outside(), self.node, self.recorder.clone());
        let topics = Rc::clone(&self.topics);
        let is_in_session = !self.plan.seed.is_multiple_of(2);
        let roll = self.roll.borrow().clone();
        recorder.begin_work();
        io.clone().spawn(Class::Foreground, async move {
            compare(&io, node, &recorder, &topics).await;
            let targets = topics.borrow().concat();
            let consumer = Consumer::new(&io, node, &recorder, whole_reader(), targets);
            let consumer = if is_in_session { consumer.in_session() } else { consumer };
            consumer.read_whole().await;
            if let Some(roll) = roll {
                roll.audit(&io, node).await;
            }
            recorder.end_work();
        });
        let recorder = self.recorder.clone();
        self.wait(LIVENESS, || !recorder.is_busy(), "the logs cannot be read")
    }

    fn wait(
        &mut self,
        limit: Duration,
        is_done: impl Fn() -> bool,
        what: &str,
    ) -> Result<(), Failure> {
        let (recorder, started) = (self.recorder.clone(), self.started.clone());
        let ended = self
            .world
            .run(limit, || recorder.has_failed() || started.stopped().is_some() || is_done());
        if let Some(failure) = recorder.failure() {
            return Err(failure);
        }
        if let Some(reason) = started.stopped() {
            return Err(Check::Start.failed(reason));
        }
        match ended {
            Ended::Done => Ok(()),
            Ended::Late => Err(Check::Liveness.failed(format!("not after {limit:?}: {what}"))),
            Ended::Spinning => Err(Check::Liveness.failed(SPINS)),
            Ended::Idle => Err(Check::Liveness.failed(format!("nothing can ever happen: {what}"))),
        }
    }
}

/// Tells when a phase ends by what the disk has done since now.
fn is_over(until: Until, steps: Steps) -> impl Fn() -> bool {
    let (first_step, first_checkpoint) = (steps.count(), steps.checkpoint_count());
    let stored_from = Cell::new(None);
    move || match until {
        Until::Passed(_) => false,
        Until::Steps(count) => steps.count() >= first_step + count,
        Until::Checkpoint { number, steps: count } => {
            let has_begun = steps.checkpoint_count() >= first_checkpoint + number;
            if has_begun && stored_from.get().is_none() {
                stored_from.set(Some(steps.count()));
            }
            stored_from.get().is_some_and(|from| steps.count() >= from + count)
        }
    }
}

/// Of who reads a log from its start to its end.
const fn whole_reader() -> Manners {
    let (version, max_wait_ms, max_bytes) = (12, 0, 1 << 20);
    Manners { version, max_wait_ms, max_bytes, isolation_level: 0, pause_nanos: 1 }
}

/// Runs a client that has an end.
fn work(io: &SimIo, recorder: &Recorder, client: impl Future<Output = ()> + 'static) {
    recorder.begin_work();
    let recorder = recorder.clone();
    io.spawn(Class::Foreground, async move {
        client.await;
        recorder.end_work();
    });
}

fn some_of(chance: &mut Chance, targets: &[Target], count: usize) -> Vec<Target> {
    let first = chance.index(targets.len());
    (0..count).map(|index| targets[(first + index) % targets.len()].clone()).collect()
}

/// A topic that is deleted while it is written to, and made again.
async fn churn(io: SimIo, node: usize, recorder: Recorder, name: String, topics: Topics) {
    let mut chance = Chance::new(io.random());
    let mut admin = Admin::new(&io, node, &recorder);
    let mut old_ids = Vec::new();
    for round in 0..2 {
        let wish = wish(&mut chance, name.clone());
        let targets = admin.create(&wish).await;
        let topic_id = targets[0].topic_id;
        if old_ids.contains(&topic_id) {
            recorder.fail(
                Check::Topics,
                format!("topic {name} was made again with the id of a deleted one"),
            );
        }
        old_ids.push(topic_id);
        let habits = Habits { version: TOPIC_IDS_FROM, ..habits(&mut chance, 10) };
        let producer = Producer::new(&io, node, &recorder, habits, targets.clone());
        work(&io, &recorder, producer.run());
        io.sleep(Duration::from_nanos(chance.below(300_000_000))).await;
        if round == 0 {
            admin.delete(&targets).await;
        } else {
            topics.borrow_mut().push(targets);
        }
    }
}

async fn compare(io: &SimIo, node: usize, recorder: &Recorder, topics: &Topics) {
    let mut is: Vec<_> = Admin::new(io, node, recorder)
        .describe()
        .await
        .into_iter()
        .filter(|topic| !topic.name.starts_with("__"))
        .map(|topic| (topic.name, topic.topic_id, topic.partition_count))
        .collect();
    let mut wanted: Vec<_> = topics
        .borrow()
        .iter()
        .map(|targets| (targets[0].topic.clone(), targets[0].topic_id, targets.len()))
        .collect();
    is.sort();
    wanted.sort();
    if is != wanted {
        recorder.fail(Check::Topics, format!("the topics are {is:?}, they should be {wanted:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{LIVENESS, Plan, Run};
    use crate::sim::broker;
    use crate::sim::damage::{Damage, Due, How, Moment, Place};
    use crate::sim::disk::{Crash, Disk, Faults};
    use crate::sim::failure::Check;

    /// Which check finds what is wrong with a broker that is down, after `change`.
    fn found(change: impl FnOnce(&mut Run<'_>)) -> Check {
        let plan = Plan::crash_point(1, 0);
        let mut run = Run::new(&plan, None);
        run.begin_clients();
        run.world.crash(run.node, Crash::Power);
        change(&mut run);
        let recorder = run.recorder.clone();
        let failure = run.wait(LIVENESS, || !recorder.is_busy(), "clients wait");
        failure.expect_err("there is no broker").check
    }

    #[test]
    fn a_broker_that_does_not_come_is_found() {
        assert_eq!(found(|_| {}), Check::Liveness);
    }

    #[test]
    fn a_broker_that_answers_nothing_is_found_unless_there_is_a_fault() {
        let mute = |run: &mut Run<'_>| drop(run.world.listen(run.node, 0));
        assert_eq!(found(mute), Check::Patience);
        let with_fault = |run: &mut Run<'_>| {
            mute(run);
            run.world.set_faults(run.node, Faults { stalls: 400, ..Faults::none() });
        };
        assert_eq!(found(with_fault), Check::Liveness);
    }

    /// What is found after a bit of a stored record has flipped while no broker ran; `tell` may tell the
    /// checker of it, and change the disk.
    fn found_with_flip(tell: impl FnOnce(&mut Run<'_>, &Due)) -> Result<(), String> {
        // What is deleted cannot be asked for.
        let plan = Plan { cut_count: 0, churn_count: 0, ..Plan::crash_point(1, 0) };
        let mut run = Run::new(&plan, None);
        run.begin_clients();
        let recorder = run.recorder.clone();
        run.wait(LIVENESS, || !recorder.is_busy(), "clients wait").expect("a good disk");
        run.recorder.close();
        // The start that follows stores all in the segments, and its checkpoint knows of it.
        run.crash(Crash::Power, 1).expect("a good disk");
        let started = run.started.clone();
        run.wait(LIVENESS, || started.ready().is_some(), "no start").expect("a good disk");
        run.begin_crash(Crash::Power, 1);
        let (place, how, moment) = (Place::Segment, How::Flipped, Moment::Down);
        let damage = Damage { place, how, moment, skips: 0, salt: 7 };
        let partitions = run.partitions();
        let due = run.world.with_disk(run.node, |disk| {
            assert!(damage.inflict(disk, &partitions), "there are records to damage");
            Due::of(disk, &partitions)
        });
        tell(&mut run, &due);
        run.started = broker::start(&run.world, run.node, 1);
        run.read_all().map_err(|it| it.to_string())?;
        run.recorder.finish().map_err(|it| it.to_string())
    }

    #[test]
    fn a_damaged_record_that_is_served_and_a_sound_one_that_is_refused_are_found() {
        assert_eq!(found_with_flip(|run, due| run.note(due)), Ok(()));
        let served = found_with_flip(|run, due| {
            run.note(due);
            run.world.with_disk(run.node, Disk::end_all_lies);
        });
        assert!(served.as_ref().is_err_and(|it| it.starts_with("NotNoticed")), "{served:?}");
        let refused = found_with_flip(|_, _| {});
        assert!(refused.as_ref().is_err_and(|it| it.contains("NotDamaged")), "{refused:?}");
    }

    #[test]
    fn a_start_that_should_be_refused_and_is_not_is_found() {
        let plan = Plan::crash_point(1, 0);
        let mut run = Run::new(&plan, None);
        run.begin_crash(Crash::Power, 1);
        let mut due = Due::default();
        due.refused_for.push("a file".to_owned());
        let refused = run.refuse_start(&due, Crash::Power, 1);
        assert_eq!(refused.map_err(|it| it.check), Err(Check::Damage));
    }
}
