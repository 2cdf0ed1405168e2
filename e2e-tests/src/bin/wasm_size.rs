//! Analyses the content of a policy module and checks its size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use wasmparser::{KnownCustom, Name, Payload};

/// Prints the size of a WebAssembly module by section, and by crate if a build with names is given.
///
/// Exits with 1 if the module is larger than the limit, 2 if it cannot be read.
#[derive(clap::Parser)]
#[command(name = "wasm_size", after_help = "Example:\n  wasm_size policy.wasm --limit 220000")]
struct Arguments {
    /// The module.
    #[arg(value_name = "FILE")]
    module: PathBuf,
    /// Maximum size in bytes.
    #[arg(long, value_name = "BYTES")]
    limit: Option<u64>,
    /// The same module with its function names, to distinguish the crates.
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("wasm_size: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let module = read(&arguments.module)?;
    let size = module.len() as u64;
    println!("{}: {size} bytes", arguments.module.display());
    print_table("section", sections(&module)?);
    if let Some(names) = &arguments.names {
        print_table("code by crate", crates(&read(names)?)?);
    }
    match arguments.limit {
        Some(limit) if size > limit => {
            eprintln!("wasm_size: {} bytes over the limit of {limit}", size - limit);
            Ok(false)
        }
        Some(limit) => {
            println!("{} bytes below the limit of {limit}", limit - size);
            Ok(true)
        }
        None => Ok(true),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn print_table(title: &str, sizes: BTreeMap<String, u64>) {
    let mut rows: Vec<_> = sizes.into_iter().collect();
    rows.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    println!("\n{title}");
    for (name, size) in rows {
        println!("{size:>8}  {name}");
    }
}

/// Bytes by section.
fn sections(module: &[u8]) -> Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        let (name, range) = match payload? {
            Payload::TypeSection(section) => ("types", section.range()),
            Payload::ImportSection(section) => ("imports", section.range()),
            Payload::FunctionSection(section) => ("functions", section.range()),
            Payload::TableSection(section) => ("tables", section.range()),
            Payload::MemorySection(section) => ("memory", section.range()),
            Payload::GlobalSection(section) => ("globals", section.range()),
            Payload::ExportSection(section) => ("exports", section.range()),
            Payload::ElementSection(section) => ("elements", section.range()),
            Payload::DataSection(section) => ("data", section.range()),
            Payload::CodeSectionStart { range, .. } => ("code", range),
            Payload::CustomSection(section) => ("custom", section.range()),
            _ => continue,
        };
        *sizes.entry(name.to_owned()).or_default() += (range.end - range.start) as u64;
    }
    Ok(sizes)
}

/// Bytes of code by crate, according to the function names.
fn crates(module: &[u8]) -> Result<BTreeMap<String, u64>> {
    let (mut imported, mut bodies, mut names) = (0_u32, Vec::new(), BTreeMap::new());
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(section) => imported = section.count(),
            Payload::CodeSectionEntry(body) => bodies.push(body.range().len() as u64),
            Payload::CustomSection(section) => {
                let KnownCustom::Name(subsections) = section.as_known() else { continue };
                for subsection in subsections {
                    let Name::Function(functions) = subsection? else { continue };
                    for function in functions {
                        let function = function?;
                        names.insert(function.index, function.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    let mut sizes = BTreeMap::new();
    for (index, size) in (imported..).zip(bodies) {
        let name = names.get(&index).map_or("(no name)", String::as_str);
        *sizes.entry(crate_of(name)).or_default() += size;
    }
    Ok(sizes)
}

/// The crate in a function's name, such as `serde_json` in `<serde_json::Error as core::fmt::Display>::fmt`.
fn crate_of(mangled: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(mangled));
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let start =
        name.trim_start_matches(|c: char| !is_word(c)).trim_start_matches("mut ").trim_start_matches("dyn ");
    let crate_name: String = start.chars().take_while(|c| is_word(*c)).collect();
    let is_path = start.strip_prefix(crate_name.as_str()).is_some_and(|rest| rest.starts_with("::"));
    if is_path { crate_name } else { "C and others".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::crate_of;

    #[test]
    fn functions_belong_to_the_crate_they_are_named_after() {
        assert_eq!(crate_of("azwi_mutation::plan::plan"), "azwi_mutation");
        assert_eq!(crate_of("<serde_json::Error as core::fmt::Display>::fmt"), "serde_json");
        assert_eq!(crate_of("<&mut alloc::vec::Vec<u8> as std::io::Write>::write"), "alloc");
        assert_eq!(crate_of("dlmalloc"), "C and others");
    }
}
