use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn every_network_that_is_not_public_is_named() {
    let cases = [
        ("127.0.0.1", "loopback"),
        ("127.255.0.9", "loopback"),
        ("::1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("100.64.0.1", "shared"),
        ("100.127.255.255", "shared"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("fd12:3456::1", "unique-local"),
        ("fec0::1", "site-local"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::10.0.0.1", "reserved"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b:1::1", "reserved"),
        ("2002:7f00:1::", "loopback"),
        ("2001:0:53aa:64c::1", "protocol"),
        ("2001:db8::1", "documentation"),
    ];
    for (text, kind) in cases {
        assert!(special(ip(text)).is_some_and(|k| k.contains(kind)), "{text}: {:?}", special(ip(text)));
    }
    for text in ["1.1.1.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.169.0.1", "2606:4700::1111", "2a00::1"] {
        assert_eq!(special(ip(text)), None, "{text}");
    }
    assert_eq!(special(ip("::ffff:8.8.8.8")), None);
    assert_eq!(special(ip("64:ff9b::808:808")), None);
}

proptest! {
    #[test]
    fn an_ipv4_address_is_the_same_in_all_its_disguises(bits: u32) {
        let v4 = Ipv4Addr::from(bits);
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let plain = special(v4.into());
        prop_assert_eq!(special(v4.to_ipv6_mapped().into()), plain);
        prop_assert_eq!(special(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()), plain);
        prop_assert_eq!(special(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into()), plain);
        // What the standard library calls not global is never let through.
        let known = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
            || v4.is_broadcast() || v4.is_unspecified() || v4.is_documentation();
        prop_assert!(!known || plain.is_some());
    }

    #[test]
    fn only_global_unicast_passes_of_ipv6(bits: u128) {
        let v6 = Ipv6Addr::from(bits);
        let nat64 = v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
        if special(v6.into()).is_none() {
            prop_assert!(v6.segments()[0] & 0xe000 == 0x2000 || v6.to_ipv4_mapped().is_some() || nat64);
            prop_assert!(!v6.is_loopback() && !v6.is_multicast() && !v6.is_unspecified() && !v6.is_unique_local());
        }
    }

    #[test]
    fn what_is_admitted_is_public(v4 in prop::collection::vec(any::<u32>(), 0..12), v6 in prop::collection::vec(any::<u128>(), 0..4)) {
        let found: Vec<SocketAddr> = v4.into_iter().map(|b| IpAddr::from(Ipv4Addr::from(b)))
            .chain(v6.into_iter().map(|b| IpAddr::from(Ipv6Addr::from(b))))
            .map(|ip| SocketAddr::new(ip, 1935))
            .collect();
        match Guard::new(false).admit("host", found.clone()) {
            Ok(admitted) => {
                prop_assert!(!admitted.is_empty() && admitted.len() <= MAX_ADDRESSES);
                prop_assert!(admitted.iter().all(|at| special(at.ip()).is_none() && found.contains(at)));
            }
            Err(GuardError::Resolve { .. }) => prop_assert!(found.is_empty()),
            Err(GuardError::Private { .. }) => prop_assert!(found.iter().all(|at| special(at.ip()).is_some())),
        }
    }

    #[test]
    fn any_text_is_an_address_or_an_error_and_never_shows_its_secrets(
        text in "\\PC{0,60}", user in "[a-z]{1,8}", password in "[A-Z0-9]{10,20}", token in "[A-Z0-9]{10,20}",
    ) {
        let _ = OutgoingUrl::parse(&text);
        let url = OutgoingUrl::parse(&format!("rtsp://{user}:{password}@host.example/a?t={token}")).unwrap();
        let shown = format!("{url} {url:?} {}", url.scrub(&format!("401 for {password} with {token}")));
        prop_assert!(!shown.contains(&password) && !shown.contains(&token), "{}", shown);
        prop_assert!(url.expose().contains(&password) && url.expose().contains(&token));
    }
}

#[test]
fn an_address_is_read_and_shown_without_its_secrets() {
    let url = OutgoingUrl::parse("RTMP://us%65r:p%40ss@Host.Example:1936/live/stream?token=abcdef&x=1").unwrap();
    assert_eq!((url.scheme(), url.port_or(1935)), ("rtmp", 1936));
    assert_eq!(url.host(), &Host::Domain("host.example".to_owned()));
    assert_eq!((url.path(), url.query()), ("/live/stream", Some("token=abcdef&x=1")));
    let (user, password) = url.credentials().unwrap();
    assert_eq!((user.as_str(), password.expose_secret()), ("user", "p@ss"));
    assert_eq!(url.to_string(), "rtmp://***@host.example:1936/live/stream?***");
    assert_eq!(url.scrub("p@ss and p%40ss and token=abcdef&x=1 and abcdef"), "*** and *** and *** and ***");
    assert_eq!(url.without_credentials().as_str(), "rtmp://Host.Example:1936/live/stream?token=abcdef&x=1");
    let plain = OutgoingUrl::parse("rtsp://[2001:db8::1]/cam").unwrap();
    assert_eq!((plain.to_string().as_str(), plain.port_or(554)), ("rtsp://[2001:db8::1]/cam", 554));
    assert!(plain.credentials().is_none());
}

#[test]
fn odd_forms_of_a_host_are_what_they_mean() {
    for text in ["rtmp://127.1/a/b", "rtmp://0x7f.0.0.1/a/b", "rtmp://2130706433/a/b", "rtmp://%3127.0.0.1/a/b"] {
        assert_eq!(OutgoingUrl::parse(text).unwrap().host(), &Host::<String>::Ipv4(Ipv4Addr::LOCALHOST), "{text}");
    }
    let name = OutgoingUrl::parse("rtmp://bücher.example/a/b").unwrap();
    assert_eq!(name.host(), &Host::Domain("xn--bcher-kva.example".to_owned()));
}

#[test]
fn what_is_no_address_is_refused_in_words() {
    let cases = [
        ("", UrlError::Form),
        ("no address", UrlError::Space),
        ("rtmp:stream", UrlError::Form),
        ("mailto:a@b", UrlError::Form),
        ("rtmp:///live/x", UrlError::Host),
        ("rtmp://host:0/live/x", UrlError::Port),
        ("rtmp://[::1/live", UrlError::Host),
        ("rtmp://host/a\u{7}b", UrlError::Space),
    ];
    for (text, error) in cases {
        assert_eq!(OutgoingUrl::parse(text).unwrap_err(), error, "{text}");
    }
    assert_eq!(OutgoingUrl::parse(&format!("rtmp://h/{}", "a".repeat(MAX_URL))).unwrap_err(), UrlError::Long);
}

#[tokio::test]
async fn a_name_of_this_machine_is_refused_unless_allowed() {
    let guard = Guard::new(false);
    let host = Host::Domain("localhost".to_owned());
    let refused = guard.resolve(&host, 1).await.unwrap_err();
    assert!(matches!(refused, GuardError::Private { .. }), "{refused}");
    assert!(refused.to_string().contains("allow_private"), "{refused}");
    guard.clone().set_allow_private(true);
    let found = guard.resolve(&host, 1).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(|at| at.ip().is_loopback() && at.port() == 1));
}

#[tokio::test]
async fn a_connection_goes_to_the_first_address_that_accepts() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    let closed = {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        gone.local_addr().unwrap()
    };
    let guard = Guard::new(true);
    let (_, at) = guard.connect(&[closed, open]).await.unwrap();
    assert_eq!(at, open);
    assert_eq!(guard.connect(&[closed]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}
