//! What a run of the simulation is made of: what its clients do, what goes wrong and when. Made from a seed,
//! before the run, so that it shows in the story and can be made smaller.
//!
//! Knows no world.

use std::time::Duration;

use engine::codec::Codec;

use crate::sim::admin::Wish;
use crate::sim::chance::{Chance, mix};
use crate::sim::clock::Clock;
use crate::sim::consumer::Manners;
use crate::sim::damage::Damage;
use crate::sim::disk::{Crash, ENDLESS_BYTES, Faults};
use crate::sim::history::{Durability, Retries};
use crate::sim::member::Ways;
use crate::sim::net::Weather;
use crate::sim::pick::{
    codec, compression, consumer_ways, habits, manners, moment_in_crowd, phase, ways, wish,
};
use crate::sim::policy::Policy;
use crate::sim::producer::Habits;

/// Of a disk on which journal files are as small as they get.
const SMALL_DISK_BYTES: u64 = 64 << 20;

/// All pauses of a slow producer, less than `LIVENESS` by far.
const SLOW_NANOS_MAX: u64 = 150_000_000_000;

/// A start of a short run's broker has fewer places for a crash; it serves before they are over.
const START_STEPS: u64 = 64;

/// When a phase ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many places for a crash.
    Steps(u64),
    Passed(Duration),
    /// After so many such places since a checkpoint began to be stored, got its name or was durable, the nth
    /// time; or after a while.
    Checkpoint {
        number: u64,
        steps: u64,
    },
}

impl Until {
    #[must_use]
    pub const fn halved(self) -> Self {
        match self {
            Self::Steps(count) => Self::Steps(count.div_ceil(2)),
            Self::Passed(limit) => Self::Passed(limit.checked_div(2).expect("two is not zero")),
            Self::Checkpoint { number, steps } => {
                Self::Checkpoint { number, steps: steps.div_ceil(2) }
            }
        }
    }
}

/// How a phase ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Crash(Crash),
    /// A clean stop; then the power goes, too. On a good disk it leaves nothing to replay.
    Stop,
}

/// A time of one kind of trouble, and what ends it.
#[derive(Clone, Debug)]
pub struct Phase {
    pub until: Until,
    pub faults: Faults,
    pub weather: Weather,
    pub clock: Clock,
    pub ending: Ending,
    /// Of the node that comes back.
    pub shard_count: usize,
}

/// Everything that a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub shard_count: usize,
    /// What the disk says that it holds.
    pub disk_bytes: u64,
    pub topics: Vec<Wish>,
    pub producers: Vec<Habits>,
    pub consumers: Vec<Manners>,
    /// Members of one group.
    pub members: Vec<Ways>,
    /// Logs that the groups' records are shared over; as many as Kafka has if not said.
    pub group_log_count: Option<u32>,
    /// How often records are deleted.
    pub cut_count: usize,
    /// How often a topic is made, written to, deleted, and made again.
    pub churn_count: usize,
    pub phases: Vec<Phase>,
    /// Done as soon as there is something to be damaged.
    pub damage: Option<Damage>,
}

/// Parts the chance of damages from that of everything else.
const DAMAGE_SALT: u64 = 0x5dea_d5ec_7045_0001;
/// One in so many long runs that can have a damage has one.
const DAMAGE_ODDS: u64 = 2;
/// One in so many long runs has a group.
const GROUP_ODDS: u64 = 3;
/// Likewise, of short ones.
const SHORT_GROUP_ODDS: u64 = 2;
/// Likewise, of groups.
const GROUP_SALT: u64 = 0x60_0bed_5eed_0002;
/// One in so many runs has a group of consumers, of both protocols, in place of another.
const CONSUMERS_ODDS: u64 = 3;
/// Parts the chance of such groups from that of everything else.
const CONSUMERS_SALT: u64 = 0xc0_15e5_7e2d_05a3;
/// One in so many runs has more producers that compress, and topics that compress anew.
const CODECS_ODDS: u64 = 3;
/// Parts the chance of codecs from that of everything else.
const CODECS_SALT: u64 = 0xc_0dec_5eed_5582;
/// One in so many long runs has a disk that fails again and again.
const SICK_ODDS: u64 = 8;
/// Parts the chance of such disks from that of everything else.
const SICK_SALT: u64 = 0x51c_4d15_c5ee_0003;

