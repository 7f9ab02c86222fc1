//! The origin behind real sockets.

use super::*;
use crate::net::http::Site;
use crate::net::{Gate, HttpOptions, Inherited, Limits, Listener, http};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A client; the crate's features leave it to us to name the cryptography, TLS or not.
fn client(http2: bool) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(20));
    if http2 { builder.http2_prior_knowledge() } else { builder }.build().expect("client")
}

fn serve(bed: &Bed, options: HttpOptions) -> SocketAddr {
    let at = "127.0.0.1:0".parse().expect("address");
    let listener =
        Listener::bind("[http] listen", at, &Gate::new(Limits::default()), &mut Inherited::default()).expect("port");
    let address = listener.local_addr();
    let site = Site::from(axum::Router::new()).direct(PREFIX, bed.direct.clone());
    http::serve(&bed.group, listener, None, site, options);
    address
}

#[tokio::test]
async fn many_streams_of_one_http2_connection_are_held_and_answered() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(4);
    let address = serve(&bed, HttpOptions::default());
    let client = client(true);
    let (number, _) = bed.next;
    let mut held = Vec::new();
    for i in 0..60 {
        let path =
            if i % 2 == 0 { format!("media.m3u8?_HLS_msn={number}&_HLS_part=0") } else { format!("{number}.0.m4s") };
        let request = client.get(format!("http://{address}/live/ev1/720p/{path}"));
        held.push(super::held(async move { request.send().await.expect("answer").bytes().await.expect("body") }));
    }
    while bed.origin.shared.held.load(Ordering::Relaxed) < 60 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bed.feed(1);
    for (i, held) in held.into_iter().enumerate() {
        let body = held.await.expect("answered");
        assert!(i % 2 == 0 || body == payload(number, 0));
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_not_waited_for() {
    let mut bed = Bed::new(Dur::from_secs(60)).await;
    bed.open();
    bed.segments(4);
    let address = serve(&bed, HttpOptions::default());
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("GET /live/ev1/720p/{}.0.m4s HTTP/1.1\r\nHost: a\r\n\r\n", bed.next.0);
    stream.write_all(request.as_bytes()).await.expect("sends");
    let held = || bed.origin.shared.held.load(Ordering::Relaxed);
    for expected in [1, 0] {
        if expected == 0 {
            // Half of a connection: without its reading side nothing can be answered.
            drop(std::mem::replace(&mut stream, TcpStream::connect(address).await.expect("connects")));
        }
        let wait = async {
            while held() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wait).await.expect("noticed");
    }
}

#[tokio::test]
async fn a_slow_reader_of_the_dvr_disturbs_nobody() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut bed = Bed::on(Dur::from_secs(120), Some(dir.path()), Arc::new(disk::System)).await;
    bed.open();
    for _ in 0..20 {
        bed.segments(1);
        bed.stored().await;
    }
    let options = HttpOptions { stall_timeout: Duration::from_millis(300), ..HttpOptions::default() };
    let address = serve(&bed, options);
    // Asks for segments from disk and does not read for a second: ten thousand of them are more than sockets buffer.
    let mut slow = TcpStream::connect(address).await.expect("connects");
    let one = format!("GET /live/ev1/720p/{FIRST}.m4s HTTP/1.1\r\nHost: a\r\n\r\n");
    let writer = super::held(async move {
        for _ in 0..10_000 {
            if slow.write_all(one.as_bytes()).await.is_err() {
                return true;
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut buf = vec![0; 1 << 16];
        let mut total = 0;
        while let Ok(n @ 1..) = slow.read(&mut buf).await {
            total += n;
        }
        total < 10_000 * whole(FIRST).len()
    });
    let client = client(false);
    for _ in 0..10 {
        bed.segments(1);
        let number = bed.next.0 - 1;
        let url = format!("http://{address}/live/ev1/720p/{number}.m4s");
        let body = client.get(url).send().await.expect("answer").bytes().await.expect("body");
        assert_eq!(body, whole(number));
    }
    assert!(writer.await.expect("ends"), "the slow one is cut off");
}
