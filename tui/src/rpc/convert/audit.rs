//! The audit logs of groups.

use starling_control::objects;
use starling_keys::AccountId;
use starling_node::{AuditAction, AuditEntry, AuditLog, ChatId, GroupSetting, Role};

use super::{id, people::role, time};

pub fn audit_log(log: &AuditLog) -> objects::AuditLog {
    let entries = (log.missing + 1..).zip(&log.entries).map(|(number, entry)| audit_entry(number, entry)).collect();
    objects::AuditLog { complete: log.missing == 0, missing: log.missing, entries }
}

/// The id of a link as it is shown.
pub fn link_id(link: &[u8; 16]) -> String {
    link.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The link with an id that is shown so.
pub fn link_of(shown: &str) -> Option<[u8; 16]> {
    let mut link = [0; 16];
    let digits = shown.as_bytes();
    if digits.len() != 32 || !shown.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in link.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(link)
}

fn audit_entry(number: u64, entry: &AuditEntry) -> objects::AuditEntry {
    let of_account = |account: &[u8; 32]| AccountId::from_bytes(account).ok().map(id);
    let mut shown = objects::AuditEntry {
        number,
        at: time(entry.at),
        epoch: entry.epoch,
        by: of_account(&entry.by).unwrap_or_default(),
        action: action_of(&entry.action),
        ..objects::AuditEntry::default()
    };
    match &entry.action {
        AuditAction::Made | AuditAction::Raised => {}
        AuditAction::Renamed(text) | AuditAction::Topic(text) => shown.text = Some(text.clone()),
        AuditAction::Setting(setting, value) => {
            (shown.setting, shown.value) = (Some(setting.name().to_owned()), Some(value_of(*setting, *value)));
        }
        AuditAction::LinkMade(link) | AuditAction::LinkEnded(link) | AuditAction::LinkUsed(link) => {
            shown.link = Some(link_id(link));
        }
        AuditAction::ChannelAdded(channel) | AuditAction::ChannelRemoved(channel) => {
            shown.channel = Some(id(ChatId(*channel)));
        }
        AuditAction::Role(account, to) => (shown.account, shown.role) = (of_account(account), Some(role(*to))),
        AuditAction::Invited(account)
        | AuditAction::Removed(account)
        | AuditAction::Left(account)
        | AuditAction::Banned(account)
        | AuditAction::Unbanned(account) => shown.account = of_account(account),
    }
    shown
}

fn action_of(action: &AuditAction) -> objects::AuditAction {
    match action {
        AuditAction::Made => objects::AuditAction::Made,
        AuditAction::Raised => objects::AuditAction::Raised,
        AuditAction::Renamed(_) => objects::AuditAction::Renamed,
        AuditAction::Topic(_) => objects::AuditAction::Topic,
        AuditAction::Setting(..) => objects::AuditAction::Setting,
        AuditAction::LinkMade(_) => objects::AuditAction::LinkMade,
        AuditAction::LinkEnded(_) => objects::AuditAction::LinkEnded,
        AuditAction::LinkUsed(_) => objects::AuditAction::LinkUsed,
        AuditAction::ChannelAdded(_) => objects::AuditAction::ChannelAdded,
        AuditAction::ChannelRemoved(_) => objects::AuditAction::ChannelRemoved,
        AuditAction::Role(..) => objects::AuditAction::Role,
        AuditAction::Invited(_) => objects::AuditAction::Invited,
        AuditAction::Removed(_) => objects::AuditAction::Removed,
        AuditAction::Left(_) => objects::AuditAction::Left,
        AuditAction::Banned(_) => objects::AuditAction::Banned,
        AuditAction::Unbanned(_) => objects::AuditAction::Unbanned,
    }
}

fn value_of(setting: GroupSetting, value: u32) -> String {
    match setting {
        GroupSetting::History if value == 0 => "no".to_owned(),
        GroupSetting::History => "yes".to_owned(),
        GroupSetting::SlowMode | GroupSetting::Lifetime => value.to_string(),
        _ => Role::from_rank(value).map_or_else(|| value.to_string(), |of| role(of).as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_by_the_id_that_is_shown() {
        let link = std::array::from_fn(|at| at as u8 * 16 + 1);
        assert_eq!(link_of(&link_id(&link)), Some(link));
        assert_eq!(link_of(&link_id(&link).to_uppercase()), Some(link));
        for wrong in ["", "0", "zz0102030405060708090a0b0c0d0e0f", "é0102030405060708090a0b0c0d0e0f1"] {
            assert_eq!(link_of(wrong), None);
        }
    }
}
