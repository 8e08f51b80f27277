//! What is set in a group, as `group settings` shows it.

use starling_control::objects::{Group, Role};

use super::{print, print_object, say};
use crate::{cli::Global, error::CliResult, terminal::safe_line};

/// Behind settings that are stored, and from which nothing follows in this version.
const LATER: &str = "  (kept for later versions)";

/// Shows what is set in a group, and who is banned from it.
pub(super) fn show(global: &Global, group: &Group) -> CliResult {
    let policy = &group.policy;
    if global.json {
        return print_object(policy);
    }
    let roles = [
        ("post", Some(policy.post)),
        ("invite", Some(policy.invite)),
        ("remove", Some(policy.remove)),
        ("pin", Some(policy.pin)),
        ("delete", policy.delete),
        ("settings", Some(policy.settings)),
        ("mention-all", Some(policy.mention_all)),
        ("call", Some(policy.call)),
        ("comment", Some(policy.comment)),
    ];
    for (name, role) in roles {
        let later = if matches!(name, "pin" | "call") { LATER } else { "" };
        print(format!("{name:<12}  {}{later}", role.map_or("nobody", Role::as_str)))?;
    }
    let seconds = |seconds: u32, none: &str| if seconds == 0 { none.to_owned() } else { format!("{seconds} s") };
    print(format!("slow-mode     {}", seconds(policy.slow_mode, "off")))?;
    print(format!("lifetime      {}{LATER}", seconds(policy.lifetime, "for ever")))?;
    print(format!("history       {}", if policy.history { "yes" } else { "no" }))?;
    for banned in &group.banned {
        let name = banned.name.as_deref().unwrap_or(banned.account.as_str());
        print(format!("banned        {}", safe_line(name)))?;
    }
    if policy.fixed {
        say(global, "An older version has made this group: none of this can be changed in it.");
    }
    Ok(())
}
