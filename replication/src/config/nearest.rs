//! The known name that a misspelt one most likely means.

/// Names that differ in more edits than this for a name of ten letters have nothing to do with each
/// other.
const EDITS_PER_TEN_BYTES: usize = 3;

/// `None` if nothing is near. Equal distances: the first wins.
#[must_use]
pub fn nearest<'a>(stranger: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let stranger = stranger.to_ascii_lowercase();
    let edits_max = (stranger.len() * EDITS_PER_TEN_BYTES).div_ceil(10).max(1);
    known
        .filter(|name| name.len().abs_diff(stranger.len()) <= edits_max)
        .map(|name| (edits(stranger.as_bytes(), name.as_bytes()), name))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal
/// string alignment).
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = vec![];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if 1 < i && 1 < j && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{edits, nearest};

    #[test]
    fn edits_are_counted() {
        let check =
            |a: &str, b: &str, want| assert_eq!(edits(a.as_bytes(), b.as_bytes()), want, "{a} {b}");
        check("", "", 0);
        check("", "abc", 3);
        check("abc", "abd", 1);
        check("abc", "acb", 1);
        check("abc", "bc", 1);
        check("log.dirs", "logs.dir", 2);
    }

    #[test]
    fn the_nearest_name_wins_if_it_is_near() {
        let known = || ["listeners", "log.dirs", "num.partitions"].into_iter();
        assert_eq!(nearest("listener", known()), Some("listeners"));
        assert_eq!(nearest("num.partition", known()), Some("num.partitions"));
        assert_eq!(nearest("Log.Dirs", known()), Some("log.dirs"));
        assert_eq!(nearest("something.else", known()), None);
        assert_eq!(nearest("", known()), None);
    }
}
