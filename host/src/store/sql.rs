//! One SQL text for every engine.
//!
//! Statements are written once with `$1, $2, …`, which SQLite and PostgreSQL take; MySQL's `?` is made from it while
//! compiling. Where MySQL's grammar differs, the statement carries its own text for it. A room lists its statements in
//! one `statements!` block, so that none can be left out of the test that prepares them all.
//!
//! Invariant: parameters appear once each and in order, else the build fails.

/// A statement, as each engine wants its placeholders.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Sql {
    /// With `$1, $2, …`.
    pub(in crate::store) numbered: &'static str,
    /// With `?`.
    pub(in crate::store) positional: &'static str,
}

/// Rewrites `$n` to `?`, keeping the length: the digits become blanks. Text in single quotes is left alone.
pub(in crate::store) const fn positional<const N: usize>(sql: &str) -> [u8; N] {
    let from = sql.as_bytes();
    let mut to = [0; N];
    let (mut at, mut expected, mut quoted) = (0, 1, false);
    while at < N {
        to[at] = from[at];
        if from[at] == b'\'' {
            quoted = !quoted;
        }
        if from[at] == b'$' && !quoted {
            to[at] = b'?';
            let mut number = 0;
            while at + 1 < N && from[at + 1].is_ascii_digit() {
                at += 1;
                number = number * 10 + (from[at] - b'0') as usize;
                to[at] = b' ';
            }
            assert!(number == expected, "parameters must be $1, $2, … in order, each used once");
            expected += 1;
        }
        at += 1;
    }
    to
}

/// Makes a [`Sql`] from a constant text, with an optional `mysql:` text of its own.
macro_rules! sql {
    ($text:expr) => {{
        const TEXT: &str = $text;
        const BYTES: [u8; TEXT.len()] = $crate::store::sql::positional(TEXT);
        const POSITIONAL: &str = match ::core::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("the statement is not UTF-8 after rewriting"),
        };
        $crate::store::sql::Sql { numbered: TEXT, positional: POSITIONAL }
    }};
    ($text:expr, mysql: $mysql:expr) => {
        $crate::store::sql::Sql { positional: $mysql, ..$crate::store::sql::sql!($text) }
    };
}

/// Declares a room's statements, and their list for the test that prepares them all.
///
/// ```ignore
/// statements! {
///     /// What it is for.
///     GET = "SELECT value FROM settings WHERE name = $1";
///     SET = "…", mysql: "…";
/// }
/// ```
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:expr $(, mysql: $mysql:expr)?;)*) => {
        $(
            $(#[$doc])*
            const $name: $crate::store::sql::Sql = $crate::store::sql::sql!($text $(, mysql: $mysql)?);
        )*
        /// Every statement of this room, by name.
        #[cfg(test)]
        pub(in crate::store) const STATEMENTS: &[(&str, $crate::store::sql::Sql)] = &[$((stringify!($name), $name)),*];
    };
}

pub(in crate::store) use {sql, statements};

#[cfg(test)]
mod tests {
    use super::Sql;

    #[test]
    fn rewrites_placeholders_and_leaves_quoted_text_alone() {
        const PLAIN: Sql = sql!("SELECT '$9', 'it''s $7' FROM t WHERE a = $1 AND b IN ($2, $3)");
        const MANY: Sql = sql!("($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)");
        assert_eq!(PLAIN.positional, "SELECT '$9', 'it''s $7' FROM t WHERE a = ?  AND b IN (? , ? )");
        assert_eq!(MANY.positional, "(? ,? ,? ,? ,? ,? ,? ,? ,? ,?  )");
    }

    #[test]
    fn keeps_a_text_of_its_own_for_mysql() {
        const ADD: Sql = sql!("INSERT … ON CONFLICT DO NOTHING", mysql: "INSERT IGNORE …");
        assert_eq!((ADD.numbered, ADD.positional), ("INSERT … ON CONFLICT DO NOTHING", "INSERT IGNORE …"));
    }

    #[test]
    #[should_panic(expected = "in order")]
    fn refuses_parameters_out_of_order() {
        super::positional::<8>("$2 = $1 ");
    }
}
