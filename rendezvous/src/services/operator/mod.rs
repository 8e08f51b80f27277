//! For operators: metrics, health, and the admin socket.

mod admin;
mod http;
mod metrics;

pub use admin::{AdminError, ask as ask_admin, revoke_banned, serve as serve_admin};
#[cfg(test)]
pub use admin::{put_ban, put_token};
pub use http::serve as serve_http;
pub use metrics::Metrics;
