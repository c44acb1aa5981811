//! The body of the fuzz target `scopes`: a tree of scopes against a naive twin, which computes the
//! cancelled leaves, the shielded ones, and the scopes that caught a cancel.
//!
//! The leaves of a tree of scopes, limits, shields, groups and combinators wait. A program cancels
//! scopes and releases leaves, sometimes several within one turn. After each step the twin computes
//! the state of every leaf and every scope from the whole tree. Then parts of the tree are polled
//! in other places and return, which changes nothing.
//!
//! Long because the twin and its counterpart are read side by side.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use soloio::{
    CancelScope, Event, Result, Runtime, block_on, fail_after, join, shield, sleep, task_group,
};

/// The first half of the input is the tree: a byte for each node and for each end of one. The
/// second half is the program: a byte for each action and for each end of a step.
pub(crate) fn run(input: &[u8]) {
    let (nodes, actions) = input.split_at(input.len() / 2);
    let mut nodes = nodes[..nodes.len().min(48)].iter();
    let mut below = Vec::new();
    while nodes.len() > 0 {
        below.extend(grown(Kind::Scope, 6, &mut nodes).1);
    }
    let mut steps = vec![Vec::new()];
    for byte in actions.iter().take(48) {
        let number = usize::from(byte / 4);
        let action = match byte % 4 {
            0 => Action::Cancel(number),
            1 => Action::Release(number),
            2 => Action::Clean(number),
            _ => {
                steps.push(Vec::new());
                continue;
            }
        };
        steps.last_mut().expect("it has one").push(action);
    }
    check(&Tree(Kind::Scope, below), &steps);
}

/// Builds a node of this kind from the bytes up to its end. Each inner node has a child.
fn grown(kind: Kind, depth: usize, nodes: &mut std::slice::Iter<'_, u8>) -> Tree {
    let mut below = Vec::new();
    while let Some(byte) = nodes.next() {
        let Some(kind) = Kind::ALL.get(usize::from(byte % 12)) else {
            break;
        };
        below.push(match depth {
            _ if kind.is_leaf() => Tree(*kind, Vec::new()),
            0 => Tree(Kind::Cleans, Vec::new()),
            _ => grown(*kind, depth - 1, nodes),
        });
    }
    if below.is_empty() {
        below.push(Tree(Kind::Polite, Vec::new()));
    }
    Tree(kind, below)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Scope,
    /// A time limit that does not end, and so has no effect.
    Limit,
    Shield,
    /// Each child is a task.
    Group,
    /// A group or a time limit that is polled in other places, too, the first time before the
    /// program: in another scope, in a combinator, or under another runtime.
    Moved,
    /// A combinator with its own wakers polls each child.
    Unordered,
    /// A leaf that waits for an event, and ends when it is cancelled.
    Polite,
    /// Like `Polite`, but on a cancel it first cleans up in a shield.
    Cleans,
    /// A leaf that a cancel does not reach: it is no operation of soloio.
    Foreign,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Scope,
        Self::Limit,
        Self::Shield,
        Self::Group,
        Self::Moved,
        Self::Unordered,
        Self::Polite,
        Self::Cleans,
        Self::Foreign,
    ];

    fn is_leaf(self) -> bool {
        matches!(self, Self::Polite | Self::Cleans | Self::Foreign)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Tree(pub(crate) Kind, pub(crate) Vec<Self>);

/// A node of a tree that is stored as a list: parents before their children.
#[derive(Debug)]
struct Node {
    kind: Kind,
    parent: Option<usize>,
    children: Vec<usize>,
}

fn listed(tree: &Tree, parent: Option<usize>, nodes: &mut Vec<Node>) -> usize {
    let at = nodes.len();
    nodes.push(Node {
        kind: tree.0,
        parent,
        children: Vec::new(),
    });
    for child in &tree.1 {
        let child = listed(child, Some(at), nodes);
        nodes[at].children.push(child);
    }
    at
}

/// An action of the program; the number selects one of the nodes that it applies to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Cancel(usize),
    /// Makes a leaf's wait ready.
    Release(usize),
    /// Makes the wait of a leaf's clean-up ready.
    Clean(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    /// Ended as if nothing had been cancelled.
    Done,
    Cleaning,
    /// Got the cancel, and ended.
    Told,
    Dropped,
}

/// The state of a node that can be seen from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    state: State,
    /// For a scope that has ended: true if its run gave a value.
    ended: Option<bool>,
    called: bool,
    caught: bool,
}

