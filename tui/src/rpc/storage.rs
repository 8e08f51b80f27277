//! What the account stores at its rendezvous servers.

use starling_control::{
    Error, Serve,
    methods::profile::{DeleteStorage, ListStorage},
    objects,
};
use starling_node::{Storage, StoredLogs};

use super::{convert::id, session::Session};
use crate::error::CliError;

impl Serve<ListStorage> for Session {
    async fn serve(&self, _: ListStorage) -> Result<objects::Storage, Error> {
        Ok(shown(self.served.node.storage(None).await.map_err(CliError::from)?))
    }
}

impl Serve<DeleteStorage> for Session {
    async fn serve(&self, request: DeleteStorage) -> Result<objects::Storage, Error> {
        Ok(shown(self.served.node.storage(Some(request.id)).await.map_err(CliError::from)?))
    }
}

fn shown(storage: Storage) -> objects::Storage {
    let logs = |stored: StoredLogs| {
        let (chat, name) = stored.chat.map(|(chat, name)| (id(chat), name)).unzip();
        let StoredLogs { id, home, logs, unused, entries, bytes, .. } = stored;
        objects::StoredLogs { id, rendezvous: home, chat, name, logs, unused, entries, bytes }
    };
    let Storage { conversations, deleted } = storage;
    objects::Storage { conversations: conversations.into_iter().map(logs).collect(), deleted }
}
