//! A turn: one target, started on an empty folder, goes through the steps of a workload, and is
//! stopped.
//!
//! What fails makes its run void and says why; the benchmark goes on.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::benchmark::calls::Tracer;
use crate::benchmark::order::Turn;
use crate::benchmark::{
    Benchmark, Plan, Purpose, calls, connections, derived, groups, now_unix, reference, restart,
};
use crate::broker::Topic;
use crate::clock::Moment;
use crate::confinement::Confinement;
use crate::disk_probe::{self, DiskProbe};
use crate::failure::Failure;
use crate::machine;
use crate::partitions;
use crate::pressure::Pressure;
use crate::process::Machine;
use crate::report::{self, Report, float, float_of};
use crate::results::{Durability, Run};
use crate::scene::{self, Outcome};
use crate::slate;
use crate::standstill::{self, Watch};
use crate::stop::Stop;
use crate::target::instance::Instance;
use crate::target::{Site, Target};
use crate::workload::Workload;
use crate::workload::form::{Kind, Profile};
use crate::workload::script::{self, Circumstances};
use crate::workload::step::Step;

/// A number of each phase of a scene.
const REQUESTS: &str = "acknowledged_request_count";
/// Likewise, or of a whole run.
const STEAL: &str = "steal_percent";
/// Of the disk: with less, brokers slow down so as not to fill it.
const FREE_PERCENT_MIN: f64 = 2.0;
/// Below the benchmark's folder, while a target runs.
const RUNNING_FOLDER: &str = "running";
/// Where both kinds of brokers that are started here have their data.
const DATA_FOLDER: &str = "data";
/// Of a step, besides its phases: topics, connections, the wait for the last answers.
const STEP_SLACK: Duration = Duration::from_millis(500);
/// Before each turn: what is dirty is written, the page cache is emptied.
const SLATE_LENGTH: Duration = Duration::from_secs(1);

/// What came of a turn.
pub(super) struct Taken {
    pub(super) runs: Vec<Run>,
    /// The target's command line.
    pub(super) command: String,
    /// What was done before it, in words.
    pub(super) slate: String,
    /// What is left of the time for steps that other machines disturbed.
    pub(super) spare: Duration,
}

/// About how long it takes.
pub(super) fn length(
    workload: &Workload,
    target: &Target,
    plan: &Plan,
) -> Result<Duration, Failure> {
    let profile = workload.profile(plan.extent);
    let start = Duration::from_secs(target.guessed_seconds());
    let mut steps = workload.steps(plan.extent)?;
    steps.retain(|step| target.unfit(&step.form).is_none());
    if steps.is_empty() {
        return Ok(Duration::ZERO);
    }
    let mut total = start + SLATE_LENGTH;
    for (nth, step) in steps.into_iter().enumerate() {
        let phases = script::guessed_length(&step.form, profile, nth == 0, plan.scale);
        let partitions = step.form.topics.iter().map(|topic| topic.partitions).sum();
        total += STEP_SLACK + partitions::guessed_length(partitions);
        total += match step.form.kind {
            Kind::Scene => phases,
            Kind::Connections => phases * 3 + connections::guessed_length(profile, plan.scale),
            // The load comes twice, before each of two ends, and what follows has something to recover.
            Kind::Restart => phases + Duration::from_secs(profile.seconds) + start * 2,
            Kind::Groups => groups::guessed_length(profile),
        };
    }
    Ok(total)
}

/// Fails only if the machine does: what the target does wrong is in the runs.
pub(super) fn take(benchmark: &Benchmark<'_>, turn: Turn) -> Result<Taken, Failure> {
    let plan = benchmark.plan;
    let (workload, target) = (&plan.workloads[turn.workload], &plan.targets[turn.target]);
    let steps = benchmark.steps[turn.workload].iter();
    let steps: Vec<&Step> = steps.filter(|step| target.unfit(&step.form).is_none()).collect();
    let folder = fresh_folder(plan, target)?;
    let slate = slate::clean(&folder, plan.caches);
    let blank = |step: &Step| blank(workload, step, target, turn.pair);
    let mut taken =
        Taken { runs: Vec::new(), command: String::new(), slate, spare: benchmark.spare };
    let mut started = match Started::new(benchmark, turn, folder.clone()) {
        Ok(started) => started,
        Err(failure) => {
            let void = |step| Run { void: vec![failure.to_string()], ..blank(step) };
            taken.runs = steps.into_iter().map(void).collect();
            return Ok(taken);
        }
    };
    taken.command = started.command()?;
    for step in steps {
        taken.runs.push(started.run(step, blank(step), &mut taken.spare));
        if benchmark.is_stopped() {
            break;
        }
    }
    drop(started);
    keep_logs(plan, target, &folder)?;
    Ok(taken)
}

