//! A disk that is full.

use std::{fs, io::Write, path::Path, process::Command};

use bytes::Bytes;
use starling_wire::{
    LogKey, LogVerb,
    rendezvous::{LogRequest, Refusal, ResponseBody},
};
use tempfile::TempDir;

use super::{
    client::{Client, Running},
    is_refused,
};

/// A small file system in memory; `None` if this user may not mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Another program fills what is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.path().join("others")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

async fn append(client: &mut Client, key: &LogKey, bytes: &[u8]) -> Option<ResponseBody> {
    let request = LogRequest { entries: vec![Bytes::copy_from_slice(bytes)], ..LogRequest::default() };
    client.log(key, LogVerb::Append, request).await
}

async fn count(client: &mut Client, key: &LogKey) -> usize {
    match client.log(key, LogVerb::Read, LogRequest::default()).await {
        Some(ResponseBody::Page(page)) => page.entries.len(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_is_used_again() {
    let Some(disk) = SmallDisk::mount(48) else {
        println!("SKIPPED: needs the right to mount a file system");
        return;
    };
    let server = Running::start(|config| {
        config.data_dir = disk.path().join("data");
        config.limits.disk_reserve_bytes = 0;
        config.limits.account_bytes = 1 << 30;
    })
    .await;
    let key = LogKey::from_secret(&[1; 32]);
    let mut client = Client::connect(&server).await.unwrap();
    assert_eq!(client.register().await, Some(ResponseBody::Done(true)));
    assert_eq!(client.log(&key, LogVerb::Open, LogRequest::default()).await, Some(ResponseBody::Done(true)));
    assert_eq!(append(&mut client, &key, b"before").await, Some(ResponseBody::Appended(1)));

    disk.fill();
    let mut stored = 1;
    let refused = loop {
        match append(&mut client, &key, &[7; 100_000]).await {
            Some(ResponseBody::Appended(_)) => stored += 1,
            other => break other,
        }
    };
    assert!(is_refused(&refused, Refusal::Full), "{refused:?}");
    // Also for those who come now.
    let mut other = Client::connect(&server).await.unwrap();
    assert!(count(&mut other, &key).await >= stored.min(5));
    assert!(is_refused(&append(&mut other, &key, &[7; 100_000]).await, Refusal::Full));

    fs::remove_file(disk.path().join("others")).unwrap();
    let again = loop {
        match append(&mut client, &key, b"after").await {
            refused if is_refused(&refused, Refusal::Full) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert_eq!(again, Some(ResponseBody::Appended(stored as u64 + 1)));
}

#[tokio::test]
async fn the_reserve_is_left_for_reading_and_deleting() {
    let Some(disk) = SmallDisk::mount(48) else {
        println!("SKIPPED: needs the right to mount a file system");
        return;
    };
    let server = Running::start(|config| {
        config.data_dir = disk.path().join("data");
        config.limits.disk_reserve_bytes = 1 << 40;
    })
    .await;
    let mut client = Client::connect(&server).await.unwrap();
    // The disk is looked at when the server begins to run.
    loop {
        let answer = client.register().await;
        if is_refused(&answer, Refusal::Full) {
            break;
        }
    }
}
