//! Cases with goals, how they are run, and the table that comes of it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::catch_unwind,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use starling_tests::allow_time;

/// Time for one repetition of a case, unless it says something else.
pub const TIME: Duration = Duration::from_secs(8 * 60);

/// What a repetition gives: a figure for each goal, or nothing where it cannot run.
pub type Figures = Option<Vec<f64>>;

/// In place of a figure that cannot be had here, for want of what its goal needs. It is not met, and no failure.
pub const UNMEASURED: f64 = f64::NAN;

/// A repetition without a figure for any of so many goals.
pub fn unmeasured(goals: usize) -> Figures {
    Some(vec![UNMEASURED; goals])
}

/// What a figure has to be.
#[derive(Clone, Copy)]
pub struct Goal {
    /// What is measured.
    what: &'static str,
    unit: &'static str,
    value: f64,
    /// The figure has to be at least that, not at most.
    least: bool,
    /// Beyond this the test fails, also on a slow machine.
    hard: f64,
    /// What it takes to measure it, beside what the laboratory takes.
    needs: &'static str,
}

/// At most so many seconds.
pub const fn within(what: &'static str, seconds: f64) -> Goal {
    Goal { what, unit: "s", value: seconds, least: false, hard: 3.0 * seconds + 2.0, needs: "" }
}

/// At most so much of something.
pub const fn at_most(what: &'static str, unit: &'static str, value: f64) -> Goal {
    Goal { what, unit, value, least: false, hard: 3.0 * value, needs: "" }
}

/// At least so much of something.
pub const fn at_least(what: &'static str, unit: &'static str, value: f64) -> Goal {
    Goal { what, unit, value, least: true, hard: value / 3.0, needs: "" }
}

impl Goal {
    /// The same with another limit for slow machines.
    pub const fn or(self, hard: f64) -> Self {
        Self { hard, ..self }
    }

    /// The same, which can be measured only where there is something.
    pub const fn needing(self, needs: &'static str) -> Self {
        Self { needs, ..self }
    }

    fn shown(&self, figure: Option<f64>) -> String {
        match figure {
            Some(figure) if figure.is_nan() => format!("not measured (needs {})", self.needs),
            Some(figure) => format!("{figure:.2}"),
            None => "failed".to_owned(),
        }
    }

    fn meets(&self, figure: f64, bound: f64) -> bool {
        if self.least { figure >= bound } else { figure <= bound }
    }
}

/// A case.
pub struct Row {
    pub case: &'static str,
    pub goals: Vec<Goal>,
    /// How many seconds it takes on CI; nothing if another test covers it.
    pub on_ci: Option<u64>,
    /// How long a repetition may take.
    pub time: Duration,
    pub measure: fn() -> Figures,
}

/// What came of a case.
struct Measured<'a> {
    row: &'a Row,
    /// Of each repetition, or why there are none.
    repetitions: Vec<Result<Vec<f64>, String>>,
}

/// Runs cases, several at once if there are workers for it, and hands on the table whenever one has ended. Gives what is beyond the hard limits.
pub fn run(rows: &[Row], repetitions: usize, workers: usize, show: impl Fn(&str) + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    // The time limit of a test goes by the name of its thread.
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let work = || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(row) = rows.get(number) else { return };
                    let measured = row.measured(repetitions);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.insert(number, measured);
                    show(&table(done.values()));
                }
            };
            std::thread::Builder::new().name(name.clone()).spawn_scoped(scope, work).unwrap();
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.values().flat_map(Measured::beyond).collect()
}

impl Row {
    fn measured(&self, repetitions: usize) -> Measured<'_> {
        let once = |n: usize| {
            allow_time(self.time);
            println!("{}, {n} of {repetitions}", self.case);
            match catch_unwind(self.measure) {
                Ok(Some(figures)) if figures.len() == self.goals.len() => Ok(figures),
                Ok(Some(figures)) => Err(format!("{} figures for {} goals", figures.len(), self.goals.len())),
                Ok(None) => Err("cannot run here".into()),
                Err(panic) => Err(message(&*panic)),
            }
        };
        Measured { row: self, repetitions: (1..=repetitions).map(once).collect() }
    }
}

/// What a panic says, its first line.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.and_then(|text| text.lines().next()).unwrap_or("failed").to_owned()
}

impl Measured<'_> {
    /// The figures of a goal; nothing for a repetition that failed.
    fn figures(&self, goal: usize) -> Vec<Option<f64>> {
        self.repetitions.iter().map(|figures| figures.as_ref().ok().and_then(|f| f.get(goal).copied())).collect()
    }

    /// The one in the middle, where a repetition that failed is the worst; of an even number the worse of the two. Not measured, if
    /// one of them was not.
    fn median(&self, goal: usize) -> Option<f64> {
        let least = self.row.goals[goal].least;
        if self.figures(goal).into_iter().flatten().any(f64::is_nan) {
            return Some(UNMEASURED);
        }
        let worst = if least { f64::NEG_INFINITY } else { f64::INFINITY };
        let mut figures: Vec<f64> = self.figures(goal).into_iter().map(|figure| figure.unwrap_or(worst)).collect();
        figures.sort_by(f64::total_cmp);
        if least {
            figures.reverse();
        }
        figures.get(figures.len() / 2).copied().filter(|figure| figure.is_finite())
    }

    fn failures(&self) -> impl Iterator<Item = &str> {
        self.repetitions.iter().filter_map(|figures| figures.as_ref().err().map(String::as_str))
    }

    fn beyond(&self) -> Vec<String> {
        let case = self.row.case;
        let mut beyond: Vec<String> = self.failures().map(|failure| format!("{case}: {failure}")).collect();
        for (n, goal) in self.row.goals.iter().enumerate() {
            let measured = self.figures(n).into_iter().flatten().filter(|figure| !figure.is_nan());
            for figure in measured.filter(|figure| !goal.meets(*figure, goal.hard)) {
                beyond.push(format!("{case}: {}: {figure:.2} {}", goal.what, goal.unit));
            }
        }
        beyond
    }
}

/// In Markdown.
fn table<'a, 'b: 'a>(all: impl Iterator<Item = &'a Measured<'b>> + Clone) -> String {
    let mut text = String::from("| case | figure | goal | median | all | met |\n|---|---|---|---|---|---|\n");
    for measured in all.clone() {
        for (n, goal) in measured.row.goals.iter().enumerate() {
            let median = measured.median(n);
            let figures: Vec<String> = measured.figures(n).into_iter().map(|figure| goal.shown(figure)).collect();
            let sign = if goal.least { "≥" } else { "≤" };
            let met = if median.is_some_and(|median| goal.meets(median, goal.value)) { "yes" } else { "**no**" };
            let (case, what, value, unit) = (measured.row.case, goal.what, goal.value, goal.unit);
            let (median, figures) = (goal.shown(median), figures.join(", "));
            let _ = writeln!(text, "| {case} | {what} | {sign} {value} {unit} | {median} | {figures} | {met} |");
        }
    }
    for measured in all {
        for failure in measured.failures() {
            let _ = write!(text, "\n{}: {failure}\n", measured.row.case);
        }
    }
    text
}
