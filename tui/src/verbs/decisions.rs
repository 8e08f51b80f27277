//! What is done about contacts and those who ask to be: `contacts accept`, `block`, `rename` and the like.

use starling_control::{
    Method,
    lines::ContactDone,
    methods::contacts::{Block, Requests},
    objects::{AccountId, Request},
};

use super::{find, people::catch_up, print, print_object};
use crate::{
    cli::Global,
    error::{CliError, CliResult},
    rpc::Client,
    terminal::safe_line,
};

/// The account of somebody who asks to be a contact; none if nobody who asks is meant.
async fn asking(client: &Client, who: &str) -> CliResult<Option<AccountId>> {
    let requests = client.call(Requests {}).await?;
    let name = who.strip_prefix('@').unwrap_or(who);
    let fits = |r: &&Request| r.account.as_str() == who || starling_text::same(&r.name, name);
    let found: Vec<&Request> = requests.iter().filter(fits).collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.account.clone())),
        several => {
            let ids: Vec<&str> = several.iter().map(|r| r.account.as_str()).collect();
            Err(CliError::usage(format!("{} requests have this name", several.len()))
                .hint(format!("use one of: {}", ids.join(", "))))
        }
    }
}

/// Does something about a contact.
pub(super) async fn change<M: Method>(
    global: &Global,
    client: &Client,
    who: &str,
    done: &str,
    request: impl FnOnce(AccountId) -> M,
) -> CliResult {
    catch_up(global, client).await?;
    let account = find(client, who).await?.account;
    finish(global, client, (who, done), account, request).await
}

/// Answers a request: there may be a contact with the same name.
pub(super) async fn answer<M: Method>(
    global: &Global,
    client: &Client,
    who: &str,
    done: &str,
    request: impl FnOnce(AccountId) -> M,
) -> CliResult {
    catch_up(global, client).await?;
    let account = match asking(client, who).await? {
        Some(account) => account,
        // The node says that they do not ask.
        None => find(client, who).await?.account,
    };
    finish(global, client, (who, done), account, request).await
}

/// Shuts out a contact, or somebody who asks to be one.
pub(super) async fn block(global: &Global, client: &Client, who: &str) -> CliResult {
    catch_up(global, client).await?;
    let account = match find(client, who).await {
        Err(error) if error.code == "not_found" => asking(client, who).await?.ok_or(error)?,
        found => found?.account,
    };
    finish(global, client, (who, "blocked"), account, |account| Block { account }).await
}

/// Does something about somebody, and says what was done.
async fn finish<M: Method>(
    global: &Global,
    client: &Client,
    (who, done): (&str, &str),
    account: AccountId,
    request: impl FnOnce(AccountId) -> M,
) -> CliResult {
    client.call(request(account.clone())).await?;
    if global.json {
        print_object(&ContactDone { account, done: done.to_owned() })
    } else {
        print(format!("{} {done}", safe_line(who)))
    }
}
