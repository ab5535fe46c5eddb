//! Whisper, with the weights of one model.

use super::silence::{Silence, Speech};
use super::words::Words;
use super::{Transcriber, nanoseconds, weights};
use crate::domain::{Close, Passage, Segment};
use crate::media::voice::{Flaw, Say, Task};
use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use whisper_rs::whisper_rs_sys as sys;
use whisper_rs::{FullParams, SamplingStrategy, WhisperContext};

/// Tries at a temperature above 0.
const BEST_OF: c_int = 5;
/// The languages that are told apart have names of at most so many bytes.
const LONGEST_NAME: usize = 32;
/// Less cannot be listened to.
const SHORTEST: usize = super::RATE as usize / 5;

/// A model that is loaded.
pub struct Engine {
    context: WhisperContext,
    /// What that took, while nobody has been told of it.
    load: Duration,
}

/// Who is told of passages while they come about.
struct Listener<'a> {
    transcriber: &'a mut Transcriber,
    speech: Speech,
    temperature: f32,
    /// Of the recording.
    longest: u64,
    said: io::Result<()>,
}

impl Engine {
    fn load(path: &Path, unpack: bool) -> Result<Self, String> {
        let began = Instant::now();
        match weights::load(path, unpack) {
            Ok(context) => Ok(Engine { context, load: began.elapsed() }),
            Err(error) => Err(format!("the model cannot be loaded: {error}")),
        }
    }
}

impl Transcriber {
    /// Says passage by passage what is said in the recording that lies open.
    pub(super) fn write(&mut self, task: &Task) -> io::Result<()> {
        let Some(open) = self.open.take() else { return self.say(&Say::Failed("nothing is open".into())) };
        let mut engine = match self.engine.take().map_or_else(|| Engine::load(&self.model, self.unpack), Ok) {
            Ok(engine) => engine,
            Err(why) => return self.say(&Say::Failed(why)),
        };
        let language = match language(task, engine.context.is_multilingual()) {
            Ok(language) => language,
            Err(flaw) => {
                self.engine = Some(engine);
                return self.say(&Say::Refused(flaw));
            }
        };
        let (began, length) = (Instant::now(), open.samples.len());
        let load = std::mem::take(&mut engine.load);
        let spoken = match self.speech(open.samples, task.vad) {
            Ok(speech) if speech.samples.len() < SHORTEST => language.clone(),
            Ok(speech) => match self.listen(&engine, speech, task, language, length)? {
                Ok(spoken) => Some(spoken),
                Err(why) => return self.say(&Say::Failed(why)),
            },
            Err(error) => return self.say(&Say::Failed(error.to_string())),
        };
        self.engine = Some(engine);
        let number = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let language = spoken.unwrap_or_else(|| "en".to_owned());
        let end = Close {
            language_name: name_of(&language).unwrap_or_default().to_owned(),
            language,
            audio: nanoseconds(length),
            load: number(load),
            decode: number(open.took),
            listen: number(began.elapsed()),
        };
        self.say(&Say::Passage(Passage::End(end)))
    }

    fn speech(&mut self, samples: Vec<f32>, without_silence: bool) -> io::Result<Speech> {
        if !without_silence {
            return Ok(Speech::whole(samples));
        }
        let silence = match &mut self.silence {
            Some(silence) => silence,
            None => self.silence.insert(Silence::new()?),
        };
        silence.leave_out(samples)
    }

    /// The language that is spoken, or why nobody can listen.
    fn listen(
        &mut self,
        engine: &Engine,
        mut speech: Speech,
        task: &Task,
        language: Option<String>,
        length: usize,
    ) -> io::Result<Result<String, String>> {
        let mut state = match engine.context.create_state() {
            Ok(state) => state,
            Err(error) => return Ok(Err(format!("the model cannot be used: {error}"))),
        };
        let samples = std::mem::take(&mut speech.samples);
        let mut parameters = FullParams::new(SamplingStrategy::Greedy { best_of: BEST_OF });
        parameters.set_n_threads(c_int::try_from(self.threads).unwrap_or(1));
        parameters.set_translate(task.translate);
        parameters.set_language(language.as_deref());
        parameters.set_temperature(task.temperature);
        parameters.set_token_timestamps(true);
        parameters.set_print_progress(false);
        if let Some(prompt) = &task.prompt {
            parameters.set_initial_prompt(&prompt.replace('\0', " "));
        }
        let mut listener = Listener {
            transcriber: self,
            speech,
            temperature: task.temperature,
            longest: nanoseconds(length) / 1_000_000,
            said: Ok(()),
        };
        let listening: *mut Listener<'_> = &mut listener;
        // SAFETY: the callback is called by `full` alone, within which `listener` lives and nobody else uses it.
        #[allow(unsafe_code)]
        unsafe {
            parameters.set_new_segment_callback(Some(heard));
            parameters.set_new_segment_callback_user_data(listening.cast::<c_void>());
        }
        let listened = state.full(parameters, &samples);
        listener.said?;
        if let Err(error) = listened {
            return Ok(Err(format!("the model cannot listen: {error}")));
        }
        let spoken = whisper_rs::get_lang_str(state.full_lang_id_from_state()).unwrap_or("en");
        Ok(Ok(spoken.to_owned()))
    }
}

