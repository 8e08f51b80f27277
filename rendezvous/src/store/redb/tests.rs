#![allow(clippy::unwrap_used, reason = "tests")]

use tempfile::TempDir;

use super::{
    super::{Budget, Share, contract, memory::MemoryStore},
    *,
};
use redb::Database;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_fulfils_the_contract() {
    let mut dirs: Vec<TempDir> = Vec::new();
    let new_store = || {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("store.redb")).unwrap();
        dirs.push(dir);
        store
    };
    Box::pin(contract::all(new_store)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory_fulfils_the_contract() {
    Box::pin(contract::all(|| MemoryStore::default().parts())).await;
}

#[tokio::test]
async fn what_accounts_store_is_counted_when_the_file_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    let bounds = super::super::Bounds {
        entries: 10,
        bytes: 100,
        expires_at: 1,
        share: Share::WHOLE,
        candidates: super::super::CandidateBounds::default(),
    };
    for n in 0..3 {
        let id = super::super::StreamId::log([n; 32]);
        store.streams.append(id, Some([n / 2; 32]), vec!["12345".into()].into(), bounds).await.unwrap();
    }
    drop(store);
    let store = loop {
        match RedbStore::open(&path) {
            // The thread that writes may still be ending.
            Err(StoreError::InUse) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    // A stream of one entry of five bytes, with what its rows take.
    let one = 256 + 64 + 5;
    assert_eq!(store.counters.get(Budget::Logs([0; 32])).await.unwrap(), 2 * one);
    assert_eq!(store.counters.get(Budget::Logs([1; 32])).await.unwrap(), one);
    assert_eq!(store.counters.get(Budget::Conversation([0; 32])).await.unwrap(), one);
    assert_eq!(store.counters.get(Budget::All).await.unwrap(), 3 * one);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let db = Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<&str, u32>::new("meta")).unwrap().insert("schema", 99).unwrap();
    txn.commit().unwrap();
    drop(db);
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Newer(99))));
}
