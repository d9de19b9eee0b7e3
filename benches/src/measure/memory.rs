//! Memory of this process, as the kernel counts it.

/// The peak resident set size in MiB (`VmHWM`, proc(5)); 0 where there is no `/proc`.
pub(crate) fn peak_rss_mib() -> f64 {
    status_mib("VmHWM:")
}

/// The resident set size in MiB (`VmRSS`); 0 where there is no `/proc`.
pub(crate) fn rss_mib() -> f64 {
    status_mib("VmRSS:")
}

/// Makes the peak start again from what is resident now; false where the kernel does not.
pub(crate) fn restart_peak_rss() -> bool {
    // proc(5): 5 resets the peak resident set size and nothing else.
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn status_mib(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
