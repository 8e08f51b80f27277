//! Who attends a call. A screen or a command that was killed leaves its call to the node: with an open microphone, and to nobody's ears.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use starling_node::{CallId, Node};

/// A call that nobody attends is ended after this: time for a screen to be started anew.
const ALONE: Duration = Duration::from_secs(20);

/// Calls, and the connections that follow the news and had to do with them.
#[derive(Clone, Debug, Default)]
pub struct Attended(Arc<Mutex<HashMap<CallId, HashSet<u64>>>>);

impl Attended {
    fn calls(&self) -> MutexGuard<'_, HashMap<CallId, HashSet<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection asked something about calls; `result` names the call that it started.
    pub fn asked(&self, connection: u64, params: &Value, result: &Value) {
        let id = [params, result].into_iter().find_map(|value| value["call"].as_str()?.parse().ok());
        if let Some(id) = id {
            self.calls().entry(id).or_default().insert(connection);
        }
    }

    /// A connection is closed: what only it attended is no longer heard or seen, and is ended unless somebody comes back.
    pub fn left(&self, connection: u64, node: &Node) {
        let mut alone = Vec::new();
        self.calls().retain(|id, connections| {
            if connections.remove(&connection) && connections.is_empty() {
                alone.push(*id);
            }
            !connections.is_empty()
        });
        for id in alone {
            let Some(media) = node.call_media(id) else { continue };
            let (attended, node) = (self.clone(), node.clone());
            tokio::spawn(async move {
                media.call.set_microphone(false).await;
                media.call.set_camera(false).await;
                tokio::time::sleep(ALONE).await;
                if !attended.calls().contains_key(&id) {
                    // Over already, most of the time.
                    let _ = node.call_hang_up(id, String::new()).await;
                }
            });
        }
    }
}
