//! How conversations are shown in lists.

use starling_control::{
    Error, Serve,
    methods::{Done, chats},
};
use starling_node::{Arranged, ChatId};

use super::{serve::id, session::Session};
use crate::error::CliError;

/// Most conversations that are sorted at once: more than a profile has.
const MAX_SORTED: usize = 32_768;

impl Serve<chats::Set> for Session {
    async fn serve(&self, request: chats::Set) -> Result<Done, Error> {
        let node = &self.served.node;
        let chat = id("chat", request.chat.as_str())?;
        let folder = request.folder.map(|folder| (chat, Arranged::Folder(folder.trim().to_owned())));
        let folded = request.folded.map(|folded| (chat, Arranged::Folded(folded)));
        let arranged: Vec<(ChatId, Arranged)> = folder.into_iter().chain(folded).collect();
        if !arranged.is_empty() {
            node.arrange(arranged).await.map_err(CliError::from)?;
        }
        let changed = node.set_chat(chat, request.pinned, request.muted_until_ms, request.archived).await;
        changed.map_err(CliError::from)?;
        Ok(Done {})
    }
}

impl Serve<chats::Arrange> for Session {
    async fn serve(&self, request: chats::Arrange) -> Result<Done, Error> {
        if request.chats.len() > MAX_SORTED {
            return Err(Error::invalid_param("chats", format!("at most {MAX_SORTED}")));
        }
        let by_activity = request.by_activity.unwrap_or(false);
        let mut arranged = Vec::with_capacity(request.chats.len());
        for (at, (place, chat)) in (1_u32..).zip(&request.chats).enumerate() {
            let place = if by_activity { 0 } else { place };
            arranged.push((id(&format!("chats[{at}]"), chat.as_str())?, Arranged::Place(place)));
        }
        self.served.node.arrange(arranged).await.map_err(CliError::from)?;
        Ok(Done {})
    }
}
