//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::services::Services;

/// Serves operators until the task is dropped.
pub async fn serve(listener: TcpListener, services: Arc<Services>) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(services);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the operators' port failed");
    }
}

/// Ready: not draining, and the store writes.
async fn ready(State(services): State<Arc<Services>>) -> (StatusCode, &'static str) {
    if services.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match services.store.health.check().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot write\n"),
    }
}

async fn metrics(State(services): State<Arc<Services>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], services.metrics.encode())
}
