//! Servers with IPv4 addresses, where the network has IPv6 alone.

use std::{
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
};

use futures::future::BoxFuture;

type Translating = dyn Fn(SocketAddrV4) -> BoxFuture<'static, Vec<SocketAddr>> + Send + Sync;

/// Says where servers with IPv4 addresses are reached through the network's translator (NAT64). It is asked whenever paths are looked for: a call may
/// have moved to such a network.
#[derive(Clone)]
pub struct Translator(Arc<Translating>);

impl Translator {
    /// `translate` gives no address where IPv4 leads out.
    pub fn new(
        translate: impl Fn(SocketAddrV4) -> BoxFuture<'static, Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(translate))
    }

    /// Where a server is reached beside its own address.
    pub(super) fn translate(&self, server: SocketAddrV4) -> BoxFuture<'static, Vec<SocketAddr>> {
        (self.0)(server)
    }
}

impl std::fmt::Debug for Translator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Translator")
    }
}
