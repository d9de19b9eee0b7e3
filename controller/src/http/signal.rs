//! What has to be done for a connection, and how its task comes to know.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Due {
    /// The socket, or what is to be written to it, is ready.
    Connection = 1,
    /// The host's stream can go on.
    Host = 2,
    /// No more calls are to be taken.
    Drain = 4,
}

/// Set while the task has its turn: what comes to be due is done in that turn, and wakes nobody.
const POLLED: u8 = 8;

/// What is due for a connection.
///
/// A task that is woken while it has its turn gets another, after all others that wait for theirs. A stream
/// that writes to its connection does that each time, and when the connection's turn comes it has been
/// driven from the processor's caches. So one task does both, and this is how it knows what there is to
/// do within one turn.
#[derive(Debug, Default)]
pub(super) struct Signal {
    due: AtomicU8,
    /// The task, from its first turn.
    task: OnceLock<Waker>,
}

impl Signal {
    /// Begins a turn of the task, which is always the same one.
    pub(super) fn begin_turn(&self, task: &Waker) {
        self.task.get_or_init(|| task.clone());
        self.due.fetch_or(POLLED, Ordering::AcqRel);
    }

    /// True if it is due, and it is not any more.
    pub(super) fn take(&self, what: Due) -> bool {
        let due = self.due.fetch_and(!(what as u8), Ordering::AcqRel);
        due & what as u8 != 0
    }

    /// Ends the turn. False if something is due: then the turn goes on.
    pub(super) fn end_turn(&self) -> bool {
        self.due.compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Ends the turn, whatever is due, and has the task get another after all others.
    pub(super) fn yield_turn(&self) {
        self.due.fetch_and(!POLLED, Ordering::AcqRel);
        self.wake();
    }

    /// Something is due.
    pub(super) fn set(&self, what: Due) {
        // If anything was due already, or the task has its turn, it needs no waking.
        if self.due.fetch_or(what as u8, Ordering::AcqRel) == 0 {
            self.wake();
        }
    }

    fn wake(&self) {
        // Before its first turn a task need not be woken.
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    /// A waker that sets it.
    pub(super) fn waker(self: &Arc<Self>, what: Due) -> Waker {
        Waker::from(Arc::new(Setter { signal: self.clone(), what }))
    }
}

struct Setter {
    signal: Arc<Signal>,
    what: Due,
}

impl Wake for Setter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signal.set(self.what);
    }
}

/// The signals of all connections: what concerns them all, one tells them in turn. If each waited for it,
/// each would be in one queue with all others.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    signals: HashMap<u64, Arc<Signal>>,
    is_draining: bool,
}

impl Signals {
    /// A signal for a new connection.
    pub(super) fn add(&self) -> OwnSignal {
        let mut open = self.0.lock();
        let signal = Arc::<Signal>::default();
        signal.set(Due::Connection);
        if open.is_draining {
            signal.set(Due::Drain);
        }
        let number = open.next;
        open.next += 1;
        open.signals.insert(number, signal.clone());
        OwnSignal { signal, number, all: self.clone() }
    }

    /// No connection takes more calls.
    pub(super) fn drain(&self) {
        let mut open = self.0.lock();
        open.is_draining = true;
        open.signals.values().for_each(|signal| signal.set(Due::Drain));
    }
}

/// The signal of a connection; dropped with it.
#[derive(Debug)]
pub(super) struct OwnSignal {
    signal: Arc<Signal>,
    number: u64,
    all: Signals,
}

impl std::ops::Deref for OwnSignal {
    type Target = Arc<Signal>;

    fn deref(&self) -> &Arc<Signal> {
        &self.signal
    }
}

impl Drop for OwnSignal {
    fn drop(&mut self) {
        self.all.0.lock().signals.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn woken(count: &Count) -> usize {
        count.0.swap(0, Ordering::Relaxed)
    }

    #[test]
    fn a_task_is_woken_once_and_never_in_its_own_turn() {
        let (signals, count) = (Signals::default(), Arc::new(Count::default()));
        let task = Waker::from(count.clone());
        let signal = signals.add();
        let (connection, host) = (signal.waker(Due::Connection), signal.waker(Due::Host));

        signal.begin_turn(&task);
        assert!(signal.take(Due::Connection), "the first turn is for the connection");
        host.wake_by_ref();
        assert!(!signal.end_turn());
        assert!(signal.take(Due::Host) && !signal.take(Due::Host));
        assert!(signal.end_turn());
        assert_eq!(woken(&count), 0);

        connection.wake_by_ref();
        host.wake_by_ref();
        connection.wake();
        assert_eq!(woken(&count), 1);
        signal.begin_turn(&task);
        assert!(signal.take(Due::Host) && !signal.take(Due::Drain) && signal.take(Due::Connection));
        assert!(signal.end_turn());

        signal.begin_turn(&task);
        host.wake();
        signal.yield_turn();
        assert_eq!(woken(&count), 1);
        signal.begin_turn(&task);
        assert!(signal.take(Due::Host) && signal.end_turn());
        assert_eq!(woken(&count), 0);
    }

    #[test]
    fn all_connections_are_told_and_so_are_later_ones() {
        let signals = Signals::default();
        let (first, second) = (signals.add(), signals.add());
        drop(second);
        assert_eq!(signals.0.lock().signals.len(), 1);
        signals.drain();
        assert!(first.take(Due::Drain) && signals.add().take(Due::Drain));
    }
}
