//! What went wrong, once: the message, its causes, and what to do about it.

use owo_colors::OwoColorize;
use std::error::Error;
use std::process::ExitCode;

/// Why a verb failed, as the exit code says it. Documented in `docs/cli.md` and in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The controller or this program refused, or something failed on the way.
    Refused = 1,
    /// The command line is wrong. clap uses the same code.
    Usage = 2,
    /// An object that the command names does not exist.
    NotFound = 3,
    /// The controller cannot be reached, or could not say how a write ended.
    Unreachable = 4,
    /// A wait did not end in time.
    Timeout = 5,
    /// An import left rows out that cannot be carried over.
    Unsupported = 6,
    /// Lint found something of severity error.
    Findings = 7,
    /// Who read our output went away, as `head` does. Says nothing, and ends as a process does that
    /// SIGPIPE ends.
    ClosedPipe = 141,
}

/// The exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused, or failed on the way; a verdict that was expected otherwise
  2  the command line is wrong, or a batch of questions
  3  an object that the command names does not exist
  4  the controller cannot be reached, or could not say how a write ended
  5  a wait did not end in time
  6  an import left rows out that cannot be carried over
  7  lint found something of severity error";

/// A verb's failure: printed once, by `main`.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: FailureKind,
    message: String,
    causes: Vec<String>,
    remedy: Option<String>,
}

impl Failure {
    /// A failure with a message of its own.
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), causes: Vec::new(), remedy: None }
    }

    /// Short for the most frequent kind.
    pub(crate) fn refused(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Refused, message)
    }

    /// What was being done, and the error that ended it, with everything that caused that.
    pub(crate) fn caused(message: impl Into<String>, error: &dyn Error) -> Failure {
        let mut failure = Failure::refused(message);
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Some errors print their source as part of themselves; say it once.
            if !failure.causes.last().is_some_and(|last| last.contains(&text)) {
                failure.causes.push(text);
            }
            next = error.source();
        }
        failure
    }

    /// The same as another kind.
    pub(crate) fn of_kind(mut self, kind: FailureKind) -> Failure {
        self.kind = kind;
        self
    }

    /// The same with something to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Failure {
        self.remedy = Some(remedy.into());
        self
    }

    /// What happened, without causes and remedy.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What the process says when it ends.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }

    /// The kind.
    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The failure without colours, one line per cause.
    pub(crate) fn to_text(&self) -> String {
        let mut text = self.message.clone();
        for cause in &self.causes {
            text.push_str("\n  cause: ");
            text.push_str(cause);
        }
        if let Some(remedy) = &self.remedy {
            text.push_str("\n  remedy: ");
            text.push_str(remedy);
        }
        text
    }

    /// Prints it on stderr.
    pub(crate) fn print(&self) {
        if self.kind == FailureKind::ClosedPipe {
            return;
        }
        anstream::eprintln!("{} {}", "error:".red().bold(), self.to_text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("inner")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("wrapper: {0}")]
    struct Wrapper(#[source] Inner);

    #[test]
    fn the_chain_is_told_once() {
        let failure = Failure::caused("reading", &Outer(Inner)).remedy("try again");
        assert_eq!(
            failure.to_text(),
            "reading\n  cause: outer\n  cause: inner\n  remedy: try again"
        );
        let failure = Failure::caused("reading", &Wrapper(Inner));
        assert_eq!(failure.to_text(), "reading\n  cause: wrapper: inner");
        assert_eq!(failure.kind(), FailureKind::Refused);
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        for kind in [
            FailureKind::Refused,
            FailureKind::Usage,
            FailureKind::NotFound,
            FailureKind::Unreachable,
            FailureKind::Timeout,
            FailureKind::Unsupported,
            FailureKind::Findings,
        ] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", kind as u8)), "{kind:?}");
        }
    }
}
