//! How long work waited for processors, disks and memory of this machine, as the kernel's pressure
//! stall information has it.

use std::fs;
use std::time::Duration;

use crate::report::float;

const RESOURCES: [&str; 3] = ["cpu", "io", "memory"];

/// Microseconds in which something waited, since the machine started; `None` where the kernel does
/// not say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pressure([Option<u64>; 3]);

impl Pressure {
    pub(crate) fn now() -> Self {
        let total = |resource| {
            let text = fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
            total_us(&text)
        };
        Self(RESOURCES.map(total))
    }

    /// Percent of the time since `earlier` in which something waited: names and numbers.
    pub(crate) fn percent_since(self, earlier: Self, elapsed: Duration) -> Vec<(String, f64)> {
        let elapsed_us = (elapsed.as_secs_f64() * 1e6).max(1.0);
        let pairs = self.0.into_iter().zip(earlier.0).zip(RESOURCES);
        let waited = pairs.filter_map(|((late, early), resource)| {
            let waited_us = float(late?.saturating_sub(early?));
            Some((format!("pressure_{resource}_percent"), 100.0 * waited_us / elapsed_us))
        });
        waited.collect()
    }
}

fn total_us(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("total=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_some_counts() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(total_us(text), Some(1_500));
        assert_eq!(total_us(""), None);
    }

    #[test]
    fn pressure_is_a_share_of_the_time() {
        let (early, late) =
            (Pressure([Some(0), None, Some(5)]), Pressure([Some(500_000), None, Some(5)]));
        let percent = late.percent_since(early, Duration::from_secs(1));
        let names: Vec<&str> = percent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["pressure_cpu_percent", "pressure_memory_percent"]);
        assert!((percent[0].1 - 50.0).abs() < 1e-9);
    }
}
