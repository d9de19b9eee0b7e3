//! A table of runs.

use serde_json::{Map, Value};

/// The columns: a heading, and the figures that it shows, of which the first that is there counts.
const COLUMNS: [(&str, &[&str]); 12] = [
    ("Scenario", &["scenario"]),
    ("Ports", &["ports"]),
    ("Hosts", &["hosts"]),
    ("Groups", &["groups"]),
    ("Rules", &["rules"]),
    ("Shards", &["shards"]),
    ("Subscriptions", &["subscriptions"]),
    ("Seconds", &["seconds"]),
    ("CPU seconds", &["cpu_seconds"]),
    ("Lower bound", &["lower_bound_seconds"]),
    ("Ratio", &["ratio_to_lower_bound"]),
    ("Peak RSS MiB", &["peak_rss_mib"]),
];

/// A Markdown table of runs, each a line with a JSON object, and below it a table of each list of
/// objects that a run measured.
pub(crate) fn to_markdown(lines: &str) -> Result<String, String> {
    let mut runs: Vec<Map<String, Value>> = Vec::new();
    for (at, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let run = serde_json::from_str(line)
            .map_err(|error| format!("line {}: expected a run as JSON: {error}", at + 1))?;
        runs.push(run);
    }
    let headings: Vec<String> = COLUMNS.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let rows = runs.iter().map(|run| {
        let cell = |figures: &&[&str]| figures.iter().find_map(|name| run.get(*name));
        COLUMNS.iter().map(|(_, figures)| cell(figures).map_or_else(String::new, show)).collect()
    });
    let mut text = mk_table(&headings, rows.collect());
    for run in &runs {
        let scenario = run.get("scenario").map(show).unwrap_or_default();
        for (name, list) in run {
            if let Value::Array(list) = list {
                text.push_str(&format!("\n`{scenario}`, {}:\n\n", name.replace('_', " ")));
                text.push_str(&mk_table_of_objects(list));
            }
        }
    }
    Ok(text)
}

/// The columns of the first object, and a row for each.
fn mk_table_of_objects(list: &[Value]) -> String {
    let Some(Value::Object(first)) = list.first() else { return String::new() };
    let headings: Vec<String> = first.keys().map(|name| name.replace('_', " ")).collect();
    let rows = list
        .iter()
        .map(|row| first.keys().map(|name| row.get(name).map_or_else(String::new, show)).collect());
    mk_table(&headings, rows.collect())
}

fn mk_table(headings: &[String], rows: Vec<Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", headings.join(" | "), "---|".repeat(headings.len()));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

/// A figure as people read it: thousands apart, texts without quotes.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_u64() {
            Some(number) => thousands(number),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_become_rows_and_lists_tables_of_their_own() {
        let lines = concat!(
            r#"{"scenario":"change","ports":1000000,"seconds":1.5,"#,
            r#""sizes":[{"ports":10,"added_us":2.5},{"ports":2000}]}"#,
            "\n",
            r#"{"scenario":"cut","ports":10000}"#,
        );
        let expected = "\
| Scenario | Ports | Hosts | Groups | Rules | Shards | Subscriptions | Seconds | CPU seconds | \
Lower bound | Ratio | Peak RSS MiB |
|---|---|---|---|---|---|---|---|---|---|---|---|
| change | 1,000,000 |  |  |  |  |  | 1.5 |  |  |  |  |
| cut | 10,000 |  |  |  |  |  |  |  |  |  |  |

`change`, sizes:

| added us | ports |
|---|---|
| 2.5 | 10 |
|  | 2,000 |
";
        assert_eq!(to_markdown(lines).as_deref(), Ok(expected));
        let problem = to_markdown("{}\nnonsense").unwrap_err();
        assert!(problem.starts_with("line 2: expected a run as JSON"), "{problem}");
    }
}
