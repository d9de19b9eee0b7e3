//! `spanwire wait`: until every host concerned has a change in its datapath.

use crate::cli::{Format, Global};
use crate::client::{Admin, connect, to_failure};
use crate::failure::{Failure, FailureKind};
use crate::output::{print_json, print_line, render};
use crate::progress::Spinner;
use crate::target::parse_object;
use clap::Args;
use serde_json::json;
use spanwire_adminproto::{convert, wire};
use spanwire_topology::ObjectKey;
use std::time::Duration;

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The object whose last change shall be in force, as KIND/NAME or KIND/PROJECT/NAME. Without
    /// one: everything that is committed now, on every host.
    #[arg(value_name = "KIND/NAME")]
    object: Option<String>,
    /// Wait until it is realized: in the datapath of every host concerned. The only thing there is
    /// to wait for, so it need not be said.
    #[arg(long)]
    realized: bool,
    /// Wait for this revision.
    #[arg(long, value_name = "REVISION")]
    revision: Option<u64>,
    /// Give up after so long: a number with a unit, as 500ms, 30s, 5m. 0s looks once.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

/// Runs the verb.
pub(crate) async fn run(global: &Global, args: WaitArgs) -> Result<(), Failure> {
    let key = args
        .object
        .as_deref()
        .map(|text| parse_object(text, global.project.as_deref()))
        .transpose()?;
    let mut admin = connect(global).await?;
    let progress = wait(&mut admin, key.as_ref(), args.revision, args.timeout).await?;
    match global.output {
        Format::Table | Format::Wide => print_line(&format!(
            "revision {} is in the datapath of {}",
            progress.revision,
            render::count(progress.hosts as usize, "host"),
        )),
        Format::Json | Format::Yaml => print_json(&json!({
            "revision": progress.revision, "hosts": progress.hosts, "realized": progress.realized
        })),
    }
}

/// Waits for an object, or for a revision on every host, and returns the last word on it.
pub(crate) async fn wait(
    admin: &mut Admin,
    key: Option<&ObjectKey>,
    revision: Option<u64>,
    timeout: Duration,
) -> Result<wire::WaitRealizedProgress, Failure> {
    let request = wire::WaitRealizedRequest { key: key.map(convert::from_key), revision };
    let mut last = None;
    match tokio::time::timeout(timeout, follow(admin, request, &mut last)).await {
        Ok(result) => result,
        Err(_) => Err(to_timeout(timeout, last.as_ref())),
    }
}

/// Follows the progress until it is done. What was seen last is kept in `last`.
async fn follow(
    admin: &mut Admin,
    request: wire::WaitRealizedRequest,
    last: &mut Option<wire::WaitRealizedProgress>,
) -> Result<wire::WaitRealizedProgress, Failure> {
    const DOING: &str = "wait until it is realized";
    let fail = |status: tonic::Status| to_failure(DOING, &status);
    let mut stream = admin.wait_realized(request).await.map_err(fail)?.into_inner();
    let mut spinner: Option<Spinner> = None;
    while let Some(progress) = stream.message().await.map_err(fail)? {
        if progress.done {
            if let Some(spinner) = spinner {
                spinner.finish();
            }
            return Ok(progress);
        }
        let text = format!(
            "revision {}: {} of {} have it",
            progress.revision,
            progress.realized,
            render::count(progress.hosts as usize, "host")
        );
        match &mut spinner {
            Some(spinner) => spinner.update(&text),
            None if last.is_some() => spinner = Some(Spinner::start(&text)),
            // The first message comes at once: most waits are over before there is a second.
            None => {}
        }
        *last = Some(progress);
    }
    Err(Failure::new(FailureKind::Unreachable, "the controller ended the wait without an answer")
        .remedy("ask again: waiting changes nothing"))
}

fn to_timeout(timeout: Duration, last: Option<&wire::WaitRealizedProgress>) -> Failure {
    let Some(last) = last else {
        return Failure::new(
            FailureKind::Timeout,
            format!("no answer from the controller after {}", render::duration(timeout)),
        );
    };
    let mut message = format!(
        "after {} {} of {} have revision {}",
        render::duration(timeout),
        last.realized,
        render::count(last.hosts as usize, "host"),
        last.revision
    );
    for missing in &last.missing {
        message.push_str(&format!("\n  {}: {}", missing.host, missing.reason));
    }
    Failure::new(FailureKind::Timeout, message)
        .remedy("look at the agents of these hosts: spanwire get hosts -o wide")
}

/// A number and one of the units ms, s, m, h.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected =
        || format!("{text:?} is no duration: expected a number and ms, s, m or h, as 30s");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in
            ["", "5", "s", "-1s", "1.5s", "1d", "99999999999999999999s", "99999999999999999h"]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_timeout_names_the_hosts_that_are_missing() {
        let last = wire::WaitRealizedProgress {
            revision: 9,
            hosts: 3,
            realized: 2,
            missing: vec![wire::MissingHost {
                host: "host-02".to_owned(),
                reason: "not connected".to_owned(),
            }],
            done: false,
        };
        let text = to_timeout(Duration::from_secs(1), Some(&last)).to_text();
        assert!(text.contains("2 of 3 hosts have revision 9"), "{text}");
        assert!(text.contains("host-02: not connected"), "{text}");
    }
}
