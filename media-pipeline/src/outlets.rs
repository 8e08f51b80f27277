//! The routes that captured media go to, shared by the threads that encode.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64},
};

use crate::transport::sender::Outlet;

/// One route as the encoders see it.
#[derive(Debug)]
pub struct Route {
    /// Its number in the call.
    pub id: u64,
    /// Where to put packets.
    pub outlet: Outlet,
    /// Height at which the other side shows our video; 0: not at all.
    pub wanted_height: AtomicU32,
    /// Height that is sent.
    pub height: AtomicU32,
    /// The other side put the call on hold, or we did.
    pub held: AtomicBool,
    /// Loss of sound that the other side reports.
    pub loss_percent: AtomicU8,
    /// Mean number of packets that it loses in a row, in tenths.
    pub loss_burst: AtomicU8,
}

/// All routes.
#[derive(Debug, Default)]
pub struct Outlets {
    routes: RwLock<Vec<Arc<Route>>>,
    /// Frames that were encoded.
    pub encoded: AtomicU64,
    /// Frames that the rate control left out.
    pub skipped: AtomicU64,
}

impl Outlets {
    /// The routes now.
    pub fn all(&self) -> Vec<Arc<Route>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A route joins.
    pub fn add(&self, id: u64, outlet: Outlet) -> Arc<Route> {
        let route = Arc::new(Route {
            id,
            outlet,
            // Until it is told otherwise: what most screens show.
            wanted_height: AtomicU32::new(360),
            height: AtomicU32::new(0),
            held: AtomicBool::new(false),
            loss_percent: AtomicU8::new(0),
            loss_burst: AtomicU8::new(10),
        });
        self.routes.write().unwrap_or_else(PoisonError::into_inner).push(route.clone());
        route
    }

    /// A route leaves.
    pub fn remove(&self, id: u64) {
        self.routes.write().unwrap_or_else(PoisonError::into_inner).retain(|r| r.id != id);
    }
}
