//! "Did you mean": the known word that is nearest to a misspelt one.

/// How many insertions, deletions, replacements and swaps of neighbours turn `a` into `b` (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut d = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                d = d.min(rows[i - 2][j - 2] + 1);
            }
            row.push(d);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The word of `known` that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    // A beginning that was cut off is as near as one wrong letter.
    let rank = |k: &str| match word.len() {
        3.. if k.starts_with(word) => 1,
        _ => distance(word, k),
    };
    known
        .into_iter()
        .map(|k| (rank(k), k))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("mem", "mem", 0),
            ("mme", "mem", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
            assert_eq!(distance(b, a), d, "{b} {a}");
        }
    }

    #[test]
    fn the_near_one() {
        let known = ["mem", "root", "rootfstype", "init", "hostname", "quiet"];
        for (word, want) in [
            ("men", Some("mem")),
            ("rot", Some("root")),
            ("rootfs", Some("rootfstype")),
            ("hostnmae", Some("hostname")),
            ("xyzzy", None),
            ("m", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
    }
}
