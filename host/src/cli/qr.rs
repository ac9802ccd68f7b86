//! A QR code for a terminal.

use anyhow::{Context, Result};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// Draws `text` in half blocks, two modules a character, dark on light whatever the terminal's colours are.
pub(super) fn draw(text: &str) -> Result<String> {
    let code = QrCode::new(text).context("the code does not fit into a QR code")?;
    let dark_terminal = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    Ok(dark_terminal.quiet_zone(true).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_a_square_with_a_quiet_zone() {
        let page = draw("2@abc,def,ghi").unwrap();
        let lines: Vec<&str> = page.lines().collect();
        let width = lines[0].chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width), "{page}");
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines[0].chars().all(|c| c == '█'), "{page}");
    }
}
