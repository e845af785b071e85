//! What a process and the machine have used so far, as /proc says.

use std::fs;
use std::time::Duration;

use crate::failure::Failure;

/// User and system time, after the fields of the state and the parents.
const STAT_USER: usize = 11;
const STAT_SYSTEM: usize = 12;
/// Of the line `cpu` of /proc/stat: user nice system idle iowait irq softirq steal.
const MACHINE_STEAL: usize = 7;

/// A running process of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: u32,
}

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Of all threads, also of those that ended; in ticks of 10 ms.
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
    pub(crate) thread_count: u64,
    pub(crate) fd_count: u64,
    /// What it caused to be written to disks; unknown (0) for a process of someone else.
    pub(crate) written_bytes: u64,
    /// How often its threads that live now were given a core: each time the kernel switched to one.
    pub(crate) switch_count: u64,
}

/// What a process has, without what it has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) resident_bytes: u64,
    pub(crate) fd_count: u64,
}

impl Process {
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        let process = Self { pid };
        process.usage().map(|_| process)
    }

    pub(crate) const fn id(self) -> u32 {
        self.pid
    }

    pub(crate) fn usage(self) -> Result<Usage, Failure> {
        let stat = self.read("stat")?;
        let status = self.read("status")?;
        let ticks = cpu_ticks(&stat)
            .ok_or_else(|| Failure::new(format!("/proc/{}/stat makes no sense", self.pid)))?;
        Ok(Usage {
            cpu: duration_of(ticks),
            resident_bytes: field(&status, "VmRSS:").unwrap_or(0) * 1_024,
            thread_count: field(&status, "Threads:").unwrap_or(0),
            fd_count: self.fd_count()?,
            written_bytes: self
                .read("io")
                .ok()
                .and_then(|io| field(&io, "write_bytes:"))
                .unwrap_or(0),
            switch_count: self.turns()?.iter().map(|it| it.count).sum(),
        })
    }

    /// Cheap enough to be asked for while latencies are measured.
    pub(crate) fn footprint(self) -> Result<Footprint, Failure> {
        let status = self.read("status")?;
        let resident_bytes = field(&status, "VmRSS:").unwrap_or(0) * 1_024;
        Ok(Footprint { resident_bytes, fd_count: self.fd_count()? })
    }

    /// The kernel tells it as the folder's size from 6.2 on; before, they are counted.
    fn fd_count(self) -> Result<u64, Failure> {
        let path = format!("/proc/{}/fd", self.pid);
        let failed = |error| Failure::io(format!("read {path}"), error);
        let told = fs::metadata(&path).map_err(failed)?.len();
        if told > 0 {
            return Ok(told);
        }
        let count = fs::read_dir(&path).map_err(failed)?.count();
        Ok(u64::try_from(count).expect("counts have at most 64 bits"))
    }

    /// What it has had read from disks; `None` for a process of someone else.
    pub(crate) fn read_bytes(self) -> Option<u64> {
        field(&self.read("io").ok()?, "read_bytes:")
    }

    /// Time on a core, to the nanosecond, of the threads that live now.
    pub(crate) fn thread_time(self) -> Result<Duration, Failure> {
        let turns = self.turns()?;
        Ok(Duration::from_nanos(turns.iter().map(|it| it.ns).sum()))
    }

    /// Of each thread that lives now.
    fn turns(self) -> Result<Vec<Turns>, Failure> {
        let folder = format!("/proc/{}/task", self.pid);
        let failed = |error| Failure::io(format!("read {folder}"), error);
        let mut turns = Vec::new();
        for task in fs::read_dir(&folder).map_err(failed)? {
            let path = task.map_err(failed)?.path().join("schedstat");
            // A thread that ended since has no such file any more.
            if let Ok(text) = fs::read_to_string(path) {
                turns.push(Turns::parse(&text));
            }
        }
        Ok(turns)
    }

    fn read(self, name: &str) -> Result<String, Failure> {
        let path = format!("/proc/{}/{name}", self.pid);
        fs::read_to_string(&path).map_err(|error| Failure::io(format!("read {path}"), error))
    }
}

/// What a thread had of cores so far, as its schedstat says: time, time it waited, how often.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Turns {
    ns: u64,
    count: u64,
}

impl Turns {
    fn parse(schedstat: &str) -> Self {
        let mut numbers = schedstat.split_whitespace().map(|it| it.parse().unwrap_or(0));
        let (ns, _waited_ns) = (numbers.next().unwrap_or(0), numbers.next());
        Self { ns, count: numbers.next().unwrap_or(0) }
    }
}

/// What all cores of the machine have been asked for, and what the hypervisor took of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    total_ticks: u64,
    steal_ticks: u64,
}

impl Machine {
    pub(crate) fn now() -> Result<Self, Failure> {
        let stat = fs::read_to_string("/proc/stat")
            .map_err(|error| Failure::io("read /proc/stat", error))?;
        Ok(Self::parse(&stat))
    }

    /// Percent of all time that other machines had since `earlier`.
    pub(crate) fn steal_percent_since(self, earlier: Self) -> f64 {
        let total = self.total_ticks.saturating_sub(earlier.total_ticks).max(1);
        let steal = self.steal_ticks.saturating_sub(earlier.steal_ticks);
        100.0 * crate::report::float(steal) / crate::report::float(total)
    }

    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|it| it.parse().ok()).collect();
        let steal_ticks = ticks.get(MACHINE_STEAL).copied().unwrap_or(0);
        Self { total_ticks: ticks.iter().sum(), steal_ticks }
    }
}

/// The name in parentheses may hold anything, so fields count from its end.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let at = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(at(STAT_USER)? + at(STAT_SYSTEM)?)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn duration_of(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_behind_a_name_of_any_kind() {
        let stat = "12 (a) b) S 1 2 3 4 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 99";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("12 (a"), None);
        assert_eq!(cpu_ticks("12 (a) S 1"), None);
    }

    #[test]
    fn a_threads_turns_are_the_third_number() {
        assert_eq!(Turns::parse("5000 70 12\n"), Turns { ns: 5_000, count: 12 });
        assert_eq!(Turns::parse("0"), Turns::default());
    }

    #[test]
    fn fields_are_found_by_name() {
        let status = "Name:\todradek\nVmRSS:\t   40960 kB\nThreads:\t5\n";
        assert_eq!(field(status, "VmRSS:"), Some(40_960));
        assert_eq!(field(status, "Threads:"), Some(5));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn steal_is_a_share_of_all_time() {
        let early = Machine::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1\n");
        let late = Machine::parse("cpu  140 0 140 900 0 0 10 10 0 0\ncpu0 1\n");
        assert!((late.steal_percent_since(early) - 5.0).abs() < 1e-9);
    }
}
