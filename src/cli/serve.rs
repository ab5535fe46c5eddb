//! `pannier serve`

use crate::app;
use crate::config::Loaded;

pub(super) fn run(loaded: Loaded) -> anyhow::Result<()> {
    app::run(loaded)
}
