//! The results, as a table for people and as JSON for programs.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One measured value.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// Name of the measurement, in `snake_case`.
    pub name: String,
    /// The webhook's result.
    pub value: f64,
    /// Unit of `value` and `floor`.
    pub unit: &'static str,
    /// Result of the server with the constant answer, or of the peer if the name says so; `None` if there is no such
    /// result.
    pub floor: Option<f64>,
    /// `value` divided by `floor`.
    pub ratio: Option<f64>,
    /// Maximum `ratio`, or maximum `value` if there is no `floor`; `None` if the design sets none.
    pub budget: Option<f64>,
}

impl Figure {
    /// A figure that is compared with a floor.
    pub(crate) fn against(
        name: impl Into<String>,
        unit: &'static str,
        value: f64,
        floor: f64,
        budget: Option<f64>,
    ) -> Self {
        Self { name: name.into(), value, unit, floor: Some(floor), ratio: Some(value / floor), budget }
    }

    /// A figure without a comparison.
    pub(crate) fn alone(
        name: impl Into<String>,
        unit: &'static str,
        value: f64,
        budget: Option<f64>,
    ) -> Self {
        Self { name: name.into(), value, unit, floor: None, ratio: None, budget }
    }

    /// Whether it is within its budget; `None` without one.
    pub(crate) fn is_within_budget(&self) -> Option<bool> {
        self.budget.map(|budget| self.ratio.unwrap_or(self.value) <= budget)
    }
}

/// Prints the table, in Markdown.
pub(crate) fn print(figures: &[Figure]) {
    let number = |value: Option<f64>| match value {
        Some(value) if value >= 1000.0 => format!("{value:.0}"),
        Some(value) if value >= 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => "-".to_owned(),
    };
    println!("| what | unit | webhook | floor | ratio | budget | |");
    println!("|---|---|---:|---:|---:|---:|---|");
    for figure in figures {
        let verdict = match figure.is_within_budget() {
            Some(true) => "within",
            Some(false) => "OVER",
            None => "",
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {verdict} |",
            figure.name,
            figure.unit,
            number(Some(figure.value)),
            number(figure.floor),
            number(figure.ratio),
            number(figure.budget),
        );
    }
}

/// Writes the figures as a JSON list.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(figures: &[Figure], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
