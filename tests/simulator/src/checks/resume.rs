//! G7: after a reconnect a host is sent what differs and nothing else.

use super::{Finding, finding};
use spanwire_hostproto::wire;
use spanwire_hostproto::wire::controller_message::Message;
use spanwire_hostproto::{Change, decode_update};
use spanwire_topology::view::HostView;

/// What was sent to hosts.
#[derive(Debug, Default)]
pub struct Resume {
    /// Updates that were sent.
    pub updates: u64,
    /// Times a host that held a view was welcomed.
    pub resumes: u64,
}

impl Resume {
    /// A message comes to a host that holds `view` of the cluster. `complained` says whether the host
    /// could not use what it was sent before: then it may be sent anew.
    pub fn check(
        &mut self,
        message: &wire::ControllerMessage,
        view: &HostView,
        complained: bool,
    ) -> Result<(), Finding> {
        let check = "G7 resume";
        match &message.message {
            Some(Message::Welcome(welcome)) if view.revision > 0 => {
                self.resumes += 1;
                if welcome.resume() == wire::welcome::Resume::Snapshot && !complained {
                    let what = format!("a host that holds {} is sent everything", view.revision);
                    return Err(finding(check, what));
                }
            }
            Some(Message::Part(part)) => {
                self.updates += part.updates.len() as u64;
                if part.replace || (complained && !part.repair) {
                    return Ok(());
                }
                for bytes in &part.updates {
                    let update = decode_update(bytes);
                    let update = update.map_err(|error| finding(check, error.to_string()))?;
                    let held = view.items.get(&update.key);
                    let is_held = held.is_some_and(|held| match &update.change {
                        // Of what is held wrongly the version may be right.
                        Change::Full(item) if part.repair => {
                            held.version == update.version && *held.item == *item
                        }
                        _ => held.version == update.version,
                    });
                    if is_held {
                        let what = format!("{} is sent again at {}", update.key, update.version);
                        return Err(finding(check, what));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
