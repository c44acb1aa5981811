//! Mixed workloads under all faults: nothing lost, doubled or hung.
//!
//! The long form:
//! `SOLOIO_SEEDS=1000000 SOLOIO_PROCESSES=8 cargo test --release -p soloio-sim --test mixed`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use soloio::{
    Buffered, Error, Result, TcpListener, UdpSocket, connect_tcp, create_tcp_listener,
    create_udp_socket, fail_after, move_on_after, run_in_thread, sleep, task_group,
    unix_socket_pair,
};
use soloio_sim::{Failure, Faults, Sim, check, sometimes};

const ORDERS: u32 = 6;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The sales of the shop: each order, and its place among them.
type Ledger = Rc<RefCell<BTreeMap<u32, u32>>>;

async fn listen(port: u16) -> Result<TcpListener> {
    loop {
        match create_tcp_listener()
            .local_host("0.0.0.0")
            .local_port(port)
            .await
        {
            Ok(listener) => return Ok(listener),
            Err(_) => sleep(millis(1)).await?,
        }
    }
}

async fn udp(port: u16) -> Result<UdpSocket> {
    loop {
        match create_udp_socket()
            .local_host("0.0.0.0")
            .local_port(port)
            .await
        {
            Ok(socket) => return Ok(socket),
            Err(_) => sleep(millis(1)).await?,
        }
    }
}

/// Sells each order once; answers with its number.
async fn shop(ledger: Ledger) -> Result<()> {
    let listener = listen(7000).await?;
    listener
        .serve_with(async |stream| {
            let stream = Buffered::new(stream);
            loop {
                let order: [u8; 4] = match stream.receive_exactly(4).await {
                    Ok(bytes) => bytes.try_into().expect("four bytes"),
                    Err(Error::EndOfStream) => return Ok::<_, Error>(()),
                    Err(error) => return Err(error),
                };
                let number = u32::from_be_bytes(order);
                // A repeated order was sold already; its answer had been lost.
                let place = ledger.borrow().len() as u32;
                ledger.borrow_mut().entry(number).or_insert(place);
                stream.send(&order).await?;
            }
        })
        .on_error(|_, _| {})
        .await
}

/// Orders until each order is answered.
async fn buyer(first: u32) -> std::result::Result<(), Failure> {
    let mut answered = 0;
    for attempt in 0.. {
        if attempt == 400 {
            return Err(Failure::new("no order gets through"));
        }
        let visit = fail_after(secs(300), async {
            let stream = Buffered::new(connect_tcp("shop", 7000).await?);
            while answered < ORDERS {
                let order = (first + answered).to_be_bytes();
                stream.send(&order).await?;
                let answer = stream.receive_exactly(4).await?;
                assert_eq!(answer, order, "the answer of another order");
                answered += 1;
            }
            Ok::<_, Error>(())
        });
        let visit = visit.await;
        sometimes(visit.is_err(), "a visit fails");
        match visit {
            Ok(()) => return Ok(()),
            Err(_) => sleep(millis(20))
                .await
                .map_err(|error| Failure::new(error.to_string()))?,
        }
    }
    Ok(())
}

/// Answers each datagram with itself.
async fn mirror() -> Result<()> {
    let socket = udp(7001).await?;
    loop {
        if let Ok((data, from)) = socket.receive().await {
            // It may be refused, or have no buffer: the other side asks again.
            let _lost = socket.send_to(&data, from).await;
        }
    }
}

/// Asks the mirror until each question is answered; every answer is one of the questions.
async fn asker(mirror: SocketAddr) -> Result<()> {
    let socket = udp(0).await?;
    for question in 0..10_u32 {
        let mut asked = 0;
        loop {
            asked += 1;
            assert!(asked < 2000, "no datagram gets through");
            let _lost = socket.send_to(&question.to_be_bytes(), mirror).await;
            let answer = move_on_after(secs(1), socket.receive()).await;
            if let Ok(Some((data, _))) = answer {
                let data: [u8; 4] = data.try_into().expect("whole datagrams");
                let got = u32::from_be_bytes(data);
                assert!(got <= question, "a datagram that nobody sent");
                if got == question {
                    break;
                }
            }
        }
        sometimes(asked > 1, "a datagram was lost");
    }
    Ok(())
}

/// Sends data over a pair of UNIX sockets, and adds it up in a job on a thread.
async fn local() -> Result<()> {
    for _ in 0..3 {
        let (a, b) = loop {
            match unix_socket_pair() {
                Ok(pair) => break pair,
                Err(_) => sleep(millis(1)).await?,
            }
        };
        let data: Vec<u8> = (0..5000_u32).map(|at| (at % 251) as u8).collect();
        let sum: u64 = data.iter().map(|byte| u64::from(*byte)).sum();
        let got = task_group(async |group| {
            let sender = group.spawn(async {
                a.send(&data).await?;
                a.send_eof().await
            });
            let mut got = Vec::new();
            while let Some(bytes) = b.next().await? {
                got.extend(bytes);
            }
            sender.await?;
            Ok(got)
        })
        .await?;
        assert_eq!(got, data);
        let counted = run_in_thread(move || {
            std::thread::sleep(millis(5));
            got.iter().map(|byte| u64::from(*byte)).sum::<u64>()
        });
        assert_eq!(counted.await?, sum);
    }
    Ok(())
}

#[test]
fn nothing_is_lost_or_spoilt_or_hangs() {
    check(300, |seed| {
        let ledger = Ledger::default();
        let mut sim = Sim::new(seed, Faults::swarm(seed));
        let books = ledger.clone();
        sim.host("shop", move || shop(books.clone()));
        let mirror = SocketAddr::new(sim.host("mirror", mirror).ip(), 7001);
        for number in 0..2 {
            sim.client(format!("buyer{number}"), move || buyer(number * 100));
        }
        sim.client("asker", move || asker(mirror));
        sim.client("local", local);
        if seed % 3 == 0 {
            sim.at(millis(30), |net| net.partition("shop", "buyer1"));
            sim.at(secs(2), |net| net.heal());
        }
        if seed % 5 == 0 {
            sim.at(secs(1), |net| net.crash("shop"));
            sim.at(secs(4), |net| net.restart("shop"));
        }
        let books = ledger.clone();
        sim.always(move || {
            let books = books.borrow();
            let ordered = |order: &u32| *order < ORDERS || (100..100 + ORDERS).contains(order);
            assert!(books.keys().all(ordered), "no buyer has ordered that");
            let places: BTreeSet<_> = books.values().collect();
            assert_eq!(places.len(), books.len(), "two orders at one place");
        });
        sim.run_until_done(secs(1_000_000))?;
        assert_eq!(
            ledger.borrow().len(),
            2 * ORDERS as usize,
            "an order is lost"
        );
        Ok::<_, Failure>(())
    });
}