fn blank(workload: &Workload, step: &Step, target: &Target, pair: u32) -> Run {
    Run {
        workload: workload.form().key.clone(),
        step: step.key.clone(),
        target: target.key().to_owned(),
        pair,
        began_unix: now_unix(),
        void: Vec::new(),
        numbers: BTreeMap::new(),
        bound: String::new(),
        series: Vec::new(),
        samples: Vec::new(),
    }
}

/// A folder's name may have no colon of an address.
fn word(target: &Target) -> String {
    target.key().replace([':', '/'], "-")
}

fn fresh_folder(plan: &Plan, target: &Target) -> Result<PathBuf, Failure> {
    let folder = plan.folder.join(RUNNING_FOLDER).join(word(target));
    let failed = |error| Failure::io(format!("empty {}", folder.display()), error);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed)?;
    }
    fs::create_dir_all(&folder).map_err(failed)?;
    fs::canonicalize(&folder).map_err(failed)
}

/// The last one of each target stays; its data goes.
fn keep_logs(plan: &Plan, target: &Target, folder: &PathBuf) -> Result<(), Failure> {
    let failed = |error| Failure::io(format!("clear {}", folder.display()), error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|it| it == "log") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kept = plan.folder.join(format!("{}-{name}", word(target)));
            fs::rename(&path, kept).map_err(failed)?;
        }
    }
    fs::remove_dir_all(folder).map_err(failed)?;
    if fs::remove_dir(plan.folder.join(RUNNING_FOLDER)).is_err() {
        // Somebody else keeps something there.
    }
    Ok(())
}

/// A target that runs, and what a step needs to know of it.
pub(super) struct Started<'a> {
    benchmark: &'a Benchmark<'a>,
    turn: Turn,
    pub(super) folder: PathBuf,
    /// `None` once a restart took it over.
    pub(super) instance: Option<Instance>,
    /// Whether a step has been measured.
    is_warm: bool,
    /// Why memory is not bounded although it should be.
    unconfined: Option<String>,
    /// After the instance, which must have ended before it goes.
    confinement: Option<Confinement>,
}

impl<'a> Started<'a> {
    fn new(benchmark: &'a Benchmark<'_>, turn: Turn, folder: PathBuf) -> Result<Self, Failure> {
        let plan = benchmark.plan;
        let (workload, target) = (&plan.workloads[turn.workload], &plan.targets[turn.target]);
        let (mut confinement, mut unconfined) = (None, None);
        if let Some(memory) = workload.profile(plan.extent).memory {
            match Confinement::of(memory.scaled(plan.scale)) {
                Ok(made) => confinement = Some(made),
                Err(failure) => unconfined = Some(format!("memory is not bounded: {failure}")),
            }
            if matches!(target, Target::Address(_)) {
                unconfined = Some("memory is not bounded: it was started elsewhere".to_owned());
            }
        }
        plan.placement.enter_broker()?;
        confinement.as_ref().map_or(Ok(()), Confinement::enter)?;
        let instance = target.start(Site {
            folder: &folder,
            placement: &plan.placement,
            stop: &benchmark.stop,
        });
        confinement.as_ref().map_or(Ok(()), Confinement::leave)?;
        plan.placement.enter_load()?;
        let instance = Some(instance?);
        Ok(Self { benchmark, turn, folder, instance, is_warm: false, unconfined, confinement })
    }

