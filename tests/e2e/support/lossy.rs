//! A bad network between a peer and a UDP port: loss, delay and jitter from a seed, and a cable to pull.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;

/// How the network is, each way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Share of datagrams that are lost, 0 to 1.
    pub loss: f64,
    /// How long each takes at least.
    pub delay: Duration,
    /// What is added to that, evenly between nothing and this; datagrams overtake each other.
    pub jitter: Duration,
    /// Nothing gets through.
    pub down: bool,
}

/// The network; it ends with the test.
pub struct Lossy {
    /// Where peers send to.
    pub address: SocketAddr,
    link: Arc<Mutex<Link>>,
    tasks: tokio::task::JoinSet<()>,
}

/// SplitMix64: the same in every run.
pub struct Dice(AtomicU64);

impl Dice {
    /// Other seeds, other throws.
    pub fn new(seed: u64) -> Dice {
        Dice(AtomicU64::new(seed))
    }

    /// Evenly from 0 to 1, without 1.
    pub fn roll(&self) -> f64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Lossy {
    /// A network before `target`.
    pub async fn before(target: SocketAddr, link: Link) -> Lossy {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let link = Arc::new(Mutex::new(link));
        let mut tasks = tokio::task::JoinSet::new();
        let shared = link.clone();
        tasks.spawn(async move {
            let dice = Arc::new(Dice::new(1));
            let mut peers: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut buffer = [0; 2048];
            loop {
                // A peer that is gone answers with an error of its own; the network does not care.
                let Ok((n, from)) = socket.recv_from(&mut buffer).await else { continue };
                let out = match peers.get(&from) {
                    Some(out) => out.clone(),
                    None => {
                        let out = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                        out.connect(target).await.unwrap();
                        peers.insert(from, out.clone());
                        let (back, link, dice, source) = (socket.clone(), shared.clone(), dice.clone(), out.clone());
                        tokio::spawn(async move {
                            let mut buffer = [0; 2048];
                            loop {
                                let Ok(n) = source.recv(&mut buffer).await else { continue };
                                let back = back.clone();
                                carry(&link, &dice, buffer[..n].to_vec(), move |data| async move {
                                    let _ = back.send_to(&data, from).await;
                                });
                            }
                        });
                        out
                    }
                };
                carry(&shared, &dice, buffer[..n].to_vec(), move |data| async move {
                    let _ = out.send(&data).await;
                });
            }
        });
        Lossy { address, link, tasks }
    }

    /// Makes it better or worse.
    pub fn set(&self, link: Link) {
        *self.link.lock().unwrap() = link;
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

fn carry<F: Future<Output = ()> + Send>(
    link: &Mutex<Link>,
    dice: &Dice,
    data: Vec<u8>,
    deliver: impl FnOnce(Vec<u8>) -> F + Send + 'static,
) {
    let link = *link.lock().unwrap();
    if link.down || dice.roll() < link.loss {
        return;
    }
    let wait = link.delay + link.jitter.mul_f64(dice.roll());
    tokio::spawn(async move {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        deliver(data).await;
    });
}
