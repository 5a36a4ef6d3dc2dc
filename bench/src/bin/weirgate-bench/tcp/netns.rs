//! Network namespaces without names: they exist as long as somebody here holds them, and the kernel removes them however this process ends.

use anyhow::{Context, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use smoltcp::phy::{Medium, TunTapInterface};
use std::{
    fs::{self, File},
    os::fd::AsFd,
    process::{self, Command},
    thread,
};

pub(super) struct Netns(File);

impl Netns {
    /// A new namespace with `settings` below `/proc/sys/net`.
    pub(super) fn create(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        // `ip` makes it under a name; the open file keeps it when the name goes, at once.
        let name = format!("weir-bench-{}", process::id());
        ip(&["netns", "add", &name])?;
        let held = File::open(format!("/run/netns/{name}")).context("the new namespace");
        ip(&["netns", "delete", &name])?;
        let netns = Self(held?);
        netns.inside(|| {
            ip(&["link", "set", "lo", "up"])?;
            for (path, value) in settings {
                fs::write(format!("/proc/sys/net/{path}"), value).with_context(|| format!("{path} = {value}"))?;
            }
            anyhow::Ok(())
        })??;
        Ok(netns)
    }

    /// Moves the calling thread into the namespace.
    pub(super) fn enter(&self) -> anyhow::Result<()> {
        move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter a namespace")
    }

    /// Another owner of the namespace, for a thread.
    pub(super) fn share(&self) -> anyhow::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// A TUN device with an address of a /24, up. It goes when it is closed.
    pub(super) fn tun(&self, address: [u8; 4]) -> anyhow::Result<TunTapInterface> {
        const NAME: &str = "tun0";
        let [a, b, c, d] = address;
        let address = format!("{a}.{b}.{c}.{d}/24");
        // A device must stay with the thread that made it, which is not to stay in the namespace.
        let home = Self(File::open("/proc/thread-self/ns/net")?);
        self.enter()?;
        let tun = TunTapInterface::new(NAME, Medium::Ip).context("cannot make a TUN device");
        home.enter()?;
        let tun = tun?;
        self.inside(|| {
            ip(&["address", "add", &address, "dev", NAME])?;
            // Room for a whole window of a path, which the kernel is to fill and not this queue to cut.
            ip(&["link", "set", NAME, "txqueuelen", "20000", "up"])
        })??;
        Ok(tun)
    }

    /// Runs `work` on a thread inside.
    fn inside<R: Send>(&self, work: impl FnOnce() -> R + Send) -> anyhow::Result<R> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| self.enter().map(|()| work()));
            inside.join().expect("a panic ends the process")
        })
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip")?;
    ensure!(
        output.status.success(),
        "ip {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
