//! Media: what clients upload encrypted, and download again.
//!
//! Upload is `POST /mms/{kind}/{token}` (asked with `resume=1` first for large files), download is `GET` of the path
//! the upload answered (whatsapp-rust 0.7.0 `src/upload.rs`, `src/download.rs`). Clients speak `https` to media
//! hosts; a test's HTTP client rewrites that to `http`. Invariant: at most [`MOST_BYTES`] are held, the oldest go
//! first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::json;
use whatsapp_rust::wacore::download::MediaType;
use whatsapp_rust::wacore::upload::encrypt_media;

use crate::account::lock;
use crate::network::Core;
use crate::wire::{MessageField, unix_seconds, wa};

/// How much media the network holds.
const MOST_BYTES: usize = 512 * 1024 * 1024;

/// Uploaded media by the token that names it.
#[derive(Default)]
pub(crate) struct MediaStore {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    blobs: HashMap<String, Bytes>,
    order: VecDeque<String>,
    bytes: usize,
}

impl MediaStore {
    fn put(&self, token: &str, blob: Bytes) {
        let mut inner = lock(&self.inner);
        inner.bytes += blob.len();
        if let Some(older) = inner.blobs.insert(token.to_owned(), blob) {
            inner.bytes -= older.len();
        } else {
            inner.order.push_back(token.to_owned());
        }
        while inner.bytes > MOST_BYTES {
            let Some(oldest) = inner.order.pop_front() else { break };
            if let Some(blob) = inner.blobs.remove(&oldest) {
                inner.bytes -= blob.len();
            }
        }
    }

    fn get(&self, token: &str) -> Option<Bytes> {
        lock(&self.inner).blobs.get(token).cloned()
    }
}

/// The path a blob is downloaded from.
fn direct_path(token: &str) -> String {
    format!("/v/t62.7118-24/{token}.enc")
}

impl Core {
    fn uploaded(&self, token: &str) -> serde_json::Value {
        let path = direct_path(token);
        json!({ "url": format!("https://{}{path}", self.addr), "direct_path": path })
    }

    /// Encrypts and stores an image as a phone would; answers the message that shows it.
    pub(crate) fn upload_image(&self, bytes: &[u8], caption: &str) -> Result<wa::Message, String> {
        let length = bytes.len() as u64;
        let media = encrypt_media(bytes, MediaType::Image).map_err(|error| error.to_string())?;
        let token = BASE64_URL_SAFE_NO_PAD.encode(media.file_enc_sha256);
        self.media.put(&token, media.data_to_upload.into());
        let path = direct_path(&token);
        let image = wa::message::ImageMessage {
            url: Some(format!("https://{}{path}", self.addr)),
            direct_path: Some(path),
            mimetype: Some(mime_of(bytes).to_owned()),
            caption: (!caption.is_empty()).then(|| caption.to_owned()),
            media_key: Some(media.media_key.to_vec()),
            file_sha256: Some(media.file_sha256.to_vec()),
            file_enc_sha256: Some(media.file_enc_sha256.to_vec()),
            file_length: Some(length),
            media_key_timestamp: i64::try_from(unix_seconds()).ok(),
            ..Default::default()
        };
        Ok(wa::Message { image_message: MessageField::some(image), ..Default::default() })
    }
}

fn mime_of(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(b"\x89PNG") { "image/png" } else { "image/jpeg" }
}

/// `POST /mms/{kind}/{token}`
pub(crate) async fn upload(
    State(core): State<Arc<Core>>,
    Path((_kind, token)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    if query.contains_key("resume") {
        return match core.media.get(&token) {
            Some(_) => {
                let mut answer = core.uploaded(&token);
                answer["resume"] = "complete".into();
                Json(answer).into_response()
            }
            None => Json(json!({ "resume": "0" })).into_response(),
        };
    }
    core.media.put(&token, body);
    Json(core.uploaded(&token)).into_response()
}

/// `GET /v/{bucket}/{file}`
pub(crate) async fn download(State(core): State<Arc<Core>>, Path((_bucket, file)): Path<(String, String)>) -> Response {
    let token = file.trim_end_matches(".enc");
    match core.media.get(token) {
        Some(blob) => ([(header::CONTENT_TYPE, "application/octet-stream")], blob).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
