use super::*;

/// From one number of a block to the next.
const STEP: f32 = 0.5;

/// A file: its head, filters and words, and after them matrices.
struct Written(Vec<u8>);

impl Written {
    fn new(form: u32) -> Self {
        let mut written = Written(Vec::new());
        written.words(&[0x6767_6d6c, 2, 1500, 384, 6, 4, 448, 384, 6, 4, 80, form]);
        written.words(&[1, 2]);
        written.words(&[1.5_f32.to_bits(), (-2.0_f32).to_bits()]);
        written.words(&[2, 1]).0.extend(b"a");
        written.words(&[2]).0.extend(b"bc");
        written
    }

    fn words(&mut self, words: &[u32]) -> &mut Self {
        self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self
    }

    fn matrix(mut self, kind: u32, dimensions: &[u32], numbers: &[u8]) -> Self {
        let count = u32::try_from(dimensions.len()).expect("a few");
        self.words(&[count, 4, kind]).words(dimensions).0.extend(b"name");
        self.0.extend(numbers);
        self
    }
}

/// A block of 32 numbers from `offset` on, each half a one more than the last, and what it says.
fn block(offset: i8) -> (Vec<u8>, Vec<f32>) {
    let half = |number: f32| {
        // SAFETY: it is given a number, and gives one back.
        #[allow(unsafe_code)]
        unsafe { sys::ggml_fp32_to_fp16(number) }.to_le_bytes()
    };
    let fifth_bits: u32 = (0..32).filter(|number| number & 16 != 0).map(|number| 1 << number).sum();
    let mut bytes = [half(STEP), half(offset.into())].concat();
    bytes.extend(fifth_bits.to_le_bytes());
    // The low four bits of number n beside those of number n + 16.
    bytes.extend((0..16_u8).map(|number| number | number << 4));
    (bytes, (0..32_u8).map(|number| f32::from(offset) + f32::from(number) * STEP).collect())
}

/// Whether blocks of eight bits say these numbers, but for a seventh of a step.
fn say(bytes: &[u8], numbers: &[f32]) -> bool {
    let said = bytes.chunks_exact(2 * PAIRS).flat_map(|block| {
        let scale = float(u16::from_le_bytes([block[0], block[1]]));
        block[2..].iter().map(move |byte| f32::from(byte.cast_signed()) * scale)
    });
    let said: Vec<f32> = said.collect();
    said.len() == numbers.len()
        && said.iter().zip(numbers).all(|(said, number)| (said - number).abs() <= STEP / 7.0)
}

fn come_apart(file: &[u8]) -> io::Result<Vec<u8>> {
    let mut to = Vec::new();
    unpack(file, &mut to).map(|()| to)
}

#[test]
fn five_bits_become_eight_and_all_else_stays_as_it_is() {
    let ((first, one), (second, other)) = (block(-3), block(-15));
    let last = |file: Written| file.matrix(HALF, &[1, 3], &[9; 6]).0;
    let file = |form, kind, numbers: &[u8]| {
        last(Written::new(form).matrix(FLOAT, &[2], &[7; 8]).matrix(kind, &[32, 2], numbers))
    };
    let unpacked = come_apart(&file(2009, FIVE_BITS, &[first, second].concat())).expect("weights");
    let numbers = 2 * 2 * PAIRS;
    let after = file(IN_EIGHT_BITS, EIGHT_BITS, &vec![0; numbers]);
    assert_eq!(unpacked.len(), after.len());
    let end = after.len() - last(Written(Vec::new())).len();
    let begin = end - numbers;
    assert!(say(&unpacked[begin..end], &[one, other].concat()));
    assert_eq!((&unpacked[..begin], &unpacked[end..]), (&after[..begin], &after[end..]));
}

#[test]
fn more_of_them_than_are_unpacked_at_once() {
    let blocks = 2 * BLOCKS as u32 + 1;
    let (bytes, numbers) = (0..blocks).fold((Vec::new(), Vec::new()), |(mut bytes, mut numbers), at| {
        let (block, said) = block(-((at % 16) as i8));
        bytes.extend(block);
        numbers.extend(said);
        (bytes, numbers)
    });
    let unpacked =
        come_apart(&Written::new(2009).matrix(FIVE_BITS, &[32, blocks], &bytes).0).expect("weights");
    assert!(say(&unpacked[unpacked.len() - 2 * PAIRS * blocks as usize..], &numbers));
}

#[test]
fn what_breaks_off_is_an_error_wherever_it_does() {
    let begun = Written::new(2009).0.len();
    let first = Written::new(2009).matrix(FLOAT, &[2], &[7; 8]);
    let between = first.0.len();
    let file = first.matrix(FIVE_BITS, &[32], &block(0).0).0;
    for length in 0..file.len() {
        // Where a matrix has not begun nothing is missing of it; the engine counts them.
        let is_whole = [begun, between].iter().any(|end| (*end..end + 12).contains(&length));
        let kind = come_apart(&file[..length]).err().map(|error| error.kind());
        assert_eq!(kind, (!is_whole).then_some(io::ErrorKind::UnexpectedEof), "{length} of {}", file.len());
    }
    assert!(come_apart(&file).is_ok());
}

#[test]
fn what_would_be_rounded_too_much_is_an_error() {
    for (offset, is_rounded) in [(0, false), (-15, false), (5, false), (100, true), (-100, true)] {
        let unpacked = come_apart(&Written::new(2009).matrix(FIVE_BITS, &[32], &block(offset).0).0);
        let kind = unpacked.err().map(|error| error.kind());
        assert_eq!(kind, is_rounded.then_some(io::ErrorKind::InvalidData), "{offset}");
    }
}

#[test]
fn what_is_of_no_known_kind_is_an_error() {
    for (kind, dimensions) in
        [(1000, &[32][..]), (FIVE_BITS, &[33]), (FLOAT, &[u32::MAX, u32::MAX, u32::MAX])]
    {
        let file = Written::new(2009).matrix(kind, dimensions, &[0; 256]).0;
        let error = come_apart(&file).expect_err("no weights");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{kind} {dimensions:?}");
    }
}
