//! The library's HTTP (media up and down) over our one outgoing client.

use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use url::Url;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse};

use crate::egress::{Egress, Request};

/// Longest media file taken, bytes. WhatsApp itself takes documents up to 2 GB; a file is held in memory once.
const MEDIA_LIMIT: usize = 100 * 1024 * 1024;
/// Time for one transfer.
const DEADLINE: Duration = Duration::from_mins(2);

/// The library's client. One for all sessions.
#[derive(Clone, Debug)]
pub(super) struct MediaHttp(pub(super) Egress);

#[async_trait]
impl HttpClient for MediaHttp {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse, anyhow::Error> {
        let url = simulated(request.url.parse().context("the media address is no URL")?);
        let answer = self
            .0
            .exchange(Request {
                method: request.method,
                url,
                headers: request.headers.into_iter().collect(),
                body: request.body.unwrap_or_default(),
                deadline: DEADLINE,
                answer_limit: MEDIA_LIMIT,
            })
            .await
            .result?;
        if answer.cut {
            bail!("the media file has more than {MEDIA_LIMIT} bytes");
        }
        Ok(HttpResponse { status_code: answer.status, body: answer.body.to_vec() })
    }
}

/// The library writes media addresses with `https`; the simulated network on loopback has no certificate.
fn simulated(mut url: Url) -> Url {
    if cfg!(feature = "demo") && url.host_str() == Some("127.0.0.1") {
        // Both schemes are special ones, so this cannot fail.
        let _ = url.set_scheme("http");
    }
    url
}
