//! Texts that several verbs print.

use spanwire_adminproto::wire;
use spanwire_topology::model::Kind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A key of the wire as people write it: `port t00/web-0`, `host host-01`.
pub(crate) fn key(key: &wire::ObjectKey) -> String {
    match key.kind.parse::<Kind>() {
        Ok(kind) if kind.is_fleet_wide() => format!("{} {}", kind.short(), key.name),
        Ok(kind) => format!("{} {}/{}", kind.short(), key.project, key.name),
        Err(_) => format!("{} {}/{}", key.kind, key.project, key.name),
    }
}

/// An optional key.
pub(crate) fn key_or_dash(object: Option<&wire::ObjectKey>) -> String {
    object.map_or_else(|| "-".to_owned(), key)
}

/// A number of bytes, as people read it.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A duration in the unit that gives it two or three digits.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// How long ago something was, in milliseconds since the epoch: in the largest unit that fits, as
/// `kubectl` has it. Clocks may differ: what lies ahead was just now.
pub(crate) fn since(at_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    age(now.saturating_sub(Duration::from_millis(at_ms)))
}

fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `1 host`, `2 hosts`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = match noun {
        "policy" => "policies".to_owned(),
        "entry" => "entries".to_owned(),
        noun if noun.ends_with("switch") => format!("{noun}es"),
        noun => format!("{noun}s"),
    };
    format!("{number} {}", if number == 1 { noun } else { &plural })
}

/// As [`count`], of numbers that answers have.
pub(crate) fn count_of(number: u64, noun: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), noun)
}

/// What happened to an object.
pub(crate) fn outcome(outcome: i32) -> &'static str {
    use wire::object_result::Outcome;
    match Outcome::try_from(outcome) {
        Ok(Outcome::Created) => "created",
        Ok(Outcome::Configured) => "configured",
        Ok(Outcome::Unchanged) => "unchanged",
        Ok(Outcome::Deleted) => "deleted",
        Ok(Outcome::Unspecified) | Err(_) => "changed in a way this client does not know",
    }
}

/// The results of a transaction, one line each, and a line with the sum of it.
pub(crate) fn results(results: &[wire::ObjectResult], revision: u64, dry_run: bool) -> String {
    /// More than this is summed up and not listed.
    const LISTED_MAX: usize = 50;
    let mut text = String::new();
    let mut sums: Vec<(&str, usize)> = Vec::new();
    for result in results {
        let outcome = outcome(result.outcome);
        match sums.iter_mut().find(|(name, _)| *name == outcome) {
            Some((_, sum)) => *sum += 1,
            None => sums.push((outcome, 1)),
        }
        if results.len() <= LISTED_MAX {
            text.push_str(&format!("{} {outcome}\n", key_or_dash(result.key.as_ref())));
        }
    }
    let sums: Vec<String> = sums.iter().map(|(name, sum)| format!("{sum} {name}")).collect();
    let sums = if sums.is_empty() { "nothing to do".to_owned() } else { sums.join(", ") };
    let suffix = if dry_run { " (dry run: nothing was changed)" } else { "" };
    text.push_str(&format!("{sums} at revision {revision}{suffix}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(bytes(5 << 40), "5120.0 GiB");
        assert_eq!(duration(Duration::from_millis(17)), "17 ms");
        assert_eq!(duration(Duration::from_millis(1700)), "1.7 s");
        assert_eq!(count(1, "host"), "1 host");
        assert_eq!(count(0, "policy"), "0 policies");
        assert_eq!(count(2, "switch"), "2 switches");
    }

    #[test]
    fn results_are_listed_and_summed() {
        let result = |name: &str, outcome| wire::ObjectResult {
            key: Some(wire::ObjectKey {
                kind: "LogicalPort".to_owned(),
                project: "t00".to_owned(),
                name: name.to_owned(),
            }),
            outcome,
        };
        assert_eq!(
            results(&[result("a", 1), result("b", 3), result("c", 1)], 7, true),
            "port t00/a created\nport t00/b unchanged\nport t00/c created\n2 created, 1 unchanged \
             at revision 7 (dry run: nothing was changed)\n"
        );
        let many: Vec<_> = (0..60).map(|n| result(&n.to_string(), 2)).collect();
        assert_eq!(results(&many, 8, false), "60 configured at revision 8\n");
        assert_eq!(results(&[], 8, false), "nothing to do at revision 8\n");
    }

    #[test]
    fn ages_have_one_unit() {
        let of = |seconds| age(Duration::from_secs(seconds));
        assert_eq!([0, 119, 120, 7_199].map(of), ["0s", "119s", "2m", "119m"]);
        assert_eq!([7_200, 172_799, 172_800].map(of), ["2h", "47h", "2d"]);
    }
}
