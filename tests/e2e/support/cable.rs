//! A TCP connection's cable, to pull.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// Everything.
    In,
    /// Connections end, and none is made.
    Out,
    /// Connections stay, and nothing moves on them.
    Loose,
}

/// A cable; it ends with the test.
pub struct Cable {
    /// Where peers connect to.
    pub address: SocketAddr,
    plug: watch::Sender<Plug>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Cable {
    /// A cable before `target`.
    pub async fn before(target: SocketAddr) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plug = watch::Sender::new(Plug::In);
        let mut tasks = tokio::task::JoinSet::new();
        let plugged = plug.subscribe();
        tasks.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                if *plugged.borrow() == Plug::Out {
                    continue;
                }
                let plugged = plugged.clone();
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    // Whichever direction ends takes the other with it.
                    tokio::select! {
                        () = carry(near_read, far_write, plugged.clone()) => {}
                        () = carry(far_read, near_write, plugged) => {}
                    }
                });
            }
        });
        Cable { address, plug, _tasks: tasks }
    }

    /// Pulls it or puts it in.
    pub fn set(&self, plug: Plug) {
        self.plug.send_replace(plug);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut plugged: watch::Receiver<Plug>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 16 << 10];
    loop {
        let now = *plugged.borrow_and_update();
        tokio::select! {
            changed = plugged.changed() => if changed.is_err() { return },
            read = from.read(&mut buffer), if now == Plug::In => match read {
                Ok(n) if n > 0 => if to.write_all(&buffer[..n]).await.is_err() { return },
                _ => return,
            },
            () = tokio::time::sleep(Duration::from_millis(1)), if now == Plug::Out => return,
        }
    }
}
