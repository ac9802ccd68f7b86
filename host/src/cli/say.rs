//! The only place that writes to standard output. A reader who has gone away (`| head`) is no error.

use std::io::Write;

/// Writes a result, with a line end.
pub(super) fn line(text: &str) {
    let _gone = writeln!(std::io::stdout(), "{text}");
}

/// Writes a page that brings its own line ends.
pub(super) fn page(text: &str) {
    let _gone = write!(std::io::stdout(), "{text}");
}

/// Writes a result that is no text; here a reader who has gone away is an error.
pub(super) fn bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes what is no result, with a line end, to standard error.
pub(super) fn aside(text: &str) {
    let _gone = writeln!(std::io::stderr(), "{text}");
}

/// Writes rows below their heading, with the columns aligned.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<_> = std::iter::once(heading.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
