//! The metrics over HTTP: `GET /metrics`.

use crate::metrics::Sample;
use crate::shared::Shared;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

struct Source {
    registry: Registry,
    shared: Arc<Shared>,
}

/// Serves the metrics until `draining` is cancelled.
pub(crate) fn spawn(
    listener: TcpListener,
    registry: Registry,
    shared: Arc<Shared>,
    draining: CancellationToken,
) {
    let source = Arc::new(Source { registry, shared });
    let router = Router::new().route("/metrics", get(metrics)).with_state(source);
    tokio::spawn(async move {
        let server = axum::serve(listener, router);
        let served = server.with_graceful_shutdown(draining.cancelled_owned()).await;
        if let Err(error) = served {
            crate::telemetry::metrics_stopped(&error);
        }
    });
}

async fn metrics(State(source): State<Arc<Source>>) -> Response {
    let Source { registry, shared } = &*source;
    shared.metrics.set(sample(shared));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn sample(shared: &Shared) -> Sample {
    let publisher = &shared.publisher;
    let revision = publisher.revision();
    let connections = publisher.connections();
    let behind = connections.iter().filter(|connection| connection.realized(revision) < revision);
    let stats = publisher.change_log_stats();
    Sample {
        revision,
        applied_index: shared.standing.borrow().applied_index,
        hosts_connected: connections.len() as u64,
        hosts_behind: behind.count() as u64,
        deltas_encoded: stats.deltas_encoded,
        items_encoded: stats.fulls_encoded,
        change_log_bytes: stats.delta_bytes,
        item_cache_bytes: stats.full_bytes,
    }
}
