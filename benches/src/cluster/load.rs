//! Load: clients that write one thing after the other, or so many a second.

use crate::measure::Percentiles;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A client that writes.
pub(crate) trait Write: Send + 'static {
    /// Writes once, and waits until it is acknowledged. Returns the revision, where there are any.
    fn write(&mut self) -> impl Future<Output = Result<u64, String>> + Send;
}

/// A write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When it was due.
    pub(crate) due: Instant,
    pub(crate) acknowledged: Instant,
    pub(crate) revision: u64,
}

/// Writes of some clients, over some time.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) latencies: Percentiles,
}

impl Measured {
    /// Writes a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.count() as f64 / self.seconds.max(1e-9)
    }

    pub(crate) fn extend(&mut self, other: Measured) {
        self.seconds += other.seconds;
        self.latencies.extend(other.latencies);
    }
}

/// Has every client write as fast as it is answered, for a time. The clients come back.
pub(crate) async fn close_loop<W: Write>(
    clients: Vec<W>,
    time: Duration,
) -> Result<(Measured, Vec<W>), String> {
    let started = Instant::now();
    let end = started + time;
    let mut tasks = JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move {
            let mut latencies = Percentiles::default();
            while Instant::now() < end {
                let started = Instant::now();
                client.write().await?;
                latencies.add(started.elapsed());
            }
            Ok::<_, String>((latencies, client))
        });
    }
    let mut measured = Measured::default();
    let mut clients = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        let (latencies, client) = joined.map_err(|error| error.to_string())??;
        measured.latencies.extend(latencies);
        clients.push(client);
    }
    // The last writes of all were acknowledged by now.
    measured.seconds = started.elapsed().as_secs_f64();
    Ok((measured, clients))
}

/// Clients that write at a rate, whether they are answered in time or not, until they are told to stop.
pub(crate) struct OpenLoop {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<Vec<Sample>, String>>,
}

/// Starts clients that together write `rate` times a second. The time of a write that had to wait for the
/// one before counts from when it was due.
pub(crate) fn open_loop<W: Write>(clients: Vec<W>, rate: f64) -> OpenLoop {
    let (stop, stopped) = watch::channel(false);
    let interval = Duration::from_secs_f64(clients.len() as f64 / rate);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let stopped = stopped.clone();
        let mut due = started + Duration::from_secs_f64(number as f64 / rate);
        tasks.spawn(async move {
            let mut samples = Vec::new();
            while !*stopped.borrow() {
                tokio::time::sleep_until(due.into()).await;
                let revision = client.write().await?;
                samples.push(Sample { due, acknowledged: Instant::now(), revision });
                due += interval;
            }
            Ok(samples)
        });
    }
    OpenLoop { stop, tasks }
}

impl OpenLoop {
    /// Stops the clients once what they wrote last is acknowledged.
    pub(crate) async fn finish(mut self) -> Result<Vec<Sample>, String> {
        self.stop.send_replace(true);
        let mut samples = Vec::new();
        while let Some(joined) = self.tasks.join_next().await {
            samples.extend(joined.map_err(|error| error.to_string())??);
        }
        samples.sort_unstable_by_key(|sample| sample.due);
        Ok(samples)
    }
}

/// The times of the writes that were due from one moment to another.
pub(crate) fn latencies(samples: &[Sample], from: Instant, to: Instant) -> Percentiles {
    let mut latencies = Percentiles::default();
    for sample in samples.iter().filter(|sample| sample.due >= from && sample.due < to) {
        latencies.add(sample.acknowledged.saturating_duration_since(sample.due));
    }
    latencies
}
