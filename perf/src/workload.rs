//! Workloads: what is measured, declared in files of a few lines each.
//!
//! Ours are compiled in; a file of one's own is read. It starts nothing and measures nothing: a file
//! becomes steps, and a step becomes the plan of a scene. Invariant: what was parsed once becomes
//! steps in every profile, and they have different keys.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::failure::Failure;
use crate::workload::form::{Form, Profile, Profiles};
use crate::workload::rate::Rate;
use crate::workload::step::Step;

pub(crate) mod amount;
pub(crate) mod form;
pub(crate) mod rate;
pub(crate) mod script;
pub(crate) mod step;

const OURS: [(&str, &str); 13] = [
    ("W1", include_str!("../workloads/w1.toml")),
    ("W2", include_str!("../workloads/w2.toml")),
    ("W3", include_str!("../workloads/w3.toml")),
    ("W4", include_str!("../workloads/w4.toml")),
    ("W5", include_str!("../workloads/w5.toml")),
    ("W6", include_str!("../workloads/w6.toml")),
    ("W7", include_str!("../workloads/w7.toml")),
    ("W8", include_str!("../workloads/w8.toml")),
    ("W9", include_str!("../workloads/w9.toml")),
    ("W12", include_str!("../workloads/w12.toml")),
    ("W13", include_str!("../workloads/w13.toml")),
    ("W14", include_str!("../workloads/w14.toml")),
    ("W15", include_str!("../workloads/w15.toml")),
];

/// How much of each workload is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Extent {
    /// 8 minutes for all workloads with two targets: whether everything works, and rough ratios
    Smoke,
    /// 80 minutes
    Full,
    /// Enough pairs for a claim, on machines of one's own
    Lab,
}

/// A file that was read and found sound.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    table: toml::Table,
    form: Form,
}

impl Workload {
    /// All of ours.
    pub(crate) fn ours() -> Result<Vec<Self>, Failure> {
        OURS.iter().map(|(key, text)| Self::parse(key, text)).collect()
    }

    /// One of ours by its key, or a file by its path.
    pub(crate) fn load(name: &str) -> Result<Self, Failure> {
        Self::parse(name, &Self::text(name)?)
    }

    /// What its file says.
    pub(crate) fn text(name: &str) -> Result<String, Failure> {
        if let Some((_, text)) = OURS.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
            return Ok((*text).to_owned());
        }
        if !Path::new(name).exists() {
            let keys = OURS.map(|(key, _)| key).join(", ");
            let why = format!("there is no workload {name}: give a file's path, or one of {keys}");
            return Err(Failure::new(why));
        }
        std::fs::read_to_string(name).map_err(|error| Failure::io(format!("read {name}"), error))
    }

    /// `origin` is for those who read the failure.
    fn parse(origin: &str, text: &str) -> Result<Self, Failure> {
        let wrong = |error: &dyn fmt::Display| Failure::new(format!("workload {origin}: {error}"));
        let table: toml::Table = toml::from_str(text).map_err(|error| wrong(&error))?;
        let form: Form = toml::from_str(text).map_err(|error| wrong(&error))?;
        let workload = Self { table, form };
        for extent in [Extent::Smoke, Extent::Full, Extent::Lab] {
            let steps = workload.steps(extent).map_err(|failure| wrong(&failure))?;
            let keys: BTreeSet<&String> = steps.iter().map(|step| &step.key).collect();
            if keys.len() < steps.len() {
                return Err(wrong(&"two steps have one key: a value of a sweep is there twice"));
            }
            for step in &steps {
                script::check(&step.form).map_err(|failure| wrong(&failure))?;
            }
        }
        Ok(workload)
    }

    pub(crate) const fn form(&self) -> &Form {
        &self.form
    }

    pub(crate) const fn profile(&self, extent: Extent) -> &Profile {
        match extent {
            Extent::Smoke => &self.form.profiles.smoke,
            Extent::Full => &self.form.profiles.full,
            Extent::Lab => &self.form.profiles.lab,
        }
    }

    /// Instead of what the file says, in every profile.
    pub(crate) fn set_pairs(&mut self, pairs: u32) {
        self.profiles_mut().for_each(|profile| profile.pairs = pairs);
    }

    /// The same.
    pub(crate) fn set_seconds(&mut self, seconds: u64) {
        self.profiles_mut().for_each(|profile| profile.seconds = seconds);
    }

    fn profiles_mut(&mut self) -> impl Iterator<Item = &mut Profile> {
        let Profiles { smoke, full, lab } = &mut self.form.profiles;
        [smoke, full, lab].into_iter()
    }

    /// In the order in which they are run.
    pub(crate) fn steps(&self, extent: Extent) -> Result<Vec<Step>, Failure> {
        step::all(&self.table, &self.form, extent)
    }

    /// Workloads whose results it needs.
    pub(crate) fn needs(&self, extent: Extent) -> Result<BTreeSet<String>, Failure> {
        let steps = self.steps(extent)?;
        let rates = steps.iter().flat_map(|step| script::rates(&step.form));
        Ok(rates.filter_map(Rate::needs).map(str::to_owned).collect())
    }
}

