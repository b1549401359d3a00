//! Lists that are shown page by page.

/// Cuts what was read, one more than a page has, down to the page; and says whether there is another one.
pub fn cut<T>(mut rows: Vec<T>, limit: impl TryInto<usize>) -> (Vec<T>, bool) {
    let limit = limit.try_into().unwrap_or(0);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    (rows, has_more)
}
