//! ICE-TCP, the passive side (RFC 6544): datagrams in frames of a length and a body (RFC 4571).

use super::driver::{FromTcp, TcpPeer};
use crate::task::Group;
use bytes::{Buf, Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// The largest frame that is read; a peer's datagrams fit into an Ethernet frame.
pub const MAX_FRAME: usize = 4096;

/// Datagrams that wait for a slow connection: 0.3 s at 6 Mbps.
pub const QUEUE: usize = 256;

/// A connection has to send its first frame within this.
const FIRST_FRAME: Duration = Duration::from_secs(10);

/// A connection that takes nothing for so long is closed.
const WRITE_STALL: Duration = Duration::from_secs(10);

/// Connections at a time; a peer needs one, and some are left over from before.
const MAX_CONNECTIONS: usize = 2000;

/// Takes the next whole frame out of `buffer`.
///
/// # Errors
/// A frame that is longer than [`MAX_FRAME`].
pub fn next_frame(buffer: &mut BytesMut) -> Result<Option<Bytes>, usize> {
    let Some(head) = buffer.first_chunk::<2>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*head));
    if length > MAX_FRAME {
        return Err(length);
    }
    if buffer.len() < 2 + length {
        return Ok(None);
    }
    buffer.advance(2);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Appends a frame.
pub fn push_frame(out: &mut BytesMut, data: &[u8]) {
    let Ok(length) = u16::try_from(data.len()) else { return };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(data);
}

/// Accepts connections until the group is cancelled.
pub async fn serve(listener: TcpListener, to: mpsc::Sender<FromTcp>, group: Group) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let numbers = AtomicU64::new(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = group.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "WebRTC over TCP: no connection accepted");
                // Out of file descriptors, mostly: others may close meanwhile.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            metrics::counter!("boothcast_webrtc_refused_total", "reason" => "tcp").increment(1);
            continue;
        };
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let to = to.clone();
        group.spawn_until_cancelled("webrtc tcp", async move {
            let error = connection(stream, number, peer, &to).await.err();
            tracing::debug!(%peer, ?error, "WebRTC over TCP: connection ended");
            // A driver that is gone needs no telling.
            let _ = to.send(FromTcp::Closed { number, peer }).await;
            drop(permit);
        });
    }
}

/// Reads and writes one connection until it ends.
async fn connection(
    stream: TcpStream,
    number: u64,
    peer: SocketAddr,
    to: &mpsc::Sender<FromTcp>,
) -> Result<(), std::io::Error> {
    stream.set_nodelay(true)?;
    let (mut read, mut write) = stream.into_split();
    let (tx, mut rx) = mpsc::channel::<Bytes>(QUEUE);
    let blocked = Arc::new(AtomicBool::new(false));
    let handle = TcpPeer { tx, blocked: blocked.clone() };
    let gone = || std::io::Error::other("the driver has ended");
    to.send(FromTcp::Opened { number, handle }).await.map_err(|_| gone())?;
    let reading = async {
        let mut buffer = BytesMut::with_capacity(2 * MAX_FRAME);
        let mut first = true;
        loop {
            while let Some(data) =
                next_frame(&mut buffer).map_err(|n| std::io::Error::other(format!("a frame of {n} bytes")))?
            {
                first = false;
                to.send(FromTcp::Frame { number, peer, data }).await.map_err(|_| gone())?;
            }
            buffer.reserve(MAX_FRAME);
            let fresh = if first {
                tokio::time::timeout(FIRST_FRAME, read.read_buf(&mut buffer)).await??
            } else {
                read.read_buf(&mut buffer).await?
            };
            if fresh == 0 {
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    let writing = async {
        let mut out = BytesMut::new();
        while let Some(data) = rx.recv().await {
            push_frame(&mut out, &data);
            while out.len() < 32 << 10
                && let Ok(more) = rx.try_recv()
            {
                push_frame(&mut out, &more);
            }
            tokio::time::timeout(WRITE_STALL, write.write_all(&out)).await??;
            out.clear();
            if rx.is_empty() && blocked.swap(false, Ordering::AcqRel) {
                to.send(FromTcp::Drained { number, peer }).await.map_err(|_| gone())?;
            }
        }
        Ok::<(), std::io::Error>(())
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_come_back_however_they_are_cut(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
                                                 cut in 1usize..40) {
            let mut wire = BytesMut::new();
            frames.iter().for_each(|f| push_frame(&mut wire, f));
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            for part in wire.chunks(cut) {
                buffer.extend_from_slice(part);
                while let Some(frame) = next_frame(&mut buffer).unwrap() {
                    found.push(frame.to_vec());
                }
            }
            prop_assert_eq!(found, frames);
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_held() {
        assert_eq!(next_frame(&mut BytesMut::from(&[0xff, 0xff][..])), Err(65_535));
        assert_eq!(next_frame(&mut BytesMut::from(&[0][..])), Ok(None));
    }
}