    pub(super) fn target(&self) -> &'a Target {
        &self.benchmark.plan.targets[self.turn.target]
    }

    pub(super) fn profile(&self) -> &'a Profile {
        let plan = self.plan();
        plan.workloads[self.turn.workload].profile(plan.extent)
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.benchmark.plan
    }

    pub(super) fn stop(&self) -> &'a Stop {
        &self.benchmark.stop
    }

    /// Paths that only this machine has are left out.
    fn command(&self) -> Result<String, Failure> {
        let words = self.instance.as_ref().map_or_else(|| Ok(Vec::new()), Instance::command)?;
        let mut line = words.join(" ").replace(&self.folder.display().to_string(), "DIR");
        if let Some(home) = env::var_os("HOME").filter(|home| 1 < home.len()) {
            line = line.replace(&home.display().to_string(), "~");
        }
        Ok(line)
    }

    /// A run of a step: of several attempts the last, where other machines disturbed those before.
    fn run(&mut self, step: &Step, blank: Run, spare: &mut Duration) -> Run {
        let can_repeat = matches!(step.form.kind, Kind::Scene | Kind::Groups);
        let mut attempt_count = 0;
        loop {
            let began = Moment::now();
            let mut run = blank.clone();
            let measured = match attempt_count {
                0 => self.measure(step, &mut run),
                // On topics of its own.
                nth => self.measure(&step.again(nth), &mut run),
            };
            self.is_warm = true;
            if let Err(failure) = measured {
                run.void.push(failure.to_string());
            }
            attempt_count += 1;
            run.numbers.insert("attempt_count".to_owned(), f64::from(attempt_count));
            let is_disturbed = self.plan().steal_percent_max < taken_percent(&run);
            let left = spare.checked_sub(Moment::now().since(began));
            match left.filter(|_| is_disturbed && can_repeat && !self.stop().is_asked()) {
                Some(left) => *spare = left,
                None => return run,
            }
        }
    }

    fn measure(&mut self, step: &Step, run: &mut Run) -> Result<(), Failure> {
        run.void.extend(self.unconfined.clone());
        let device = self.benchmark.device.as_ref();
        let counters = || device.and_then(|it| it.counters());
        let (broker_core, load_core) = self.plan().placement.cores();
        let watch = Watch::begin([broker_core, load_core]);
        let probe = DiskProbe::begin(&self.plan().folder);
        let (pressure, machine, start) = (Pressure::now(), Machine::now()?, Moment::now());
        let before = counters();
        let played = self.play_step(step, run);
        run.numbers.extend(watch.end());
        run.numbers.extend(probe.map(DiskProbe::end).into_iter().flatten());
        played?;
        let elapsed = Moment::now().since(start);
        run.numbers.extend(Pressure::now().percent_since(pressure, elapsed));
        let whole = Machine::now()?.steal_percent_since(machine);
        run.numbers.entry(STEAL.to_owned()).or_insert(whole);
        let stolen = taken_percent(run);
        if self.plan().steal_percent_max < stolen {
            run.void.push(format!("other machines took {stolen:.1} % of this one"));
        }
        if let Some(free) = machine::free_percent(&self.folder) {
            run.numbers.insert("disk_free_percent".to_owned(), free);
            if free < FREE_PERCENT_MIN {
                run.void.push(format!("it has filled the disk: {free:.1} % are free"));
            }
        }
        if let (Some(device), Some(before), Some(after)) = (device, before, counters()) {
            let flush_count = after.flush_count.saturating_sub(before.flush_count);
            let per_second = float(flush_count) / elapsed.as_secs_f64();
            run.numbers.insert("device_flushes_per_second".to_owned(), per_second);
            let probed = run.numbers.get(disk_probe::COUNT).copied().unwrap_or(0.0);
            let durable_count =
                device.durable_count(before, after).saturating_sub(report::whole(probed));
            self.check_durability(step, durable_count, run);
        }
        if let Some(peak) = self.confinement.as_ref().and_then(Confinement::peak_bytes) {
            let mebi = float(peak) / f64::from(1 << 20);
            run.numbers.insert("confined_peak_mib".to_owned(), mebi);
        }
        derived::add(run);
        Ok(())
    }

    fn play_step(&mut self, step: &Step, run: &mut Run) -> Result<(), Failure> {
        match step.form.kind {
            Kind::Scene => match self.plan().purpose {
                Purpose::Numbers => add(run, self.scene(step)?),
                Purpose::Calls => self.count_calls(step, run)?,
            },
            Kind::Connections => connections::measure(self, step, run)?,
            Kind::Restart => restart::measure(self, step, run)?,
            Kind::Groups => groups::measure(self, step, run)?,
        }
        Ok(())
    }

    /// The step's scene, played.
    pub(super) fn scene(&self, step: &Step) -> Result<Outcome, Failure> {
        self.play(&self.script(step)?)
    }

    /// The step's scene, with all phases counted, while strace looks on.
    fn count_calls(&self, step: &Step, run: &mut Run) -> Result<(), Failure> {
        let mut script = self.script(step)?;
        script.phases.iter_mut().for_each(|phase| phase.counts = true);
        let elsewhere =
            || Failure::new("system calls are counted of a broker that is started here");
        let tracer = Tracer::attach(script.broker.ok_or_else(elsewhere)?, &self.folder)?;
        add(run, self.play(&script)?);
        calls::add(run, step, tracer.finish()?);
        Ok(())
    }

    /// The step's scene.
    pub(super) fn script(&self, step: &Step) -> Result<scene::plan::Plan, Failure> {
        let instance = self.instance.as_ref().expect("only a restart takes the instance");
        let (plan, target) = (self.plan(), self.target());
        let runs = &self.benchmark.results.runs;
        let reached = |workload: &str| {
            let here = reference::reached(runs, workload, target.key());
            here.or_else(|| plan.earlier.reached(workload, target.key()))
        };
        let circumstances = Circumstances {
            profile: self.profile(),
            is_first: !self.is_warm,
            scale: plan.scale,
            address: instance.address,
            protocol: target.protocol(),
            broker: instance.process()?,
            reached: &reached,
            spins: plan.placement.spins(),
        };
        let mut script = script::plan(step, &circumstances)?;
        script.topics.iter_mut().for_each(|it| it.configs.extend(target.topic_configs()));
        Ok(script)
    }

    /// Its topics are created if they are missing.
    pub(super) fn play(&self, script: &scene::plan::Plan) -> Result<Outcome, Failure> {
        let created = self.create(script)?;
        let mut outcome = self.play_on(script)?;
        outcome.numbers.extend(created.rows().iter().cloned());
        Ok(outcome)
    }

    /// On topics that are there.
    pub(super) fn play_on(&self, script: &scene::plan::Plan) -> Result<Outcome, Failure> {
        scene::run(script, self.stop())
    }

    /// The topics of a scene, before it: what they cost is seen best while nobody writes to them.
    fn create(&self, script: &scene::plan::Plan) -> Result<Report, Failure> {
        let topics = script.topics.iter().map(|topic| Topic {
            name: &topic.name,
            partition_count: topic.partition_count,
            configs: &topic.configs,
        });
        let topics: Vec<Topic<'_>> = topics.collect();
        let data = self.folder.join(DATA_FOLDER);
        let data = script.broker.map(|_| data.as_path());
        let whose = (script.address, script.protocol);
        partitions::create(whose, &topics, script.broker, data, self.stop())
    }

    /// A request is acknowledged after something became durable, and one durable write acknowledges no
    /// more requests than may be in flight: with fewer, the claim is false.
    fn check_durability(&self, step: &Step, durable_count: u64, run: &mut Run) {
        if self.target().durability() != Durability::D2 {
            return;
        }
        let in_flight: usize =
            step.form.producers.iter().map(|it| it.connections * it.in_flight).sum();
        let in_flight = (float_of(in_flight) * self.plan().scale).max(1.0);
        let requests = acknowledged_requests(step, &run.numbers);
        let least = requests / in_flight;
        if float(durable_count) < least {
            run.void.push(format!(
                "not durable: {requests:.0} requests, {in_flight:.0} in flight at most, and the \
                 disk made {durable_count} writes durable"
            ));
        }
    }
}

/// Of the machine, that others have taken: in the phase in which it was most, or of the core that stood still.
fn taken_percent(run: &Run) -> f64 {
    let is_taken = |name: &str| name.ends_with(STEAL) || name == standstill::PERCENT;
    let all = run.numbers.iter().filter(|(name, _)| is_taken(name));
    all.map(|(_, percent)| *percent).fold(0.0, f64::max)
}

/// In all phases that count, over all streams.
fn acknowledged_requests(step: &Step, numbers: &BTreeMap<String, f64>) -> f64 {
    let phases = step.form.phases.iter().map(|phase| phase.name.as_str());
    let prefixes = phases.chain(connections::SCENES).map(|name| format!("{name}_"));
    let names = prefixes.chain([String::new()]).map(|prefix| format!("{prefix}{REQUESTS}"));
    names.filter_map(|name| numbers.get(&name)).sum()
}

/// What a scene found.
pub(super) fn add(run: &mut Run, outcome: Outcome) {
    run.numbers.extend(outcome.numbers);
    run.void.extend(outcome.void);
    run.series.extend(outcome.series);
    run.samples.extend(outcome.samples);
}
