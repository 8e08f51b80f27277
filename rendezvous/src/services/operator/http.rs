//! `/healthz`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, sync::Mutex, time::Instant};

use crate::{limits::READY_FOR, services::Services, store::Health};

/// Whether the store writes, as it was found a moment ago.
#[derive(Default)]
struct Readiness(Mutex<Option<(Instant, bool)>>);

impl Readiness {
    /// Tries the store, unless somebody did within [`READY_FOR`]; who asks meanwhile waits for the same answer.
    async fn of(&self, health: &dyn Health) -> bool {
        let mut known = self.0.lock().await;
        if let Some((_, writes)) = known.filter(|(at, _)| at.elapsed() < READY_FOR) {
            return writes;
        }
        let writes = health.check().await.is_ok();
        *known = Some((Instant::now(), writes));
        writes
    }
}

/// Serves operators until the task is dropped.
pub async fn serve(listener: TcpListener, services: Arc<Services>) {
    let readiness = Arc::new(Readiness::default());
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move |state: State<Arc<Services>>| ready(state, readiness)))
        .route("/metrics", get(metrics))
        .with_state(services);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the operators' port failed");
    }
}

/// Ready: not draining, and the store writes.
async fn ready(State(services): State<Arc<Services>>, readiness: Arc<Readiness>) -> (StatusCode, &'static str) {
    if services.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    match readiness.of(&*services.store.health).await {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot write\n"),
    }
}

async fn metrics(State(services): State<Arc<Services>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], services.metrics.encode())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::store::StoreError;

    #[derive(Default)]
    struct Disk(AtomicU64);

    #[async_trait::async_trait]
    impl Health for Disk {
        async fn check(&self) -> Result<(), StoreError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(())
        }

        fn free_space(&self) -> Option<u64> {
            None
        }

        async fn broken(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_whether_it_is_ready_makes_it_write_now_and_then() {
        let (disk, readiness) = (Disk::default(), Readiness::default());
        let asked = (0..100).map(|_| readiness.of(&disk));
        assert!(futures::future::join_all(asked).await.into_iter().all(|ready| ready));
        assert_eq!(disk.0.load(Ordering::Relaxed), 1);
        tokio::time::advance(READY_FOR).await;
        assert!(readiness.of(&disk).await);
        assert_eq!(disk.0.load(Ordering::Relaxed), 2);
    }
}
