//! What stands in a row, and what in a sum.

/// The most that a narrow column takes.
pub const NARROW: i64 = i32::MAX as i64;

/// Where sums end: two of them together are still a number that both databases have.
pub const MOST: i64 = 4_000_000_000_000_000_000;

/// How two parts of one request make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Both together, up to [`MOST`].
    Sum,
    /// Both together, up to [`NARROW`].
    NarrowSum,
    /// The later that says anything.
    Later,
    /// The earlier that says anything.
    Earlier,
}

macro_rules! numbered {
    ($(#[$what:meta])* $name:ident { $($(#[$doc:meta])* $case:ident = $text:literal,)* }) => {
        $(#[$what])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $case,)* }

        impl $name {
            pub const ALL: [$name; $name::COUNT] = [$($name::$case,)*];
            pub const COUNT: usize = [$($text,)*].len();

            /// The name of the column.
            pub fn name(self) -> &'static str {
                match self { $($name::$case => $text,)* }
            }
        }
    };
}

numbered! {
    /// A column of a request's row. Times are microseconds, money is billionths.
    ///
    /// Tokens and the model server's times are those of the answer that the request got. Where the cache gave
    /// it (a hit, or another's trip) they were not spent again, and `saved_cost` is what that was worth.
    Column {
        /// Numbers of names.
        Account = "account",
        Subject = "subject",
        /// What it was billed under; none where nothing was charged.
        Price = "price",
        Error = "error",
        /// None while it is not known how the request ended, and for ever where Pannier was killed meanwhile.
        Status = "status",
        Ending = "ending",
        Cache = "cache",
        /// Where the counts of tokens are from.
        Source = "source",
        Rating = "rating",
        Prompt = "prompt",
        CachedPrompt = "cached_prompt",
        Completion = "completion",
        Reasoning = "reasoning",
        Total = "total_us",
        FirstToken = "first_token_us",
        Queue = "queue_us",
        Load = "load_us",
        PromptTime = "prompt_us",
        CompletionTime = "completion_us",
        Cost = "cost",
        SavedCost = "saved_cost",
        /// Its trips for a model without a price.
        Unpriced = "unpriced",
        /// Its trips whose figures come to no amount.
        Unbilled = "unbilled",
        /// Milliseconds of the recording that was listened to.
        Audio = "audio_ms",
        /// Pictures in the question.
        Images = "images",
    }
}

numbered! {
    /// What adds up over requests.
    Figure {
        Requests = "requests",
        Hits = "hits",
        Joined = "joined",
        /// Answered with an error, or not to the end; less those whose client left.
        Failed = "failed",
        Cancelled = "cancelled",
        Trips = "trips",
        /// What trips took.
        Prompt = "prompt",
        CachedPrompt = "cached_prompt",
        Completion = "completion",
        Reasoning = "reasoning",
        Gpu = "gpu_us",
        CompletionTime = "completion_us",
        /// How long clients waited for all of their answers.
        Total = "total_us",
        Cost = "cost",
        /// What trips cost, of that.
        PromptCost = "prompt_cost",
        CompletionCost = "completion_cost",
        GpuCost = "gpu_cost",
        /// Trips for models without a price.
        Unpriced = "unpriced",
        /// Trips whose figures come to no amount.
        Unbilled = "unbilled",
        SavedPrompt = "saved_prompt",
        SavedCompletion = "saved_completion",
        SavedGpu = "saved_gpu_us",
        SavedCost = "saved_cost",
        /// Requests whose owners said what they think of the answer, and of those the ones who liked it or not.
        Rated = "rated",
        Liked = "liked",
        Disliked = "disliked",
        /// Milliseconds of recordings that trips listened to.
        Audio = "audio_ms",
        /// Pictures that trips looked at.
        Images = "images",
    }
}

/// What two expressions come to together; never beyond [`MOST`]. `other` is a [`summand`].
pub(super) fn sum_of(one: &str, other: &str) -> String {
    format!(
        "CASE WHEN {one} > {MOST} - {other} THEN {MOST} WHEN {one} < -{MOST} - {other} THEN -{MOST} \
         ELSE {one} + {other} END"
    )
}

/// `number` as a part of such a sum.
pub(super) fn summand(number: i64) -> i64 {
    number.clamp(-MOST, MOST)
}

impl Figure {
    /// Those that are money. What years of it come to may be more than a database can add up.
    pub(super) const MONEY: [Figure; 5] =
        [Figure::Cost, Figure::PromptCost, Figure::CompletionCost, Figure::GpuCost, Figure::SavedCost];
}

impl Column {
    pub fn merge(self) -> Merge {
        match self {
            Column::Account | Column::Subject | Column::FirstToken => Merge::Earlier,
            Column::Price
            | Column::Error
            | Column::Status
            | Column::Ending
            | Column::Cache
            | Column::Source
            | Column::Rating
            | Column::Total => Merge::Later,
            Column::Prompt
            | Column::CachedPrompt
            | Column::Completion
            | Column::Reasoning
            | Column::Queue
            | Column::Load
            | Column::PromptTime
            | Column::CompletionTime
            | Column::Unpriced
            | Column::Unbilled
            | Column::Audio
            | Column::Images => Merge::NarrowSum,
            Column::Cost | Column::SavedCost => Merge::Sum,
        }
    }
}