struct Twin<'t> {
    nodes: &'t [Node],
    seen: Vec<Seen>,
    released: Vec<bool>,
    cleaned: Vec<bool>,
    /// A wait was cancelled because of this scope; it has caught the cancel when its run ends.
    charged: Vec<bool>,
}

impl<'t> Twin<'t> {
    fn new(nodes: &'t [Node]) -> Self {
        let new = Seen {
            state: State::Waiting,
            ended: None,
            called: false,
            caught: false,
        };
        Self {
            nodes,
            seen: vec![new; nodes.len()],
            released: vec![false; nodes.len()],
            cleaned: vec![false; nodes.len()],
            charged: vec![false; nodes.len()],
        }
    }

    fn act(&mut self, action: Action, at: usize) {
        match action {
            Action::Cancel(_) => self.seen[at].called = true,
            Action::Release(_) => self.released[at] = true,
            Action::Clean(_) => self.cleaned[at] = true,
        }
    }

    /// Returns the outermost cancelled scope around the leaf, up to the nearest shield.
    fn told_by(&self, leaf: usize) -> Option<usize> {
        let (mut at, mut outermost) = (leaf, None);
        while let Some(parent) = self.nodes[at].parent {
            at = parent;
            match self.nodes[at].kind {
                Kind::Shield => break,
                Kind::Scope if self.seen[at].called => outermost = Some(at),
                _ => {}
            }
        }
        outermost
    }

    fn is_over(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        match node.kind.is_leaf() {
            true => !matches!(self.seen[at].state, State::Waiting | State::Cleaning),
            false if self.seen[at].ended.is_some() => true,
            false => node.children.iter().all(|child| self.is_over(*child)),
        }
    }

    /// True if something below is in a shield.
    fn is_held(&self, at: usize) -> bool {
        let shielded = |child: usize| match self.nodes[child].kind {
            Kind::Shield => true,
            Kind::Cleans => self.seen[child].state == State::Cleaning,
            _ => self.is_held(child),
        };
        let children = &self.nodes[at].children;
        children
            .iter()
            .any(|child| !self.is_over(*child) && shielded(*child))
    }

    fn drop_below(&mut self, at: usize) {
        self.seen[at].caught |= self.charged[at];
        for child in &self.nodes[at].children {
            if self.is_over(*child) {
                continue;
            }
            match self.nodes[*child].kind.is_leaf() {
                true => self.seen[*child].state = State::Dropped,
                false => self.drop_below(*child),
            }
        }
    }

    /// A ready leaf wins over a cancel, but one that begins in a cancelled scope ends at once.
    fn settle_leaf(&mut self, at: usize, begins: bool) {
        let kind = self.nodes[at].kind;
        let ready = self.released[at];
        let told = self.told_by(at).filter(|_| kind != Kind::Foreign);
        match (self.seen[at].state, told) {
            (State::Waiting, Some(by)) if begins || !ready => {
                self.charged[by] = true;
                let cleans = kind == Kind::Cleans;
                self.seen[at].state = if cleans { State::Cleaning } else { State::Told };
            }
            (State::Waiting, _) if ready => self.seen[at].state = State::Done,
            _ => {}
        }
        if self.seen[at].state == State::Cleaning && self.cleaned[at] {
            self.seen[at].state = State::Told;
        }
    }

    /// True if the leaf was polled before the first action.
    fn has_begun(&self, leaf: usize) -> bool {
        let around = self.nodes[leaf].parent;
        around.is_some_and(|at| self.nodes[at].kind == Kind::Moved || self.has_begun(at))
    }

    /// True while its run lasts: neither it nor a scope around it has ended.
    fn runs(&self, at: usize) -> bool {
        let around = self.nodes[at].parent.is_none_or(|around| self.runs(around));
        around && self.seen[at].ended.is_none()
    }

    fn settle(&mut self, begins: bool) {
        for at in 0..self.nodes.len() {
            if self.nodes[at].kind.is_leaf() {
                let begins = begins && !self.has_begun(at);
                self.settle_leaf(at, begins);
            }
        }
        // The innermost first: leaves that it drops are over for the scopes around it.
        for at in (0..self.nodes.len()).rev() {
            if self.nodes[at].kind != Kind::Scope || !self.runs(at) {
                continue;
            }
            if self.is_over(at) {
                self.seen[at].ended = Some(true);
                self.seen[at].caught |= self.charged[at];
            } else if self.seen[at].called && !self.is_held(at) {
                // Here, too, the outermost scope has caught the cancel.
                let by = self.told_by(at).unwrap_or(at);
                self.charged[by] = true;
                self.drop_below(at);
                self.seen[at].ended = Some(false);
            }
        }
    }
}

