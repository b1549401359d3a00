//! Lists, a page at a time.

/// The number of the newest entry, for lists that begin with it.
pub const NEWEST: i64 = i64::MAX;

/// Where the next page begins: at the last of this one, if it is full.
pub fn next<T, K>(page: &[T], size: i64, key: impl Fn(&T) -> K) -> Option<K> {
    let full = page.len() as i64 == size;
    page.last().filter(|_| full).map(key)
}
