//! What screens keep in the profile from one run to the next: drafts, the open conversation. Rows are named by the screen.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Done, requests};

requests! {
    /// What is kept.
    Get = "screen.get" -> Kept => {}

    /// Keeps a row; it is on the disk when the answer comes.
    Set = "screen.set" -> Done => {
        /// The name of the row.
        row: String,
        /// What it holds; null removes it.
        value: Option<Value>,
    }
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// By the names of the rows.
    pub rows: BTreeMap<String, Value>,
}
