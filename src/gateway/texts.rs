//! One call upstream for one text or several.

use super::Way;
use super::answer::{Answer, Appearance, Outcome};
use super::books::Books;
use super::order::Order;
use super::plan::Plan;
use super::trip;
use crate::batch::{Joint, Party, Places};
use crate::cache::{Directives, Era, Label, Question, Since, Terms};
use crate::domain::{CallFacts, Error, Kind, Payer, Route, Scope, Texts};
use crate::upstream::{Head, Identity, UpstreamCall};
use bytes::{Bytes, BytesMut};
use http::header;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Fields that ask for another answer than a whole one that can be read.
const OF_ANOTHER: [header::HeaderName; 7] = [
    header::ACCEPT_ENCODING,
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];
/// An answer beyond this is given up: no vectors are so large.
const LARGEST: usize = 64 << 20;

/// What all calls for the texts of one request have in common.
pub struct Demand {
    pub looks: Appearance,
    pub texts: Arc<Texts>,
    pub identity: Identity,
    pub terms: Terms,
    /// What the request says of the cache, and whether what comes may be kept.
    pub directives: Directives,
    pub keeps: bool,
    /// Who may share the vectors, and what an operator finds them by.
    pub scope: Scope,
    pub label: Label,
    pub era: Era,
    /// What all their questions have in common.
    pub asked: Question,
    /// Where the calls may go, what the model is there, and in whose turn they do.
    pub places: Places,
    homes: Vec<(usize, Identity)>,
    pub party: Party,
    payer: Payer,
    route: Route,
    facts: CallFacts,
    /// The call with all texts in it, and its body as it can be read.
    whole: UpstreamCall,
    plain: Bytes,
    departed: AtomicBool,
}

// === impl Demand ===

impl Demand {
    pub fn new(
        order: &Order<'_>,
        texts: &Arc<Texts>,
        identity: &Identity,
        terms: Terms,
        homes: Vec<(usize, Identity)>,
        asked: Question,
    ) -> Self {
        let mut whole = order.request.upstream_call(&order.call);
        for name in OF_ANOTHER {
            whole.headers.remove(name);
        }
        Demand {
            looks: Appearance::of(order.looks()),
            texts: texts.clone(),
            identity: identity.clone(),
            terms,
            directives: order.directives,
            keeps: true,
            scope: order.request.consumer.scope,
            label: order.label(identity),
            era: order.era,
            asked,
            places: Places::of(homes.iter().map(|(place, _)| *place)),
            homes,
            party: Party::default(),
            payer: order.payer(),
            route: order.request.route,
            facts: order.facts.clone(),
            plain: order.plain.clone(),
            departed: AtomicBool::new(false),
            whole,
        }
    }

    /// Whether any call has gone up for it.
    pub fn has_departed(&self) -> bool {
        self.departed.load(Ordering::Relaxed)
    }

