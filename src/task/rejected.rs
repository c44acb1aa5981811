//! Programs that must not compile, each beside one that differs in one line and does.
//!
//! Only `cargo test --doc` uses this file. Stable compilers check that the first of each pair
//! fails; with `RUSTC_BOOTSTRAP=1` they also check that it fails for the given reason. Errors of
//! lifetimes alone have no number.

#![cfg(doctest)]

/// A child borrows a local of the body, which is dropped before the child.
///
/// ```compile_fail,E0373
/// soloio::block_on(soloio::task_group(async |group| {
///     let local = 1;
///     group.spawn(async { assert_eq!(local, 1) });
/// })).unwrap();
/// ```
///
/// ```
/// soloio::block_on(soloio::task_group(async |group| {
///     let local = 1;
///     group.spawn(async move { assert_eq!(local, 1) });
/// })).unwrap();
/// ```
mod borrows_a_local_of_the_body {}

/// The same through a reference, so that `move` does not help; the invariance of `'s` prevents it.
///
/// ```compile_fail,E0597
/// soloio::block_on(soloio::task_group(async |group| {
///     let local = String::from("here");
///     let borrowed = &local;
///     group.spawn(async move { assert_eq!(borrowed, "here") });
/// })).unwrap();
/// ```
///
/// ```
/// let local = String::from("here");
/// soloio::block_on(soloio::task_group(async |group| {
///     let borrowed = &local;
///     group.spawn(async move { assert_eq!(borrowed, "here") });
/// })).unwrap();
/// ```
mod borrows_a_local_of_the_body_by_reference {}

/// A child borrows a loop's variable.
///
/// ```compile_fail,E0597
/// soloio::block_on(soloio::task_group(async |group| {
///     for name in [String::from("a"), String::from("b")] {
///         let name = name.as_str();
///         group.spawn(async move { assert_eq!(name.len(), 1) });
///     }
/// })).unwrap();
/// ```
///
/// ```
/// let names = [String::from("a"), String::from("b")];
/// soloio::block_on(soloio::task_group(async |group| {
///     for name in &names {
///         let name = name.as_str();
///         group.spawn(async move { assert_eq!(name.len(), 1) });
///     }
/// })).unwrap();
/// ```
mod borrows_a_loop_variable {}

/// A child borrows a value that is dropped before the group is awaited.
///
/// ```compile_fail,E0505
/// let data = vec![1, 2, 3];
/// let group = soloio::task_group(async |group| {
///     group.spawn(async { assert_eq!(data.len(), 3) });
/// });
/// drop(data);
/// soloio::block_on(group).unwrap();
/// ```
///
/// ```
/// let data = vec![1, 2, 3];
/// let group = soloio::task_group(async |group| {
///     group.spawn(async { assert_eq!(data.len(), 3) });
/// });
/// soloio::block_on(group).unwrap();
/// drop(data);
/// ```
mod borrows_what_is_dropped_first {}

/// A group outlives the values that its children borrow.
///
/// ```compile_fail,E0597
/// let group = {
///     let data = vec![1, 2, 3];
///     soloio::task_group(async |group| {
///         group.spawn(async { assert_eq!(data.len(), 3) });
///     })
/// };
/// soloio::block_on(group).unwrap();
/// ```
///
/// ```
/// let data = vec![1, 2, 3];
/// let group = {
///     soloio::task_group(async |group| {
///         group.spawn(async { assert_eq!(data.len(), 3) });
///     })
/// };
/// soloio::block_on(group).unwrap();
/// ```
mod outlives_what_is_borrowed {}

/// Two children change the same value.
///
/// ```compile_fail,E0499
/// let mut n = 0;
/// let n = &mut n;
/// soloio::block_on(soloio::task_group(async |group| {
///     group.spawn(async { *n += 1 });
///     group.spawn(async { *n += 1 });
/// })).unwrap();
/// ```
///
/// ```
/// let mut n = 0;
/// let n = &mut n;
/// soloio::block_on(soloio::task_group(async |group| {
///     group.spawn(async { *n += 1 });
/// })).unwrap();
/// ```
mod two_children_change_one_place {}

/// The body changes a value that a child has borrowed.
///
/// ```compile_fail,E0506
/// let mut n = 0;
/// soloio::block_on(soloio::task_group(async |group| {
///     group.spawn(async { assert_eq!(n, 0) });
///     n = 1;
/// })).unwrap();
/// ```
///
/// ```
/// let n = std::cell::Cell::new(0);
/// soloio::block_on(soloio::task_group(async |group| {
///     group.spawn(async { assert_eq!(n.get(), 1) });
///     n.set(1);
/// })).unwrap();
/// ```
mod changes_what_a_child_borrows {}

/// A handle leaves its group.
///
/// ```compile_fail
/// let handle = soloio::block_on(soloio::task_group(async |group| {
///     Ok(group.spawn(async { Ok(1) }))
/// })).unwrap();
/// ```
///
/// ```
/// let handle = soloio::block_on(soloio::task_group(async |group| {
///     Ok(group.spawn(async { Ok(1) }).await?)
/// })).unwrap();
/// ```
mod a_handle_escapes {}

/// A handle is put into a value that lives longer.
///
/// ```compile_fail
/// let mut kept = None;
/// soloio::block_on(soloio::task_group(async |group| {
///     kept = Some(group.spawn(async { Ok(1) }));
/// })).unwrap();
/// ```
///
/// ```
/// let mut kept = None;
/// soloio::block_on(soloio::task_group(async |group| {
///     kept = Some(group.spawn(async { Ok(1) }).await);
/// })).unwrap();
/// ```
mod a_handle_is_kept {}

