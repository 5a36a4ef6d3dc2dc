//! Medians of measured rates, and their ratio.

use anyhow::Context;
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
};
use weirgate_bench::{Figure, median};

#[derive(Args)]
pub(crate) struct Options {
    /// The figure's name.
    #[arg(long)]
    name: String,
    /// Our rates, a line each.
    #[arg(long)]
    ours: PathBuf,
    /// The other's rates, a line each.
    #[arg(long)]
    theirs: PathBuf,
    /// What the ratio must reach; without it, the ratio is only shown.
    #[arg(long)]
    reach: Option<f64>,
    /// What the rates are of.
    #[arg(long, default_value = "packets/s")]
    unit: String,
    /// Where the list of figures goes.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let rates = |path: &PathBuf| -> anyhow::Result<Vec<f64>> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        text.lines().map(|line| line.trim().parse().with_context(|| format!("{line:?} is not a rate"))).collect()
    };
    let middle = |path: &PathBuf| median(rates(path)?).with_context(|| format!("{} is empty", path.display()));
    let (ours, theirs) = (middle(&options.ours)?, middle(&options.theirs)?);
    let figures = [
        match options.reach {
            Some(reach) => Figure::at_least(&options.name, ours / theirs, "ratio", reach),
            None => Figure::shown(&options.name, ours / theirs, "ratio"),
        },
        Figure::shown(&format!("{}.ours", options.name), ours, &options.unit),
        Figure::shown(&format!("{}.theirs", options.name), theirs, &options.unit),
    ];
    report(&figures, options.json.as_deref())
}

/// Prints figures, and writes them to a file.
pub(crate) fn report(figures: &[Figure], json: Option<&Path>) -> anyhow::Result<()> {
    for figure in figures {
        println!("{figure}");
    }
    if let Some(path) = json {
        fs::write(path, serde_json::to_string_pretty(figures)? + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}
