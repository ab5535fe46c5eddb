//! The books, read from the database by nobody's help but SQL's.

use pannier::store::ledger::{self, By, Column, Cut, Figure, Filter, Line, Period, Piece, Stretch};
use pannier::store::{Damaged, Migrations, Options, Place, Start, Statement, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// All that is in them.
pub struct Book {
    /// By the request's id, in hexadecimal digits.
    pub rows: BTreeMap<String, Row>,
    /// Code and message, by number.
    failures: BTreeMap<i64, [String; 2]>,
    /// Over all of time, by key, team, model and endpoint; the same whether summed by minute, hour or day.
    sums: Vec<Line>,
}

#[derive(Debug, Clone)]
pub struct Row(BTreeMap<&'static str, Option<i64>>);

/// What no column holds.
const NONE: i64 = i64::MIN;

/// The books at `place`, as far as `steps` have brought them into shape.
pub async fn opened(place: &str, steps: &Migrations) -> Store {
    let options = Options {
        readers: 1,
        patience: Duration::from_secs(5),
        durable: true,
        largest_file: None,
        start: Start::AsItIs,
        damaged: Damaged::Refuse,
    };
    Store::open(&Place::parse(place).expect("a place"), &options, steps).await.expect("open the books")
}

impl Book {
    pub async fn read(place: &str) -> Book {
        let store = opened(place, &ledger::migrations()).await;
        let names = Column::ALL.map(Column::name);
        let columns = names.map(|name| format!("COALESCE(CAST({name} AS BIGINT), {NONE})")).join(", ");
        let mut work = store.read().await.expect("read");
        let found =
            work.rows(Statement::new(format!("SELECT id_head, id_tail, {columns} FROM ledger_row"))).await;
        work.done().await.expect("done");
        let mut rows = BTreeMap::new();
        for row in found.expect("rows") {
            let number = |at: usize| row.number(at).expect("a number");
            let id = format!("{:016x}{:016x}", number(0), number(1));
            let value = |at: usize| Some(number(at + 2)).filter(|value| *value != NONE);
            rows.insert(id, Row(names.iter().enumerate().map(|(at, name)| (*name, value(at))).collect()));
        }
        let failures = failures(&store).await;
        let mut all = Vec::new();
        for period in Period::ALL {
            let pieces = vec![Piece { period, from: 0, until: i64::MAX }];
            let stretch = Stretch { pieces, cut: Cut::Whole { start: 0 } };
            all.push(
                ledger::lines(&store, &stretch, &By::ALL, &Filter::default(), None, usize::MAX)
                    .await
                    .expect("lines"),
            );
        }
        assert!(all.iter().all(|sums| *sums == all[0]), "minutes, hours and days differ: {all:?}");
        store.close().await;
        Book { rows, failures, sums: all.remove(0) }
    }

    pub fn sum(&self, figure: Figure) -> i64 {
        self.sum_where(figure, |_| true)
    }

    pub fn sum_of(&self, key: &str, figure: Figure) -> i64 {
        self.sum_where(figure, |names| names[0] == key)
    }

    pub fn sum_of_model(&self, model: &str, figure: Figure) -> i64 {
        self.sum_where(figure, |names| names[2] == model)
    }

    /// The names of all models, in their order.
    pub fn models(&self) -> Vec<&str> {
        self.sums.iter().map(|line| line.names[2].as_str()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn sum_where(&self, figure: Figure, is_meant: impl Fn(&[String]) -> bool) -> i64 {
        let meant = self.sums.iter().filter(|line| is_meant(&line.names));
        meant.map(|line| line.sums[figure as usize]).sum()
    }

    /// What went wrong with a request, and what was said of it.
    pub fn failure(&self, row: &Row) -> &[String; 2] {
        &self.failures[&row.get(Column::Error).expect("something went wrong")]
    }

    /// Rows and sums say the same, where every request has a row.
    pub fn agrees(&self) {
        let sum = |column: Column, of: fn(&Row) -> bool| {
            self.rows.values().filter(|row| of(row)).map(|row| row.get(column).unwrap_or(0)).sum::<i64>()
        };
        let ended = self.rows.values().filter(|row| row.get(Column::Ending).is_some()).count();
        assert_eq!(self.sum(Figure::Requests), ended as i64);
        for (figure, column) in [
            (Figure::Prompt, Column::Prompt),
            (Figure::Completion, Column::Completion),
            (Figure::CompletionTime, Column::CompletionTime),
            (Figure::CachedPrompt, Column::CachedPrompt),
        ] {
            assert_eq!(self.sum(figure), sum(column, |row| !row.is_given()), "{}", figure.name());
        }
        assert_eq!(self.sum(Figure::SavedPrompt), sum(Column::Prompt, Row::is_given));
        let gpu = |of: fn(&Row) -> bool| {
            let times = [Column::Load, Column::PromptTime, Column::CompletionTime];
            times.into_iter().map(|time| sum(time, of)).sum::<i64>()
        };
        assert_eq!(self.sum(Figure::Gpu), gpu(|row| !row.is_given()));
        assert_eq!(self.sum(Figure::SavedGpu), gpu(Row::is_given));
        assert_eq!(self.sum(Figure::Total), sum(Column::Total, |_| true));
        assert_eq!(self.sum(Figure::Cost), sum(Column::Cost, |_| true));
        assert_eq!(self.sum(Figure::SavedCost), sum(Column::SavedCost, |_| true));
    }
}

impl Row {
    pub fn get(&self, column: Column) -> Option<i64> {
        self.0[column.name()]
    }

    /// The cache, or another's trip, has given the answer.
    pub fn is_given(&self) -> bool {
        matches!(self.get(Column::Cache), Some(1 | 2 | 4))
    }
}

async fn failures(store: &Store) -> BTreeMap<i64, [String; 2]> {
    let mut work = store.read().await.expect("read");
    let rows = work.rows(Statement::new("SELECT id, code, message FROM ledger_failure")).await;
    work.done().await.expect("done");
    let text = |row: &pannier::store::Row, at| row.text(at).expect("a text");
    let read = |row| (pannier::store::Row::number(row, 0).expect("a number"), [text(row, 1), text(row, 2)]);
    rows.expect("rows").iter().map(read).collect()
}
