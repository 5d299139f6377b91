//! Statements over many ids at once.
//!
//! A list is cut into pieces of a few fixed sizes, so that the statements for them stay prepared:
//! the cost of a row is then the row's, not the statement's.

use std::fmt::Write as _;

/// The sizes of the pieces, the greatest first. One statement holds at most
/// 256 rows, so with 30 columns it stays far below the 32,766 parameters that SQLite takes.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// Cuts `items` into pieces of 256, 64, 16, 4 and 1, in order.
pub fn batches<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (batch, after) = rest.split_at(size);
        rest = after;
        Some(batch)
    })
}

/// `?3, ?4, ?5` for three from 3 on: what stands in `IN (…)`.
pub fn placeholders(first: usize, count: usize) -> String {
    let mut sql = String::with_capacity(count * 6);
    for number in first..first + count {
        let comma = if number == first { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(sql, "{comma}?{number}");
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_few_sizes_and_loses_nothing() {
        for (len, sizes) in [
            (0, vec![]),
            (1, vec![1]),
            (3, vec![1, 1, 1]),
            (16, vec![16]),
            (85, vec![64, 16, 4, 1]),
            (386, vec![256, 64, 64, 1, 1]),
        ] {
            let items: Vec<usize> = (0..len).collect();
            let cut: Vec<&[usize]> = batches(&items).collect();
            assert_eq!(cut.iter().map(|b| b.len()).collect::<Vec<_>>(), sizes);
            assert_eq!(cut.concat(), items);
        }
    }

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(placeholders(3, 3), "?3, ?4, ?5");
        assert_eq!(placeholders(1, 0), "");
    }
}