/// The real counterpart of a node.
#[derive(Default)]
struct Real {
    scope: CancelScope,
    ended: Cell<Option<bool>>,
    state: Cell<Option<State>>,
    event: Event,
    cleaned: Event,
    /// Makes a foreign leaf's wait ready.
    open: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Real {
    fn act(&self, action: Action) {
        match action {
            Action::Cancel(_) => self.scope.cancel("by the program"),
            Action::Clean(_) => self.cleaned.set(),
            Action::Release(_) => {
                self.event.set();
                self.open.set(true);
                if let Some(waker) = self.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            state: self.state.get().unwrap_or(State::Waiting),
            ended: self.ended.get(),
            called: self.scope.cancel_called(),
            caught: self.scope.cancelled_caught(),
        }
    }

    async fn opened(&self) {
        poll_fn(|cx| {
            if self.open.get() {
                return Poll::Ready(());
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    async fn leaf(&self, kind: Kind) {
        let _guard = Leaving(&self.state);
        let told = match kind {
            Kind::Foreign => {
                self.opened().await;
                false
            }
            _ => self.event.wait().await.is_err(),
        };
        if told && kind == Kind::Cleans {
            self.state.set(Some(State::Cleaning));
            let cleaned = shield(HOUR, self.cleaned.wait()).await;
            cleaned.expect("protected");
        }
        let ended = if told { State::Told } else { State::Done };
        self.state.set(Some(ended));
    }
}

/// Notes that a leaf was dropped before its end.
struct Leaving<'r>(&'r Cell<Option<State>>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if matches!(self.0.get(), None | Some(State::Cleaning)) {
            self.0.set(Some(State::Dropped));
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);

type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What is polled elsewhere, too; true if that may be under another runtime.
type Wanderers<'a> = RefCell<Vec<(bool, Weak<RefCell<Wanderer<'a>>>)>>;

struct Wanderer<'a> {
    running: Running<'a>,
    /// Of its last poll in the tree.
    home: Option<Waker>,
    is_over: bool,
}

impl Wanderer<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.running.as_mut().poll(cx);
        self.is_over = polled.is_ready();
        polled
    }
}

fn start<'a>(
    nodes: &'a [Node],
    reals: &'a [Real],
    wanderers: &Wanderers<'a>,
    at: usize,
) -> Running<'a> {
    let (node, real) = (&nodes[at], &reals[at]);
    let children = node.children.iter();
    let children: Vec<Running<'a>> = children
        .map(|child| start(nodes, reals, wanderers, *child))
        .collect();
    match node.kind {
        Kind::Scope => Box::pin(async move {
            let ended = real.scope.run(join(children)).await;
            real.ended.set(Some(ended.is_some()));
        }),
        Kind::Limit => Box::pin(limited(children)),
        Kind::Shield => Box::pin(async move { drop(shield(HOUR, join(children)).await) }),
        Kind::Group => Box::pin(in_group(children)),
        Kind::Moved => {
            let running: Running<'a> = match at % 4 {
                0 | 1 => Box::pin(in_group(children)),
                _ => Box::pin(limited(children)),
            };
            let wanderer = Rc::new(RefCell::new(Wanderer {
                running,
                home: None,
                is_over: false,
            }));
            // A wait in a combinator stays with its first runtime.
            let far = at % 2 == 0 && !has_below(nodes, at, Kind::Unordered);
            wanderers.borrow_mut().push((far, Rc::downgrade(&wanderer)));
            Box::pin(poll_fn(move |cx| {
                let mut wanderer = wanderer.borrow_mut();
                wanderer.home = Some(cx.waker().clone());
                wanderer.poll(cx)
            }))
        }
        Kind::Unordered => Box::pin(async move {
            let (begun, count) = (Cell::new(0), children.len());
            let children = children.into_iter().map(|child| async {
                begun.set(begun.get() + 1);
                child.await;
            });
            let mut all: FuturesUnordered<_> = children.collect();
            // If two of them wake it, it gives way before it has polled the others.
            poll_fn(|cx| {
                loop {
                    match all.poll_next_unpin(cx) {
                        Poll::Pending if begun.get() == count => return Poll::Pending,
                        Poll::Ready(None) => return Poll::Ready(()),
                        _ => {}
                    }
                }
            })
            .await;
        }),
        leaf => Box::pin(real.leaf(leaf)),
    }
}

async fn in_group(children: Vec<Running<'_>>) {
    let ended = task_group(async |group| {
        for child in children {
            drop(group.spawn(child));
        }
        Ok(())
    });
    // The group may have ended by the cancel; the states of its children show that.
    drop(ended.await);
}