impl Plan {
    /// Some fifty operations and no trouble.
    fn short(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut plan = Self::calm(seed, &mut chance, 15);
        plan.topics.truncate(1);
        plan.producers.truncate(2);
        plan.consumers.truncate(1);
        plan.cut_count = 1;
        plan.churn_count = usize::from(chance.one_in(4));
        if chance.one_in(2) {
            plan.compact(&mut chance);
        }
        let mut chance = Chance::new(mix(seed ^ GROUP_SALT));
        if chance.one_in(SHORT_GROUP_ODDS) {
            // Each log is some places for a crash.
            plan.group_log_count = Some(1);
            let round_count = 1 + chance.index(4);
            plan.members = vec![Ways { round_count, ..ways(&mut chance) }];
        }
        let mut chance = Chance::new(mix(seed ^ CONSUMERS_SALT));
        if chance.one_in(CONSUMERS_ODDS) {
            plan.group_log_count = Some(1);
            let round_count = 1 + chance.index(4);
            plan.members = vec![Ways { round_count, ..consumer_ways(&mut chance) }];
        }
        plan.compress(&mut Chance::new(mix(seed ^ CODECS_SALT)));
        plan
    }

    /// Many operations, several crashes, all faults. Some have a damage: of those whose topics keep all,
    /// as what a policy deletes cannot be asked for, and without a group, which has no coordinator until
    /// its damaged records are mended.
    #[must_use]
    pub fn long(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let requests = chance.between(20, 120);
        let mut plan = Self::calm(seed, &mut chance, requests);
        plan.cut_count = chance.index(6);
        plan.churn_count = chance.index(3);
        plan.phases = (0..chance.below(4)).map(|_| phase(&mut chance)).collect();
        if chance.one_in(4) {
            plan.crowd(&mut chance);
        } else if chance.one_in(2) {
            plan.slow_down(&mut chance);
            match chance.below(4) {
                0 => plan.retain(&mut chance),
                1 | 2 => plan.compact(&mut chance),
                _ => {}
            }
        }
        let mut chance = Chance::new(mix(seed ^ GROUP_SALT));
        if chance.one_in(GROUP_ODDS) {
            plan.gather(&mut chance);
        }
        let mut chance = Chance::new(mix(seed ^ DAMAGE_SALT));
        let keeps_all = plan.topics.iter().all(|it| it.policy == Policy::default());
        if chance.one_in(DAMAGE_ODDS) && keeps_all && plan.members.is_empty() {
            plan.damage = Some(Damage::pick(&mut chance));
        }
        let mut chance = Chance::new(mix(seed ^ CONSUMERS_SALT));
        if chance.one_in(CONSUMERS_ODDS) && plan.damage.is_none() {
            plan.members = (0..chance.between(1, 5)).map(|_| consumer_ways(&mut chance)).collect();
        }
        let mut chance = Chance::new(mix(seed ^ SICK_SALT));
        if chance.one_in(SICK_ODDS) && plan.damage.is_none() {
            plan.sicken(&mut chance);
        }
        plan.compress(&mut Chance::new(mix(seed ^ CODECS_SALT)));
        plan
    }

    /// Half of the producers compress, and half of the topics have a codec of their own. Not where batches
    /// are to be whole blocks, or what may be gone depends on how large they are stored.
    fn compress(&mut self, chance: &mut Chance) {
        let has_blocks = self.producers.iter().any(|it| it.batch_bytes.is_some());
        if !chance.one_in(CODECS_ODDS) || has_blocks {
            return;
        }
        for habits in &mut self.producers {
            if chance.one_in(2) {
                habits.codec = codec(chance, habits.version);
            }
        }
        for wish in &mut self.topics {
            if chance.one_in(2) && wish.policy.retention_bytes.is_none() {
                wish.compression = Some(compression(chance));
            }
        }
    }

    /// A disk that often fails what is to be durable, and then the power goes: only then it shows whether
    /// somebody counts on it all the same.
    fn sicken(&mut self, chance: &mut Chance) {
        if self.topics.iter().all(|it| it.policy == Policy::default()) {
            self.crowd(chance);
        }
        for phase in &mut self.phases {
            let odds = [3, 10, 40][chance.index(3)];
            let (write_fails, sync_fails) = if chance.one_in(2) { (odds, 0) } else { (0, odds) };
            phase.faults = Faults { write_fails, sync_fails, ..Faults::none() };
            phase.ending = Ending::Crash(Crash::Power);
        }
    }

    /// A group reads one of the topics.
    fn gather(&mut self, chance: &mut Chance) {
        self.members = (0..chance.between(1, 5)).map(|_| ways(chance)).collect();
    }

    /// Logs that keep little: by age, by bytes, or both. Their clocks are right, as what is kept
    /// depends on them.
    fn retain(&mut self, chance: &mut Chance) {
        for wish in &mut self.topics {
            wish.durability = Durability::Device;
            let retention_ms = chance.one_in(2).then(|| 1_000 << chance.between(0, 5));
            let is_small = retention_ms.is_none() || chance.one_in(3);
            let retention_bytes = is_small.then(|| chance.between(1, 100_000));
            wish.policy = Policy { retention_ms, retention_bytes, ..Policy::default() };
        }
        self.phases.iter_mut().for_each(|phase| phase.clock = Clock::default());
    }