impl Extent {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
            Self::Full => "full",
            Self::Lab => "lab",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use super::*;
    use crate::protocol::Protocol;
    use crate::scene::plan::{Pace, Partitioning, Plan};

    const EXTENTS: [Extent; 3] = [Extent::Smoke, Extent::Full, Extent::Lab];

    fn plans(workload: &Workload, extent: Extent, scale: f64) -> Vec<Plan> {
        let circumstances = script::Circumstances {
            profile: workload.profile(extent),
            is_first: false,
            scale,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            protocol: Protocol::Kafka,
            broker: None,
            reached: &|_| Some(200.0),
            spins: false,
        };
        let steps = workload.steps(extent).expect("the file was read");
        let plan = |step| script::plan(step, &circumstances).expect("the step is sound");
        steps.iter().map(plan).collect()
    }

    #[test]
    fn before_the_first_step_of_a_turn_a_jvm_has_time_to_compile() {
        for workload in Workload::ours().expect("ours are sound") {
            let warms_up = |phase: &form::Phase| phase.lasts == form::Lasts::WarmUp;
            let is_group = workload.form().kind == form::Kind::Groups;
            if is_group || !workload.form().phases.iter().any(warms_up) {
                continue;
            }
            let profile = workload.profile(Extent::Lab);
            let first = profile.warm_up(true);
            assert!(Duration::from_secs(60) <= first, "{}", workload.form().key);
            assert!(profile.warm_up(false) <= first, "{}", workload.form().key);
        }
    }

    #[test]
    fn every_workload_becomes_plans_in_every_profile_and_scale() {
        for workload in Workload::ours().expect("ours are sound") {
            for (extent, scale) in EXTENTS.into_iter().flat_map(|it| [(it, 0.001), (it, 64.0)]) {
                let (key, plans) = (&workload.form().key, plans(&workload, extent, scale));
                assert!(!plans.is_empty(), "{key}");
                let has_paces = |plan: &Plan| {
                    let count = plan.producers.len();
                    plan.phases.iter().all(|phase| phase.paces.len() == count)
                };
                assert!(plans.iter().all(has_paces), "{key}");
                let mut producers = plans.iter().flat_map(|plan| &plan.producers);
                assert!(producers.all(|it| 0 < it.count && 0 < it.record_count), "{key}");
            }
        }
    }

    #[test]
    fn keys_of_workloads_are_the_names_of_their_files() {
        for (key, text) in OURS {
            assert_eq!(Workload::parse(key, text).expect("ours are sound").form().key, key);
        }
    }

    #[test]
    fn the_workload_of_the_check_is_sound() {
        let text = include_str!("../workloads/check.toml");
        let workload = Workload::parse("check", text).expect("it is sound");
        assert_eq!(plans(&workload, Extent::Smoke, 1.0).len(), 2);
    }

