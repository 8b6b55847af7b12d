//! Each fault, between a client and a server that do nothing but send and receive.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{
    io::ErrorKind,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rowtide_proxy::{Direction, Fault, Proxy, Step, swizzle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

/// How long something is looked for that must not come.
const MOMENT: Duration = Duration::from_millis(100);
/// Never waited for to its end.
const AGE: Duration = Duration::from_secs(3600);

/// Both ends of a connection through a proxy.
struct Ends {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Ends {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap(), 1).await.unwrap();
        let (client, server) = connect(&proxy, &listener).await;
        Self { proxy, listener, client, server }
    }

    async fn ask(&mut self, text: &[u8]) {
        send(&mut self.client, &mut self.server, text).await;
    }

    async fn answer(&mut self, text: &[u8]) {
        send(&mut self.server, &mut self.client, text).await;
    }
}

async fn connect(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

async fn send(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).await.unwrap();
    expect(to, text).await;
}

async fn expect(stream: &mut TcpStream, text: &[u8]) {
    let mut found = vec![0; text.len()];
    stream.read_exact(&mut found).await.unwrap();
    assert_eq!(found, text);
}

async fn expect_nothing(stream: &mut TcpStream) {
    assert!(timeout(MOMENT, stream.read_u8()).await.is_err());
}

/// What comes before the end, which must be a reset.
async fn read_to_reset(stream: &mut TcpStream) -> Vec<u8> {
    let mut found = Vec::new();
    let error = stream.read_to_end(&mut found).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    found
}

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn without_a_fault_all_bytes_pass_and_are_counted() {
    let mut ends = Ends::new().await;
    ends.ask(b"question").await;
    ends.answer(b"an answer").await;
    let statistics = ends.proxy.wait_until(|it| it.to_client.delivered == 9).await;
    assert_eq!((statistics.connections, statistics.open, statistics.resets), (1, 1, 0));
    assert_eq!(statistics.to_server.delivered, 8);
    assert_eq!(statistics.to_server.discarded + statistics.to_client.discarded, 0);
}