    /// Logs of which the last record of each key is kept, in segments that soon close. Nobody may delete
    /// records of them.
    fn compact(&mut self, chance: &mut Chance) {
        for wish in &mut self.topics {
            wish.durability = Durability::Device;
            wish.segment_ms = 1 << chance.between(7, 12);
            let tombstone_ms = Some([0, 2_000, 20_000][chance.index(3)]);
            wish.policy = Policy { tombstone_ms, ..Policy::default() };
        }
        self.cut_count = 0;
        self.phases.iter_mut().for_each(|phase| phase.clock = Clock::default());
    }

    /// Clients that pause for seconds: what goes by the clock has its time. Segments roll, checkpoints
    /// are written while nobody asks for anything, caches empty, and a disk's stall lasts.
    fn slow_down(&mut self, chance: &mut Chance) {
        for habits in &mut self.producers {
            let requests = u64::try_from(habits.request_count.max(1)).expect("a run is short");
            let pause_nanos = chance.between(500_000_000, 8_000_000_000);
            habits.pause_nanos = pause_nanos.min(SLOW_NANOS_MAX / requests);
        }
        for manners in &mut self.consumers {
            manners.pause_nanos = chance.between(500_000_000, 8_000_000_000);
            manners.max_wait_ms = [0, 500, 20_000][chance.index(3)];
        }
        for phase in &mut self.phases {
            phase.faults.stall_nanos *= 5;
            if let Until::Passed(limit) = &mut phase.until {
                *limit *= 20;
            }
        }
    }

    /// Several producers write batches of whole blocks to one partition, and the power goes again and
    /// again: what an earlier life left behind the log's end looks like the next batches of this one.
    /// The journal is small: its files are used again and again, and the power goes while a checkpoint is
    /// made and batches come. On some disks large frames take longer than all of a small checkpoint.
    fn crowd(&mut self, chance: &mut Chance) {
        self.disk_bytes = SMALL_DISK_BYTES;
        self.topics.truncate(1);
        self.topics[0].partition_count = 1;
        let (batch_bytes, request_count) =
            [(4_096, 1_000), (16_384, 700), (65_536, 200)][chance.index(3)];
        let batch_bytes = Some(batch_bytes);
        self.producers = (0..chance.between(3, 6))
            .map(|_| {
                let retries = Retries::Deduplicated;
                let (codec, pause_nanos) = (Codec::None, 1_000_000);
                Habits {
                    retries,
                    acks: -1,
                    depth: 5,
                    batch_bytes,
                    codec,
                    pause_nanos,
                    ..habits(chance, request_count)
                }
            })
            .collect();
        let block_nanos = [0, 5_000, 20_000][chance.index(3)];
        self.phases = (0..4)
            .map(|_| Phase {
                until: moment_in_crowd(chance),
                faults: Faults { block_nanos, ..Faults::none() },
                weather: Weather::fair(),
                ending: Ending::Crash(Crash::Power),
                ..phase(chance)
            })
            .collect();
    }

    /// A short run with a crash at a step of its disk; without any for step 0. After every other step
    /// the start that follows is crashed, too: at each of its own steps, over the run of them all.
    #[must_use]
    pub fn crash_point(seed: u64, step: u64) -> Self {
        let mut plan = Self::short(seed);
        let crash_at = |step, is_kill| Phase {
            until: Until::Steps(step),
            faults: Faults::none(),
            weather: Weather::fair(),
            clock: Clock::default(),
            ending: Ending::Crash(if is_kill { Crash::Process } else { Crash::Power }),
            shard_count: plan.shard_count,
        };
        let mut phases = Vec::new();
        if step > 0 {
            phases.push(crash_at(step, (seed + step).is_multiple_of(4)));
        }
        if step % 2 == 1 {
            phases.push(crash_at(1 + step / 2 % START_STEPS, step % 8 == 1));
        }
        plan.phases = phases;
        plan
    }

    fn calm(seed: u64, chance: &mut Chance, request_count: u64) -> Self {
        let request_count = usize::try_from(request_count).expect("a run is short");
        let topics = (0..chance.between(1, 4)).map(|index| wish(chance, format!("t{index}")));
        let topics = topics.collect();
        let producers = (0..chance.between(1, 5)).map(|_| habits(chance, request_count)).collect();
        let consumers = (0..chance.between(0, 4)).map(|_| manners(chance)).collect();
        let members = Vec::new();
        let shard_count = 1 + chance.index(3);
        Self {
            seed,
            shard_count,
            disk_bytes: ENDLESS_BYTES,
            topics,
            producers,
            consumers,
            members,
            group_log_count: None,
            cut_count: 0,
            churn_count: 0,
            phases: Vec::new(),
            damage: None,
        }
    }
}
