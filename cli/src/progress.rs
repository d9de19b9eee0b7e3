//! Progress of anything that takes longer than a second: a spinner where a person watches, one
//! line where a log does. Always on stderr, so that stdout stays what was asked for.

use indicatif::{ProgressBar, ProgressStyle};
use std::future::Future;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

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
    let spinner = Spinner::start_at(what, Instant::now());
    let output = future.await;
    spinner.finish();
    output
}

/// A running indication of what is going on.
pub(crate) struct Spinner {
    bar: Option<ProgressBar>,
    last: String,
    /// Lines of a log begin then.
    lines_from: Instant,
}

impl Spinner {
    /// Starts at the beginning of what may be over within a second: then no log has a line of it.
    pub(crate) fn start(what: &str) -> Spinner {
        Spinner::start_at(what, Instant::now() + QUIET)
    }

    fn start_at(what: &str, lines_from: Instant) -> Spinner {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        let mut spinner = Spinner { bar, last: String::new(), lines_from };
        spinner.update(what);
        spinner
    }

    /// Says something else. Where no person watches, each text is printed once.
    pub(crate) fn update(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None if self.last != what && Instant::now() >= self.lines_from => {
                eprintln!("{what} ...");
            }
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
