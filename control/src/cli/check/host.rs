//! What the kernel says about a host, below a root: `/`, a tree that a test made, or what somebody copied from another node.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A host's /proc and /sys.
pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
    /// Whether it is the host that this runs on, which can be asked for more than files.
    pub(super) fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }
    /// A path of the host.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }
    /// A file without the white space at its ends; `None`: it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        Some(std::fs::read_to_string(self.path(path)).ok()?.trim().to_owned())
    }
    pub(super) fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }
    /// Processors as the kernel lists them; none where there is no such file.
    pub(super) fn cpus(&self, path: &str) -> BTreeSet<u16> {
        cpu_list(&self.text(path).unwrap_or_default())
    }
    /// The last part of what a link leads to.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        Some(std::fs::read_link(self.path(path)).ok()?.file_name()?.to_str()?.to_owned())
    }
    /// Names in a folder, in order.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
    /// NUMA nodes, in order; a kernel without NUMA has one.
    pub(super) fn nodes(&self) -> Vec<u16> {
        let names = self.names("/sys/devices/system/node");
        let mut nodes: Vec<u16> = names.iter().filter_map(|name| name.strip_prefix("node")?.parse().ok()).collect();
        nodes.sort_unstable();
        if nodes.is_empty() { vec![0] } else { nodes }
    }
    /// Where a core is.
    pub(super) fn node_of(&self, core: u16) -> u16 {
        let has = |node: &u16| self.cpus(&format!("/sys/devices/system/node/node{node}/cpulist")).contains(&core);
        self.nodes().into_iter().find(has).unwrap_or(0)
    }
}

/// `0-3,8`; what is not understood is left out.
pub(super) fn cpu_list(text: &str) -> BTreeSet<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<u16>().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

/// The same back.
pub(super) fn listed<'a>(cpus: impl IntoIterator<Item = &'a u16>) -> String {
    cpus.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(listed(&cpu_list("0-2,7\n")), "0,1,2,7");
        assert!(cpu_list("").is_empty() && cpu_list("(null)").is_empty());
    }
}
