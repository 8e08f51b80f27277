//! The audit logs of groups.

use starling_control::objects;
use starling_keys::AccountId;
use starling_node::{AuditAction, AuditEntry, AuditLog, GroupSetting, Role};

use super::{id, people::role, time};

pub fn audit_log(log: &AuditLog) -> objects::AuditLog {
    let entries = (log.missing + 1..).zip(&log.entries).map(|(number, entry)| audit_entry(number, entry)).collect();
    objects::AuditLog { complete: log.missing == 0, missing: log.missing, entries }
}

fn audit_entry(number: u64, entry: &AuditEntry) -> objects::AuditEntry {
    let of_account = |account: &[u8; 32]| AccountId::from_bytes(account).ok().map(id);
    let link = |link: &[u8; 16]| Some(link.iter().map(|byte| format!("{byte:02x}")).collect());
    let mut shown = objects::AuditEntry {
        number,
        at: time(entry.at),
        epoch: entry.epoch,
        by: of_account(&entry.by).unwrap_or_default(),
        ..objects::AuditEntry::default()
    };
    shown.action = match &entry.action {
        AuditAction::Made => objects::AuditAction::Made,
        AuditAction::Renamed(text) => {
            shown.text = Some(text.clone());
            objects::AuditAction::Renamed
        }
        AuditAction::Topic(text) => {
            shown.text = Some(text.clone());
            objects::AuditAction::Topic
        }
        AuditAction::Setting(setting, value) => {
            (shown.setting, shown.value) = (Some(setting.name().to_owned()), Some(value_of(*setting, *value)));
            objects::AuditAction::Setting
        }
        AuditAction::LinkMade(of) => {
            shown.link = link(of);
            objects::AuditAction::LinkMade
        }
        AuditAction::LinkEnded(of) => {
            shown.link = link(of);
            objects::AuditAction::LinkEnded
        }
        AuditAction::LinkUsed(of) => {
            shown.link = link(of);
            objects::AuditAction::LinkUsed
        }
        AuditAction::Role(account, to) => {
            (shown.account, shown.role) = (of_account(account), Some(role(*to)));
            objects::AuditAction::Role
        }
        AuditAction::Invited(account) => {
            shown.account = of_account(account);
            objects::AuditAction::Invited
        }
        AuditAction::Removed(account) => {
            shown.account = of_account(account);
            objects::AuditAction::Removed
        }
        AuditAction::Left(account) => {
            shown.account = of_account(account);
            objects::AuditAction::Left
        }
        AuditAction::Banned(account) => {
            shown.account = of_account(account);
            objects::AuditAction::Banned
        }
        AuditAction::Unbanned(account) => {
            shown.account = of_account(account);
            objects::AuditAction::Unbanned
        }
    };
    shown
}

fn value_of(setting: GroupSetting, value: u32) -> String {
    match setting {
        GroupSetting::History if value == 0 => "no".to_owned(),
        GroupSetting::History => "yes".to_owned(),
        GroupSetting::SlowMode | GroupSetting::Lifetime => value.to_string(),
        _ => Role::from_rank(value).map_or_else(|| value.to_string(), |of| role(of).as_str().to_owned()),
    }
}
