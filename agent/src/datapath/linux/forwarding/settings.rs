//! Files under `/proc/sys`, and what they said before us.

use super::state::{RuleSelector, Setting, State};
use crate::datapath::linux::names::is_made_by_us;
use spanwire_topology::model::Text;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// What the note on the null device begins with.
const NOTE_PREFIX: &str = "before spanwire:";
/// The longest note that the kernel keeps on a device, in bytes.
const NOTE_BYTES_MAX: usize = 255;

/// What the kernel has for `proxy_delay` if nobody says otherwise, in hundredths of a second.
const PROXY_DELAY_DEFAULT: &str = "80";

/// The settings of devices of which the host does not own the device, and which must therefore go
/// back to what they were.
pub(crate) const DEVICE_SETTINGS: [&str; 13] = [
    "net/ipv4/conf/{}/rp_filter",
    "net/ipv4/conf/{}/src_valid_mark",
    "net/ipv4/conf/{}/forwarding",
    "net/ipv4/conf/{}/send_redirects",
    "net/ipv4/conf/{}/accept_redirects",
    "net/ipv4/conf/{}/proxy_arp",
    "net/ipv4/neigh/{}/proxy_delay",
    "net/ipv6/conf/{}/accept_ra",
    "net/ipv6/conf/{}/accept_redirects",
    "net/ipv6/conf/{}/forwarding",
    "net/ipv6/conf/{}/force_forwarding",
    "net/ipv6/conf/{}/proxy_ndp",
    "net/ipv6/neigh/{}/proxy_delay",
];

/// The settings of the whole host that a plan may change.
pub(crate) const HOST_SETTINGS: [&str; 3] =
    ["net/ipv4/fwmark_reflect", "net/ipv6/fwmark_reflect", "net/ipv6/conf/all/forwarding"];

/// Values of host settings before us, by path.
pub(crate) type Before = BTreeMap<String, String>;

fn file(relative: &str) -> PathBuf {
    Path::new("/proc/sys").join(relative)
}

/// The value of a setting, `None` if the kernel does not have it.
pub(crate) fn read(setting: &Setting) -> Option<String> {
    let text = std::fs::read_to_string(file(&setting.relative_path())).ok()?;
    Some(text.trim().to_owned())
}

/// Writes a setting.
pub(crate) fn write(setting: &Setting, value: &str) -> io::Result<()> {
    if setting.path == "net/ipv6/conf/all/forwarding" && value == "1" {
        keep_router_advertisements();
    }
    std::fs::write(file(&setting.relative_path()), value)
}

/// A host that forwards IPv6 stops listening to router advertisements, and may lose its own default
/// route, unless told that it should do both (the value 2).
fn keep_router_advertisements() {
    let Ok(devices) = std::fs::read_dir(file("net/ipv6/conf")) else { return };
    for device in devices.flatten() {
        let path = device.path().join("accept_ra");
        if std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1")
            && let Err(source) = std::fs::write(&path, "2")
        {
            tracing::warn!(path = %path.display(), %source, "router advertisements may be ignored");
        }
    }
}

/// Puts a setting back: that of a device to what new devices get, that of the host to what it was.
/// A device that is gone has taken its settings with it.
pub(crate) fn reset(setting: &Setting, before: &Before) -> io::Result<()> {
    let value = if setting.device.is_some() {
        match std::fs::read_to_string(file(&setting.default_path())) {
            Ok(value) => value.trim().to_owned(),
            // Only the first network namespace has the defaults of neighbours.
            Err(_) if setting.path.ends_with("/proxy_delay") => PROXY_DELAY_DEFAULT.to_owned(),
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(source),
        }
    } else {
        match before.get(setting.path) {
            Some(value) => value.clone(),
            None => return Ok(()),
        }
    };
    match std::fs::write(file(&setting.relative_path()), value) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The note that carries `before`.
pub(crate) fn to_note(before: &Before) -> String {
    let mut note = NOTE_PREFIX.to_owned();
    for (path, value) in before {
        let entry = format!(" {path}={value}");
        if note.len() + entry.len() <= NOTE_BYTES_MAX {
            note.push_str(&entry);
        }
    }
    note
}

/// What a note carries; nothing if it is not one of ours. Only settings that we change are taken
/// from it, whatever else somebody may have written there.
pub(crate) fn from_note(note: &str) -> Before {
    let Some(entries) = note.strip_prefix(NOTE_PREFIX) else { return Before::new() };
    entries
        .split_whitespace()
        .filter_map(|entry| entry.split_once('='))
        .filter(|(path, value)| {
            HOST_SETTINGS.contains(path) && !value.is_empty() && value.parse::<u8>().is_ok()
        })
        .map(|(path, value)| (path.to_owned(), value.to_owned()))
        .collect()
}

/// Reads the settings that `wanted` has, those of the host that were changed, and those of devices
/// which a rule of ours is about but `wanted` does not know any more.
pub(crate) fn read_into(state: &mut State, wanted: &State, before: &Before) {
    let mut settings: BTreeSet<Setting> = wanted.settings.keys().cloned().collect();
    let known: BTreeSet<&Text> =
        wanted.settings.keys().filter_map(|setting| setting.device.as_ref()).collect();
    for rule in &state.rules {
        if let RuleSelector::Incoming(device) = &rule.selector
            && !known.contains(device)
            && !is_made_by_us(device)
        {
            let paths = DEVICE_SETTINGS.iter();
            settings.extend(paths.map(|path| Setting { device: Some(device.clone()), path }));
        }
    }
    let changed = HOST_SETTINGS.iter().filter(|path| before.contains_key(**path));
    settings.extend(changed.map(|path| Setting { device: None, path }));
    for setting in settings {
        if let Some(value) = read(&setting) {
            state.settings.insert(setting, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_as_written_and_nothing_else_is_believed() {
        let before: Before = HOST_SETTINGS.map(|path| (path.to_owned(), "0".to_owned())).into();
        let note = to_note(&before);
        assert!(note.len() <= NOTE_BYTES_MAX, "{note}");
        assert_eq!(from_note(&note), before);
        for foreign in [
            "",
            "uplink of rack 7",
            "before spanwire: kernel/core_pattern=1",
            "before spanwire: net/ipv4/fwmark_reflect=x",
            "before spanwire: net/ipv4/fwmark_reflect",
        ] {
            assert_eq!(from_note(foreign), Before::new(), "{foreign:?}");
        }
    }
}
