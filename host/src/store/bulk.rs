//! Statements over many rows at once, which cost little more than those over one.
//!
//! Invariant: such a statement comes in a few sizes, so that each is prepared once: preparing one of many values costs a
//! server more than running it.

use sqlx::{Database, Encode, QueryBuilder, Type};

/// How many rows a statement may have. With twenty values each the largest stays far below what any engine takes.
const SIZES: [usize; 4] = [1, 8, 64, MOST];

/// Rows of one statement at most.
pub(in crate::store) const MOST: usize = 256;

/// Bytes of one statement, unless it is about a single row. MySQL takes 16 MiB at most unless told otherwise.
const LARGEST: usize = 1024 * 1024;

/// Adds `(a, b, …)`: the values, [`MOST`] of them at most, and the last one again until they are as many as a statement
/// has.
pub(in crate::store) fn push_list<'v, DB, T>(query: &mut QueryBuilder<DB>, values: &[T])
where
    DB: Database,
    T: Copy + Encode<'v, DB> + Type<DB>,
{
    query.push("(");
    let mut list = query.separated(", ");
    for value in filled(values) {
        list.push_bind(value);
    }
    list.push_unseparated(")");
}

/// The rows in portions of which each fits into one statement; `bytes` weighs a row.
pub(in crate::store) fn portions<T>(mut rows: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut portions = Vec::new();
    while !rows.is_empty() {
        let (portion, rest) = rows.split_at(fitting(rows, &bytes));
        portions.push(portion);
        rows = rest;
    }
    portions
}

/// The values, and the last of them again until they are as many as a statement has.
fn filled<T: Copy>(values: &[T]) -> impl Iterator<Item = T> {
    let size = SIZES.into_iter().find(|size| *size >= values.len()).unwrap_or(values.len());
    let last = values.last().copied();
    values.iter().copied().chain(last.into_iter().cycle()).take(size)
}

/// How many of the rows go into one statement.
fn fitting<T>(rows: &[T], bytes: impl Fn(&T) -> usize) -> usize {
    let mut sum = 0;
    let fits = rows.iter().take(MOST).take_while(|row| {
        sum += bytes(row);
        sum <= LARGEST
    });
    let fits = fits.count();
    SIZES.into_iter().rev().find(|size| *size <= fits).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_long_as_some_statement() {
        for (values, size) in [(1, 1), (2, 8), (8, 8), (9, 64), (200, 256)] {
            let values: Vec<usize> = (0..values).collect();
            let filled: Vec<usize> = filled(&values).collect();
            assert_eq!((filled.len(), &filled[..values.len()]), (size, &values[..]));
            assert!(filled[values.len()..].iter().all(|value| Some(value) == values.last()));
        }
        assert_eq!(filled::<usize>(&[]).count(), 0);
    }

    #[test]
    fn rows_go_in_portions_that_some_statement_takes() {
        let sizes = |rows: usize, bytes: usize| {
            let rows: Vec<usize> = (0..rows).collect();
            let portions = portions(&rows, |_| bytes);
            assert_eq!(portions.concat(), rows);
            portions.into_iter().map(<[usize]>::len).collect::<Vec<_>>()
        };
        assert!(sizes(0, 1).is_empty());
        assert_eq!(sizes(331, 1), [256, 64, 8, 1, 1, 1]);
        assert_eq!(sizes(10, LARGEST / 8), [8, 1, 1]);
        assert_eq!(sizes(2, LARGEST + 1), [1, 1], "a single one, however large");
    }
}
