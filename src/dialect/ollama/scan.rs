use crate::domain::Observed;
pub struct Scanner;
impl Scanner {
    pub fn new(form: crate::dialect::Form, streamed: bool) -> Self {
        let _ = streamed;
        Scanner
    }
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        let _ = piece;
        todo!()
    }
    pub fn finish(&mut self, whole: Option<&[u8]>) -> Observed {
        let _ = whole;
        todo!()
    }
}
