//! QUIC on [soloio](https://docs.rs/soloio): sockets, timers and tasks for [quinn].
//!
//! [`SoloRuntime`] is what [`quinn::Endpoint::new`] asks for. quinn's tasks run where
//! [`SoloRuntime::run`] runs.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSliceMut};
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, UdpPoller};
use soloio::net::Watched;
use soloio::{Place, Result, Sleep, sleep_until, task_group};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// soloio for quinn. Clones are the same.
///
/// What quinn spawns waits until [`run`](Self::run) is polled; after `run` has ended it is dropped
/// at once.
#[derive(Clone, Default)]
pub struct SoloRuntime(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    waker: Option<Waker>,
    /// Nothing runs them any more.
    over: bool,
}

impl SoloRuntime {
    /// One without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs quinn's tasks, until it is cancelled or dropped; all of them end then. Let
    /// `Endpoint::wait_idle` end first, so that peers are told.
    ///
    /// # Errors
    ///
    /// [`soloio::Error::Cancelled`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the tasks.
    pub async fn run(self) -> Result<()> {
        let running = Running(self);
        task_group(async |group| -> Result<()> {
            loop {
                for task in running.0.next().await {
                    drop(group.spawn(async {
                        task.await;
                        Ok(())
                    }));
                }
            }
        })
        .await
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.0)
    }

    /// Waits until there are tasks.
    async fn next(&self) -> VecDeque<Task> {
        poll_fn(|cx| {
            // Cloned before, and dropped after, the lock is held.
            let waker = cx.waker().clone();
            let mut queue = self.queue();
            if queue.tasks.is_empty() {
                let old = queue.waker.replace(waker);
                drop(queue);
                drop(old);
                return Poll::Pending;
            }
            Poll::Ready(mem::take(&mut queue.tasks))
        })
        .await
    }
}

impl fmt::Debug for SoloRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoloRuntime").finish_non_exhaustive()
    }
}

/// One that runs; what is spawned after its end has no place.
struct Running(SoloRuntime);

impl Drop for Running {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.over = true;
        let (tasks, waker) = (mem::take(&mut queue.tasks), queue.waker.take());
        drop(queue);
        drop((tasks, waker));
    }
}

impl Runtime for SoloRuntime {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer(Some(sleep_until(deadline))))
    }

    fn spawn(&self, future: Task) {
        let mut queue = self.queue();
        if queue.over {
            drop(queue);
            return drop(future);
        }
        queue.tasks.push_back(future);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let state = UdpSocketState::new((&socket).into())?;
        socket.set_nonblocking(true)?;
        Ok(Arc::new(Socket {
            watched: Watched::new(socket)?,
            state,
            receiving: Mutex::default(),
            sending: Mutex::default(),
            senders: Arc::default(),
        }))
    }
}

/// A wait; `None` once a cancel was told to it, which nothing follows.
#[derive(Debug)]
struct Timer(Option<Sleep>);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        if let Some(sleep) = &mut self.0 {
            sleep.reset(deadline);
        }
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(sleep) = &mut self.0 else {
            return Poll::Pending;
        };
        match ready!(Pin::new(sleep).poll(cx)) {
            Ok(()) => Poll::Ready(()),
            Err(_) => {
                self.0 = None;
                Poll::Pending
            }
        }
    }
}

/// A socket that stays registered with the loop.
struct Socket {
    watched: Watched<UdpSocket>,
    state: UdpSocketState,
    receiving: Mutex<Place>,
    /// The one wait for room, on behalf of all `senders`.
    sending: Mutex<Place>,
    senders: Arc<Senders>,
}

/// The tasks that wait for room to send.
#[derive(Default)]
struct Senders(Mutex<Vec<Waker>>);

impl Wake for Senders {
    fn wake(self: Arc<Self>) {
        let senders = mem::take(&mut *lock(&self.0));
        for sender in senders {
            sender.wake();
        }
    }
}

impl Socket {
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let own = cx.waker().clone();
        let mut senders = lock(&self.senders.0);
        if senders.iter().all(|sender| !sender.will_wake(&own)) {
            senders.push(own);
        }
        drop(senders);
        let all = Waker::from(Arc::clone(&self.senders));
        let mut place = lock(&self.sending);
        let polled = self
            .watched
            .poll_writable(&mut place, &mut Context::from_waker(&all));
        drop(place);
        let ready = ready!(polled);
        // The others wait for the same, and this wait is over.
        all.wake();
        Poll::Ready(Ok(ready?))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = |socket: &UdpSocket| self.state.send(socket.into(), transmit);
        self.watched.try_write_with(send)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut place = lock(&self.receiving);
        let receive = |socket: &UdpSocket| self.state.recv(socket.into(), bufs, meta);
        let polled = self.watched.poll_read_with(&mut place, cx, receive);
        polled.map_err(io::Error::from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.watched.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.watched.fmt(f)
    }
}

/// The waits of one sender.
#[derive(Debug)]
struct Poller(Arc<Socket>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_room(cx)
    }
}

/// Nothing panics while it is locked, and what it holds would be whole all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
