//! The counters of a running data plane, as it publishes them in `counters` in its run directory.

use serde::Serialize;
use std::{io, path::Path};
use weirgate_dataplane::shm;

/// All values of one data plane at about one moment.
#[derive(Serialize, Debug)]
pub struct Statistics {
    /// The node's name.
    pub name: String,
    /// The data plane's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// One for each worker and port.
    pub columns: Vec<ColumnValues>,
}

/// The values of one worker or port.
#[derive(Serialize, Debug)]
pub struct ColumnValues {
    /// `worker` or `port`.
    pub scope: String,
    /// Which one.
    pub name: String,
    /// Name to value, in the data plane's order.
    pub values: Vec<Value>,
}

/// One counter or gauge.
#[derive(Serialize, Debug)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// `counter`, `drop`, `end` or `gauge`.
    pub kind: String,
    /// What it is now.
    pub value: u64,
    /// What it means.
    pub help: String,
}

impl Statistics {
    /// Reads them from a data plane's run directory.
    pub fn read(run_dir: &Path) -> io::Result<Self> {
        let (header, values) = shm::read(&run_dir.join("counters"))?;
        let columns = header.columns.into_iter().zip(values).map(|(column, values)| {
            let cells = column.cells.into_iter().zip(values);
            let values = cells.map(|(cell, value)| Value { name: cell.name, kind: cell.kind, value, help: cell.help });
            ColumnValues { scope: column.scope, name: column.name, values: values.collect() }
        });
        Ok(Self { name: header.name, version: header.version, pid: header.pid, columns: columns.collect() })
    }

    /// Whether the process that published them still runs. One that was killed leaves its last values behind.
    pub fn is_alive(&self) -> bool {
        Path::new("/proc").join(self.pid.to_string()).exists()
    }

    /// A table for people: a row for each value that is not zero (or for all), a column for each worker or port.
    pub fn table(&self, all: bool) -> String {
        let mut text = format!("{}: weirgate {}, process {}\n", self.name, self.version, self.pid);
        for scope in ["worker", "port"] {
            let columns: Vec<_> = self.columns.iter().filter(|c| c.scope == scope).collect();
            let Some(first) = columns.first() else { continue };
            let widest = first.values.iter().map(|value| value.name.len()).max().unwrap_or(0);
            let names = columns.iter().map(|c| format!("{scope} {}", c.name));
            text += &format!("\n{:widest$}{}\n", "", names.map(|n| format!("{n:>16}")).collect::<String>());
            for (row, value) in first.values.iter().enumerate() {
                let values: Vec<u64> = columns.iter().map(|c| c.values[row].value).collect();
                if all || values.iter().any(|&v| v != 0) {
                    let cells: String = values.iter().map(|v| format!("{v:>16}")).collect();
                    text += &format!("{:widest$}{cells}  {}\n", value.name, value.help);
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(scope: &str, name: &str, values: &[(&str, u64)]) -> ColumnValues {
        let value = |(name, value): &(&str, u64)| {
            let (kind, help) = ("counter".to_owned(), format!("What {name} is."));
            Value { name: (*name).to_owned(), kind, value: *value, help }
        };
        ColumnValues { scope: scope.into(), name: name.into(), values: values.iter().map(value).collect() }
    }

    #[test]
    fn the_table_has_a_row_for_each_value_that_is_not_zero_everywhere() {
        let statistics = Statistics {
            name: "lab".into(),
            version: "1".into(),
            pid: 7,
            columns: vec![
                column("worker", "0", &[("turns", 5), ("drop.tcp_reassembly_given_up", 0), ("idle", 0)]),
                column("worker", "1", &[("turns", 6), ("drop.tcp_reassembly_given_up", 123_456), ("idle", 0)]),
                column("port", "p0", &[("rx_frames", 9)]),
            ],
        };
        let table = statistics.table(false);
        let mut lines = table.lines().skip(2);
        let heads = lines.next().unwrap();
        assert!(heads.ends_with("worker 0        worker 1"), "{heads}");
        for row in lines.by_ref().take(2) {
            let help = row.find("  What").expect("a sentence behind the values");
            assert_eq!(help, heads.len(), "values stand below their worker: {row}");
        }
        assert_eq!(lines.next(), Some(""), "idle is zero everywhere");
        assert!(statistics.table(true).contains("idle"));
    }
}