#[tokio::test]
async fn megabytes_come_back_as_they_went() {
    let proxy = Proxy::start(echo().await, 1).await.unwrap();
    let (mut reader, mut writer) = TcpStream::connect(proxy.address()).await.unwrap().into_split();
    let sent: Vec<u8> = (0..4_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let expected = sent.clone();
    tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut found = Vec::new();
    reader.read_to_end(&mut found).await.unwrap();
    assert!(found == expected);
    // The end was handed on both ways, and in good order.
    assert_eq!(proxy.wait_until(|it| it.open == 0).await.resets, 0);
}

#[tokio::test]
async fn latency_makes_everything_late_until_it_is_healed() {
    let mut ends = Ends::new().await;
    let latency = Duration::from_millis(50);
    ends.proxy.inject(Direction::ToServer, Fault::Latency { least: latency, most: latency * 2 });
    let begin = Instant::now();
    ends.ask(b"question").await;
    assert!(begin.elapsed() >= latency);

    ends.proxy.inject(Direction::Both, Fault::Latency { least: AGE, most: AGE });
    ends.client.write_all(b"first").await.unwrap();
    expect_nothing(&mut ends.server).await;
    ends.proxy.heal();
    ends.client.write_all(b"second").await.unwrap();
    expect(&mut ends.server, b"firstsecond").await;
}

#[tokio::test]
async fn latency_takes_nothing_from_the_throughput() {
    let mut ends = Ends::new().await;
    let latency = Duration::from_millis(300);
    ends.proxy.inject(Direction::ToServer, Fault::Latency { least: latency, most: latency });
    let begin = Instant::now();
    for number in 0..50_u64 {
        ends.client.write_all(&[b'x'; 1]).await.unwrap();
        // The next one is a chunk of its own once this one was taken.
        ends.answer(&number.to_le_bytes()).await;
    }
    expect(&mut ends.server, &[b'x'; 50]).await;
    let elapsed = begin.elapsed();
    assert!(elapsed >= latency && elapsed < latency * 25, "{elapsed:?}");
}

#[tokio::test]
async fn a_rate_is_kept_until_it_is_healed() {
    let mut ends = Ends::new().await;
    ends.proxy.inject(Direction::ToServer, Fault::Rate { bytes_per_second: 100_000 });
    let begin = Instant::now();
    ends.ask(&[1; 20_000]).await;
    // The last twentieth of a second is not waited for.
    assert!(begin.elapsed() >= Duration::from_millis(140));

    ends.proxy.inject(Direction::ToServer, Fault::Rate { bytes_per_second: 0 });
    ends.client.write_all(&[2; 10_000]).await.unwrap();
    expect(&mut ends.server, &[2]).await;
    expect_nothing(&mut ends.server).await;
    ends.proxy.heal();
    expect(&mut ends.server, &[2; 9_999]).await;
}

#[tokio::test]
async fn a_stall_moves_nothing_and_tells_nobody() {
    let mut ends = Ends::new().await;
    ends.proxy.inject(Direction::ToClient, Fault::Stall);
    ends.ask(b"question").await;
    ends.server.write_all(b"answer").await.unwrap();
    ends.server.shutdown().await.unwrap();
    expect_nothing(&mut ends.client).await;

    // Who comes now is accepted, and fares no better.
    let (mut client, mut server) = connect(&ends.proxy, &ends.listener).await;
    server.write_all(b"other").await.unwrap();
    expect_nothing(&mut client).await;
    assert_eq!(ends.proxy.statistics().to_client.delivered, 0);

    ends.proxy.heal();
    expect(&mut ends.client, b"answer").await;
    assert_eq!(ends.client.read(&mut [0; 1]).await.unwrap(), 0);
    expect(&mut client, b"other").await;
}

/// Resets the connection at the end of `from`, and has `to` hear of it only after the fault.
async fn expect_a_late_reset(proxy: &Proxy, from: TcpStream, to: &mut TcpStream) {
    from.set_zero_linger().unwrap();
    drop(from);
    expect_nothing(to).await;
    // What is sent to nobody has no answer either.
    for _ in 0..3 {
        to.write_all(b"text").await.unwrap();
        expect_nothing(to).await;
    }
    proxy.heal();
    assert_eq!(read_to_reset(to).await, b"");
}

#[tokio::test]
async fn a_reset_during_a_stall_or_a_loss_is_heard_of_when_it_is_over() {
    for fault in [Fault::Stall, Fault::Discard] {
        let mut ends = Ends::new().await;
        ends.proxy.inject(Direction::ToClient, fault);
        expect_a_late_reset(&ends.proxy, ends.server, &mut ends.client).await;

        let mut ends = Ends::new().await;
        ends.proxy.inject(Direction::ToServer, fault);
        expect_a_late_reset(&ends.proxy, ends.client, &mut ends.server).await;
        ends.proxy.wait_until(|it| it.open == 0).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_heard_of_during_a_stall() {
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(nowhere.local_addr().unwrap(), 1).await.unwrap();
    drop(nowhere);
    proxy.inject(Direction::ToClient, Fault::Stall);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    expect_nothing(&mut client).await;
    proxy.heal();
    read_to_reset(&mut client).await;
}

#[tokio::test]
async fn an_end_during_a_loss_is_told_when_it_is_over() {
    let mut ends = Ends::new().await;
    ends.proxy.inject(Direction::ToClient, Fault::Discard);
    ends.server.write_all(b"answer").await.unwrap();
    ends.server.shutdown().await.unwrap();
    expect_nothing(&mut ends.client).await;
    ends.ask(b"still here").await;
    ends.proxy.heal();
    assert_eq!(ends.client.read(&mut [0; 1]).await.unwrap(), 0);

    // Or the connection is reset before.
    let (mut client, mut server) = connect(&ends.proxy, &ends.listener).await;
    ends.proxy.inject(Direction::ToClient, Fault::Discard);
    server.shutdown().await.unwrap();
    expect_nothing(&mut client).await;
    ends.proxy.reset();
    read_to_reset(&mut client).await;
}

#[tokio::test]
async fn a_stall_pushes_back() {
    let mut ends = Ends::new().await;
    ends.proxy.inject(Direction::ToServer, Fault::Stall);
    let much = vec![0; 64 * 1024 * 1024];
    assert!(timeout(MOMENT * 5, ends.client.write_all(&much)).await.is_err());
    assert_eq!(ends.proxy.statistics().to_server.delivered, 0);
}

#[tokio::test]
async fn answers_are_lost_while_requests_arrive() {
    let mut ends = Ends::new().await;
    ends.proxy.inject(Direction::ToClient, Fault::Discard);
    ends.ask(b"write").await;
    ends.server.write_all(b"done").await.unwrap();
    ends.proxy.wait_until(|it| it.to_client.discarded == 4).await;
    assert_eq!(ends.proxy.statistics().to_client.delivered, 0);
    ends.proxy.heal();
    ends.answer(b"later").await;
}

#[tokio::test]
async fn a_connection_is_cut_after_every_number_of_bytes() {
    let text = b"0123456789";
    let mut ends = Ends::new().await;
    for bytes in 0..text.len() {
        ends.proxy.inject(Direction::ToServer, Fault::CutAfter { bytes: bytes as u64 });
        ends.client.write_all(text).await.unwrap();
        assert_eq!(read_to_reset(&mut ends.server).await, text[..bytes]);
        assert_eq!(read_to_reset(&mut ends.client).await, b"");
        // Once is enough.
        (ends.client, ends.server) = connect(&ends.proxy, &ends.listener).await;
        ends.ask(text).await;

        ends.proxy.inject(Direction::ToClient, Fault::CutAfter { bytes: bytes as u64 });
        ends.server.write_all(text).await.unwrap();
        assert_eq!(read_to_reset(&mut ends.client).await, text[..bytes]);
        (ends.client, ends.server) = connect(&ends.proxy, &ends.listener).await;
    }
    assert_eq!(ends.proxy.wait_until(|it| it.open == 1).await.resets, 20);
}

#[tokio::test]
async fn a_cut_counts_the_bytes_of_all_connections() {
    let mut ends = Ends::new().await;
    let (mut client, mut server) = connect(&ends.proxy, &ends.listener).await;
    ends.proxy.inject(Direction::ToServer, Fault::CutAfter { bytes: 6 });
    ends.ask(b"1234").await;
    client.write_all(b"5678").await.unwrap();
    assert_eq!(read_to_reset(&mut server).await, b"56");
    ends.ask(b"and so on").await;
}

#[tokio::test]
async fn a_reset_is_seen_at_both_ends() {
    let mut ends = Ends::new().await;
    // A stalled one, too.
    ends.proxy.inject(Direction::Both, Fault::Stall);
    ends.proxy.reset();
    read_to_reset(&mut ends.client).await;
    read_to_reset(&mut ends.server).await;
    assert_eq!(ends.proxy.wait_until(|it| it.open == 0).await.resets, 1);

    ends.proxy.heal();
    (ends.client, ends.server) = connect(&ends.proxy, &ends.listener).await;
    ends.ask(b"again").await;
}

#[tokio::test]
async fn a_reset_by_one_end_reaches_the_other() {
    let mut ends = Ends::new().await;
    ends.server.set_zero_linger().unwrap();
    drop(ends.server);
    read_to_reset(&mut ends.client).await;
}

#[tokio::test]
async fn half_a_connection_is_closed_and_the_other_half_goes_on() {
    let mut ends = Ends::new().await;
    ends.proxy.half_close(Direction::ToServer);
    assert_eq!(ends.server.read(&mut [0; 1]).await.unwrap(), 0);
    ends.answer(b"still here").await;
    ends.client.write_all(b"too late").await.unwrap();
    ends.proxy.wait_until(|it| it.to_server.discarded == 8).await;

    // It is about the connections that there were.
    (ends.client, ends.server) = connect(&ends.proxy, &ends.listener).await;
    ends.ask(b"question").await;
    ends.proxy.inject(Direction::ToClient, Fault::Stall);
    ends.proxy.half_close(Direction::ToClient);
    assert_eq!(ends.client.read(&mut [0; 1]).await.unwrap(), 0);
    ends.ask(b"another").await;
}

#[tokio::test]
async fn connections_are_refused_until_they_are_accepted_again() {
    let mut ends = Ends::new().await;
    for _ in 0..20 {
        ends.proxy.refuse().await.unwrap();
        let error = TcpStream::connect(ends.proxy.address()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // Connections that are open stay so.
        ends.ask(b"open").await;
        ends.proxy.accept().await.unwrap();
        connect(&ends.proxy, &ends.listener).await;
    }
}

#[tokio::test]
async fn a_process_that_is_started_meanwhile_does_not_cost_the_port() {
    let proxy = Proxy::start(echo().await, 1).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let starting = thread::spawn({
        let is_over = Arc::clone(&is_over);
        // Until it runs its program, a new process has all that was open here.
        move || {
            while !is_over.load(Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        }
    });
    for _ in 0..2_000 {
        proxy.refuse().await.unwrap();
        proxy.accept().await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    starting.join().unwrap();
}

#[tokio::test]
async fn the_port_stays_the_proxys_while_connections_are_refused() {
    let proxy = Proxy::start(echo().await, 1).await.unwrap();
    proxy.refuse().await.unwrap();
    let error = TcpSocket::new_v4().unwrap().bind(proxy.address()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_reset_and_another_one_can_be_named() {
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nowhere.local_addr().unwrap();
    drop(nowhere);
    let proxy = Proxy::start(address, 1).await.unwrap();
    read_to_reset(&mut TcpStream::connect(proxy.address()).await.unwrap()).await;

    proxy.set_server(echo().await);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"text").await.unwrap();
    expect(&mut client, b"text").await;
}

#[tokio::test]
async fn a_dropped_proxy_closes_everything_and_its_address_is_free() {
    let mut ends = Ends::new().await;
    let address = ends.proxy.address();
    drop(ends.proxy);
    assert_eq!(ends.server.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(ends.client.read(&mut [0; 1]).await.unwrap(), 0);
    let proxy = Proxy::start_at(address, echo().await, 1).await.unwrap();
    assert_eq!(proxy.address(), address);
    assert!(Proxy::start_at(address, echo().await, 1).await.is_err());
}

#[tokio::test]
async fn a_swizzle_stalls_one_after_another_and_releases_in_another_order() {
    let server = echo().await;
    let mut proxies = Vec::new();
    for seed in 0..5 {
        proxies.push(Proxy::start(server, seed).await.unwrap());
    }
    let proxies: Vec<_> = proxies.iter().collect();
    let mut clients = Vec::new();
    for proxy in &proxies {
        clients.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    let mut steps = Vec::new();
    swizzle(&proxies, 3, async |step| {
        match step {
            Step::Stalled(index) => {
                clients[index].write_all(b"text").await.unwrap();
                expect_nothing(&mut clients[index]).await;
            }
            Step::Released(index) => expect(&mut clients[index], b"text").await,
        }
        steps.push(step);
    })
    .await;
    assert!(steps[..5].iter().all(|step| matches!(step, Step::Stalled(_))));
    let order = |step: &Step| match step {
        Step::Stalled(index) | Step::Released(index) => *index,
    };
    let orders: Vec<usize> = steps.iter().map(order).collect();
    assert_ne!(orders[..5], orders[5..]);

    let mut again = Vec::new();
    swizzle(&proxies, 3, async |step| again.push(step)).await;
    assert_eq!(again, steps);
}
