//! A server without a network, for simulations and tests: the same sessions on the same store, called directly.

use std::{fs, sync::Arc};

use libp2p::{PeerId, identity};
use starling_wire::rendezvous::{Request, Response};
use tokio::sync::mpsc;

use crate::{
    config::Config,
    hub::Hub,
    server::StartError,
    session::Session,
    store::{Key, redb::RedbStore},
};

/// A server whose devices are in the same process.
pub struct LocalServer {
    hub: Arc<Hub>,
}

/// A device that is connected to a [`LocalServer`].
pub struct LocalSession {
    session: Session,
    pushed: mpsc::Receiver<Box<Response>>,
}

impl LocalServer {
    /// Opens the store in the configured directory. `server_key` is the key in the server's address.
    pub fn open(config: &Config, server_key: Key) -> Result<Self, StartError> {
        let dir = &config.data_dir;
        fs::create_dir_all(dir).map_err(|error| StartError::DataDir { path: dir.clone(), error })?;
        let store = Arc::new(RedbStore::open(&dir.join("rendezvous.redb"))?);
        Ok(Self { hub: Arc::new(Hub::new(store, server_key, [0; 32], config)) })
    }

    /// Changes the limits while the server runs.
    pub fn reload(&self, config: &Config) {
        self.hub.reload(config);
    }

    /// Connects a device; `None` if its key is none.
    pub async fn connect(&self, device: Key) -> Option<LocalSession> {
        let key = identity::ed25519::PublicKey::try_from_bytes(&device).ok()?;
        let peer = PeerId::from_public_key(&key.into());
        let (session, pushed) = Session::enter(self.hub.clone(), peer, device).await;
        Some(LocalSession { session, pushed })
    }
}

/// What an operator does, and what the store keeps count of.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
impl LocalServer {
    pub(crate) async fn ban(&self, account: Key) {
        self.hub.store.set_banned(account, true).await.unwrap();
    }

    pub(crate) async fn put_registration(&self, token: &str, uses: u32) {
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        self.hub.store.put_registration(hash, uses, u64::MAX).await.unwrap();
    }

    pub(crate) async fn stored_bytes(&self, account: Key) -> u64 {
        self.hub.store.account(account).await.unwrap().unwrap().bytes
    }
}

impl LocalSession {
    /// What the server says first.
    pub fn hello(&self) -> Response {
        self.session.hello()
    }

    /// One request.
    pub async fn ask(&mut self, request: Request) -> Response {
        self.session.answer(request).await
    }

    /// The next push, if there is one.
    pub fn pushed(&mut self) -> Option<Response> {
        self.pushed.try_recv().ok().map(|response| *response)
    }
}
