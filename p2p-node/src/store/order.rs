//! Rows in the order of their keys, also where a part of these is stored enciphered: rows whose keys begin alike in clear stand together in the file,
//! and are sorted when they are read. They are few: events of one moment, or a small table.

use std::ops::{Bound, RangeBounds};

use redb::AccessGuard;

use super::{Store, StoreError, Table, Visit, error::failed, prefix};

/// The ends of a range of stored keys.
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A key and its sealed value, as they are stored.
type StoredRow<'a> = (AccessGuard<'a, &'static [u8]>, AccessGuard<'a, &'static [u8]>);

/// Where the keys of a range are stored: nowhere else, but others may stand there, too.
pub fn stored_bounds(table: Table, range: &impl RangeBounds<Vec<u8>>) -> Bounds {
    let clear = |key: &Vec<u8>| table.clear_part(key).map(<[u8]>::to_vec);
    let start = match range.start_bound() {
        Bound::Included(key) | Bound::Excluded(key) if clear(key).is_some() => {
            clear(key).map_or(Bound::Unbounded, Bound::Included)
        }
        start => start.cloned(),
    };
    let end = match range.end_bound() {
        Bound::Included(key) | Bound::Excluded(key) if clear(key).is_some() => {
            clear(key).map_or(Bound::Unbounded, |clear| prefix(&clear).1)
        }
        end => end.cloned(),
    };
    (start, end)
}

/// The same bounds, borrowed.
pub fn as_slices(bounds: &Bounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice))
}

/// Visits the rows of a range in the order of their keys, or backwards. `rows` has them in the order in which they are stored.
pub fn walk<'a>(
    store: &Store,
    table: Table,
    rows: impl Iterator<Item = Result<StoredRow<'a>, redb::StorageError>>,
    range: &impl RangeBounds<Vec<u8>>,
    backwards: bool,
    visit: Visit<'_>,
) -> Result<(), StoreError> {
    if table.is_clear() {
        for row in rows {
            let (key, value) = row.map_err(failed)?;
            if !visit(key.value(), value.value())? {
                return Ok(());
            }
        }
        return Ok(());
    }
    // Those that begin alike, with their keys.
    let mut alike: Vec<(Vec<u8>, AccessGuard<'a, &'static [u8]>)> = Vec::new();
    for row in rows {
        let (stored, value) = row.map_err(failed)?;
        let key = store.shown(table, stored.value()).into_owned();
        let begins = |other: &[u8]| table.clear_part(&key).is_some_and(|clear| other.starts_with(clear));
        if alike.last().is_some_and(|(last, _)| !begins(last)) && !flush(&mut alike, backwards, visit)? {
            return Ok(());
        }
        if range.contains(&key) {
            alike.push((key, value));
        }
    }
    flush(&mut alike, backwards, visit)?;
    Ok(())
}

/// Visits rows that begin alike; `false` if the walk ends.
fn flush(
    alike: &mut Vec<(Vec<u8>, AccessGuard<'_, &'static [u8]>)>,
    backwards: bool,
    visit: Visit<'_>,
) -> Result<bool, StoreError> {
    alike.sort_unstable_by(|(a, _), (b, _)| if backwards { b.cmp(a) } else { a.cmp(b) });
    for (key, value) in alike.drain(..) {
        if !visit(&key, value.value())? {
            return Ok(false);
        }
    }
    Ok(true)
}
