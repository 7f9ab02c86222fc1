use super::*;
use crate::media::SystemClock;
use std::sync::atomic::AtomicU32;

/// Lets everybody in but `no`; `secret` needs [`SECRET`].
#[derive(Default)]
struct Porter {
    wrong: AtomicU32,
    unexpected: AtomicU32,
}

const SECRET: &str = "a passphrase of some length";

impl Gate for Porter {
    fn admit(&self, caller: Caller<'_>) -> Result<Option<SecretString>, Reject> {
        match caller.stream_id {
            "no" => Err(Reject::Forbidden),
            "secret" => Ok(Some(SECRET.into())),
            _ => Ok(None),
        }
    }

    fn failed(&self, _: SocketAddr, needed: bool) {
        let counter = if needed { &self.wrong } else { &self.unexpected };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

struct World {
    srt: Srt,
    porter: Arc<Porter>,
    listener: Listener,
}

fn world(latency: i64) -> World {
    let srt = Srt::start(Arc::new(SystemClock::new())).unwrap();
    let porter = Arc::new(Porter::default());
    let at = ([127, 0, 0, 1], 0).into();
    let listener = srt.listen(at, Dur::from_millis(latency), porter.clone()).unwrap();
    assert_ne!(listener.local_addr().port(), 0);
    World { srt, porter, listener }
}

impl World {
    async fn call(&self, stream_id: &str, passphrase: Option<&str>) -> Result<Connection, ConnectError> {
        let options = Options {
            stream_id: Some(stream_id.into()),
            passphrase: passphrase.map(SecretString::from),
            ..Options::default()
        };
        self.srt.connect(self.listener.local_addr(), &options).await
    }

    /// A caller and its other end.
    async fn pair(&mut self, stream_id: &str, passphrase: Option<&str>) -> (Connection, Connection) {
        let caller = self.call(stream_id, passphrase).await.unwrap();
        let taken = tokio::time::timeout(Duration::from_secs(10), self.listener.accept()).await;
        (caller, taken.expect("in time").expect("a caller"))
    }
}

async fn all(connection: &mut Connection) -> Vec<u8> {
    let mut out = Vec::new();
    let read = async {
        while let Some(batch) = connection.receive().await {
            out.extend_from_slice(&batch);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("it ends");
    out
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn what_was_sent_before_the_goodbye_arrives() {
    // Held back for so long that everything is still in libsrt when the goodbye comes.
    let mut world = world(3000);
    let (caller, mut taken) = world.pair("x", None).await;
    assert_eq!(taken.stream_id(), "x");
    let data: Vec<u8> = (0..300 * PAYLOAD as u32).map(|i| (i / 7) as u8).collect();
    for message in data.chunks(PAYLOAD) {
        assert_eq!(caller.send(message), Ok(message.len()));
        // As an encoder would; all at once overruns the system's buffers.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    until("all is sent", || caller.stats().sent == 300).await;
    until("all has come", || taken.stats().received == 300).await;
    drop(caller);
    assert!(all(&mut taken).await == data, "every byte, in order");
    assert_eq!(taken.end(), Some(End::Peer));
    assert!(world.srt.close(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn refusals_reach_the_caller_with_their_reason() {
    let mut world = world(120);
    let refused = |result: Result<Connection, ConnectError>| result.err().map(|e| e.to_string());
    assert_eq!(refused(world.call("no", None).await).as_deref(), Some("refused: not allowed now (1403)"));
    let wrong = refused(world.call("secret", Some("another passphrase")).await);
    assert_eq!(wrong.as_deref(), Some("refused: the passphrase is wrong"));
    let none = refused(world.call("secret", None).await);
    assert_eq!(none.as_deref(), Some("refused: one side has a passphrase and the other has none"));
    let unexpected = refused(world.call("x", Some(SECRET)).await);
    assert_eq!(unexpected.as_deref(), Some("refused: one side has a passphrase and the other has none"));
    let counts = || (world.porter.wrong.load(Ordering::Relaxed), world.porter.unexpected.load(Ordering::Relaxed));
    until("the gate hears of them", || counts() == (2, 1)).await;
    // And those who know it get in, with either key length.
    for key_length in [KeyLength::Aes128, KeyLength::Aes256] {
        let options = Options {
            stream_id: Some("secret".into()),
            passphrase: Some(SECRET.into()),
            key_length,
            ..Options::default()
        };
        let caller = world.srt.connect(world.listener.local_addr(), &options).await.unwrap();
        let mut taken = world.listener.accept().await.unwrap();
        assert_eq!(caller.send(b"hello"), Ok(5));
        assert_eq!(taken.receive().await.as_deref(), Some(&b"hello"[..]));
        until("it is encrypted", || taken.stats().encrypted).await;
    }
    assert_eq!(counts(), (2, 1), "nobody else");
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    let world = world(120);
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let options = Options { timeout: Duration::from_millis(300), ..Options::default() };
    let called = world.srt.connect(nobody.local_addr().unwrap(), &options).await;
    assert_eq!(called.err(), Some(ConnectError::Timeout));
    let short = Options { passphrase: Some("short".into()), ..Options::default() };
    assert!(matches!(world.srt.connect(nobody.local_addr().unwrap(), &short).await, Err(ConnectError::Local(_))));
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_up_nobody() {
    // Both come through one UDP socket: what a stall of the machine loses there must come again within the latency.
    let mut world = world(2000);
    let (stuck, mut stuck_end) = world.pair("stuck", None).await;
    let (other, mut other_end) = world.pair("other", None).await;
    let message = [7; PAYLOAD];
    let mut sent = 0;
    for _ in 0..10_000 {
        for _ in 0..5 {
            let _ = stuck.send(&message).unwrap();
        }
        sent += other.send(&message).unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        if stuck_end.stats().overrun > 0 {
            break;
        }
    }
    assert!(stuck_end.stats().overrun > 0, "what is too much is left out and counted");
    until("all has come", || other_end.stats().received as usize * PAYLOAD == sent).await;
    drop(other);
    assert_eq!(all(&mut other_end).await.len(), sent);
    drop(stuck);
    // What waits, and a batch that is just being left out; while it is read, what libsrt holds comes after it.
    let queued = stuck_end.shared.queued.load(Ordering::Relaxed);
    assert!((QUEUE_BYTES / 2..=QUEUE_BYTES + driver::BATCH).contains(&queued), "{queued}");
    assert!(all(&mut stuck_end).await.len() >= queued - driver::BATCH);
}

#[tokio::test]
async fn closing_tells_everybody() {
    let mut world = world(20);
    let (mut caller, mut taken) = world.pair("x", None).await;
    // One end.
    assert_eq!(taken.end(), None);
    let port = world.listener.local_addr().port();
    drop(caller);
    assert_eq!(taken.receive().await, None);
    (caller, taken) = world.pair("y", None).await;
    drop(taken);
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), caller.receive()).await, Ok(None));
    assert_eq!(caller.send(b"x"), Err(End::Peer));
    // All of it; the port is free again.
    let (mut caller, _taken) = world.pair("z", None).await;
    assert!(world.srt.close(Duration::from_secs(10)).await);
    assert_eq!(caller.receive().await, None);
    assert_eq!(caller.end(), Some(End::Here));
    assert!(matches!(world.call("z", None).await, Err(ConnectError::Closed)));
    until("the port is free", || std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok()).await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let world = world(20);
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let again = world.srt.listen(taken.local_addr().unwrap(), Dur::from_millis(20), world.porter.clone());
    assert!(again.is_err());
}
