//! Progress of anything that takes longer than a second: a spinner where a person watches, one
//! line where a log does. Always on stderr, so that stdout stays what was asked for.

use indicatif::{ProgressBar, ProgressStyle};
use std::future::Future;
use std::io::IsTerminal;
use std::time::Duration;

/// What takes less time than this passes without a word.
const QUIET: Duration = Duration::from_secs(1);
/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Runs a future, and says what is going on if it takes longer than a second.
pub(crate) async fn during<T>(what: &str, future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    tokio::select! {
        biased;
        output = &mut future => return output,
        () = tokio::time::sleep(QUIET) => {}
    }
    let spinner = Spinner::start(what);
    let output = future.await;
    spinner.finish();
    output
}

/// A running indication of what is going on.
pub(crate) struct Spinner {
    bar: Option<ProgressBar>,
    last: String,
}

impl Spinner {
    /// Starts at once.
    pub(crate) fn start(what: &str) -> Spinner {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        let mut spinner = Spinner { bar, last: String::new() };
        spinner.update(what);
        spinner
    }

    /// Says something else. Where no person watches, each text is printed once.
    pub(crate) fn update(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None if self.last != what => eprintln!("{what} ..."),
            None => {}
        }
        self.last = what.to_owned();
    }

    /// Takes the spinner off the screen.
    pub(crate) fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