    pub fn since(&self) -> Since<'_> {
        Since { label: &self.label, era: self.era }
    }

    /// Of what reaches the upstream beside the text: who asks.
    pub fn likeness(&self) -> [u8; 32] {
        UpstreamCall { body: Bytes::new(), ..self.whole.clone() }.likeness()
    }

    /// The call for some of the texts, by their numbers.
    fn plan(&self, items: &[usize]) -> (Plan, UpstreamCall) {
        let bytes: usize = items.iter().map(|item| self.texts.items[*item].place.len()).sum();
        let plan = Plan {
            form: self.looks.form,
            payer: self.payer.clone(),
            route: self.route,
            facts: self.facts.clone(),
            model: self.looks.model.clone(),
            estimated_prompt_tokens: bytes.div_ceil(4) as u64,
            images: 0,
            keep: None,
            lease: None,
        };
        (plan, self.part(items))
    }

    /// The client's own call, with these texts in place of all; that is the very same when it has no others.
    fn part(&self, items: &[usize]) -> UpstreamCall {
        let mut call = self.whole.clone();
        if self.texts.items.len() == items.len() {
            return call;
        }
        call.body = alone(&self.plain, &self.texts, items);
        call.headers.remove(header::CONTENT_ENCODING);
        call
    }

    /// What the model is at `place`.
    fn identity_at(&self, place: usize) -> &Identity {
        self.homes.iter().find(|(home, _)| *home == place).map_or(&self.identity, |(_, identity)| identity)
    }

    /// What is asked of one text, where that is kept.
    pub fn question(&self, item: usize) -> Option<Box<Question>> {
        let input = &self.texts.input;
        let length = self.plain.len() - input.len() + self.texts.items[item].place.len();
        let most = self.terms.max_question;
        let body = || alone(&self.plain, &self.texts, &[item]);
        (length <= most).then(|| Question::of(body(), most, &self.asked)).flatten()
    }

    /// A call for these texts, made when it is waited for and their turn has come.
    pub fn call(self: &Arc<Self>, way: &Arc<Way>, items: Vec<usize>) -> Arc<Joint<Outcome>> {
        let (demand, way) = (self.clone(), way.clone());
        Joint::new(async move {
            let send = async |place| match demand.travel(&way, &items, place).await {
                // The first has what all of them have.
                Err(_) if place > 0 => {
                    way.fleet.leave_out(place);
                    demand.travel(&way, &items, 0).await
                }
                outcome => outcome,
            };
            way.items.batcher.submit(&demand.party, demand.places, items.len(), send).await
        })
    }

    /// Goes to one upstream, and comes back with the whole answer.
    async fn travel(&self, way: &Arc<Way>, items: &[usize], place: usize) -> Outcome {
        let (plan, call) = self.plan(items);
        let mut books = Books::open(way, &plan);
        self.departed.store(true, Ordering::Relaxed);
        match gather(way, &plan, call, place, &mut books).await {
            Ok((head, body)) => Ok(Arc::new(Answer {
                observed: books.close(Some(&body)),
                took: books.elapsed(),
                looks: self.looks.clone(),
                weights: items.iter().map(|item| self.texts.items[*item].place.len()).collect(),
                read: OnceLock::new(),
                identity: self.identity_at(place).clone(),
                head,
                body,
                place,
            })),
            Err(error) => {
                books.fail(error.kind);
                Err(error)
            }
        }
    }
}

/// The body `plain` with some of its texts alone, by their numbers.
pub fn alone(plain: &Bytes, texts: &Texts, items: &[usize]) -> Bytes {
    let place = |item: &usize| &plain[texts.items[*item].place.clone()];
    let mut spliced = BytesMut::from(&plain[..texts.input.start]);
    match items {
        // By itself, a text of no length would only load the model.
        [item] if place(item) != b"\"\"" => spliced.extend_from_slice(place(item)),
        items => {
            let joined = items.iter().map(place).collect::<Vec<_>>().join(&b',');
            spliced.extend_from_slice(&[b"[", &*joined, b"]"].concat());
        }
    }
    spliced.extend_from_slice(&plain[texts.input.end..]);
    spliced.freeze()
}

async fn gather(
    way: &Way,
    plan: &Plan,
    call: UpstreamCall,
    place: usize,
    books: &mut Books,
) -> Result<(Head, Bytes), Error> {
    let mut incoming = way.fleet.vessel(place).client.send(&call).await?;
    let head = incoming.head().clone();
    books.head(plan.form, &head, false);
    let mut body = BytesMut::new();
    let mut patience = None;
    while let Some(piece) = trip::next(&mut incoming, patience).await? {
        books.read(&piece);
        if body.len() + piece.len() > LARGEST {
            return Err(Error::new(Kind::UpstreamAborted, "the upstream's answer is too long"));
        }
        body.extend_from_slice(&piece);
        if books.is_all_there() {
            patience = Some(trip::AFTERMATH);
        }
    }
    Ok((head, body.freeze()))
}