/// Called for each few passages as soon as they are there.
///
/// # Safety
/// `listener` is what [`Transcriber::listen`] has given with it; the rest is the engine's.
#[allow(unsafe_code)]
unsafe extern "C" fn heard(
    context: *mut sys::whisper_context,
    state: *mut sys::whisper_state,
    new: c_int,
    listener: *mut c_void,
) {
    // SAFETY: it is called on the thread that waits in `listen` meanwhile.
    let listener = unsafe { &mut *listener.cast::<Listener<'_>>() };
    // SAFETY: the engine's own state, and numbers that it says are good.
    let all = unsafe { sys::whisper_full_n_segments_from_state(state) };
    for at in all - new..all {
        // SAFETY: as above.
        let segment = unsafe { read_segment(context, state, at, listener) };
        if listener.said.is_ok() && !segment.text.is_empty() {
            listener.said = listener.transcriber.say(&Say::Passage(Passage::Segment(segment)));
        }
    }
}

/// # Safety
/// There is such a segment.
#[allow(unsafe_code)]
unsafe fn read_segment(
    context: *mut sys::whisper_context,
    state: *mut sys::whisper_state,
    at: c_int,
    listener: &Listener<'_>,
) -> Segment {
    let time = |time: i64| listener.speech.time(time).min(listener.longest);
    // SAFETY: the caller's word, and the engine's for the number of tokens; its texts end with a zero byte and stay
    // until the state is used again.
    let (text, start, end, no_speech_prob, count, eot) = unsafe {
        (
            CStr::from_ptr(sys::whisper_full_get_segment_text_from_state(state, at)),
            sys::whisper_full_get_segment_t0_from_state(state, at),
            sys::whisper_full_get_segment_t1_from_state(state, at),
            sys::whisper_full_get_segment_no_speech_prob_from_state(state, at),
            sys::whisper_full_n_tokens_from_state(state, at),
            sys::whisper_token_eot(context),
        )
    };
    let (mut tokens, mut logprob, mut words) = (Vec::new(), 0.0, Words::default());
    for number in 0..count {
        // SAFETY: as above.
        let (data, text) = unsafe {
            (
                sys::whisper_full_get_token_data_from_state(state, at, number),
                CStr::from_ptr(sys::whisper_full_get_token_text_from_state(context, state, at, number)),
            )
        };
        // Those beyond are marks, not text.
        if data.id < eot {
            words.push(text.to_bytes(), time(data.t0), time(data.t1));
            tokens.push(data.id);
            logprob += data.plog;
        }
    }
    Segment {
        start: time(start),
        end: time(end).max(time(start)),
        text: text.to_string_lossy().into_owned(),
        avg_logprob: logprob / tokens.len().max(1) as f32,
        temperature: listener.temperature,
        no_speech_prob: if no_speech_prob.is_finite() { no_speech_prob } else { 0.0 },
        tokens,
        words: words.finish(),
    }
}

/// Which language is spoken, as far as somebody has said so.
fn language(task: &Task, is_multilingual: bool) -> Result<Option<String>, Flaw> {
    let english = || Some("en".to_owned());
    let Some(written) = task.language.as_deref() else { return Ok(english().filter(|_| !is_multilingual)) };
    let name = written.trim().to_lowercase();
    let known = name.len() <= LONGEST_NAME && !name.contains('\0');
    let id =
        known.then(|| whisper_rs::get_lang_id(name.split(['-', '_']).next().unwrap_or_default())).flatten();
    let code = id.and_then(whisper_rs::get_lang_str);
    match code {
        None => Err(Flaw::Language(name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect())),
        Some("en") => Ok(english()),
        Some(_) if !is_multilingual => Err(Flaw::EnglishOnly),
        Some(code) => Ok(Some(code.to_owned())),
    }
}

fn name_of(code: &str) -> Option<&'static str> {
    whisper_rs::get_lang_str_full(whisper_rs::get_lang_id(code)?)
}
