//! Network namespaces of threads.

use anyhow::{Context, ensure};
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    process::{Command, Stdio},
};

/// Moves the thread into a network namespace that nothing else is in. It never gets out of it again.
pub(super) fn enter() -> anyhow::Result<()> {
    // A child makes it, for only unsafe code may leave a namespace by itself; the open file then keeps it.
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo; read _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("unshare")?;
    let mut line = [0];
    let ready = child.stdout.take().context("no output")?.read_exact(&mut line);
    let namespace = File::open(format!("/proc/{}/ns/net", child.id()));
    drop(child.stdin.take());
    child.wait()?;
    ready.context("unshare gave up")?;
    let network = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace?.as_fd(), network)?;
    Ok(())
}

/// Runs `ip` with these lines.
pub(super) fn ip(lines: &str) -> anyhow::Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("ip")?;
    child.stdin.take().context("no input")?.write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "ip: {}\n{lines}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
