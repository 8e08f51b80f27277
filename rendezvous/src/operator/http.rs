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

use crate::hub::Hub;

/// Serves operators until the task is dropped.
pub async fn serve(listener: TcpListener, hub: Arc<Hub>) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(hub);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the operators' port failed");
    }
}

/// Ready: not draining, and the store writes.
async fn ready(State(hub): State<Arc<Hub>>) -> (StatusCode, &'static str) {
    if hub.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match hub.store.check().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot write\n"),
    }
}

async fn metrics(State(hub): State<Arc<Hub>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], hub.metrics.encode())
}