async fn limited(children: Vec<Running<'_>>) {
    let ended = fail_after(HOUR, join(children).map(Ok::<_, soloio::Error>));
    // It may be dropped by a cancel of a scope around it.
    drop(ended.await);
}

fn has_below(nodes: &[Node], at: usize, kind: Kind) -> bool {
    let mut below = nodes[at].children.iter();
    below.any(|child| nodes[*child].kind == kind || has_below(nodes, *child, kind))
}

/// Polls a wanderer, unless it is over, once in a place where it does not stay.
async fn wander(at: usize, wanderer: &Weak<RefCell<Wanderer<'_>>>) {
    let Some(wanderer) = wanderer.upgrade() else {
        return;
    };
    if wanderer.borrow().is_over {
        return;
    }
    let once = poll_fn(|cx| Poll::Ready(wanderer.borrow_mut().poll(cx)));
    let polled = match at % 5 {
        0 => fail_after(HOUR, once.map(Ok::<_, soloio::Error>))
            .await
            .expect("in time"),
        1 => CancelScope::new().run(once).await.expect("not dropped"),
        2 => shield(HOUR, once).await,
        3 => once.await,
        _ => {
            let mut all: FuturesUnordered<_> = std::iter::once(once).collect();
            all.next().await.expect("one")
        }
    };
    assert!(polled.is_pending(), "all that is ready was polled before");
    let home = wanderer.borrow().home.clone();
    if let Some(home) = home {
        home.wake();
    }
}

/// Returns the node that an action applies to.
fn target(nodes: &[Node], action: Action) -> Option<usize> {
    let (number, can): (_, fn(Kind) -> bool) = match action {
        Action::Cancel(number) => (number, |kind| kind == Kind::Scope),
        Action::Release(number) => (number, Kind::is_leaf),
        Action::Clean(number) => (number, |kind| kind == Kind::Cleans),
    };
    let all: Vec<usize> = (0..nodes.len()).filter(|at| can(nodes[*at].kind)).collect();
    (!all.is_empty()).then(|| all[number % all.len()])
}

/// The first step comes before the tree is polled, except for what wanders.
pub(crate) fn check(tree: &Tree, steps: &[Vec<Action>]) {
    let mut nodes = Vec::new();
    listed(tree, None, &mut nodes);
    let reals: Vec<Real> = nodes.iter().map(|_| Real::default()).collect();
    let wanderers = Wanderers::default();
    let root = start(&nodes, &reals, &wanderers, 0);
    let mut first = Runtime::new().expect("a runtime");
    let wanderers = wanderers.take();
    for (at, (far, wanderer)) in wanderers.iter().enumerate() {
        if *far {
            first.block_on(wander(at, wanderer));
        }
    }
    block_on(async {
        for (at, (far, wanderer)) in wanderers.iter().enumerate() {
            if !far {
                wander(at, wanderer).await;
            }
        }
        compare(root, &nodes, &reals, steps, &wanderers).await;
    });
}

async fn compare(
    root: Running<'_>,
    nodes: &[Node],
    reals: &[Real],
    steps: &[Vec<Action>],
    wanderers: &[(bool, Weak<RefCell<Wanderer<'_>>>)],
) {
    let mut twin = Twin::new(nodes);
    let mut running = pin!(task_group(async move |group| {
        group.spawn(root);
        Ok(())
    }));
    let mut over: Option<Result<()>> = None;
    let mut program = pin!(async {
        for (number, step) in steps.iter().enumerate() {
            for action in step {
                if let Some(at) = target(nodes, *action) {
                    reals[at].act(*action);
                    twin.act(*action, at);
                }
            }
            twin.settle(number == 0);
            turns().await;
            let seen = || -> Vec<Seen> { reals.iter().map(Real::seen).collect() };
            assert_eq!(seen(), twin.seen, "after step {number} of {nodes:#?}");
            for (at, (_, wanderer)) in wanderers.iter().enumerate() {
                wander(at + number, wanderer).await;
            }
            turns().await;
            assert_eq!(seen(), twin.seen, "back after step {number} of {nodes:#?}");
        }
    });
    poll_fn(|cx| {
        let ended = program.as_mut().poll(cx);
        if ended.is_pending() && over.is_none() {
            if let Poll::Ready(ended) = running.as_mut().poll(cx) {
                over = Some(ended);
            }
        }
        ended
    })
    .await;
}

/// Each sleep makes a turn that polls the kernel; a task that only yields may be polled again
/// before.
async fn turns() {
    for _ in 0..12 {
        sleep(Duration::ZERO).await.expect("inside a runtime");
    }
}
