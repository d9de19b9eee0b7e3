//! How many files and sockets this process and those that it starts may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Besides sockets: libraries, logs, data files.
const OTHERS: u64 = 500;

/// Makes room for so many sockets, here and in processes that are started from now on.
pub(crate) fn allow_sockets(sockets: usize) -> Result<(), String> {
    let needed = sockets as u64 + OTHERS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| format!("the limit of open files is not known: {errno}"))?;
    if soft >= needed {
        return Ok(());
    }
    let hard = hard.max(needed);
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).map_err(|errno| {
        format!(
            "{sockets} sockets need a limit of {needed} open files, and it is {soft} ({errno}): raise it \
             with `ulimit -n {needed}`, or ask for fewer hosts"
        )
    })
}
