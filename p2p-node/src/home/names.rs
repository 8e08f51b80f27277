//! User names, as far as servers know them: a server is told what a slow hash makes of a name, and never the name.

use bytes::Bytes;
use starling_keys::username_key;

use super::Homes;
use crate::net::HomeId;

impl Homes {
    /// What a connected server is told in place of a user name. `None` if it is of an older version: it would have to see the name itself, and one that
    /// wants to see names may say so, too.
    pub fn username_key(&mut self, home: HomeId, name: &str) -> Option<Bytes> {
        let state = self.servers.get_mut(&home)?;
        if !state.hello.as_ref()?.name_keys {
            return None;
        }
        let known = state.username_key.take().filter(|(known, _)| known == name);
        let (name, key) = known.unwrap_or_else(|| (name.to_owned(), username_key(&home, name)));
        state.username_key = Some((name, key));
        Some(Bytes::copy_from_slice(&key))
    }
}
