//! A stream that gives up on a peer that stops reading.
//!
//! **Role.** Around every accepted socket, below TLS. It also holds the connection's [`Permit`], so that a connection
//! that was upgraded (WebSocket) counts as long as it lives.
//! **When the peer is slow** a write that makes no progress for the given time ends the connection; what it pinned in
//! memory (a segment's bytes, shared with the origin) is free again.

use super::listen::Permit;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream with a limit on writes without progress.
pub struct Guarded<S> {
    stream: S,
    stall: Duration,
    /// Runs while a write waits for the peer.
    timer: Option<Pin<Box<Sleep>>>,
    _permit: Option<Permit>,
}

impl<S> Guarded<S> {
    /// Ends writes that make no progress for `stall`; keeps `permit` as long as the stream.
    pub fn new(stream: S, stall: Duration, permit: Option<Permit>) -> Guarded<S> {
        Guarded { stream, stall, timer: None, _permit: permit }
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn progress<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.timer = None;
            return result;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.stall)));
        ready!(timer.as_mut().poll(cx));
        metrics::counter!("boothcast_slow_peers_closed_total").increment(1);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.progress(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.progress(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.progress(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.progress(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up_and_one_that_reads_slowly_is_not() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut stream = Guarded::new(near, Duration::from_secs(30), None);
        let writer = async {
            let first = stream.write_all(&[0; 3000]).await;
            let second = stream.write_all(&[0; 2000]).await;
            (first, second)
        };
        let reader = async {
            let mut buf = [0; 1000];
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_secs(29)).await;
                tokio::io::AsyncReadExt::read_exact(&mut far, &mut buf).await.expect("data");
            }
        };
        let ((first, second), ()) = tokio::join!(writer, reader);
        assert!(first.is_ok(), "{first:?}");
        assert_eq!(second.expect_err("stalled").kind(), io::ErrorKind::TimedOut);
    }
}
