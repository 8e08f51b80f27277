//! Which conversation somebody means: a group by `#name`, a contact by `@name`, either by a name alone where only one has it.

use starling_control::{
    Error, Serve,
    methods::chats,
    objects::{ChatKind, ChatRef},
};
use starling_node::{Group, Node};

use super::{
    convert::{self, kind_of},
    groups::group,
    session::Session,
};
use crate::error::CliError;

impl Serve<chats::Find> for Session {
    async fn serve(&self, request: chats::Find) -> Result<ChatRef, Error> {
        Ok(find(&self.served.node, &request.who).await?)
    }
}

async fn find(node: &Node, who: &str) -> Result<ChatRef, CliError> {
    if who.starts_with('#') {
        return group(node, who).await.map(|group| of_group(&group));
    }
    match node.find_contact(who.to_owned()).await.map_err(CliError::from) {
        Ok(contact) => {
            if starling_text::same(&contact.name, who) && is_name_of_group(node, who).await? {
                let text = format!("“{}” is the name of a contact and of a group", who.escape_debug());
                let error = CliError::usage(text).hint(format!("use @{who} or #{who}"));
                return Err(CliError { reason: Some("which_chat".into()), ..error });
            }
            Ok(ChatRef { id: convert::id(contact.chat), kind: ChatKind::Direct, name: Some(contact.name) })
        }
        Err(error) if error.code == "not_found" && !who.starts_with('@') => match group(node, who).await {
            Ok(group) => Ok(of_group(&group)),
            Err(of_group) if of_group.code == "not_found" => Err(error),
            Err(of_group) => Err(of_group),
        },
        Err(error) => Err(error),
    }
}

/// Whether a group that we are in, or about to be, has a name.
async fn is_name_of_group(node: &Node, name: &str) -> Result<bool, CliError> {
    let is_it = |group: &Group| convert::closeness(group.standing) == 0 && starling_text::same(&group.name, name);
    Ok(node.groups().await?.iter().any(is_it))
}

fn of_group(group: &Group) -> ChatRef {
    ChatRef { id: convert::id(group.id), kind: kind_of(group), name: Some(group.name.clone()) }
}
