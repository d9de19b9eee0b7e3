//! A replica that cannot know what there is to tell its hosts lets them go: nobody else would move a
//! host that is connected, and it would stay in the past for as long as its replica is cut off, or for
//! ever if that was removed from the cluster meanwhile.

use super::{Finding, finding};
use crate::replica::age;
use crate::schedule::Time;
use spanwire_controller::limits::{LEADERLESS_WAIT, RELEASE_TIME};
use spanwire_controller::shared::{Shared, Standing};
use std::collections::BTreeMap;
use std::time::Duration;

/// How late a replica may be with it: it looks at the time when its clock ticks.
const LATE_MAX: Duration = Duration::from_secs(2);
/// A replica that was not heard of for so long was held up.
const HELD_UP: Duration = Duration::from_millis(500);

/// Since when each replica has known of no leader, by its own clock.
#[derive(Debug, Default)]
pub struct LeftBehind(BTreeMap<u64, Leaderless>);

#[derive(Debug)]
struct Leaderless {
    since: Duration,
    last: Duration,
}

impl LeftBehind {
    /// A replica has started again, and with it its clock.
    pub fn process_restart(&mut self, replica: u64) {
        self.0.remove(&replica);
    }

    /// Looks at a replica, `clock` after it started.
    pub fn check(
        &mut self,
        replica: u64,
        standing: &Standing,
        shared: &Shared,
        clock: Duration,
        now: Time,
    ) -> Result<(), Finding> {
        if standing.leader != 0 {
            self.0.remove(&replica);
            return Ok(());
        }
        let seen = self.0.entry(replica).or_insert(Leaderless { since: clock, last: clock });
        if clock.saturating_sub(seen.last) > HELD_UP {
            seen.since = clock;
        }
        seen.last = clock;
        let lasts = clock.saturating_sub(seen.since);
        if lasts < LEADERLESS_WAIT + RELEASE_TIME + LATE_MAX {
            return Ok(());
        }
        // What was on its way when the leader was lost may come late.
        let stays = shared.publisher.connections().into_iter().find(|connection| {
            !connection.is_refused() && age(connection, now) > RELEASE_TIME + LATE_MAX
        });
        match stays {
            Some(connection) => {
                let what = format!(
                    "replica {replica} has known of no leader for {lasts:?} and keeps {}",
                    connection.name()
                );
                Err(finding("no host is left behind", what))
            }
            None => Ok(()),
        }
    }
}
