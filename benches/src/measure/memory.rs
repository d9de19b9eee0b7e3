//! Memory of this process, as the kernel counts it.

/// The peak resident set size in MiB (`VmHWM`, proc(5)); 0 where there is no `/proc`.
pub(crate) fn peak_rss_mib() -> f64 {
    peak_rss_mib_of("self")
}

/// The peak resident set size of a process; 0 if it has ended.
pub(crate) fn peak_rss_mib_of(process: &str) -> f64 {
    status_mib(process, "VmHWM:")
}

/// The resident set size in MiB (`VmRSS`); 0 where there is no `/proc`.
pub(crate) fn rss_mib() -> f64 {
    rss_mib_of("self")
}

/// The resident set size of a process; 0 if it has ended.
pub(crate) fn rss_mib_of(process: &str) -> f64 {
    status_mib(process, "VmRSS:")
}

/// Makes the peak start again from what is resident now; false where the kernel does not.
pub(crate) fn restart_peak_rss() -> bool {
    restart_peak_rss_of("self")
}

/// The same for a process.
pub(crate) fn restart_peak_rss_of(process: &str) -> bool {
    // proc(5): 5 resets the peak resident set size and nothing else.
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").is_ok()
}

fn status_mib(process: &str, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
