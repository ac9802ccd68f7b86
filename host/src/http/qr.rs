//! Draws a pairing code as a picture, here and nowhere else: whoever sees the code can link the account.

use qrcode::render::svg;
use qrcode::types::Color;
use qrcode::{EcLevel, QrCode};

/// Pixels a module of the code takes.
const SCALE: usize = 8;
/// Light modules around the code (ISO/IEC 18004 asks for four).
const MARGIN: usize = 4;

/// Why a text could not be drawn.
#[derive(Debug, thiserror::Error)]
pub(super) enum DrawError {
    #[error("the code does not fit a QR code: {0}")]
    Code(#[from] qrcode::types::QrError),
    #[error("the picture could not be written: {0}")]
    Picture(#[from] png::EncodingError),
    #[error("the picture would be too large")]
    Size(#[from] std::num::TryFromIntError),
}

/// The text as a grey PNG, eight pixels a module.
pub(super) fn png(text: &str) -> Result<Vec<u8>, DrawError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    let side = (code.width() + 2 * MARGIN) * SCALE;
    let mut pixels = vec![u8::MAX; side * side];
    for (at, color) in code.to_colors().into_iter().enumerate().filter(|(_, color)| *color == Color::Dark) {
        debug_assert_eq!(color, Color::Dark);
        let (column, row) = (at % code.width() + MARGIN, at / code.width() + MARGIN);
        for line in 0..SCALE {
            let start = (row * SCALE + line) * side + column * SCALE;
            pixels[start..start + SCALE].fill(0);
        }
    }
    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, u32::try_from(side)?, u32::try_from(side)?);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(picture)
}

/// The text as an SVG image.
pub(super) fn svg(text: &str) -> Result<String, DrawError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    Ok(code.render::<svg::Color<'_>>().min_dimensions(256, 256).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2@BAxEFSgFCONIGGPQVR8DBxC/XSU5W8nwGDFCGfj+VJ2G6I3gpTkeZSWXuuMBu2WN,k53ogo=,x,y";

    #[test]
    fn the_png_shows_the_code_module_by_module() {
        let code = QrCode::with_error_correction_level(TEXT, EcLevel::L).unwrap();
        let picture = png(TEXT).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(picture)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let side = (code.width() + 2 * MARGIN) * SCALE;
        assert_eq!(pixels.len(), side * side);
        for (at, color) in code.to_colors().into_iter().enumerate() {
            let (column, row) = (at % code.width() + MARGIN, at / code.width() + MARGIN);
            let middle = (row * SCALE + SCALE / 2) * side + column * SCALE + SCALE / 2;
            assert_eq!(pixels[middle] == 0, color == Color::Dark, "module {column},{row}");
        }
        assert!(pixels[..side * MARGIN * SCALE].iter().all(|pixel| *pixel == u8::MAX), "the margin is light");
    }

    #[test]
    fn the_svg_is_self_contained() {
        let picture = svg(TEXT).unwrap();
        assert!(picture.contains("<svg") && picture.trim_end().ends_with("</svg>"));
        assert!(!picture.contains(TEXT), "the text itself stays out of the picture");
    }

    #[test]
    fn refuses_what_no_qr_code_can_hold() {
        assert!(matches!(png(&"x".repeat(4000)), Err(DrawError::Code(_))));
    }
}
