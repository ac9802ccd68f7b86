//! A stream of which no more may come than an exchange can need.
//!
//! The bytes of a body are counted where they are kept, but not those around them: interim answers, spaces and zeros
//! before the length of a chunk, empty records of TLS. Without end they would hold no memory and keep a core busy, so here
//! every byte counts that comes off the wire.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that may come before there is an exchange: the handshake of TLS, of which certificates take up to 64 KiB.
const HANDSHAKE: usize = 128 * 1024;

/// A stream and what may still come of it.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    allowance: Allowance,
}

/// Bytes that may still come. All clones are one.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl<S> Metered<S> {
    pub(super) fn over(stream: S) -> Self {
        Self { stream, allowance: Allowance(Arc::new(AtomicUsize::new(HANDSHAKE))) }
    }

    pub(super) fn allowance(&self) -> Allowance {
        self.allowance.clone()
    }
}

impl Allowance {
    /// From now on so many.
    pub(super) fn renew(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Whoever reads is alone, so nothing comes between the two steps.
    fn spend(&self, bytes: usize) -> io::Result<()> {
        let left = self.0.load(Ordering::Relaxed).checked_sub(bytes);
        self.renew(left.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it goes on without content"))?);
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.allowance.spend(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn so_much_is_read_and_no_more_until_it_may_be() {
        let (stream, mut other_end) = tokio::io::duplex(1024);
        let mut metered = Metered::over(stream);
        metered.allowance().renew(10);
        let mut buffer = [0; 6];
        for _ in 0..3 {
            other_end.write_all(b"sixsix").await.unwrap();
        }
        assert_eq!(metered.read(&mut buffer).await.unwrap(), 6);
        assert_eq!(metered.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        metered.allowance().renew(6);
        assert_eq!(metered.read(&mut buffer).await.unwrap(), 6);
        metered.write_all(b"back").await.unwrap();
    }
}
