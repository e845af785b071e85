//! What stands at the marks of an axis: short, for there is little room.

/// Microseconds.
pub(crate) fn time(us: f64) -> String {
    match us {
        it if it < 1_000.0 => format!("{} \u{b5}s", short(us)),
        it if it < 1_000_000.0 => format!("{} ms", short(us / 1_000.0)),
        _ => format!("{} s", short(us / 1_000_000.0)),
    }
}

pub(crate) fn count(value: f64) -> String {
    match value {
        it if it < 1_000.0 => short(value),
        it if it < 1_000_000.0 => format!("{}k", short(value / 1_000.0)),
        _ => format!("{}M", short(value / 1_000_000.0)),
    }
}

/// Of `1 / (1 - quantile)`: as many nines as it has.
pub(crate) fn percentile(over: f64) -> String {
    short_of(100.0 - 100.0 / over.max(1.0), 8)
}

fn short(value: f64) -> String {
    short_of(value, 3)
}

/// Without zeros at the end.
fn short_of(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_short() {
        assert_eq!(
            [0.5, 200.0, 1_000.0, 20_000.0, 5e6].map(time),
            ["0.5 \u{b5}s", "200 \u{b5}s", "1 ms", "20 ms", "5 s"]
        );
        assert_eq!([0.0, 500.0, 2_500.0, 1e6].map(count), ["0", "500", "2.5k", "1M"]);
        assert_eq!(
            [1.0, 2.0, 10.0, 100.0, 1e3, 1e5].map(percentile),
            ["0", "50", "90", "99", "99.9", "99.999"]
        );
    }
}
