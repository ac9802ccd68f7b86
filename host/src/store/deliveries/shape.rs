//! What a delivery posts, as its columns.
//!
//! Invariant: the bytes that come out are the bytes that went in.

use std::string::FromUtf8Error;

use sqlx::FromRow;

use crate::model::Shape;
use crate::store::StoreError;
use crate::store::column::{json, parsed, text};

/// A shape as its columns. Text stays readable; what is no text, or holds a NUL, which not every engine takes in one, is
/// kept as bytes beside an empty text.
#[derive(Clone, Debug, FromRow)]
pub(in crate::store) struct ShapeRow {
    pub(in crate::store) body: String,
    pub(in crate::store) body_bytes: Option<Vec<u8>>,
    pub(in crate::store) content_type: String,
    pub(in crate::store) headers: Option<String>,
    pub(in crate::store) path_suffix: String,
}

impl ShapeRow {
    pub(in crate::store) fn of(shape: Shape) -> Result<Self, StoreError> {
        let Shape { body, content_type, headers, path_suffix } = shape;
        let body = String::from_utf8(body.into()).map_err(FromUtf8Error::into_bytes);
        let (body, body_bytes) = match body {
            Ok(body) if body.contains('\0') => (String::new(), Some(body.into_bytes())),
            Ok(body) => (body, None),
            Err(bytes) => (String::new(), Some(bytes)),
        };
        let headers = (!headers.is_empty()).then(|| json(&headers)).transpose()?;
        let [content_type, path_suffix] = [content_type, path_suffix].map(|foreign| text(&foreign).into_owned());
        Ok(Self { body, body_bytes, content_type, headers, path_suffix })
    }

    pub(super) fn into_shape(self) -> Result<Shape, StoreError> {
        let Self { body, body_bytes, content_type, headers, path_suffix } = self;
        let headers = headers.as_deref().map(parsed).transpose()?.unwrap_or_default();
        Ok(Shape { body: body_bytes.unwrap_or(body.into_bytes()).into(), content_type, headers, path_suffix })
    }
}
