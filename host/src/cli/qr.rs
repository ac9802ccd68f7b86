//! A QR code for a terminal.

use anyhow::{Context, Result};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// Black on white by colour number, so that the terminal's own colours do not matter.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// Draws `text` in half blocks, two modules a character.
pub(super) fn draw(text: &str) -> Result<String> {
    let code = QrCode::new(text).context("the code does not fit into a QR code")?;
    let picture = code.render::<Dense1x2>().quiet_zone(true).build();
    Ok(picture.lines().map(|line| format!("{BLACK_ON_WHITE}{line}{PLAIN}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_a_square_with_a_quiet_zone() {
        let page = draw("2@abc,def,ghi").unwrap();
        let lines: Vec<&str> = page.lines().map(|line| line.trim_start_matches(BLACK_ON_WHITE)).collect();
        let lines: Vec<&str> = lines.into_iter().map(|line| line.trim_end_matches(PLAIN)).collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{page}");
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines[..2].iter().all(|line| line.chars().all(|c| c == ' ')), "{page}");
        assert!(lines[2].trim_start().starts_with('█'), "the corner is dark: {page}");
    }
}
