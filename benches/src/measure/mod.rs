//! How things are measured: time of the wall and of the processor, memory, percentiles, what hosts
//! have, and the lower bounds that figures stand next to.

mod bound;
mod memory;
mod percentiles;
mod report;
mod stopwatch;
mod table;
mod views;

pub(crate) use bound::{Pairs, Walk};
pub(crate) use memory::{
    peak_rss_mib, peak_rss_mib_of, restart_peak_rss, restart_peak_rss_of, rss_mib, rss_mib_of,
};
pub(crate) use percentiles::Percentiles;
pub(crate) use report::{Report, ratio, rounded};
pub(crate) use stopwatch::{Spent, Stopwatch};
pub(crate) use table::to_markdown;
pub(crate) use views::Views;