    #[test]
    fn a_scale_multiplies_rates_and_connections_and_no_record_sizes() {
        let workload = Workload::load("w2").expect("it is ours");
        let (once, twice) =
            (plans(&workload, Extent::Full, 1.0), plans(&workload, Extent::Full, 2.0));
        let shape = |plan: &Plan| {
            (plan.producers[0].count, plan.producers[0].value_bytes, plan.phases[1].paces[0])
        };
        let rate = |records_per_second| Pace::Open { records_per_second };
        assert_eq!(shape(&once[0]), (64, 100, rate(2_000)));
        assert_eq!(shape(&twice[0]), (128, 100, rate(4_000)));
        assert_eq!(once.len(), 10);
    }

    #[test]
    fn shares_are_of_bytes_and_are_not_scaled() {
        let workload = Workload::load("W14").expect("it is ours");
        let plan = &plans(&workload, Extent::Smoke, 3.0)[0];
        let paces: Vec<Pace> = plan.phases.iter().map(|phase| phase.paces[0]).collect();
        // Of 200 MB/s, in records of 1 KiB.
        let rate = |records_per_second| Pace::Open { records_per_second };
        assert_eq!(paces, [rate(97_656), rate(97_656), rate(292_969), rate(97_656)]);
        let needs = workload.needs(Extent::Smoke).expect("the file was read");
        assert_eq!(needs.into_iter().collect::<Vec<_>>(), ["W4"]);
    }

    #[test]
    fn many_partitions_are_written_to_at_random_and_those_of_others_in_turn() {
        for workload in Workload::ours().expect("ours are sound") {
            let key = &workload.form().key;
            let want = if key == "W8" { Partitioning::Random } else { Partitioning::Turns };
            let plans = plans(&workload, Extent::Full, 1.0);
            let mut producers = plans.iter().flat_map(|plan| &plan.producers);
            assert!(producers.all(|it| it.partitioning == want), "{key}");
        }
    }

    #[test]
    fn a_small_record_goes_out_in_batches_of_8_kib_and_of_a_thousand() {
        let workload = Workload::load("W5").expect("it is ours");
        for extent in EXTENTS {
            let plans = plans(&workload, extent, 1.0);
            let mut producers = plans.iter().map(|plan| &plan.producers[0]);
            assert!(producers.any(|it| (it.value_bytes, it.record_count) == (100, 1_000)));
            let mut producers = plans.iter().map(|plan| &plan.producers[0]);
            let is_as_kafkas = producers.any(|it| (it.value_bytes, it.record_count) == (100, 72));
            assert_eq!(is_as_kafkas, extent != Extent::Smoke);
        }
    }

    #[test]
    fn the_backlog_is_scaled_and_readers_begin_with_their_phase() {
        let workload = Workload::load("W7").expect("it is ours");
        let plan = &plans(&workload, Extent::Full, 0.5)[0];
        assert!(
            matches!(plan.phases[0].until, crate::scene::plan::Until::Sent(bytes) if bytes == 4 << 30)
        );
        assert_eq!(plan.phases[plan.consumers[0].begins_in].name, "drain");
    }

    #[test]
    fn what_a_file_may_not_say_is_refused_with_its_name() {
        let refused = |from: &str, to: &str| {
            let (key, text) = OURS[1];
            assert!(text.contains(from), "{from}");
            let failure = Workload::parse(key, &text.replacen(from, to, 1)).expect_err(to);
            failure.to_string()
        };
        let cases = [
            ("is_idempotent = true", "is_idempotant = true", "is_idempotant"),
            ("partitions = 16", "partitions = 16\npartition_count = 3", "partition_count"),
            ("rate = 5000", "rate = \"fast\"", "fast"),
            ("topic = \"events\"", "topic = \"event\"", "`event`"),
            ("producers.small.rate", "producers.smal.rate", "producers.smal.rate"),
            ("producers.small.rate", "producers.small.rat", "rat"),
            ("values = [100, 1024]", "values = [100, 100]", "twice"),
            ("smoke = { pairs", "smok = { pairs", "smok"),
        ];
        for (from, to, word) in cases {
            let text = refused(from, to);
            assert!(text.starts_with("workload W2: ") && text.contains(word), "{text}");
        }
    }

    #[test]
    fn a_workload_that_is_not_there_is_named() {
        let text = Workload::load("W99").expect_err("there is none").to_string();
        assert!(text.contains("W99") && text.contains("W14"), "{text}");
    }
}
