//! Many questions from a file, with what is expected of the answers: unit tests for policies.

use super::question::{Question, parse_line};
use super::state::{State, to_failure_of_query};
use super::text::summary;
use super::{Expected, json, verdict_name};
use crate::failure::{Failure, FailureKind};
use crate::input;
use crate::offline::OfflineArgs;
use crate::output::{print, render};
use serde_json::{Value, json as value};
use spanwire_adminproto::convert::{VERDICT_QUERIES_MAX, VerdictQuery};
use spanwire_adminproto::wire::verdict_result::Result as Answered;
use std::io::Read;

/// The largest batch, in bytes.
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// The most malformed lines, and answers that were expected otherwise, that are told. The rest is
/// counted.
const TOLD_MAX: usize = 20;

/// A line with a question.
pub(super) struct Line {
    /// Its number, from 1.
    number: usize,
    /// What it asks.
    question: Question,
}

/// Reads every question of a file, or of stdin. One malformed line and nothing is asked: a check
/// that is passed over would look like one that held.
pub(super) fn read(
    file: &str,
    offline: &OfflineArgs,
    project: Option<&str>,
) -> Result<Vec<Line>, Failure> {
    let name = if file == "-" { "stdin" } else { file };
    if file == "-" && offline.reads_stdin() {
        return Err(Failure::new(FailureKind::Usage, "stdin is named twice: it ends once"));
    }
    let bytes = match file {
        "-" => input::stdin()?,
        path => read_limited(path)
            .map_err(|error| Failure::caused(format!("{path} cannot be read"), &error))?,
    };
    if bytes.len() as u64 > BATCH_BYTES_MAX {
        return Err(Failure::refused(format!(
            "{name} is larger than {}: split it",
            render::bytes(BATCH_BYTES_MAX)
        )));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| Failure::caused(format!("{name} is no UTF-8 text"), &error))?;
    let mut lines = Vec::new();
    let mut malformed = Told::default();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        match parse_line(line, project) {
            Ok(None) => {}
            Ok(Some(question)) => lines.push(Line { number, question }),
            Err(problem) => malformed.tell(|| format!("{name}:{number}: {problem}")),
        }
    }
    match malformed.count {
        0 if lines.is_empty() => Err(Failure::new(
            FailureKind::Usage,
            format!("{name} holds no question: expected a line as SOURCE DESTINATION tcp 80"),
        )),
        0 => Ok(lines),
        count => Err(Failure::new(
            FailureKind::Usage,
            format!("{} malformed{malformed}", render::count(count, "line")),
        )),
    }
}

fn read_limited(path: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(BATCH_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A few of many things to tell, and how many there are.
#[derive(Default)]
struct Told {
    count: usize,
    lines: Vec<String>,
}

impl Told {
    fn tell(&mut self, line: impl FnOnce() -> String) {
        self.count += 1;
        if self.lines.len() < TOLD_MAX {
            self.lines.push(line());
        }
    }
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.lines {
            write!(f, "\n  {line}")?;
        }
        match self.count - self.lines.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Asks everything, in order, and prints one JSON object for each line.
pub(super) async fn run(state: &mut State, lines: &[Line]) -> Result<(), Failure> {
    let mut unexpected = Told::default();
    let mut unanswered = Told::default();
    let mut first_error = None;
    for chunk in lines.chunks(VERDICT_QUERIES_MAX) {
        let queries: Vec<VerdictQuery> =
            chunk.iter().map(|line| line.question.query.clone()).collect();
        let (answers, revision) = state.ask(&queries).await?;
        let mut text = String::new();
        for (line, answer) in chunk.iter().zip(&answers) {
            let Line { number, question } = line;
            text.push_str(&to_json(line, answer, revision).to_string());
            text.push('\n');
            match (answer, question.expected) {
                (Answered::Error(error), _) => {
                    unanswered.tell(|| format!("line {number}: {}", error.message));
                    first_error.get_or_insert_with(|| error.clone());
                }
                (Answered::Answer(answer), Some(expected))
                    if Expected::of(answer) != Some(expected) =>
                {
                    let (found, expected) = (verdict_name(answer), expected.as_str());
                    unexpected.tell(|| {
                        let because = summary(answer);
                        format!("line {number}: {found}, expected {expected}: {because}")
                    });
                }
                (Answered::Answer(_), _) => {}
            }
        }
        print(&text)?;
    }
    let asked = render::count(lines.len(), "question");
    let mut problems = Vec::new();
    if unanswered.count > 0 {
        problems.push(format!("{} of {asked} without an answer{unanswered}", unanswered.count));
    }
    if unexpected.count > 0 {
        let count = unexpected.count;
        problems.push(format!("{count} of {asked} answered otherwise than expected{unexpected}"));
    }
    if problems.is_empty() {
        return Ok(());
    }
    // What could not be answered at all says more about the batch than what was answered.
    let kind = first_error.map_or(FailureKind::Refused, |error| to_failure_of_query(&error).kind());
    Err(Failure::new(kind, problems.join("\n")))
}

/// The answer to a line: that of the verb with `-o json`, with what belongs to the line.
fn to_json(line: &Line, answer: &Answered, revision: u64) -> Value {
    let Line { number, question: Question { query, expected } } = line;
    let mut object = match answer {
        Answered::Answer(answer) => {
            let mut object = json::to_json(answer, query, revision);
            object["asExpected"] = match expected {
                Some(expected) => value!(Expected::of(answer) == Some(*expected)),
                None => Value::Null,
            };
            object
        }
        Answered::Error(error) => value!({
            "verdict": null,
            "error": error.message,
            "packet": json::packet(query.packet),
            "asExpected": expected.map(|_| false),
            "revision": revision,
        }),
    };
    object["line"] = value!(number);
    object["expected"] = value!(expected.map(Expected::as_str));
    object
}
