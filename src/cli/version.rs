//! `pannier version`

use std::io::Write;

/// Set `PANNIER_REVISION` while building to have it shown.
const REVISION: &str = match option_env!("PANNIER_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

pub(super) fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "pannier {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "revision {REVISION}")?;
    writeln!(out, "for rustc {}", env!("CARGO_PKG_RUST_VERSION"))?;
    Ok(())
}
