//! `pannier transcriber`: the process that listens to recordings. Started by Pannier itself, for nobody else to call.

/// # Errors
/// When whoever started it breaks off, or where it was left out of the build.
pub(super) fn run() -> anyhow::Result<()> {
    #[cfg(feature = "audio")]
    return Ok(crate::media::transcriber::run()?);
    #[cfg(not(feature = "audio"))]
    anyhow::bail!("this Pannier was built without speech to text");
}