/// The group itself leaves the body.
///
/// ```compile_fail
/// let mut kept = None;
/// soloio::block_on(soloio::task_group(async |group| {
///     kept = Some(group);
/// })).unwrap();
/// ```
///
/// ```
/// let mut kept = None;
/// soloio::block_on(soloio::task_group(async |group| {
///     kept = Some(format!("{group:?}"));
/// })).unwrap();
/// ```
mod a_group_escapes {}

/// A child of the outer group borrows a value from the surroundings of the inner one.
///
/// ```compile_fail,E0597
/// use soloio::{Result, block_on, task_group};
/// block_on(task_group(async |outer| -> Result<()> {
///     let local = String::from("here");
///     task_group(async |inner| {
///         let borrowed = &local;
///         outer.spawn(async move { assert_eq!(borrowed, "here") });
///     }).await
/// })).unwrap();
/// ```
///
/// ```
/// use soloio::{Result, block_on, task_group};
/// block_on(task_group(async |outer| -> Result<()> {
///     let local = String::from("here");
///     task_group(async |inner| {
///         let borrowed = &local;
///         inner.spawn(async move { assert_eq!(borrowed, "here") });
///     }).await
/// })).unwrap();
/// ```
mod spawns_on_the_outer_group {}

/// A handle of the inner group moves to a child of the outer one.
///
/// ```compile_fail
/// use soloio::{Result, block_on, task_group};
/// block_on(task_group(async |outer| -> Result<()> {
///     task_group(async |inner| {
///         let handle = inner.spawn(async { Ok(1) });
///         outer.spawn(async move { handle.await.map(drop) });
///     }).await
/// })).unwrap();
/// ```
///
/// ```
/// use soloio::{Result, block_on, task_group};
/// block_on(task_group(async |outer| -> Result<()> {
///     task_group(async |inner| {
///         let handle = outer.spawn(async { Ok(1) });
///         outer.spawn(async move { handle.await.map(drop) });
///     }).await
/// })).unwrap();
/// ```
mod moves_a_handle_to_the_outer_group {}

/// A group, or a handle, is used by another thread.
///
/// ```compile_fail,E0277
/// soloio::block_on(soloio::task_group(async |group| {
///     std::thread::scope(|scope| drop(scope.spawn(|| drop(group.spawn(async {})))));
/// })).unwrap();
/// ```
///
/// ```
/// soloio::block_on(soloio::task_group(async |group| {
///     std::thread::scope(|scope| drop(scope.spawn(|| ()))); drop(group.spawn(async {}));
/// })).unwrap();
/// ```
mod a_group_on_another_thread {}

/// A runtime, which holds tasks that stay with their thread, moves to another thread.
///
/// ```compile_fail,E0277
/// let runtime = soloio::Runtime::new().unwrap();
/// std::thread::spawn(move || drop(runtime)).join().unwrap();
/// ```
///
/// ```
/// let runtime = soloio::Runtime::new().unwrap();
/// std::thread::spawn(move || ()).join().unwrap(); drop(runtime);
/// ```
mod a_runtime_on_another_thread {}

/// A task of a runtime borrows: it may live until the runtime ends.
///
/// ```compile_fail,E0597
/// let mut runtime = soloio::Runtime::new().unwrap();
/// let local = String::from("here");
/// let borrowed = &local;
/// let task = runtime.spawn(async move { borrowed.len() });
/// assert_eq!(runtime.block_on(task).unwrap(), 4);
/// ```
///
/// ```
/// let mut runtime = soloio::Runtime::new().unwrap();
/// let local = String::from("here");
/// let borrowed = local.clone();
/// let task = runtime.spawn(async move { borrowed.len() });
/// assert_eq!(runtime.block_on(task).unwrap(), 4);
/// ```
mod a_task_of_a_runtime_borrows {}

/// A child ends with a plain value.
///
/// ```compile_fail,E0277
/// soloio::block_on(soloio::task_group(async |group| {
///     group.spawn(async { 5 }).await
/// })).unwrap();
/// ```
///
/// ```
/// soloio::block_on(soloio::task_group(async |group| {
///     group.spawn(async { Ok(5) }).await
/// })).unwrap();
/// ```
mod a_child_ends_with_a_plain_value {}

/// A handler ends with an error of another type.
///
/// ```compile_fail,E0277
/// let serve = async |listener: &soloio::TcpListener| {
///     listener.serve(async |_| -> std::io::Result<()> { Ok(()) }).await
/// };
/// ```
///
/// ```
/// let serve = async |listener: &soloio::TcpListener| {
///     listener.serve_with(async |_| -> std::io::Result<()> { Ok(()) }).await
/// };
/// ```
mod a_handler_ends_with_another_error {}

/// An error type does not report which of its values is a cancel's.
///
/// ```compile_fail,E0277
/// struct Mine(soloio::Error);
/// # impl From<soloio::Error> for Mine { fn from(error: soloio::Error) -> Self { Self(error) } }
/// let limit = std::time::Duration::ZERO;
/// let _limited = soloio::fail_after(limit, async { Err::<(), _>(Mine(soloio::Error::Busy)) });
/// ```
///
/// ```
/// struct Mine(soloio::Error);
/// # impl From<soloio::Error> for Mine { fn from(error: soloio::Error) -> Self { Self(error) } }
/// impl soloio::Failure for Mine { fn is_cancelled(&self) -> bool { self.0.is_cancelled() } }
/// let limit = std::time::Duration::ZERO;
/// let _limited = soloio::fail_after(limit, async { Err::<(), _>(Mine(soloio::Error::Busy)) });
/// ```
mod an_error_type_is_no_failure {}
