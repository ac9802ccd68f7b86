//! What an instance writes to standard output and error. The beginning is kept for the account of a failure, the rest
//! is swallowed: nobody fails because they talk much.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes kept of a call.
const KEPT: usize = 16 << 10;
/// Bytes taken at a time.
const PIECE: usize = 64 << 10;

/// What was written since the call began. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(super) struct Spoken(Arc<Mutex<Vec<u8>>>);

impl Spoken {
    /// What is kept, when there is anything.
    pub(super) fn text(&self) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!kept.is_empty()).then(|| String::from_utf8_lossy(&kept).trim().to_owned())
    }

    /// Another call begins.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn hear(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(kept.len());
        kept.extend(bytes.iter().take(room));
    }
}

impl IsTerminal for Spoken {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Spoken {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Spoken {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.hear(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PIECE)
    }
}

#[async_trait]
impl Pollable for Spoken {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Spoken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.hear(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_beginning_and_never_closes() {
        let spoken = Spoken::default();
        assert_eq!(spoken.text(), None);
        let mut stream = spoken.p2_stream();
        for _ in 0..3 {
            assert_eq!(stream.check_write().unwrap(), PIECE);
            stream.write(Bytes::from(vec![b'x'; 10 << 10])).unwrap();
        }
        assert_eq!(spoken.text().unwrap().len(), KEPT);
        spoken.forget();
        stream.write(Bytes::from_static(b"again\n")).unwrap();
        assert_eq!(spoken.text().as_deref(), Some("again"));
    }
}
