//! What fuzz targets reach of the decoders of the network side, which are private.

use tokio::io::{join, sink};

use super::socks;
use crate::net::proxy::Login;

/// Whether a proxy that answers so has connected, by SOCKS. What is left of the answers comes from behind it.
pub async fn connect_by_socks(answers: &mut &[u8], has_credentials: bool) -> bool {
    let login = if has_credentials { Login::Needed("user", "password") } else { Login::Offered("visit") };
    socks::connect(&mut join(answers, sink()), login, "a.example", 443).await.is_ok()
}
